# SPDX-License-Identifier: Apache-2.0
"""The executor's rates and patience."""

from __future__ import annotations

from typing import Any

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.control import FrozenJoint, Gripper, MotionConfig, Tracking

SHADOW_HOLD_S = 0.1
"""How long a shadow holds where its plan ended."""


class ExecutorConfig(MotionConfig):
    """What the contract's ``control`` says of chunks and motion, and what else the executor has to know. Times in s.

    Attributes
    ----------
    rate_hz
        Ticks per second.
    step_s
        The only time between rows that is accepted; None accepts any.
    state_timeout_s
        How old the measured state may be while moving; None never looks.
    tracking, frozen_joint
        Each of the two watches is off unless it is given.
    grippers
        Joints that no watch looks at: what holds something is neither where its command is nor does it move.
    """

    rate_hz: float = 100.0
    step_s: float | None = None
    state_timeout_s: float | None = None
    tracking: Tracking | None = None
    frozen_joint: FrozenJoint | None = None
    grippers: tuple[Gripper, ...] = ()

    @property
    def switched(self) -> tuple[Gripper, ...]:
        """The grippers that are either open or closed."""
        return tuple(gripper for gripper in self.grippers if gripper.binary is not None)

    @classmethod
    def from_contract(cls, contract: Contract, *, shadow: bool = False) -> ExecutorConfig:
        """Take what the contract says.

        ``shadow``: for an executor that nobody obeys. It does not watch how the arm follows, and holds for a moment
        only: the next plan begins where somebody else has moved the arm by then.
        """
        control, policy = contract.control, contract.policy
        values: dict[str, Any] = {name: getattr(control, name) for name in MotionConfig.model_fields}
        if shadow:
            values |= {"tracking": None, "frozen_joint": None, "hold_timeout_s": SHADOW_HOLD_S}
        return cls(
            rate_hz=control.rate_hz,
            step_s=policy.step_s,
            state_timeout_s=policy.max_state_age_s,
            grippers=contract.grippers,
            **values,
        )
