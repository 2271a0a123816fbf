# SPDX-License-Identifier: Apache-2.0
"""A session that goes on with another robot."""

from pathlib import Path

import pytest

from swiftvla_ros.contract import load_contract
from swiftvla_ros.episodes.bags.writer import BagWriter
from swiftvla_ros.episodes.quality.session_robot import check_same_robot
from swiftvla_ros.episodes.session.session_folder import SessionError, SessionFolder


def test_a_session_goes_on_with_its_own_robot_only(tmp_path: Path) -> None:
    """Protects training: episodes of another arm in one folder with the first's are refused, with bag and key."""
    contract = load_contract("so101_sim")
    with BagWriter(tmp_path / "episode_000000", contract):
        pass
    folder = SessionFolder(tmp_path)
    check_same_robot(folder, contract)
    with pytest.raises(SessionError, match=r"episode_000000: was recorded with cameras\.front\.transport"):
        check_same_robot(folder, load_contract("so101"))
