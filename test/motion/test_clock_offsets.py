# SPDX-License-Identifier: Apache-2.0
"""Joint states of another clock are named as such, with the offset and the fix (report F9)."""

import pytest

from swiftvla_ros.contract import Contract
from swiftvla_ros.motion import ChunkExecutor, Mode

S = 1_000_000_000


@pytest.mark.parametrize(
    ("offset_s", "told"),
    [
        (0.01, "waiting for a first chunk"),
        (0.06, "stamped 0.06 s ahead of this clock; synchronise the clocks (chrony)"),
        (0.3, "stamped 0.30 s ahead of this clock; synchronise the clocks (chrony)"),
        (60.0, "stamped 60.00 s ahead of this clock; synchronise the clocks (chrony)"),
        (86400.0, "stamped 86400 s ahead of this clock; synchronise the clocks (chrony)"),
        (-0.1, "waiting for a first chunk"),
        (-3.0, "stamped 3.00 s behind this clock, or that late each time; synchronise the clocks (chrony)"),
        (-60.0, "stamped 60.00 s behind this clock"),
    ],
)
def test_states_of_another_clock_are_told_with_their_offset(contract: Contract, offset_s: float, told: str) -> None:
    """Not "no joint state was received yet" for ever: 100 of them came."""
    executor, now = ChunkExecutor.from_contract(contract), 10**15
    for _ in range(100):
        executor.measured(contract.rest, now + round(offset_s * S), now)
        assert executor.tick(now) is None
        now += S // 100
    assert executor.mode is Mode.IDLE
    assert told in executor.reason_text


def test_the_clocks_are_set_right(contract: Contract) -> None:
    """Once the stamps are of this clock the arm waits for a chunk, and silence is silence again."""
    executor, now = ChunkExecutor.from_contract(contract), 10**15
    executor.measured(contract.rest, now + S, now)
    executor.tick(now)
    assert "ahead" in executor.reason_text
    executor.measured(contract.rest, now, now)
    executor.tick(now + S // 100)
    assert executor.reason_text == "waiting for a first chunk"
    executor.tick(now + 5 * S)
    assert "no joint state for more than" in executor.reason_text
