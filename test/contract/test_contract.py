# SPDX-License-Identifier: Apache-2.0
"""The contract: what is refused, and what every room computes from it."""

import math
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from swiftvla_ros.contract import Contract, ContractError, contract_from_text, load_contract
from swiftvla_ros.contract.images import condition_image

SHIPPED = ("so101_sim", "so101")


@pytest.fixture
def data(repository: Path) -> dict:
    """Return the simulated robot's keys, to be broken by a test."""
    return yaml.safe_load((repository / "config" / "robots" / "so101_sim.yaml").read_text())


def refusal(repository: Path, data: dict) -> str:
    """Return the message with which ``data`` is refused."""
    with pytest.raises(ContractError) as caught:
        contract_from_text(yaml.safe_dump(data), repository / "config" / "robots" / "broken.yaml")
    return str(caught.value)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_contracts_load(name: str) -> None:
    """Protects the shipped contracts: they pass their own checks and have kinematics."""
    contract = load_contract(name)
    assert contract.joint_names[-1] == "gripper"
    assert np.isfinite(contract.end_effector_position(contract.rest)).all()


def test_unknown_robot_names_the_known_ones() -> None:
    """Protects the first error a newcomer meets: it lists what exists."""
    with pytest.raises(ContractError, match="so101_sim"):
        load_contract("so102")


JOINTS = ["shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper"]


def parts(*joints: list[str], **keys: Any) -> list[dict]:
    """Return a ``control.output`` of several parts."""
    return [{"kind": "forward_position", "topic": f"/part_{k}", "joints": j, **keys} for k, j in enumerate(joints)]


def split(*joints: list[str], **keys: Any) -> Callable[[dict], None]:
    """Return what commands a robot's joints in parts."""

    def change(data: dict) -> None:
        data["control"].pop("topic")
        data["control"]["output"] = parts(*joints, **keys)

    return change


def second_gripper(**keys: Any) -> Callable[[dict], None]:
    """Return what makes the wrist a gripper too."""

    def change(data: dict) -> None:
        data["gripper"] = [data["gripper"], {"joint": "wrist_roll", "open": 1.0, "closed": 0.0, **keys}]

    return change


BREAKS = {
    "unknown key": (lambda d: d["joints"][1].update(torque=3), ["shoulder_lift.torque", "unknown key"]),
    "misspelt key": (lambda d: d["control"].update(rate_h=3), ["control.rate_h", "did you mean 'rate_hz'"]),
    "another case": (lambda d: d.update(Policy={}), ["Policy: unknown key", "did you mean 'policy'"]),
    "another section's key": (lambda d: d["control"].update(pair_slop_s=1), ["control.pair_slop_s", "into policy"]),
    "joints by name": (lambda d: d.update(joints={"a": {}}), ["joints", "list", "'- '"]),
    "half a range": (lambda d: d["joints"][0].update(position=[1]), ["shoulder_pan.position: too few values"]),
    "a truth": (lambda d: d["joints"][0].update(velocity=True), ["shoulder_pan.velocity: is no number", "True"]),
    "a name for a name": (lambda d: d["gripper"].update(joint="griper"), ["gripper.joint", "did you mean 'gripper'"]),
    "a unit in capitals": (lambda d: d["joints"][0].update(unit="RAD"), ["pan.unit", "did you mean 'rad'"]),
    "a value nearly": (lambda d: d["control"].update(output="forward_positon"), ["did you mean 'forward_position'"]),
    "a period": (lambda d: d["joint_states"].update(rate_hz=0.02), ["joint_states.rate_hz", "would be 50 Hz"]),
    "missing limit": (lambda d: d["joints"][2].pop("jerk"), ["elbow_flex.jerk", "missing", "rad/s³"]),
    "wrong unit": (lambda d: d["joints"][0].update(unit="degrees"), ["shoulder_pan.unit", "write 'deg'"]),
    "limit in degrees": (lambda d: d["joints"][0].update(position=[-110, 110]), ["shoulder_pan", "radians", "1.9199"]),
    "empty range": (lambda d: d["joints"][0].update(position=[1, -1]), ["shoulder_pan", "empty"]),
    "infinite limit": (lambda d: d["joints"][0].update(velocity=math.inf), ["shoulder_pan.velocity"]),
    "duplicate joint": (lambda d: d["joints"].append(dict(d["joints"][0])), ["shoulder_pan", "more than once"]),
    "slow camera": (lambda d: d["cameras"][0].update(rate_hz=0.5), ["front", "rate_hz", "max_image_age_s"]),
    "slow states": (lambda d: d["joint_states"].update(rate_hz=2.0), ["joint_states.rate_hz"]),
    "slow control": (lambda d: d["control"].update(rate_hz=10), ["control.rate_hz", "100"]),
    "step below tick": (lambda d: d["policy"].update(step_s=0.001), ["policy.step_s"]),
    "unknown gripper": (lambda d: d["gripper"].update(joint="hand"), ["gripper.joint", "hand"]),
    "unknown actions": (lambda d: d["policy"].update(actions="delta"), ["policy.actions", "'delta_per_step'"]),
    "unknown output": (lambda d: d["control"].update(output="servo"), ["control.output", "'forward_velocity'"]),
    "unknown blend": (lambda d: d["control"].update(blend={"kind": "ema"}), ["control.blend.kind", "'cosine'"]),
    "misspelt blend": (lambda d: d["control"].update(blend={"over": 1}), ["control.blend.over", "'over_s'"]),
    "negative decay": (lambda d: d["control"].update(blend={"decay": -1}), ["control.blend.decay", "equal to 0"]),
    "no time to blend": (lambda d: d["control"].update(blend={"over_s": 0}), ["control.blend.over_s", "than 0"]),
    "far start": (lambda d: d["control"].update(far_start="jump"), ["control.far_start", "'approach'"]),
    "approach at once": (lambda d: d["control"].update(approach_s=0), ["control.approach_s"]),
    "soft start NaN": (lambda d: d["control"].update(soft_start_s=math.nan), ["control.soft_start_s", "finite"]),
    "never fresh": (lambda d: d["control"].update(fresh_s=-1), ["control.fresh_s"]),
    "tracking": (lambda d: d["control"].update(tracking={"for_s": 0}), ["control.tracking.for_s"]),
    "misspelt tracking": (lambda d: d["control"].update(tracking={"tol": 1}), ["control.tracking.tol", "unknown key"]),
    "frozen joint": (lambda d: d["control"].update(frozen_joint={"moved_rad": -1}), ["control.frozen_joint.moved_rad"]),
    "rest at the end": (lambda d: d["control"].update(trajectory_ends_at_rest=7), ["control.trajectory_ends_at_rest"]),
    "thresholds crossed": (
        lambda d: d["gripper"].update(binary={"close_below": 0.4, "open_above": 0.3}),
        ["gripper", "close_below 0.4 < open_above 0.3", "in this order"],
    ),
    "half a binary": (lambda d: d["gripper"].update(binary={"close_below": 0.2}), ["gripper.binary.open_above"]),
    "gripper topic": (lambda d: d["gripper"].update(topic="9"), ["gripper.topic"]),
    "one topic for two": (
        lambda d: d["gripper"].update(topic=d["control"]["topic"]),
        ["control, gripper", "/forward_position_controller/commands", "more than once", "give each its own"],
    ),
    "no topic": (lambda d: d["control"].pop("topic"), ["control: topic", "missing", "where commands go"]),
    "topic beside parts": (lambda d: d["control"].update(output=parts(JOINTS)), ["control: topic", "its own; remove"]),
    "joint without a part": (split(JOINTS[1:]), ["control.output", "nothing commands joint 'shoulder_pan'", "add it"]),
    "joint in two parts": (split(JOINTS, JOINTS[:1]), ["control.output", "'shoulder_pan' is in two parts", "remove"]),
    "stray joint in a part": (split([*JOINTS, "nose"]), ["control.output", "'nose' is not a joint", "wrist_roll"]),
    "two parts, one topic": (split(JOINTS[:3], JOINTS[3:], topic="/arm"), ["topic '/arm'", "give each its own"]),
    "unknown kind of part": (split(JOINTS, kind="servo"), ["control.output.0.kind", "'forward_velocity'"]),
    "misspelt key of a part": (split(JOINTS, joint=[]), ["control.output.0.joint: unknown", "did you mean 'joints'"]),
    "half a part": (split([]), ["control.output.0.joints", "at least 1 item"]),
    "one gripper twice": (lambda d: d.update(gripper=[d["gripper"]] * 2), ["gripper", "more than once"]),
    "no such second gripper": (second_gripper(joint="hand"), ["gripper.hand.joint", "write one of"]),
    "second gripper too far": (second_gripper(open=9.0), ["gripper.wrist_roll.open", "lies outside"]),
    "key of a second gripper": (second_gripper(opne=1), ["gripper.wrist_roll.opne", "did you mean 'open'"]),
    "crop outside": (lambda d: d["cameras"][0].update(crop=[600, 0, 100, 100]), ["front", "crop", "640"]),
    "missing URDF": (lambda d: d["kinematics"].update(urdf="nowhere.urdf"), ["kinematics", "nowhere.urdf"]),
    "unknown link": (lambda d: d["kinematics"].update(end_effector="nose"), ["kinematics", "nose"]),
}


@pytest.mark.parametrize("case", BREAKS)
def test_a_broken_contract_is_refused_with_file_key_and_fix(repository: Path, data: dict, case: str) -> None:
    """Protects the operator: a contract with this mistake never reaches an arm, and the message says what to write."""
    spoil, expected = BREAKS[case]
    spoil(data)
    message = refusal(repository, data)
    for part in ["broken.yaml", *expected]:
        assert part in message, message


def test_keys_that_are_left_out_mean_the_plain_robot(data: dict, repository: Path) -> None:
    """Protects contracts inside older checkpoints: without the newer keys they load, and mean what they meant."""
    contract = contract_from_text(yaml.safe_dump(data), repository / "config" / "robots" / "plain.yaml")
    assert contract.policy.actions == "absolute"
    control, gripper = contract.control, contract.gripper
    assert (control.blend.kind, control.far_start, control.trajectory_ends_at_rest) == ("smooth", "refuse", True)
    assert gripper is not None
    assert gripper.binary is None
    assert gripper.topic is None


def test_every_key_of_motion_is_read(data: dict, repository: Path) -> None:
    """Protects what an operator writes: each key of control and gripper arrives with its value, null included."""
    written = {
        "blend": {"kind": "ensemble", "over_s": 0.2, "decay": 0.05},
        "soft_start_s": 0.6,
        "far_start": "approach",
        "approach_s": 5.0,
        "fresh_s": 0.3,
        "tracking": None,
        "frozen_joint": {"moved_rad": 0.1, "for_s": 0.25},
        "trajectory_ends_at_rest": False,
        "output": "follow_joint_trajectory",
    }
    binary = {"close_below": 0.2, "open_above": 0.35}
    data["control"].update(written)
    data["gripper"].update(binary=binary, topic="/gripper/commands")
    data["policy"].update(actions="velocity")
    contract = contract_from_text(yaml.safe_dump(data), repository / "config" / "robots" / "full.yaml")
    read = contract.control.model_dump()
    assert {key: read[key] for key in written} == written
    assert contract.gripper is not None
    assert contract.gripper.model_dump() == {**data["gripper"], "binary": binary, "topic": "/gripper/commands"}
    assert contract.policy.actions == "velocity"
    assert contract.gripper_mask.tolist() == [False] * 5 + [True]


def test_several_grippers_and_parts_are_read_in_the_contracts_order(data: dict, repository: Path) -> None:
    """Protects robots of several arms: who is a gripper, and which joints go where, as indices and names."""
    split(JOINTS[3:5], JOINTS[2::-1])(data)
    second_gripper(topic="/wrist")(data)
    data["gripper"][0].update(topic="/hand")
    data["control"]["output"][0]["joints"] = ["wrist_flex"]
    contract = contract_from_text(yaml.safe_dump(data), repository / "config" / "robots" / "parts.yaml")
    assert [g.joint for g in contract.grippers] == ["gripper", "wrist_roll"]
    assert contract.gripper is None
    assert contract.gripper_mask.tolist() == [False] * 4 + [True] * 2
    assert list(contract.command_topics) == ["/part_0", "/part_1", "/hand", "/wrist"]
    assert [part.joints.tolist() for part in contract.command_parts] == [[3], [2, 1, 0], [5], [4]]
    assert contract.command_parts[1].names == ("elbow_flex", "shoulder_lift", "shoulder_pan")


def test_two_arms_are_shipped() -> None:
    """Protects the example of a robot with two arms: two grippers, a command topic for each arm, three cameras."""
    contract = load_contract("so101_two_arms")
    assert np.flatnonzero(contract.gripper_mask).tolist() == [5, 11]
    assert [part.joints.tolist() for part in contract.command_parts] == [[*range(6)], [*range(6, 12)]]
    assert len(contract.cameras) == 3


@cache
def with_units() -> Contract:
    """One joint in degrees, one in percent."""
    root = Path(__file__).parents[2] / "config" / "robots"
    data = yaml.safe_load((root / "so101_sim.yaml").read_text())
    data["joints"][0].update(unit="deg")
    data["joints"][5].update(unit="percent", percent_of=[-0.1, 0.6])
    return contract_from_text(yaml.safe_dump(data), root / "units.yaml")


@given(percent=st.floats(-50, 150), degrees=st.floats(-100, 100))
@settings(max_examples=50)
def test_units_are_inverted(percent: float, degrees: float) -> None:
    """Protects against commands in the wrong unit: driver → SI → driver is the identity."""
    contract = with_units()
    driver = np.array([degrees, 0, 0, 0, 0, percent])
    si = contract.to_si(driver)
    assert si[0] == pytest.approx(math.radians(degrees))
    assert si[5] == pytest.approx(-0.1 + 0.7 * percent / 100)
    np.testing.assert_allclose(contract.from_si(si), driver, atol=1e-9)


@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
@pytest.mark.parametrize("fit", ["stretch", "pad"])
@pytest.mark.parametrize("crop", [None, [100, 60, 200, 240]])
def test_projection_follows_the_image(repository: Path, data: dict, rotate: int, fit: str, crop: list | None) -> None:
    """Protects trajectory labels: a point is projected to where rotation, crop and resize put its pixel."""
    camera = data["cameras"][0]
    camera.update(source_size=[480, 360], rotate_deg=rotate, fit=fit, crop=crop)
    plain = dict(camera, rotate_deg=0, fit="stretch", crop=None)
    folder = repository / "config" / "robots"
    changed = contract_from_text(yaml.safe_dump(data), folder / "a.yaml")
    data["cameras"][0] = plain
    source = contract_from_text(yaml.safe_dump(data), folder / "b.yaml")
    # A point near the middle of the table that stays inside the crop in every rotation.
    for point in ([0.22, 0.0, 0.0], [0.24, 0.02, 0.0]):
        u, v = source.project("front", np.array(point))
        image = np.zeros((360, 480, 3), np.uint8)
        x, y = round(u * 480), round(v * 360)
        image[y - 6 : y + 7, x - 6 : x + 7] = 255
        out = condition_image(image, changed.cameras[0])
        if not out.any():
            pytest.skip("this crop of the rotated image doesn't hold the point")
        rows, columns = np.nonzero(out[..., 0] > 100)
        expected = changed.project("front", np.array(point)) * 96
        np.testing.assert_allclose([columns.mean() + 0.5, rows.mean() + 0.5], expected, atol=1.0)


def test_an_image_of_another_shape_is_refused() -> None:
    """Protects against a squeezed picture: another aspect ratio than the contract's is an error that names the fix."""
    camera = load_contract("so101_sim").camera("front")
    with pytest.raises(ValueError, match="source_size"):
        condition_image(np.zeros((480, 848, 3), np.uint8), camera)


def test_a_moved_camera_changes_its_projection_alone() -> None:
    """Protects labels of episodes whose camera was moved: a new contract with another pose, the file's text kept."""
    contract = load_contract("so101_sim")
    pose = contract.camera("front").pose
    assert pose is not None
    x, y, z = pose.position_m
    moved = contract.with_camera_pose("front", pose.model_copy(update={"position_m": (x, y + 0.02, z)}))
    point = np.array([0.22, 0.0, 0.02])
    assert moved.project("front", point)[0] < contract.project("front", point)[0] - 0.01
    assert contract.camera("front").pose == pose
    assert moved.text == contract.text
    assert moved.camera("wrist") == contract.camera("wrist")
    with pytest.raises(KeyError, match="camera 'top'"):
        contract.with_camera_pose("top", pose)


def test_other_rooms_read_no_parsed_keys(repository: Path) -> None:
    """Protects the schema's freedom: what a key is called in the file is the contract's own business."""
    package = repository / "swiftvla_ros"
    rooms = [p for p in package.rglob("*.py") if p.relative_to(package).parts[0] != "contract"]
    assert len(rooms) > 200
    assert [str(path) for path in rooms if re.search(r"contract\.file\b", path.read_text(encoding="utf-8"))] == []
