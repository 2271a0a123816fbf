# SPDX-License-Identifier: Apache-2.0
"""Each red row is shown by a system that has its fault, and by none that is well."""

from pathlib import Path

import pytest

from preflight_faults import FAULTS, Fault, judged
from swiftvla_ros.preflight.row import worst


def test_a_healthy_system_is_green(tmp_path: Path) -> None:
    """Protects: a red row stops an arm, so none may be red without a reason; yellow ones neither."""
    rows = judged(tmp_path)
    assert [row for row in rows if row.status in ("fail", "warning")] == []
    assert worst(rows) == "ok"


def test_there_are_faults_of_many_rows() -> None:
    """Protects: what the issue asks for, fifteen rows that can be red, and a name for each."""
    assert len({fault.row for fault in FAULTS}) >= 15
    assert len({fault.what for fault in FAULTS}) == len(FAULTS)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.what)
def test_each_fault_turns_its_row_red(fault: Fault, tmp_path: Path) -> None:
    """Protects: the fault is told by the row that is about it, with what to do."""
    red = {row.name: row for row in judged(tmp_path, fault) if row.status == "fail"}
    assert fault.row in red
    assert fault.says in red[fault.row].finding
    assert red[fault.row].fix
