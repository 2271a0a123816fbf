# SPDX-License-Identifier: Apache-2.0
"""What the machine lacks is told with the fix."""

import fcntl
from pathlib import Path

from swiftvla_ros.contract import load_contract
from swiftvla_ros.doctor.machine import (
    SharedMemory,
    check_logs,
    check_real_time,
    check_shared_memory,
    read_shared_memory,
)
from swiftvla_ros.preflight.machine import check_disk
from swiftvla_ros.preflight.row import GB, MB
from swiftvla_ros.preflight.transport import Profile, Transport

CONTRACT = load_contract("so101_sim")
TRANSPORT = Transport("0", "SUBNET", Profile(segment_bytes=32 * MB), GB, GB, ("127.0.0.1",))


def test_a_container_s_64_mb_of_shared_memory_are_too_few():
    """Docker's default /dev/shm does not hold the segments of a system, whose images then get lost (report F10)."""
    found = check_shared_memory(SharedMemory(64 * MB, 64 * MB), TRANSPORT, CONTRACT)
    assert found.status == "fail"
    assert "--shm-size" in found.fix
    assert check_shared_memory(SharedMemory(GB, GB), TRANSPORT, CONTRACT).status == "ok"


def test_what_killed_processes_left_behind_is_told_from_what_is_used():
    """Protects: a full /dev/shm of a machine that is large enough is emptied, not enlarged."""
    full = check_shared_memory(SharedMemory(GB, 10 * MB, left_over=900 * MB), TRANSPORT, CONTRACT)
    assert full.status == "fail"
    assert "shm clean" in full.fix
    # A running system has taken its segments already.
    assert check_shared_memory(SharedMemory(GB, 10 * MB, held=900 * MB), TRANSPORT, CONTRACT).status == "ok"


def test_segments_are_held_by_locks(tmp_path: Path):
    """Protects: what a live process has locked is never called left over."""
    for name in ("fastdds_1", "fastdds_2"):
        (tmp_path / name).write_bytes(b"x" * 8192)
        (tmp_path / f"{name}_el").touch()
    with (tmp_path / "fastdds_1_el").open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        found = read_shared_memory(tmp_path)
    assert (found.held, found.left_over) == (8192, 8192)


def test_no_home_is_a_fault():
    """Without HOME no program of ROS starts but ours, which take another folder (report F10)."""
    found = check_logs({})
    assert found.status == "fail"
    assert "neither HOME nor ROS_LOG_DIR is set" in found.finding
    assert "export HOME" in found.fix


def test_a_place_for_logs_that_is_none_is_a_fault(tmp_path: Path):
    """Protects: a HOME that is a file, as a wrong mount makes it, is told from one that will do."""
    (tmp_path / "file").touch()
    assert check_logs({"HOME": str(tmp_path / "file")}).status == "fail"
    assert check_logs({"HOME": str(tmp_path / "new")}).status == "ok"
    assert check_logs({"HOME": "/nowhere", "ROS_LOG_DIR": str(tmp_path / "logs")}).status == "ok"


def test_a_disk_is_judged_by_the_recording_that_fits():
    """Protects: the recorder keeps 500 MB free, so with less nothing is recorded at all."""
    states = [check_disk(CONTRACT, Path("/runs"), free, True).status for free in (400 * MB, 700 * MB, 100 * GB)]
    assert states == ["fail", "warning", "ok"]
    assert check_disk(CONTRACT, Path("/"), 100 * GB, False).status == "warning"


def test_real_time_is_nobody_s_fault():
    """Protects: only an executor with realtime_priority needs the right to it."""
    assert check_real_time("").status == "ok"
    assert check_real_time("Operation not permitted").status == "skipped"
