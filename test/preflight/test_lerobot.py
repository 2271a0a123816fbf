# SPDX-License-Identifier: Apache-2.0
"""What a pre-flight says of a policy of LeRobot's."""

from pathlib import Path

import pytest
from lerobot_folder import write_folder

from swiftvla_ros.contract import Contract
from swiftvla_ros.policy.lerobot.folder import open_lerobot
from swiftvla_ros.preflight.checkpoint import check_checkpoint
from swiftvla_ros.preflight.facts import read_checkpoint


@pytest.mark.parametrize(("joints", "status"), [(6, "ok"), (7, "fail")])
def test_its_folder_is_judged(tmp_path: Path, contract: Contract, joints: int, status: str) -> None:
    """Protects the arm: joints are compared, and that nothing tells their order and units is said before it moves."""
    folder = write_folder(tmp_path / "act", joints, {})
    rows = {row.name: row for row in check_checkpoint(read_checkpoint(folder), contract, open_lerobot(folder).sha256)}
    assert rows["checkpoint"].status == "ok"
    assert rows["checkpoint's joints"].status == status
    assert rows["checkpoint's cameras"].status == "ok"
    assert rows["trained on"].status == "warning"
    assert "type 'act'" in rows["trained on"].finding
