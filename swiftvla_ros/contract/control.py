# SPDX-License-Identifier: Apache-2.0
"""The keys of a contract that say where commands go, how chunks become motion, and what is watched."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from swiftvla_ros.contract.base import Finite, Positive, Strict, Topic

Output = Literal["joint_trajectory", "forward_position", "forward_velocity", "follow_joint_trajectory"]
BlendKind = Literal["smooth", "replace", "linear", "cosine", "ensemble"]


class GripperBinary(Strict):
    """Thresholds (SI) of a gripper that is either open or closed; rows between them keep what was."""

    close_below: Finite
    open_above: Finite


class Gripper(Strict):
    """Which joint is the gripper, its open and closed positions (SI), and where its commands go.

    ``binary``: rows of this joint become open or closed. ``topic``: the gripper's command is published there as
    std_msgs/Float64MultiArray, and left out of the others' message.
    """

    joint: str
    open: Finite
    closed: Finite
    binary: GripperBinary | None = None
    topic: Topic | None = None

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


class Blend(Strict):
    """How the rows of a chunk join those of the one before it. docs/motion.md compares the kinds.

    ``over_s``: time from the old rows to the new ones, of ``linear`` and ``cosine``. ``decay``: of ``ensemble``, by
    which share (as an exponent) each later chunk counts less than the one before it.
    """

    kind: BlendKind = "smooth"
    over_s: Positive = 0.3
    decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.1


class Tracking(Strict):
    """Stop where a joint was farther than ``tolerance_rad`` from its command for ``for_s``."""

    tolerance_rad: Positive = 0.5
    for_s: Positive = 0.5


class FrozenJoint(Strict):
    """Stop where a measured joint showed one number for ``for_s`` while its command moved by ``moved_rad``."""

    moved_rad: Positive = 0.2
    for_s: Positive = 0.5


class Control(Strict):
    """Where commands go, how often, and the executor's patience.

    ``start_tolerance_rad``: how far a first target may be from the measured pose; ``far_start``: what becomes of one
    that is farther, refused or approached over at least ``approach_s``. ``soft_start_s``: the shortest time from rest
    onto the first chunk. ``fresh_s``: a chunk that is not followed by another for this long is called a tail.
    ``tail_timeout_s``: how long the rows of a chunk may be followed without a newer one. ``max_chunk_s``: the longest
    chunk that is accepted. ``tracking``, ``frozen_joint``: what stops the arm until reset; null looks away.
    ``trajectory_ends_at_rest`` false: trajectories end with the command's velocity, for a controller that allows it.
    """

    rate_hz: Annotated[float, Field(ge=100, le=1000)]
    output: Output
    topic: Topic
    blend: Blend = Blend()
    start_tolerance_rad: Positive = 0.35
    far_start: Literal["refuse", "approach"] = "refuse"
    approach_s: Positive = 3.0
    soft_start_s: Positive = 0.4
    fresh_s: Positive = 0.4
    tail_timeout_s: Positive = 1.0
    hold_timeout_s: Positive | None = None
    max_chunk_s: Positive = 10.0
    tracking: Tracking | None = Tracking()
    frozen_joint: FrozenJoint | None = FrozenJoint()
    trajectory_ends_at_rest: bool = True
