# SPDX-License-Identifier: Apache-2.0
"""The driver's arm on the emulator: it never jumps, and every fault holds it with a sentence."""

import time
from collections.abc import Callable

import numpy as np
import pytest
from servo_arm import SO101, Orders

from swiftvla_ros.drivers.feetech.arm import ArmReading, DrivenArm
from swiftvla_ros.drivers.feetech.bus import BusError
from swiftvla_ros.drivers.feetech.emulated_arm import BusFaults, EmulatedArm
from swiftvla_ros.drivers.feetech.faults import RULES, Fault, fault_table
from swiftvla_ros.drivers.feetech.registers import (
    GOAL_VELOCITY,
    HOMING_OFFSET,
    MAX_TEMPERATURE,
    PROTECTION_CURRENT,
    TORQUE_ENABLE,
)

PERIOD_S = 0.01
# What a busy machine may add to the promised times.
BUSY_S = 1.0


class Rig:
    """The arm, cycled, and how far its shafts moved from one cycle to the next."""

    def __init__(self, arm: DrivenArm, orders: Orders, emulated: EmulatedArm) -> None:
        self.arm, self.orders, self.emulated = arm, orders, emulated
        self.reading: ArmReading | None = None

    def until(self, done: Callable[[], object], what: str, timeout_s: float = 4.0) -> float:
        """Cycle until something is so; return how long it took."""
        begin_s = time.monotonic()
        while True:
            self.reading = self.arm.cycle(self.orders)
            if done():
                return time.monotonic() - begin_s
            assert time.monotonic() - begin_s < timeout_s, f"{what}: {self.arm.health.text or 'all well'}"
            time.sleep(PERIOD_S)

    def arrived(self) -> bool:
        """Whether the shafts are where they are told to be."""
        return bool(np.abs(self.emulated.position() - self.orders.target).max() < 0.01)

    def moves(self, joint: int = 0, by: float = 0.3) -> None:
        """The arm goes where it is told."""
        self.orders.target = self.emulated.position()
        self.orders.target[joint] += by
        self.until(self.arrived, "it follows")

    def held_for(self, fault: Fault, faults: BusFaults) -> str:
        """Order a fault; the arm is held within the promised time, the sentence is returned."""
        self.emulated.order(faults)
        took_s = self.until(lambda: any(each is fault for each, _ in self.arm.health.found), f"{fault} is found")
        assert took_s < RULES[fault].within_s + BUSY_S
        text = self.arm.health.text
        before = self.emulated.position()
        self.orders.target = before + 0.2
        for _ in range(5):
            self.reading = self.arm.cycle(self.orders)
            time.sleep(PERIOD_S)
        assert np.abs(self.emulated.position() - before).max() < 0.02, "it stands, whatever is commanded"
        return text


@pytest.fixture
def rig(arm: DrivenArm, orders: Orders, emulated: EmulatedArm) -> Rig:
    """Hold the arm where it is."""
    arm.hold()
    return Rig(arm, orders, emulated)


def test_torque_comes_on_where_the_arm_is(arm: DrivenArm, orders: Orders, emulated: EmulatedArm) -> None:
    """Protects from the slam at the start: an old goal in the servo is overwritten before the torque is on."""
    lying = dict(zip(SO101.joint_names, (SO101.rest + 0.4).tolist(), strict=True))
    emulated.push(lying)
    before = emulated.position()
    arm.hold()
    rig = Rig(arm, orders, emulated)
    rig.until(lambda: rig.reading is not None and len(orders.held) == 1, "it begins")
    assert np.abs(emulated.position() - before).max() < 0.005
    assert np.abs(orders.held[0] - before).max() < 0.005
    emulated.push(dict.fromkeys(SO101.joint_names, 0.0))
    assert np.abs(emulated.position() - before).max() < 0.005, "it holds"
    rig.moves()


@pytest.mark.usefixtures("arm")
def test_servos_keep_limits_themselves(emulated: EmulatedArm) -> None:
    """Protects the arm when this computer can't: speed, current and temperature are limited in each servo."""
    pan, gripper = emulated.servos["shoulder_pan"], emulated.servos["gripper"]
    assert pan.get(GOAL_VELOCITY) == round(1.5 * 2.0 * 4095 / (2 * np.pi))
    assert [each.get(MAX_TEMPERATURE) for each in (pan, gripper)] == [70, 70]
    assert pan.get(PROTECTION_CURRENT) > gripper.get(PROTECTION_CURRENT) == 246


def test_a_far_command_is_approached_slowly(rig: Rig) -> None:
    """Protects from a jump whatever is commanded first: half a rad takes a second; then it is as fast as allowed."""
    rig.moves(0, 0.05)
    rig.orders.target = rig.emulated.position() + np.array([0.5, 0, 0, 0, 0, 0])
    assert rig.until(rig.arrived, "it arrives") > 0.9
    rig.orders.target = rig.emulated.position() - np.array([0.25, 0, 0, 0, 0, 0])
    assert rig.until(rig.arrived, "a step that is no jump") < 0.4 + BUSY_S


def test_a_silent_servo_holds_the_arm_until_it_answers(rig: Rig) -> None:
    """Protects from moving blind: the joint is named and not believed, the others are; then it goes on by itself."""
    rig.moves()
    text = rig.held_for(Fault.SILENT, BusFaults(silent="elbow_flex"))
    assert "elbow_flex (servo 3) does not answer" in text
    assert rig.reading is not None
    assert rig.reading.believed.tolist() == [True, True, False, True, True, True]
    rig.emulated.order(BusFaults())
    rig.until(lambda: rig.arm.health.follows, "it goes on")
    rig.moves()


@pytest.mark.parametrize(
    ("fault", "faults", "sentence"),
    [
        (Fault.HOT, BusFaults(hot="gripper"), "gripper is at 68 °C, limit 65"),
        (Fault.OVERLOADED, BusFaults(overloaded="wrist_flex"), "wrist_flex is overloaded"),
        (Fault.LOW_VOLTAGE, BusFaults(low_voltage=True), "the supply gives 4.8 V, limit 6"),
    ],
)
def test_a_fault_waits_for_a_person(rig: Rig, fault: Fault, faults: BusFaults, sentence: str) -> None:
    """Protects hardware and hands: what is hot, jammed or starved is named, and nothing moves again by itself."""
    assert sentence in rig.held_for(fault, faults)
    assert rig.reading is not None
    assert rig.reading.believed.all()
    assert sentence in rig.arm.resume(rig.orders), "not while it lasts"
    rig.emulated.order(BusFaults())
    rig.until(lambda: not rig.arm.health.lasting, "it is over")
    assert "held since this" in rig.arm.health.text
    assert rig.arm.resume(rig.orders) == ""
    rig.moves(1)


def test_a_restarted_servo_is_named_and_comes_back_where_it_is(rig: Rig) -> None:
    """Protects from a joint that fell: it is limp, so it is named; torque comes back without a jump."""
    rig.moves()
    rig.emulated.reboot(["shoulder_lift"])
    rig.until(lambda: "shoulder_lift let go" in rig.arm.health.text, "it is named")
    rig.emulated.reboot(["shoulder_lift"])
    rig.emulated.push({"shoulder_lift": -1.4})
    rig.until(lambda: rig.reading is not None and abs(rig.reading.position[1] + 1.4) < 0.01, "it fell")
    assert rig.emulated.servos["shoulder_lift"].get(TORQUE_ENABLE) == 0, "no goal wakes it"
    assert rig.arm.resume(rig.orders) == ""
    assert rig.emulated.servos["shoulder_lift"].get(GOAL_VELOCITY) > 0, "its limits are back"
    rig.until(lambda: rig.arm.health.follows, "it goes on")
    assert abs(rig.emulated.position()[1] + 1.4) < 0.01
    rig.moves(1)


@pytest.mark.parametrize("power", [True, False])
def test_a_pulled_cable_is_survived(rig: Rig, power: bool) -> None:
    """Protects from a lost port in mid-motion: named; opened again, held where it is, or limp where power went, too."""
    rig.orders.target = SO101.rest + np.array([0.6, 0, 0, 0, 0, 0])
    for _ in range(5):
        rig.arm.cycle(rig.orders)
        time.sleep(PERIOD_S)
    rig.emulated.bus.unplug()
    assert rig.until(lambda: "the port is gone" in rig.arm.health.text, "it is named") < 0.2 + BUSY_S
    assert rig.reading is None
    if not power:
        rig.emulated.reboot(SO101.joint_names)
    rig.emulated.bus.plug()
    before = rig.emulated.position()
    rig.until(lambda: rig.reading is not None, "it is read again")
    assert ("is back: the arm is held" if power else "let go") in rig.arm.health.text
    assert np.abs(rig.emulated.position() - before).max() < 0.05
    torque = {servo.get(TORQUE_ENABLE) for servo in rig.emulated.servos.values()}
    assert torque == {int(power)}
    assert rig.arm.resume(rig.orders) == ""
    rig.until(lambda: rig.arm.health.follows, "it goes on")
    rig.moves()


def test_noise_of_one_in_a_hundred_changes_nothing(rig: Rig) -> None:
    """Protects from stops for nothing: the arm follows, all joints believed, bad packets counted."""
    rig.emulated.order(BusFaults(noise=0.01))
    counts, complete = rig.arm.bus.counts, 0
    for _ in range(150):
        reading = rig.arm.cycle(rig.orders)
        assert reading is not None
        complete += bool(reading.believed.all())
    assert complete >= 149
    assert rig.arm.health.follows
    assert 0 < counts.damaged < 40


def test_limp_stays_limp(arm: DrivenArm, orders: Orders, emulated: EmulatedArm) -> None:
    """Protects the hand that moves the arm: without holding, no cycle, fault or return of the port wakes a servo."""
    rig = Rig(arm, orders, emulated)
    emulated.push({"shoulder_pan": 0.7})
    rig.until(lambda: rig.reading is not None and abs(rig.reading.position[0] - 0.7) < 0.01, "it is read")
    emulated.order(BusFaults(silent="gripper"))
    rig.until(lambda: "gripper" in arm.health.text, "it is named")
    emulated.order(BusFaults(unplugged=True))
    rig.until(lambda: "gone" in arm.health.text, "it is named")
    emulated.order(BusFaults())
    rig.until(lambda: rig.reading is not None and arm.health.follows, "it is well again")
    assert {servo.get(TORQUE_ENABLE) for servo in emulated.servos.values()} == {0}


def test_torque_off_ignores_what_servos_say(rig: Rig) -> None:
    """Protects the way out: hot and silent servos keep no other from letting go."""
    rig.emulated.order(BusFaults(hot="shoulder_pan", silent="gripper"))
    rig.arm.let_go()
    time.sleep(0.02)
    torque = {joint: servo.get(TORQUE_ENABLE) for joint, servo in rig.emulated.servos.items()}
    assert [joint for joint, on in torque.items() if on] == ["gripper"]


@pytest.mark.parametrize(
    ("faults", "sentence"),
    [
        (
            BusFaults(renumbered="elbow_flex"),
            "elbow_flex (servo 3) does not answer; on the bus are 1, 2, 4, 5, 6, 11; perhaps it is 11",
        ),
        (BusFaults(silent="all"), "no servo answers; is the arm's power on"),
    ],
)
def test_an_arm_that_is_not_as_described_is_not_connected(
    arm: DrivenArm, emulated: EmulatedArm, faults: BusFaults, sentence: str
) -> None:
    """Protects from moving the wrong joint: numbers are checked before anything else."""
    arm.close()
    emulated.order(faults)
    with pytest.raises(BusError) as refused:
        arm.connect()
    assert sentence in str(refused.value)


def test_another_calibration_in_the_servos_is_refused(arm: DrivenArm, emulated: EmulatedArm) -> None:
    """Protects from angles that are wrong by an offset."""
    arm.close()
    emulated.servos["wrist_roll"].set(HOMING_OFFSET, 100)
    with pytest.raises(BusError, match="wrist_roll: homing_offset is 100 in the servo, -75 in the file"):
        arm.connect()


def test_the_page_has_the_table(repository) -> None:
    """Protects docs/so101.md: put in what ``python -m swiftvla_ros.drivers.feetech.faults`` prints."""
    assert fault_table() in (repository / "docs" / "so101.md").read_text(encoding="utf-8")
