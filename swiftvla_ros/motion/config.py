# SPDX-License-Identifier: Apache-2.0
"""The executor's rates and patience."""

from __future__ import annotations

from dataclasses import dataclass, replace

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.control import BlendKind
from swiftvla_ros.motion.planning.gripper import BinaryGripper

SHADOW_HOLD_S = 0.1
"""How long a shadow holds where its plan ended."""


@dataclass(frozen=True)
class ExecutorConfig:
    """Rates and patience of the executor. Times in s.

    Attributes
    ----------
    rate_hz
        Ticks per second.
    step_s
        The only time between rows that is accepted; None accepts any.
    start_tolerance
        How far, rad or m, a first target may be from where the arm is.
    soft_start_s
        The shortest time for getting from rest onto the first chunk.
    fresh_s
        A chunk that is not followed by another for this long is called a tail.
    tail_timeout_s
        How long rows are followed without a newer chunk.
    hold_timeout_s
        How long a pose is held before commands end; None holds for ever.
    state_timeout_s
        How old the measured state may be while moving; None never looks.
    max_chunk_s
        The longest chunk that is accepted.
    approach_s
        The shortest time for going from rest to a first target that is farther; None refuses it.
    blend, blend_over_s, blend_decay
        How the rows of chunks join: see :mod:`swiftvla_ros.motion.planning.blend`.
    tracking_tolerance, tracking_for_s
        A joint that was farther, rad or m, from its command for so long stops the arm until reset; None never looks.
    frozen_moved, frozen_for_s
        A measured position that was the very same for so long, while its command moved by so much, does too.
    unwatched_joints
        Names of joints that neither watch looks at.
    grippers
        Those that are either open or closed.
    """

    rate_hz: float = 100.0
    step_s: float | None = None
    start_tolerance: float = 0.35
    soft_start_s: float = 0.4
    fresh_s: float = 0.4
    tail_timeout_s: float = 1.0
    hold_timeout_s: float | None = None
    state_timeout_s: float | None = None
    max_chunk_s: float = 10.0
    approach_s: float | None = None
    blend: BlendKind = "smooth"
    blend_over_s: float = 0.3
    blend_decay: float = 0.1
    tracking_tolerance: float | None = None
    tracking_for_s: float = 0.5
    frozen_moved: float | None = None
    frozen_for_s: float = 0.5
    unwatched_joints: tuple[str, ...] = ()
    grippers: tuple[BinaryGripper, ...] = ()

    @classmethod
    def from_contract(cls, contract: Contract, *, shadow: bool = False) -> ExecutorConfig:
        """Take what the contract says.

        ``shadow``: for an executor that nobody obeys. It does not watch how the arm follows, and holds for a moment
        only: the next plan begins where somebody else has moved the arm by then.
        """
        control = contract.control
        tracking, frozen = control.tracking, control.frozen_joint
        config = cls(
            rate_hz=control.rate_hz,
            step_s=contract.policy.step_s,
            start_tolerance=control.start_tolerance_rad,
            soft_start_s=control.soft_start_s,
            fresh_s=control.fresh_s,
            tail_timeout_s=control.tail_timeout_s,
            hold_timeout_s=control.hold_timeout_s,
            state_timeout_s=contract.policy.max_state_age_s,
            max_chunk_s=control.max_chunk_s,
            approach_s=control.approach_s if control.far_start == "approach" else None,
            blend=control.blend.kind,
            blend_over_s=control.blend.over_s,
            blend_decay=control.blend.decay,
            tracking_tolerance=None if tracking is None else tracking.tolerance_rad,
            tracking_for_s=cls.tracking_for_s if tracking is None else tracking.for_s,
            frozen_moved=None if frozen is None else frozen.moved_rad,
            frozen_for_s=cls.frozen_for_s if frozen is None else frozen.for_s,
            # a gripper that holds something is neither where its command is nor does it move
            unwatched_joints=tuple(g.joint for g in contract.grippers),
            grippers=tuple(
                BinaryGripper(g.joint, g.open, g.closed, g.binary.close_below, g.binary.open_above)
                for g in contract.grippers
                if g.binary is not None
            ),
        )
        if not shadow:
            return config
        return replace(config, tracking_tolerance=None, frozen_moved=None, hold_timeout_s=SHADOW_HOLD_S)
