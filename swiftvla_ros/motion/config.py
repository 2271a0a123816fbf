# SPDX-License-Identifier: Apache-2.0
"""The executor's rates and patience."""

from __future__ import annotations

from dataclasses import dataclass

from swiftvla_ros.contract import Contract


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

    @classmethod
    def from_contract(cls, contract: Contract) -> ExecutorConfig:
        """Take what the contract says."""
        control = contract.control
        return cls(
            rate_hz=control.rate_hz,
            step_s=contract.policy.step_s,
            start_tolerance=control.start_tolerance_rad,
            tail_timeout_s=control.tail_timeout_s,
            hold_timeout_s=control.hold_timeout_s,
            state_timeout_s=contract.policy.max_state_age_s,
            max_chunk_s=control.max_chunk_s,
        )
