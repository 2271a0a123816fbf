# SPDX-License-Identifier: Apache-2.0
"""The keys of a contract that say where commands go, how chunks become motion, and what is watched."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from swiftvla_ros.contract.base import Finite, Name, Positive, Strict, Topic
from swiftvla_ros.contract.sections.hand import NO_OUTPUT

OutputKind = Literal["joint_trajectory", "forward_position", "forward_velocity", "follow_joint_trajectory"]
NoOutput = Literal["none"]
BlendKind = Literal["smooth", "replace", "linear", "cosine", "ensemble"]


class GripperBinary(Strict):
    """Thresholds (SI) of a gripper that is either open or closed; rows between them keep what was."""

    close_below: Finite = Field(description="a row below this closes the gripper")
    open_above: Finite = Field(description="a row above this opens it; rows between the two leave it as it is")


class Gripper(Strict):
    """Which joint is a gripper, its open and closed positions (SI), and where its commands go."""

    joint: Name = Field(description="the joint's name")
    open: Finite = Field(description="its position when open")
    closed: Finite = Field(description="its position when closed")
    binary: GripperBinary | None = Field(None, description="rows of this joint become open or closed")
    topic: Topic | None = Field(
        None,
        description="its position goes out here as `Float64MultiArray`, and is left out of `control.output`'s message",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Gripper:
        if self.binary is not None:
            low, high = self.binary.close_below, self.binary.open_above
            if not self.closed <= low < high <= self.open:
                raise ValueError(
                    f"binary: closed {self.closed} <= close_below {low} < open_above {high} <= open {self.open} does "
                    "not hold; write thresholds in this order, or leave 'binary' out"
                )
        return self


class BlendConfig(Strict):
    """How the rows of a chunk join those of the one before it."""

    kind: BlendKind = Field(default="smooth", description="docs/motion.md compares them")
    over_s: Positive = Field(
        default=0.3, description="of `linear` and `cosine`: time from the old rows to the new ones"
    )
    decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=0.1,
        description="of `ensemble`: by which share (an exponent) each later chunk counts less than the one before",
    )


class Tracking(Strict):
    """When a joint that does not follow stops the arm."""

    tolerance_rad: Positive = Field(default=0.5, description="how far a joint may be from its command")
    for_s: Positive = Field(default=0.5, description="for how long it may be farther")


class FrozenJoint(Strict):
    """When a joint whose measurement no longer changes stops the arm."""

    moved_rad: Positive = Field(default=0.2, description="how far a command moves while its joint shows one number")
    for_s: Positive = Field(default=0.5, description="for how long it may do so")


class OperatorPresence(Strict):
    """What the arm may do while nobody who has its controls is there."""

    lost_after_s: Annotated[float, Field(ge=0.5, allow_inf_nan=False)] = Field(
        default=2.0, description="how long `operator_heartbeat` may be silent"
    )
    percent: Annotated[float, Field(ge=0, lt=100)] = Field(
        default=0.0, description="highest speed then, percent of the planned one; 0: the arm stands on its path"
    )


class OutputPart(Strict):
    """Joints that are commanded together."""

    kind: OutputKind = Field(description="the message: docs/system.md compares them")
    topic: Topic = Field(description="where its commands go; the action's name for `follow_joint_trajectory`")
    joints: Annotated[tuple[Name, ...], Field(min_length=1)] = Field(description="which joints, in the message's order")


def _one_or_parts(value: object) -> str:
    return "<parts>" if isinstance(value, (list, tuple)) else "<one>"


class CommandPlace(Strict):
    """Where commands go, and how often."""

    rate_hz: Annotated[float, Field(ge=100, le=1000)] = Field(description="commands a second, 100 or more")
    output: Annotated[
        Annotated[OutputKind | NoOutput, Tag("<one>")] | Annotated[tuple[OutputPart, ...], Tag("<parts>")],
        Discriminator(_one_or_parts),
    ] = Field(
        description="how commands go out, for all joints; or a list of parts, each with joints of its own; `none`: of "
        "a robot that only a benchmark moves"
    )
    topic: Topic | None = Field(
        None,
        description="where commands go, the action's name for `follow_joint_trajectory`; not with a list of parts",
    )
    joints: Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        None,
        description="the order in which the controller of `control.output` takes its joints, if that is not the "
        "contract's: `forward_*` messages have no names; not with a list of parts",
    )

    @model_validator(mode="after")
    def _one_place(self) -> CommandPlace:
        if self.output == NO_OUTPUT:
            if self.topic is not None or self.joints is not None:
                raise ValueError(f"output: '{NO_OUTPUT}' sends no commands; remove 'topic' and 'joints'")
        elif isinstance(self.output, str) == (self.topic is None):
            fix = (
                "missing; add where commands go" if self.topic is None else "each part of 'output' has its own; remove"
            )
            raise ValueError(f"topic: {fix}")
        if self.joints is not None and not isinstance(self.output, str):
            raise ValueError("joints: each part of 'output' has its own; remove")
        return self


class MotionConfig(Strict):
    """How chunks become motion, and what is watched; with the executor's own facts it is all that it reads."""

    blend: BlendConfig = Field(
        default=BlendConfig(), description="how the rows of a chunk join those of the one before it"
    )
    start_tolerance_rad: Positive = Field(
        default=0.35, description="how far the first row of a chunk may be from the measured pose"
    )
    far_start: Literal["refuse", "approach"] = Field(
        default="refuse", description="what becomes of a chunk that begins farther"
    )
    approach_s: Positive = Field(default=3.0, description="the shortest time of an approach")
    soft_start_s: Positive = Field(default=0.4, description="the shortest time from rest onto the first chunk")
    fresh_s: Positive = Field(
        default=0.4, description="a chunk that is not followed by another for this long is called a tail"
    )
    tail_timeout_s: Positive = Field(
        default=1.0, description="how long the rows of a chunk are followed without a newer one"
    )
    hold_timeout_s: Positive | None = Field(
        default=None, description="how long a pose is held before commands end; null: until told otherwise"
    )
    max_chunk_s: Positive = Field(
        default=10.0, description="a chunk that reaches further into the future than this is refused"
    )
    tracking: Tracking | None = Field(
        default=Tracking(), description="a joint that does not follow stops the arm until reset; null: it does not"
    )
    frozen_joint: FrozenJoint | None = Field(
        default=FrozenJoint(),
        description="a measurement that no longer changes stops the arm until reset; null: it does not",
    )


class Control(MotionConfig, CommandPlace):
    """Where commands go, how often, and the executor's patience."""

    operator: OperatorPresence | None = Field(
        default=None,
        description="the arm is slowed while nobody has its controls (`operator_heartbeat`); null: it is not",
    )
    require_preflight: bool = Field(
        False,
        description="true: from rest, the policy's chunks are refused until a pre-flight of this contract and "
        "checkpoint has no red row; `preflight_node` starts with the system",
    )
    trajectory_ends_at_rest: bool = Field(
        True, description="false: trajectories end with the command's velocity, for a controller that allows it"
    )
