# SPDX-License-Identifier: Apache-2.0
"""An emulated SO-101 on a pseudo-terminal, and the real driver on it."""

import importlib.util
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from servo_arm import GRIPPER, REST, SO101, Orders

from swiftvla_ros.drivers.feetech import bus
from swiftvla_ros.drivers.feetech.arm import DrivenArm
from swiftvla_ros.drivers.feetech.emulated_arm import EmulatedArm
from swiftvla_ros.drivers.feetech.settings import arm_settings

if importlib.util.find_spec("serial") is None:
    collect_ignore_glob = ["test_bus.py", "test_arm.py", "test_guided.py", "test_loop.py"]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait longer for answers: the emulator runs in a thread of this process, on a machine that is busy with others."""
    monkeypatch.setattr(bus, "ANSWER_S", 0.03)


@pytest.fixture
def emulated(tmp_path: Path) -> Iterator[EmulatedArm]:
    """Lend a follower at rest."""
    arm = EmulatedArm(tmp_path, "follower", REST, GRIPPER)
    yield arm
    arm.close()


@pytest.fixture
def orders() -> Orders:
    """Give commands that begin at rest."""
    return Orders()


@pytest.fixture
def arm(emulated: EmulatedArm) -> Iterator[DrivenArm]:
    """Connect the real driver to it."""
    settings = arm_settings(SO101, "follower", port=str(emulated.bus.link), calibration=str(emulated.file))
    arm = DrivenArm(settings, time.time_ns)
    arm.connect()
    yield arm
    arm.close()
