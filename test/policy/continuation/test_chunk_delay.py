# SPDX-License-Identifier: Apache-2.0
"""The measured delay: a window that a warm-up never enters and an outlier leaves."""

import math

import pytest

from swiftvla_ros.policy.continuation.chunk_delay import MeasuredDelay


def measured(*delays_s: float, **options: float) -> MeasuredDelay:
    """Return a measurement without warm-up that was given ``delays_s``."""
    delay = MeasuredDelay(warm_up=0, **options)  # type: ignore[arg-type]
    for value in delays_s:
        delay.add(value)
    return delay


def test_warm_up_is_left_out() -> None:
    """Protects against one cold start that inflates the delay: the first chunks are never counted."""
    delay = MeasuredDelay(warm_up=2)
    for value in (9.0, 5.0):
        delay.add(value)
        assert delay.seconds is None
        assert delay.rows(0.1) == 0
    delay.add(0.12)
    assert delay.seconds == 0.12
    delay.clear()
    delay.add(7.0)
    assert delay.seconds is None


def test_an_outlier_leaves_the_window() -> None:
    """Protects against an all-time maximum: one slow chunk doesn't decide once it is 20 chunks old."""
    delay = measured(*[0.1] * 5, 2.0, window=20)
    assert delay.seconds == 2.0
    for _ in range(20):
        delay.add(0.1)
    assert delay.seconds == 0.1


def test_it_is_a_high_quantile() -> None:
    """Protects against frozen rows that are too few: nine chunks of ten arrive no later than expected."""
    delay = measured(*[0.01 * k for k in range(1, 11)])
    assert delay.seconds is not None
    assert sum(0.01 * k <= delay.seconds for k in range(1, 11)) >= 9
    assert delay.seconds <= 0.1


@pytest.mark.parametrize(("delay_s", "rows"), [(0.0, 0), (0.05, 1), (0.1, 1), (0.1001, 2), (0.3, 3), (0.61, 7)])
def test_rows_that_will_be_past(delay_s: float, rows: int) -> None:
    """Protects the count: row i lies i steps after the observation, and is past when the chunk arrives later."""
    assert measured(delay_s).rows(0.1) == rows


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.1])
def test_impossible_delays_do_not_count(bad: float) -> None:
    """Protects against stamps of another clock: a delay that can't be is no measurement."""
    assert measured(bad).seconds is None
