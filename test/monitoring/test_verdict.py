# SPDX-License-Identifier: Apache-2.0
import numpy as np

from swiftvla_ros.monitoring.verdict import Latch, VerdictLevel, worst_first

SLOW, HOLD = np.array([1.0, 1.0]), np.array([2.0, 2.0])
STEP_NS = 100_000_000


def levels(latch: Latch, values: list[float], first: int = 1) -> list[VerdictLevel]:
    """Levels of looks in a row."""
    return [latch.judge((first + i) * STEP_NS, np.array([value, 0.0]), SLOW, HOLD) for i, value in enumerate(values)]


def test_one_odd_look_is_no_level_and_two_are() -> None:
    """Protects: a single picture stops no arm, and what lasts does at its second look."""
    assert levels(Latch(), [3.0, 0.0, 1.5, 0.0, 3.0]) == [VerdictLevel.USUAL] * 5
    assert levels(Latch(), [1.5, 1.5]) == [VerdictLevel.USUAL, VerdictLevel.SLOW]
    assert levels(Latch(), [2.5, 2.5]) == [VerdictLevel.USUAL, VerdictLevel.HOLD]


def test_a_level_does_not_flicker_and_ends_when_it_is_calm() -> None:
    """Protects: near a bound the arm isn't slowed and released again and again, and afterwards it goes on by itself."""
    latch = Latch()
    found = levels(latch, [1.1, 1.1, 0.9, 1.1, 0.9, 1.1, 0.9] + [0.0] * 12)
    assert found[1:17] == [VerdictLevel.SLOW] * 16
    assert found[-1] is VerdictLevel.USUAL


def test_a_hold_becomes_slow_before_it_ends() -> None:
    """Protects: what is still unlike training doesn't go on at full speed after a hold."""
    found = levels(Latch(), [2.5, 2.5] + [1.2] * 14 + [0.0] * 13)
    assert found[1] is VerdictLevel.HOLD
    assert found[14] is VerdictLevel.SLOW
    assert found[-1] is VerdictLevel.USUAL


def test_a_clock_that_went_back_begins_anew() -> None:
    """Protects: a looped bag or a restarted simulator leaves no hold behind."""
    latch = Latch()
    levels(latch, [2.5, 2.5], first=100)
    assert levels(latch, [0.0]) == [VerdictLevel.USUAL]


def test_the_farthest_part_is_named_first() -> None:
    """Protects: the sentence names what is worst, and nothing that is usual."""
    assert worst_first(np.array([1.5, 4.0, 0.5]), np.array([1.0, 2.0, 1.0])) == [1, 0]
