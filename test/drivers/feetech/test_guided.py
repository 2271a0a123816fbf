# SPDX-License-Identifier: Apache-2.0
"""The guided calibration, with a person who does as told, or does not; and what signs and zeros are said to mean."""

from collections.abc import Iterator, Mapping

import numpy as np
import pytest
from servo_arm import SO101

from swiftvla_ros.contract.sections.drivers import SO101_JOINTS
from swiftvla_ros.drivers.feetech.angles import MEANINGS
from swiftvla_ros.drivers.feetech.bus import ServoBus, open_port
from swiftvla_ros.drivers.feetech.calibration import CalibrationError, JointCalibration
from swiftvla_ros.drivers.feetech.connection import stored_calibration
from swiftvla_ros.drivers.feetech.emulated_arm import EmulatedArm
from swiftvla_ros.drivers.feetech.guided import Range, calibrate, write_into_servos
from swiftvla_ros.drivers.feetech.report import bus_rows, servo_rows

IDS = dict(zip(SO101_JOINTS, range(1, 7), strict=True))
HALVES = {"shoulder_pan": 1300, "shoulder_lift": 1200, "elbow_flex": 1100, "wrist_flex": 1150, "gripper": 600}


class Obedient:
    """Moves the emulated arm as told; ``lazy`` joints only on the second call."""

    def __init__(self, arm: EmulatedArm, answers: list[bool], lazy: str = "", slips: str = "") -> None:
        self.arm, self.answers, self.lazy, self.slips = arm, answers, lazy, slips
        self.told: list[str] = []
        self.step = 0

    def agrees(self, question: str) -> bool:
        self.told.append(question)
        return self.answers.pop(0)

    def is_ready(self, task: str) -> None:
        self.told.append(task)
        for n, servo in enumerate(self.arm.servos.values()):
            servo.actual = 1800.0 + 150 * n

    def hears(self, text: str) -> None:
        self.told.append(text)

    def is_done(self, ranges: Mapping[str, Range]) -> bool:
        assert set(ranges) == set(IDS)
        self.step += 1
        sign = (-1) ** self.step
        hand = {joint: 2047.0 + sign * half for joint, half in HALVES.items() if joint != self.lazy or self.step > 4}
        if self.slips:
            hand[self.slips] = 2047.0 + sign * 2060
        self.arm.bus.push(hand)
        return self.step % 4 == 0


@pytest.fixture
def bus(emulated: EmulatedArm) -> Iterator[ServoBus]:
    """Open the emulated port."""
    bus = ServoBus(open_port(str(emulated.bus.link)), str(emulated.bus.link))
    yield bus
    bus.close()


def test_a_calibration_is_in_the_servos_and_returned(bus: ServoBus, emulated: EmulatedArm) -> None:
    """Protects LeRobot's numbers: the middle pose is tick 2047, ranges are what was moved, wrist_roll a whole turn."""
    tester = Obedient(emulated, [True, True], lazy="elbow_flex")
    found = calibrate(bus, IDS, tester)
    assert found is not None
    assert found["shoulder_pan"] == JointCalibration(1, 0, 1800 - 2047, 747, 3347)
    assert found["wrist_roll"] == JointCalibration(5, 0, 2400 - 2047, 0, 4095)
    assert found["gripper"] == JointCalibration(6, 0, 2550 - 2047, 1447, 2647)
    assert stored_calibration(bus, IDS) == found
    assert "elbow_flex was hardly moved: from end to end, please" in tester.told


def test_without_a_yes_no_servo_is_touched(bus: ServoBus, emulated: EmulatedArm) -> None:
    """Protects a calibration that was good: the first no leaves the EEPROM as it was."""
    before = stored_calibration(bus, IDS)
    assert calibrate(bus, IDS, Obedient(emulated, [False])) is None
    assert stored_calibration(bus, IDS) == before


def test_after_a_second_no_the_old_one_is_restored_from_its_file(bus: ServoBus, emulated: EmulatedArm) -> None:
    """Protects the way back: what the file says is written where it differs."""
    assert calibrate(bus, IDS, Obedient(emulated, [True, False])) is None
    assert stored_calibration(bus, IDS) != emulated.calibration
    assert any("shoulder_pan: Homing_Offset -1365" in line for line in write_into_servos(bus, emulated.calibration))
    assert stored_calibration(bus, IDS) == emulated.calibration
    assert write_into_servos(bus, emulated.calibration) == []


def test_a_joint_that_passes_the_end_of_its_turn_is_named(bus: ServoBus, emulated: EmulatedArm) -> None:
    """Protects from a range that wraps: the homing pose was not the middle."""
    with pytest.raises(CalibrationError, match="shoulder_lift went through the end of its turn"):
        calibrate(bus, IDS, Obedient(emulated, [True, True], slips="shoulder_lift"))


def test_a_report_tells_what_is_there(bus: ServoBus, emulated: EmulatedArm) -> None:
    """Protects the table that people send: firmware, volts, rate, checksums, calibration, a servo that is missing."""
    emulated.servos["wrist_flex"].faults.silent = True
    rows = servo_rows(bus, IDS)
    assert rows[0][:4] == ("shoulder_pan", "1", "STS3215", "3.10")
    assert rows[3][2] == "does not answer"
    emulated.servos["wrist_flex"].faults.silent = False
    table = dict(bus_rows(bus, IDS, emulated.file))
    assert table["numbers that answer"] == "1, 2, 3, 4, 5, 6"
    assert table["calibration"].endswith("the servos agree")
    assert "Hz" in table["reads of all servos"]


def test_signs_are_the_urdfs() -> None:
    """Protects the words that --check shows: they are read off the URDF, stretched out ahead of its base."""
    assert SO101.chain is not None

    def moved(joint: int) -> np.ndarray:
        q = np.zeros(6)
        q[joint] = 0.2
        return SO101.end_effector_position(q) - SO101.end_effector_position(np.zeros(6))

    assert SO101.end_effector_position(np.zeros(6))[0] > 0.3, "ahead is +x, so left is +y"
    assert moved(0)[1] < -0.05, MEANINGS["shoulder_pan"]
    assert (moved(1)[[0, 2]] * [1, -1] > 0.01).all(), MEANINGS["shoulder_lift"]
    assert moved(2)[2] < -0.05, MEANINGS["elbow_flex"]
    assert moved(3)[2] < -0.02, MEANINGS["wrist_flex"]
    turned = SO101.chain.pose(np.array([0, 0, 0, 0, 0.2, 0]))[:3, :3] @ SO101.chain.pose(np.zeros(6))[:3, :3].T
    assert turned[2, 1] - turned[1, 2] < -0.3, MEANINGS["wrist_roll"]
    assert set(MEANINGS) == set(SO101.joint_names)
