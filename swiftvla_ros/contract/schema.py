# SPDX-License-Identifier: Apache-2.0
"""The keys of a contract file, with their units and the values that are allowed.

Every number is in SI units (rad, m, s, Hz) unless the key's name says otherwise; a joint's ``unit`` tells what
the robot driver's own messages carry.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, Field, field_validator, model_validator

from swiftvla_ros.contract.base import Finite, Name, Positive, Strict, Topic, did_you_mean
from swiftvla_ros.contract.control import Control, Gripper, OutputPart
from swiftvla_ros.contract.sections.demonstrations import Demonstrations, Leader, check_joints
from swiftvla_ros.contract.sections.drivers import Drivers, check_drivers
from swiftvla_ros.contract.sections.hand import NO_OUTPUT, CartesianHand, check_hand

Unit = Literal["rad", "deg", "percent", "m", "mm"]
UNITS: tuple[str, ...] = get_args(Unit)
ActionKind = Literal["absolute", "delta_to_state", "delta_per_step", "velocity", "cartesian_delta"]

# Two turns. No joint of an arm that this package drives turns further, so a larger limit was written in degrees.
_LARGEST_ANGLE_RAD = 4 * math.pi


class Joint(Strict):
    """One joint: its name, the unit of the driver's messages, and its limits, which no command leaves."""

    name: Name = Field(description="as in the driver's `JointState`, whose order is free")
    unit: Unit = Field(description="what the driver's messages carry")
    position: tuple[Finite, Finite] | None = Field(
        None, description="[lowest, highest] in rad (m for a sliding joint); of every joint that is not `continuous`"
    )
    continuous: bool = Field(
        False,
        description="it turns without end, as the URDF's type says: it has no `position` limits, and angles that "
        "differ by whole turns are the same place, wherever the driver wraps them",
    )
    velocity: Positive = Field(description="largest speed in rad/s (m/s). Begin with a quarter of what the arm can do")
    acceleration: Positive = Field(description="largest acceleration in rad/s² (m/s²)")
    jerk: Positive = Field(description="largest jerk in rad/s³ (m/s³)")
    rest: Finite = Field(0.0, description="where the arm waits, rad (m)")
    percent_of: tuple[Finite, Finite] | None = Field(
        None, description="of `percent`: [position at 0 %, position at 100 %], rad (m)"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Joint:
        if self.continuous:
            self._check_continuous()
            return self
        if self.position is None:
            raise ValueError(
                "position: missing; write [lowest, highest] in rad (m), or `continuous: true` for a joint that turns "
                "without end"
            )
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

    def _check_continuous(self) -> None:
        if self.position is not None:
            raise ValueError(
                f"continuous: a joint with limits, position {list(self.position)}, does not turn without end; remove "
                "one of the two keys"
            )
        if self.unit not in ("rad", "deg"):
            raise ValueError(f"continuous: unit '{self.unit}' has no turns; write 'rad' or 'deg', or leave it out")
        if abs(self.rest) > math.pi:
            raise ValueError(f"rest: {self.rest} is more than half a turn; write an angle from -π to π")
        _check_percent(self.unit, self.percent_of)

    @property
    def lowest(self) -> float:
        """Lowest position, rad or m; -inf for a continuous joint."""
        return -math.inf if self.position is None else self.position[0]

    @property
    def highest(self) -> float:
        """Highest position, rad or m; inf for a continuous joint."""
        return math.inf if self.position is None else self.position[1]

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
    """Where a camera's optical frame is in the base frame, and its field of view."""

    position_m: tuple[Finite, Finite, Finite] = Field(description="[x, y, z] in `base_frame`")
    quaternion_xyzw: tuple[Finite, Finite, Finite, Finite] = Field(
        description="orientation of the optical frame: z forward, x right, y down (REP 103)"
    )
    fovy_deg: Annotated[float, Field(gt=0, lt=180)] = Field(
        description="vertical field of view of the unrotated, uncropped source image"
    )
    mirrored: bool = Field(default=False, description="the source image is turned over from left to right")

    @field_validator("quaternion_xyzw")
    @classmethod
    def _unit_length(cls, value: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        norm = math.sqrt(sum(v * v for v in value))
        if abs(norm - 1) > 1e-3:
            raise ValueError(f"length {norm:.4f}; write a unit quaternion as [x, y, z, w]")
        return value


class Camera(Strict):
    """One camera: where its images come from and what the policy sees of them."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)] = Field(
        description="as the checkpoint calls it"
    )
    topic: Topic = Field(description="what the camera's driver publishes")
    transport: Literal["raw", "compressed"] = Field("raw", description="`Image` or `CompressedImage`")
    rate_hz: Positive = Field(description="images a second")
    source_size: tuple[Annotated[int, Field(ge=8, le=8192)], Annotated[int, Field(ge=8, le=8192)]] = Field(
        description="[width, height] in px of the driver's images"
    )
    rotate_deg: Literal[0, 90, 180, 270] = Field(0, description="turned clockwise by this")
    crop: (
        tuple[
            Annotated[int, Field(ge=0)],
            Annotated[int, Field(ge=0)],
            Annotated[int, Field(gt=0)],
            Annotated[int, Field(gt=0)],
        ]
        | None
    ) = Field(None, description="then cut to [x, y, width, height], px of the rotated image")
    fit: Literal["stretch", "pad"] = Field(
        "stretch", description="then brought to `size`; `pad` keeps the aspect ratio"
    )
    size: tuple[Annotated[int, Field(ge=16, le=2048)], Annotated[int, Field(ge=16, le=2048)]] = Field(
        description="[width, height] in px of what the policy sees: the checkpoint's"
    )
    may_repeat: bool = Field(
        False,
        description="one picture may come again and again with new stamps while the arm moves, as from a simulator "
        "that does not show it; otherwise it is taken for a frozen camera's, and refused",
    )
    pose: CameraPose | None = Field(
        None, description="of the front camera only: for labels in training, not for running"
    )

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

    topic: Topic = Field("/joint_states", description="`sensor_msgs/JointState`, from the driver")
    rate_hz: Positive = Field(description="states a second")


class PolicyTiming(Strict):
    """What a row of the policy means, how observations are paired and how old they may be for a chunk."""

    step_s: Positive = Field(description="time between two rows of a chunk: the checkpoint's")
    actions: ActionKind = Field(
        "absolute",
        description="rows are positions, relative to the observed state, each to the row before (the first to the "
        "state), or mean velocities on the way there; a gripper's are positions in all of them. `cartesian_delta`: "
        "steps of a `hand`, for a benchmark in simulation alone",
    )
    max_image_age_s: Positive = Field(0.5, description="with an older image nothing is inferred")
    max_state_age_s: Positive = Field(0.3, description="with an older joint state nothing is inferred")
    pair_slop_s: Positive = Field(0.06, description="how far apart images and state of one observation may be")


class Kinematics(Strict):
    """The robot's geometry: for labels in training and for viewing, not for running."""

    urdf: Annotated[str, Field(min_length=1, max_length=500)] = Field(description="path, relative to the contract")
    end_effector: Name = Field(description="the link whose origin is the tool centre point")


class LeRobotJoint(Strict):
    """A joint in a LeRobot dataset: what it is called there, and its unit.

    Any line through two points can be written as ``unit: percent``: what LeRobot normalises to -100 … 100 between two
    stops has the middle between them at 0, and a stop at 100.
    """

    feature: Name = Field(description="the joint's name there")
    unit: Unit = Field(description="its unit there")
    percent_of: tuple[Finite, Finite] | None = Field(
        None, description="of `percent`: [position at 0 %, position at 100 %], rad (m)"
    )

    @model_validator(mode="after")
    def _consistent(self) -> LeRobotJoint:
        _check_percent(self.unit, self.percent_of)
        return self

    @property
    def scale_and_offset(self) -> tuple[float, float]:
        """``(a, b)`` such that SI = a · dataset + b."""
        return _scale_and_offset(self.unit, self.percent_of)


class LeRobot(Strict):
    """Where this robot's cameras and joints are in a LeRobot dataset or checkpoint."""

    cameras: dict[Name, str] = Field(
        default={}, description="features by camera; a camera left out is `observation.images.<camera>`"
    )
    joints: dict[Name, LeRobotJoint] = Field(
        default={}, description="by joint; a joint left out is `<joint>.pos` in the driver's unit"
    )
    step_s: Positive | None = Field(
        default=None, description="time between two frames, s, where the `fps` that a dataset gives is not the true one"
    )


def _one_or_list(value: object) -> object:
    return () if value is None else (value,) if isinstance(value, dict) else value


class ContractFile(Strict):
    """The whole file."""

    robot: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=100)] = Field(description="the robot's name")
    base_frame: Name = Field(description="the frame of camera poses and end-effector positions")
    kinematics: Kinematics | None = Field(None, description="for labels in training and for viewing, not for running")
    joints: Annotated[tuple[Joint, ...], Field(min_length=1, max_length=64)] = Field(
        description="a list; its order is the order of every array"
    )
    gripper: Annotated[tuple[Gripper, ...], BeforeValidator(_one_or_list)] = Field(
        (), description="one, or a list: which joints are grippers"
    )
    cameras: Annotated[tuple[Camera, ...], Field(min_length=1, max_length=8)] = Field(
        description="a list, in the order in which the policy reads them"
    )
    joint_states: JointStates = Field(description="what the driver measures")
    policy: PolicyTiming = Field(description="what rows mean, and how old and how far apart observations may be")
    hand: CartesianHand | None = Field(None, description="of `policy.actions: cartesian_delta`: how far a step is")
    control: Control = Field(description="where commands go, how chunks become motion, what is watched")
    lerobot: LeRobot = Field(default=LeRobot(), description="names and units in a LeRobot dataset or checkpoint")
    leader: Leader = Field(default=Leader(), description="the arm that a person moves by hand to show what to do")
    demonstrations: Demonstrations = Field(
        default=Demonstrations(), description="how episodes are read from bags of a robot that a person moved"
    )
    drivers: Drivers = Field(
        default=Drivers(), description="how this package's own drivers reach the hardware; not used with others'"
    )

    @model_validator(mode="after")
    def _consistent(self) -> ContractFile:
        lists = {
            "joints": [joint.name for joint in self.joints],
            "cameras": [camera.name for camera in self.cameras],
            "gripper": [gripper.joint for gripper in self.gripper],
        }
        for what, names in lists.items():
            twice = {n for n in names if names.count(n) > 1}
            if twice:
                raise ValueError(f"{what}: {sorted(twice)} stands more than once; give each its own name")
        for gripper in self.gripper:
            self._check_gripper(gripper)
        check_hand(self.hand, self.policy.actions, self.control.output)
        if self.hand is None:
            self._check_outputs()
        check_joints(self.leader, self.demonstrations, lists["joints"])
        for key in ("cameras", "joints"):
            for name in getattr(self.lerobot, key):
                if name not in lists[key]:
                    raise ValueError(
                        f"lerobot.{key}: '{name}' is not among the robot's {lists[key]}; "
                        f"{did_you_mean(name, lists[key])}"
                    )
        check_drivers(self.drivers, lists["joints"], lists["cameras"])
        self._check_rates()
        return self

    @property
    def outputs(self) -> tuple[OutputPart, ...]:
        """Which joints are commanded together: those of ``control.output``, and each gripper with its own topic."""
        hands = {g.joint: g.topic for g in self.gripper if g.topic is not None}
        parts = [OutputPart(kind="forward_position", topic=topic, joints=(name,)) for name, topic in hands.items()]
        output, topic = self.control.output, self.control.topic
        if output == NO_OUTPUT:
            return ()
        if not isinstance(output, str):
            return (*output, *parts)
        arm = self.control.joints or tuple(joint.name for joint in self.joints if joint.name not in hands)
        return (OutputPart(kind=output, topic=topic, joints=arm), *parts) if arm and topic is not None else tuple(parts)

    def _check_outputs(self) -> None:
        names, topics = [joint.name for joint in self.joints], [part.topic for part in self.outputs]
        key = "control.output" if self.control.joints is None else "control.joints"
        commanded = [name for part in self.outputs for name in part.joints]
        for name in sorted({*names, *commanded}, key=[*names, *commanded].index):
            if name not in names:
                raise ValueError(f"{key}: '{name}' is not a joint of {names}; {did_you_mean(name, names)}")
            if name not in commanded:
                raise ValueError(f"{key}: nothing commands joint '{name}'; add it to the joints of a part")
            if commanded.count(name) > 1:
                raise ValueError(
                    f"{key}: '{name}' is in two parts (a gripper's topic is one), or twice in one; remove it from one"
                )
        for topic in topics:
            if topics.count(topic) > 1:
                raise ValueError(f"control, gripper: topic '{topic}' stands more than once; give each its own")

    def _check_gripper(self, gripper: Gripper) -> None:
        key = "gripper" if len(self.gripper) == 1 else f"gripper.{gripper.joint}"
        joint = next((j for j in self.joints if j.name == gripper.joint), None)
        if joint is None:
            names = [j.name for j in self.joints]
            raise ValueError(f"{key}.joint: '{gripper.joint}' is not a joint; {did_you_mean(gripper.joint, names)}")
        if joint.continuous:
            raise ValueError(f"{key}.joint: '{joint.name}' is continuous; a gripper has ends: write its 'position'")
        for end in ("open", "closed"):
            value = getattr(gripper, end)
            if not joint.lowest <= value <= joint.highest:
                raise ValueError(
                    f"{key}.{end}: {value} lies outside {joint.name}'s position [{joint.lowest}, {joint.highest}]"
                )

    def _check_rates(self) -> None:
        for camera in self.cameras:
            if 1 / camera.rate_hz > self.policy.max_image_age_s:
                raise ValueError(
                    f"cameras.{camera.name}.rate_hz: {camera.rate_hz} Hz is an image every {1 / camera.rate_hz:.2f} s, "
                    f"older than policy.max_image_age_s {self.policy.max_image_age_s}; raise one of the two "
                    f"(a period of {camera.rate_hz:g} s would be {1 / camera.rate_hz:.3g} Hz)"
                )
        if 1 / self.joint_states.rate_hz > self.policy.max_state_age_s:
            raise ValueError(
                f"joint_states.rate_hz: {self.joint_states.rate_hz} Hz is slower than policy.max_state_age_s "
                f"{self.policy.max_state_age_s} allows; raise one of the two "
                f"(a period of {self.joint_states.rate_hz:g} s would be {1 / self.joint_states.rate_hz:.3g} Hz)"
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
