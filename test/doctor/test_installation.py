# SPDX-License-Identifier: Apache-2.0
"""What is installed is told from what should be."""

import shutil

import pytest

from swiftvla_ros.doctor.installation import check_messages, check_packages, check_python
from swiftvla_ros.preflight.row import Row
from swiftvla_ros.resources import share_folder

REQUIREMENTS = [
    "numpy>=1.26",
    "opencv-python-headless<5,>=4.8",
    'torch==2.13.0; extra == "torch"',
    'tokenizers>=0.22; extra == "torch"',
    'swiftvla_ros[torch]; extra == "train"',
    'pyarrow>=16; extra == "train"',
    'ros-rclpy~=9.1.2; extra == "ros"',
    'ros-std-msgs~=5.5.1; extra == "ros"',
]
GOOD = {"numpy": "2.2.6", "opencv-python-headless": "4.14", "torch": "2.13.0", "tokenizers": "0.23", "pyarrow": "25"}


def rows(installed: dict[str, str], importable: tuple[str, ...] = ()) -> dict[str, Row]:
    """Judge what is installed."""
    found = check_packages(REQUIREMENTS, installed.get, lambda name: name in importable)
    return {check.name: check for check in found}


def test_every_group_of_packages_has_a_row():
    """Protects: what is there and right is green, an extra that nobody installed spoils nothing."""
    found = rows(GOOD)
    assert [found[name].status for name in ("packages", "extra torch", "extra train")] == ["ok", "ok", "ok"]
    assert found["extra ros"].status == "skipped"
    assert "swiftvla_ros[ros]" in found["extra ros"].fix


def test_a_wrong_version_is_named_with_the_command():
    """Protects: an OpenCV 5 that came with something else is found, and the fix can be pasted."""
    found = rows({**GOOD, "opencv-python-headless": "5.0.0"})["packages"]
    assert found.status == "fail"
    assert "opencv-python-headless is 5.0.0" in found.finding
    assert found.fix == "pip install 'opencv-python-headless<5,>=4.8'"


def test_half_an_extra_is_a_fault():
    """Protects: torch without its tokenizers is told before the policy starts."""
    installed = {name: version for name, version in GOOD.items() if name != "tokenizers"}
    assert rows(installed)["extra torch"].status == "fail"


def test_a_ros_installation_needs_no_wheels():
    """Protects: Debian's rclpy and OpenCV, which pip does not know, are not called missing."""
    installed = {name: version for name, version in GOOD.items() if name != "opencv-python-headless"}
    found = rows(installed, importable=("ros-rclpy", "opencv-python-headless"))
    assert found["packages"].status == "ok"
    assert found["extra ros"] == Row("extra ros", "ok", "of the ROS installation")


def test_an_old_python_is_told():
    """Protects: the version that pyproject.toml asks for."""
    assert check_python((3, 9, 2), ">=3.10").status == "fail"
    assert check_python((3, 12, 0), ">=3.10").status == "ok"


def test_messages_that_were_built_from_other_files_are_told(tmp_path):
    """Protects: after `git pull` the old generated messages would be read with the new code."""
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    for kind in ("msg", "srv", "action"):
        shutil.copytree(share_folder() / kind, tmp_path / kind)
    assert check_messages(tmp_path).status == "ok"
    with (tmp_path / "srv" / "SetInstruction.srv").open("a") as stream:
        stream.write("\nuint64 more\n")
    found = check_messages(tmp_path)
    assert found.status == "fail"
    assert "SetInstruction" in found.finding
