# SPDX-License-Identifier: Apache-2.0
"""Contracts that are well formed, and mean what no arm has, or few."""

import copy
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from swiftvla_ros.contract import load_contract
from swiftvla_ros.contract.checks.magnitudes import MAGNITUDES, impossible_numbers
from swiftvla_ros.contract.checks.questions import questions
from swiftvla_ros.contract.checks.topics import impossible_topics
from swiftvla_ros.contract.contract import Contract
from swiftvla_ros.contract.key_table import key_table
from swiftvla_ros.contract.schema import ContractFile

SIMULATED = load_contract("so101_sim")
DATA = yaml.safe_load(SIMULATED.text)

Change = Callable[[dict], object]


def changed(change: Change) -> Contract:
    """Return the simulated robot's contract with one change."""
    data = copy.deepcopy(DATA)
    change(data)
    return Contract(SIMULATED.path, SIMULATED.text, ContractFile.model_validate(data), SIMULATED.chain)


def joint(k: int, **keys: object) -> Change:
    """Return what changes a joint."""
    return lambda d: d["joints"][k].update(keys)


def joints(**keys: object) -> Change:
    """Return what changes all joints."""
    return lambda d: [each.update(keys) for each in d["joints"]]


def camera(**keys: object) -> Change:
    """Return what changes the wrist camera."""
    return lambda d: d["cameras"][1].update(keys)


def cameras(*rates_hz: float) -> Change:
    """Return what changes the cameras' rates."""
    return lambda d: [each.update(rate_hz=hz) for each, hz in zip(d["cameras"], rates_hz, strict=True)]


def keys(section: str, **values: object) -> Change:
    """Return what changes a section."""
    return lambda d: d[section].update(values)


def slide(d: dict) -> None:
    """Make the gripper one that slides, in mm where m belong."""
    d["gripper"] = None
    d["joints"][5].update(unit="mm", position=[0, 850], velocity=250, rest=0)


def parts(*topics: str) -> Change:
    """Return what commands the joints in parts."""

    def change(d: dict) -> None:
        d["control"].pop("topic")
        names = [each["name"] for each in d["joints"]]
        d["control"]["output"] = [
            {"kind": "forward_position", "topic": topic, "joints": names[k :: len(topics)]}
            for k, topic in enumerate(topics)
        ]

    return change


IMPOSSIBLE: dict[str, tuple[Change, list[str]]] = {
    "°/s": (joints(velocity=143.0), ["joints.elbow_flex.velocity: 143 rad/s", "143 °/s are 2.496"]),
    "°/s²": (joints(acceleration=688.0), ["joints.gripper.acceleration", "688 °/s² are 12.01"]),
    "°/s³": (joints(jerk=1e308), ["joints.gripper.jerk"]),
    "mm": (slide, ["gripper.position: 850 m ", "850 mm are 0.85"]),
    "mm/s": (slide, ["gripper.velocity: 250 m/s", "250 mm/s are 0.25"]),
    "ms in a step": (keys("policy", step_s=33.3), ["policy.step_s: 33.3", "33.3 ms are 0.0333"]),
    "ms in slop": (keys("policy", pair_slop_s=60), ["policy.pair_slop_s: 60", "60 ms are 0.06"]),
    "ms in a period": (lambda d: d["cameras"][0].update(rate_hz=66_667), ["cameras.front.rate_hz"]),
    "a step beyond the horizon": (keys("control", max_chunk_s=0.1), ["control.max_chunk_s", "every chunk"]),
    "degrees": (keys("control", start_tolerance_rad=20), ["start_tolerance_rad: 20", "20° are 0.3491"]),
    "two cameras on one topic": (
        camera(topic="/camera/front/image_raw"),
        ["cameras.wrist.topic", "cameras.front.topic", "each its own"],
    ),
    "commands to the joint states": (keys("control", topic="/joint_states"), ["control.topic", "joint_states.topic"]),
    "the same, relative": (keys("control", topic="joint_states"), ["control.topic", "joint_states.topic"]),
    "commands to a camera": (keys("control", topic="/camera/wrist/image_raw"), ["control.topic", "cameras.wrist"]),
    "joint states of a camera": (
        keys("joint_states", topic="/camera/front/image_raw"),
        ["joint_states", "cameras.front"],
    ),
    "a gripper's of joint states": (keys("gripper", topic="/joint_states"), ["joint_states.topic", "gripper.topic"]),
    "a part's of a camera": (parts("/a", "/camera/front/image_raw"), ["control.output.1.topic", "cameras.front.topic"]),
    "what the policy reads": (camera(topic="/observation/wrist"), ["cameras.wrist.topic", "system itself"]),
    "the clock": (keys("joint_states", topic="/clock"), ["joint_states.topic", "system itself"]),
    "a space": (camera(topic="/camera/wrist image"), ["cameras.wrist.topic", "such as '/camera/wrist_image'"]),
    "a number": (camera(topic="/camera/0/image_raw"), ["'0' begins with a digit", "'/camera0/image_raw'"]),
    "slashes": (camera(topic="/camera//image_raw"), ["it holds '//'", "'/camera/image_raw'"]),
    "a slash at the end": (keys("joint_states", topic="/joint_states/"), ["ends with '/'"]),
    "a tilde inside": (keys("control", topic="/a/~/b"), ["control.topic", "it holds '~'"]),
    "another script": (camera(topic="/caméra"), ["cameras.wrist.topic", "'é'"]),
    "too long": (camera(topic="/" + "a" * 300), ["301 characters", "247 are the most"]),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_what_no_arm_has_is_refused(case: str) -> None:
    """check-contract passed limits in deg/s, m in mm, s in ms, crossed topics and names that ROS refuses (report D)."""
    change, expected = IMPOSSIBLE[case]
    file = changed(change).file
    told = "\n".join([*impossible_numbers(file), *impossible_topics(file)])
    for part in expected:
        assert part in told, told


@pytest.mark.parametrize("key", MAGNITUDES)
def test_every_time_and_rate_in_thousandths_is_refused(key: str) -> None:
    """A step of 33.3 s and a slop of 60 s, in ms, were valid (report D): so is no key in s, rad or Hz."""
    section, _, rest = key.replace("[]", "").partition(".")
    value = {"rate_hz": 1e5, "hold_timeout_s": 1e7}.get(rest, 1000 * MAGNITUDES[key].usual)

    def change(d: dict) -> None:
        if section == "hand":
            d.update(hand={"step_m": 0.05}, control={"rate_hz": 100.0, "output": "none"})
            d["policy"]["actions"] = "cartesian_delta"
        here = d[section][0] if section == "cameras" else d.setdefault(section, {})
        *path, last = rest.split(".")
        for step in path:
            here = here.setdefault(step, {})
        here[last] = value

    if key == "control.rate_hz":
        pytest.skip("the schema's own")
    assert key.rpartition(".")[2] in "\n".join(impossible_numbers(changed(change).file))


def test_every_key_with_a_unit_has_a_magnitude() -> None:
    """Protects keys to come: a time, an angle or a rate that is written in another unit is noticed."""
    keys_of = [line.split("`")[1] for line in key_table().splitlines()[2:]]
    assert [k for k in keys_of if k.endswith(("_s", "_rad", "_hz")) and k not in MAGNITUDES] == []
    assert set(MAGNITUDES) <= set(keys_of)


ODD: dict[str, tuple[Change, list[str]]] = {
    "slow °/s": (joints(velocity=20.0), ["velocity: is 20 rad/s meant", "20 °/s are 0.3491"]),
    "slow °/s²": (joints(acceleration=120.0), ["acceleration: is 120 rad/s² meant"]),
    "no acceleration limit": (joints(acceleration=400.0, velocity=2.5), ["within one command"]),
    "a narrow joint in degrees": (
        joint(5, position=[-10, 10]),
        ["gripper.position: is 10 rad meant", "10 ° are 0.1745"],
    ),
    "beyond the URDF": (
        joint(1, position=[-2.5, 2.5]),
        ["joints.shoulder_lift.position: [-2.5, 2.5] goes beyond [-1.74533, 1.74533] of so101.urdf"],
    ),
    "endless, not so in the URDF": (
        joint(4, position=None, continuous=True),
        ["joints.wrist_roll.continuous: the joint has ends in so101.urdf"],
    ),
    "faster than the URDF": (joint(1, velocity=9.0), ["velocity: 9 is far above 2.5 of so101.urdf"]),
    "slides or turns": (joint(1, unit="m", velocity=1.0), ["unit: 'm', but the joint turns in so101.urdf"]),
    "percent of nothing": (joint(0, unit="percent", percent_of=[5, 6]), ["percent_of", "the same unit"]),
    "a hand that is open and closed": (keys("gripper", open=0.0, closed=0.0), ["open and closed at 0"]),
    "5 Hz twice": (cameras(5, 5), ["pair_slop_s: 0.06 s may never pair cameras 'front' (5 Hz)", "at least 0.1"]),
    "5 and 6 Hz": (cameras(6, 5), ["may never pair cameras 'wrist' (5 Hz) and 'front' (6 Hz)", "at least 0.0833"]),
    "hardly fresh": (cameras(30, 2.1), ["policy.max_image_age_s: 0.5 s", "'wrist'"]),
    "states hardly fresh": (keys("policy", max_state_age_s=0.021), ["policy.max_state_age_s: 0.021 s"]),
    "below the raw topic": (camera(transport="compressed"), ["did you mean '/camera/wrist/image_raw/compressed'"]),
    "theora": (
        camera(topic="/camera/wrist/image_raw/theora", transport="compressed"),
        ["did you mean '/camera/wrist/image_raw/compressed'"],
    ),
    "raw, by its key": (camera(topic="/a/image_raw/compressed"), ["`transport: compressed`, or '/a/image_raw'"]),
    "one camera twice": (
        camera(topic="/camera/front/image_raw/compressed", transport="compressed"),
        ["has the pictures of camera 'front' again"],
    ),
    "no pictures": (camera(topic="/camera/wrist/camera_info"), ["cameras.wrist.topic: are there pictures"]),
    "swapped topics": (
        lambda d: (d["cameras"][0].update(topic="/joint_states"), d["joint_states"].update(topic="/a/image_raw")),
        ["cameras.front.topic: are there pictures on '/joint_states'", "joint_states.topic: has '/a/image_raw'"],
    ),
    "commands where they are measured": (keys("control", topic="/right/joint_states"), ["control.topic: are commands"]),
    "another controller's topic": (keys("control", topic="/arm/joint_trajectory"), ["did you mean '/arm/commands'"]),
    "a letter too few": (keys("joint_states", topic="/left/joint_state"), ["did you mean '/left/joint_states'"]),
    "a node's own": (keys("control", topic="~/commands"), ["control.topic: is '~/commands' meant"]),
    "a space that nobody sees": (joint(4, name="wrist_roll\u00a0"), ["joints.4.name: 'wrist_roll\\xa0' holds"]),
    "a frame of ROS 1": (lambda d: d.update(base_frame="/base"), ["did you mean 'base'"]),
    "a camera in mm": (lambda d: d["cameras"][0]["pose"].update(position_m=[600, 0, 450]), ["600 mm are 0.6"]),
    "a view in rad": (lambda d: d["cameras"][0]["pose"].update(fovy_deg=0.5), ["0.5 rad are 28.6"]),
    "a half tolerated turn": (keys("control", tracking={"tolerance_rad": 3.0}), ["control.tracking.tolerance_rad"]),
}


@pytest.mark.parametrize("case", ODD)
def test_what_few_arms_have_is_asked_about(case: str) -> None:
    """Cameras too slow to be paired, misnamed topics and odd limits were valid (reports D, F9, F10)."""
    change, expected = ODD[case]
    contract = changed(change)
    assert [*impossible_numbers(contract.file), *impossible_topics(contract.file)] == []
    told = "\n".join(questions(contract))
    for part in expected:
        assert part in told, told


@pytest.mark.parametrize(
    "change",
    [
        cameras(5, 30),  # each 5 Hz picture finds one of the 30 Hz camera, at most 17 ms away
        joints(velocity=2.1, acceleration=15.0, jerk=7500.0),  # a Franka arm's own limits
        joint(3, unit="percent", percent_of=[-1.65806, 1.65806]),
        keys("control", topic="forward_position_controller/commands"),
        camera(topic="wrist/image_raw/compressed", transport="compressed"),
    ],
)
def test_plain_choices_are_not_asked_about(change: Change) -> None:
    """Protects: a question is worth reading."""
    contract = changed(change)
    assert [*impossible_numbers(contract.file), *impossible_topics(contract.file), *questions(contract)] == []


def test_what_is_shipped_passes_silently(repository: Path) -> None:
    """Shipped so101.yaml said `image_raw` with `transport: compressed`: no chunk ever came (report F10)."""
    files = [*(repository / "config" / "robots").glob("*.yaml"), *(repository / "models").glob("*/contract.yaml")]
    files += (repository / "test" / "replay" / "bags").glob("*/contract/*.yaml")
    assert len(files) >= 6
    assert {str(file): questions(load_contract(file)) for file in files} == {str(file): [] for file in files}
    assert math.isclose(load_contract("so101").limits.max_velocity[0], 2.0)
