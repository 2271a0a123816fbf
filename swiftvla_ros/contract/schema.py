# SPDX-License-Identifier: Apache-2.0
"""The keys of a contract file, with their units and the values that are allowed.

Every number is in SI units (rad, m, s, Hz) unless the key's name says otherwise; a joint's ``unit`` tells what
the robot driver's own messages carry.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator, model_validator

from swiftvla_ros.contract.action_coding import ActionKind
from swiftvla_ros.contract.base import Finite, Positive, Strict, Topic
from swiftvla_ros.contract.control import Control, Gripper

Unit = Literal["rad", "deg", "percent", "m", "mm"]
UNITS: tuple[str, ...] = get_args(Unit)

# Two turns. No joint of an arm that this package drives turns further, so a larger limit was written in degrees.
_LARGEST_ANGLE_RAD = 4 * math.pi


class Joint(Strict):
    """One joint: its name in ``/joint_states``, the unit of the driver's messages, and its limits.

    ``position`` in rad (or m); ``velocity``, ``acceleration`` and ``jerk`` are the largest magnitudes in rad/s,
    rad/s² and rad/s³ (or m). ``percent_of`` gives the positions (SI) that the driver calls 0 % and 100 %.
    """

    name: Annotated[str, Field(min_length=1)]
    unit: Unit
    position: tuple[Finite, Finite]
    velocity: Positive
    acceleration: Positive
    jerk: Positive
    rest: Finite = 0.0
    percent_of: tuple[Finite, Finite] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Joint:
        low, high = self.position
        if low >= high:
            raise ValueError(f"position: [{low}, {high}] is empty; write [lowest, highest]")
        if self.unit in ("rad", "deg", "percent") and max(abs(low), abs(high)) > _LARGEST_ANGLE_RAD:
            raise ValueError(
                f"position: [{low}, {high}] is more than two turns; limits are in radians whatever the driver's unit: "
                f"write [{math.radians(low):.4f}, {math.radians(high):.4f}]"
            )
        if not low <= self.rest <= high:
            raise ValueError(f"rest: {self.rest} lies outside position [{low}, {high}]; write a value inside")
        _check_percent(self.unit, self.percent_of)
        return self

    @property
    def scale_and_offset(self) -> tuple[float, float]:
        """``(a, b)`` such that SI = a · driver + b."""
        return _scale_and_offset(self.unit, self.percent_of)


def _scale_and_offset(unit: Unit, percent_of: tuple[float, float] | None) -> tuple[float, float]:
    if unit == "deg":
        return math.pi / 180, 0.0
    if unit == "mm":
        return 1e-3, 0.0
    if percent_of is not None:
        zero, full = percent_of
        return (full - zero) / 100, zero
    return 1.0, 0.0


def _check_percent(unit: Unit, percent_of: tuple[float, float] | None) -> None:
    if (unit == "percent") != (percent_of is not None):
        raise ValueError("percent_of: write [position at 0 %, position at 100 %] if and only if unit is 'percent'")
    if percent_of is not None and percent_of[0] == percent_of[1]:
        raise ValueError("percent_of: both ends are equal; write two different positions")


class CameraPose(Strict):
    """Where a camera is in the base frame: its optical frame (z forward, x right, y down; REP 103) and field of view.

    ``fovy_deg`` is the vertical field of view of the unrotated, uncropped source image.
    """

    position_m: tuple[Finite, Finite, Finite]
    quaternion_xyzw: tuple[Finite, Finite, Finite, Finite]
    fovy_deg: Annotated[float, Field(gt=0, lt=180)]

    @field_validator("quaternion_xyzw")
    @classmethod
    def _unit_length(cls, value: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        norm = math.sqrt(sum(v * v for v in value))
        if abs(norm - 1) > 1e-3:
            raise ValueError(f"length {norm:.4f}; write a unit quaternion as [x, y, z, w]")
        return value


class Camera(Strict):
    """One camera: where its images come from and what the policy sees of them.

    The image is rotated by ``rotate_deg`` (clockwise), cropped to ``crop`` (x, y, width, height in px of the rotated
    image) and brought to ``size`` (width, height): ``fit: stretch`` fills it, ``fit: pad`` keeps the aspect ratio.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    topic: Topic
    transport: Literal["raw", "compressed"] = "raw"
    rate_hz: Positive
    source_size: tuple[Annotated[int, Field(ge=8, le=8192)], Annotated[int, Field(ge=8, le=8192)]]
    rotate_deg: Literal[0, 90, 180, 270] = 0
    crop: (
        tuple[
            Annotated[int, Field(ge=0)],
            Annotated[int, Field(ge=0)],
            Annotated[int, Field(gt=0)],
            Annotated[int, Field(gt=0)],
        ]
        | None
    ) = None
    fit: Literal["stretch", "pad"] = "stretch"
    size: tuple[Annotated[int, Field(ge=16, le=2048)], Annotated[int, Field(ge=16, le=2048)]]
    pose: CameraPose | None = None

    @property
    def rotated_size(self) -> tuple[int, int]:
        """Width and height in px after the rotation."""
        width, height = self.source_size
        return (height, width) if self.rotate_deg in (90, 270) else (width, height)

    @model_validator(mode="after")
    def _crop_inside(self) -> Camera:
        if self.crop is not None:
            x, y, w, h = self.crop
            width, height = self.rotated_size
            if x + w > width or y + h > height:
                raise ValueError(
                    f"crop: {list(self.crop)} leaves the image of {width}×{height} px; write a smaller one"
                )
        return self


class JointStates(Strict):
    """The driver's ``sensor_msgs/JointState`` topic and its rate."""

    topic: Topic = "/joint_states"
    rate_hz: Positive


class PolicyTiming(Strict):
    """What a row of the policy means, how observations are paired and how old they may be for a chunk, s.

    ``actions``: rows are positions (``absolute``), relative to the observation's joint state (``delta_to_state``), each
    relative to the row before and the first to the state (``delta_per_step``), or the mean velocities on the way there
    (``velocity``). The gripper's are positions in all of them.
    """

    step_s: Positive
    actions: ActionKind = "absolute"
    max_image_age_s: Positive = 0.5
    max_state_age_s: Positive = 0.3
    pair_slop_s: Positive = 0.06


class Kinematics(Strict):
    """The URDF (path relative to the contract file) and the link whose origin is the tool centre point."""

    urdf: str
    end_effector: str


class LeRobotJoint(Strict):
    """A joint in a LeRobot dataset: what it is called there, and its unit.

    Any line through two points can be written as ``unit: percent``: what LeRobot normalises to -100 … 100 between two
    stops has the middle between them at 0, and a stop at 100.
    """

    feature: Annotated[str, Field(min_length=1)]
    unit: Unit
    percent_of: tuple[Finite, Finite] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> LeRobotJoint:
        _check_percent(self.unit, self.percent_of)
        return self

    @property
    def scale_and_offset(self) -> tuple[float, float]:
        """``(a, b)`` such that SI = a · dataset + b."""
        return _scale_and_offset(self.unit, self.percent_of)


class LeRobot(Strict):
    """Where this robot's cameras and joints are in a LeRobot dataset.

    A camera that is not named here is ``observation.images.<camera>``, a joint ``<joint>.pos`` in the driver's unit.
    """

    cameras: dict[str, str] = Field(default_factory=dict)
    joints: dict[str, LeRobotJoint] = Field(default_factory=dict)


class ContractFile(Strict):
    """The whole file."""

    robot: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    base_frame: str
    kinematics: Kinematics | None = None
    joints: Annotated[tuple[Joint, ...], Field(min_length=1, max_length=64)]
    gripper: Gripper | None = None
    cameras: Annotated[tuple[Camera, ...], Field(min_length=1, max_length=8)]
    joint_states: JointStates
    policy: PolicyTiming
    control: Control
    lerobot: LeRobot = LeRobot()

    @model_validator(mode="after")
    def _consistent(self) -> ContractFile:
        for what, names in (("joints", [j.name for j in self.joints]), ("cameras", [c.name for c in self.cameras])):
            twice = {n for n in names if names.count(n) > 1}
            if twice:
                raise ValueError(f"{what}: {sorted(twice)} stands more than once; give each its own name")
        if self.gripper is not None:
            self._check_gripper(self.gripper)
        for key, names in (("cameras", [c.name for c in self.cameras]), ("joints", [j.name for j in self.joints])):
            for name in getattr(self.lerobot, key):
                if name not in names:
                    raise ValueError(f"lerobot.{key}: '{name}' is not among the robot's {names}; write one of these")
        self._check_rates()
        return self

    def _check_gripper(self, gripper: Gripper) -> None:
        joint = next((j for j in self.joints if j.name == gripper.joint), None)
        if joint is None:
            raise ValueError(
                f"gripper.joint: '{gripper.joint}' is not a joint; write one of {[j.name for j in self.joints]}"
            )
        for key in ("open", "closed"):
            value = getattr(gripper, key)
            if not joint.position[0] <= value <= joint.position[1]:
                raise ValueError(f"gripper.{key}: {value} lies outside {joint.name}'s position {list(joint.position)}")
        if gripper.topic is not None and gripper.topic == self.control.topic:
            raise ValueError(f"gripper.topic: '{gripper.topic}' is control.topic too; write another, or null")

    def _check_rates(self) -> None:
        for camera in self.cameras:
            if 1 / camera.rate_hz > self.policy.max_image_age_s:
                raise ValueError(
                    f"cameras.{camera.name}.rate_hz: {camera.rate_hz} Hz is an image every {1 / camera.rate_hz:.2f} s, "
                    f"older than policy.max_image_age_s {self.policy.max_image_age_s}; raise one of the two"
                )
        if 1 / self.joint_states.rate_hz > self.policy.max_state_age_s:
            raise ValueError(
                f"joint_states.rate_hz: {self.joint_states.rate_hz} Hz is slower than policy.max_state_age_s "
                f"{self.policy.max_state_age_s} allows; raise one of the two"
            )
        if 1 / self.joint_states.rate_hz > 2 * self.policy.pair_slop_s:
            raise ValueError(
                f"policy.pair_slop_s: {self.policy.pair_slop_s} s can't pair joint states that come every "
                f"{1 / self.joint_states.rate_hz:.3f} s; write at least {0.5 / self.joint_states.rate_hz:.3f}"
            )
        if self.policy.step_s < 1 / self.control.rate_hz:
            raise ValueError(
                f"policy.step_s: {self.policy.step_s} s is shorter than one control tick of {self.control.rate_hz} Hz; "
                f"raise control.rate_hz to at least {1 / self.policy.step_s:.0f}"
            )
