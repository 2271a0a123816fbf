# SPDX-License-Identifier: Apache-2.0
"""The contract's drivers section."""

import pytest

from swiftvla_ros.contract import Contract, ContractError, contract_from_text, load_contract
from swiftvla_ros.contract.sections.drivers import SO101_JOINTS

SO101 = load_contract("so101")


def with_drivers(section: str) -> Contract:
    """The shipped contract with another drivers section."""
    text = SO101.text.partition("\ndrivers:")[0]
    return contract_from_text(f"{text}\ndrivers:\n  {section}\n", SO101.path)


def test_the_shipped_arm_has_a_driver_and_the_simulated_one_none() -> None:
    """Protects contracts from before: without the section nothing changes, and it numbers servos as LeRobot does."""
    arm = SO101.drivers.arm
    assert arm is not None
    assert list(arm.ids.items()) == [(name, n + 1) for n, name in enumerate(SO101_JOINTS)]
    assert load_contract("so101_sim").drivers.arm is None


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ("arm: {kind: so101, port: /dev/a, calibration: c, ids: {elbow: 3}}", "did you mean 'elbow_flex'"),
        ("arm: {kind: so101, port: /dev/a, calibration: c, ids: {elbow_flex: 3}}", "missing"),
        ("leader: {kind: so100, port: /dev/a, calibration: c}", "so101"),
        ("arm: {kind: so101, calibration: c}", "port"),
        ("arm: {kind: so101, port: /dev/a, calibration: c, max_temperature_c: 650}", "80"),
        (
            (
                "arm: {kind: so101, port: /dev/a, calibration: c, ids: {shoulder_pan: 1, shoulder_lift: 1, "
                "elbow_flex: 3, wrist_flex: 4, wrist_roll: 5, gripper: 6}}"
            ),
            "[1] stands more than once",
        ),
    ],
)
def test_a_mistake_is_named(section: str, sentence: str) -> None:
    """Protects people who write the section: each refusal names the key and the fix."""
    with pytest.raises(ContractError) as refused:
        with_drivers(section)
    assert "drivers" in str(refused.value)
    assert sentence in str(refused.value)


def test_a_robot_with_other_joints_is_refused() -> None:
    """Protects from a driver that would move joints of another name."""
    two = load_contract("so101_two_arms")
    section = "\ndrivers: {arm: {kind: so101, port: /dev/a, calibration: c}}\n"
    with pytest.raises(ContractError, match="name them as LeRobot does"):
        contract_from_text(two.text + section, two.path)
