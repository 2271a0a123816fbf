# SPDX-License-Identifier: Apache-2.0
"""Without HOME, or with one that can't be written, log files go elsewhere (report E: RCLError in every process)."""

from pathlib import Path

import pytest

from swiftvla_ros.log_folder import provide_log_folder, ros_log_folder


def test_a_folder_that_can_be_written_is_left_alone(tmp_path: Path) -> None:
    """Whoever has a home, or chose a folder, sees nothing."""
    for environment in ({"HOME": str(tmp_path)}, {"HOME": "/nowhere", "ROS_LOG_DIR": str(tmp_path / "logs")}):
        before = dict(environment)
        assert provide_log_folder(environment) == ("", True)
        assert environment == before


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"HOME": ""},
        {"HOME": "{file}"},
        {"HOME": "/proc"},
        {"ROS_LOG_DIR": "/proc/x"},
        {"HOME": "{file}", "ROS_HOME": "~/ros"},
    ],
)
def test_another_folder_is_taken_and_told_once(tmp_path: Path, environment: dict[str, str]) -> None:
    """No HOME, one that is no folder, one that is read-only: the processes that inherit the choice say nothing more."""
    (tmp_path / "file").touch()
    environment = {name: value.format(file=tmp_path / "file") for name, value in environment.items()}
    notice, there = provide_log_folder(environment)
    assert there
    assert environment["ROS_LOG_DIR"] in notice
    assert Path(environment["ROS_LOG_DIR"]).is_dir()
    assert provide_log_folder(environment) == ("", True)


def test_without_any_folder_there_are_no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container whose file system can't be written at all still runs its nodes."""
    monkeypatch.setattr("swiftvla_ros.log_folder.tempfile.gettempdir", lambda: "/proc")
    notice, there = provide_log_folder({})
    assert not there
    assert "ROS_LOG_DIR" in notice


def test_the_folder_is_the_one_that_ros_takes() -> None:
    """In the order of rcl: ROS_LOG_DIR, ROS_HOME, HOME."""
    environment = {"ROS_LOG_DIR": "~/a", "ROS_HOME": "/r", "HOME": "/h"}
    assert ros_log_folder(environment) == Path("/h/a")
    del environment["ROS_LOG_DIR"]
    assert ros_log_folder(environment) == Path("/r/log")
    del environment["ROS_HOME"]
    assert ros_log_folder(environment) == Path("/h/.ros/log")
    assert ros_log_folder({}) is None
