# SPDX-License-Identifier: Apache-2.0
"""The check that judges recorded commands must itself see every violation, and no false one."""

import numpy as np
import pytest

from swiftvla_ros.contract import Limits
from swiftvla_ros.motion import check_limits
from swiftvla_ros.motion.limit_check import LIMITS as LIMIT_NAMES

NAMES = ("shoulder", "wrist")
LIMITS = Limits(*(np.array(x, dtype=float) for x in ([-1, -2], [1, 2], [2, 2], [10, 10], [100, 100])))
TICK_NS = 10_000_000


def _check(positions, stamps=None, **options):
    stamps = np.arange(len(positions)) * TICK_NS if stamps is None else stamps
    return check_limits(stamps, np.asarray(positions, dtype=float), LIMITS, NAMES, tick_s=0.01, **options)


@pytest.mark.parametrize(
    ("order", "limit"), [(1, 2.0), (2, 10.0), (3, 100.0)], ids=["velocity", "acceleration", "jerk"]
)
@pytest.mark.parametrize("share", [0.99, 1.01])
def test_each_limit_is_measured_right(order, limit, share):
    """A motion at a constant derivative uses exactly its share of that limit, at even and at uneven stamps."""
    rng = np.random.default_rng(0)
    for stamps in (np.arange(30) * TICK_NS, np.cumsum(rng.integers(2, 20, 30)) * 1_000_000):
        t = (stamps - stamps[0]) / 1e9
        wrist = share * limit * t**order / [1, 1, 2, 6][order]
        report = _check(np.stack([0 * t, wrist], axis=1), stamps)
        assert report.ratios[order, 1] == pytest.approx(share, rel=1e-6)
        assert any(LIMIT_NAMES[order] in line for line in report.violations()) == (share > 1)
        assert not report.ratios[1:, 0].any()


def test_a_jump_is_named_with_joint_limit_and_time():
    """One bad command among a thousand good ones."""
    positions = np.zeros((1000, 2))
    positions[500:, 1] = 0.05
    report = _check(positions)
    assert not report.ok
    assert report.worst_ns[1, 1] == 499 * TICK_NS
    assert report.violations()[0].startswith("joint 'wrist': 1000.000 of its jerk limit")
    assert report.as_dict()["worst_ratio"]["wrist"]["velocity"] == pytest.approx(2.5)


def test_leaving_the_position_limits_shows():
    """Off the middle of the range, over half of it."""
    report = _check(np.tile([0.0, -2.1], (10, 1)))
    assert report.ratios[0, 1] == pytest.approx(1.05)
    assert not report.ok


def test_an_arm_that_comes_inside_is_inside():
    """Of an arm that was found outside only what leads farther out is too much; where it stays outside it is told."""
    inwards = np.stack(
        [np.zeros(60), np.concatenate([-2.1 + 0.2 * np.linspace(0.0, 1.0, 50) ** 3, np.full(10, -1.9)])], axis=1
    )
    assert _check(inwards).ratios[0, 1] <= 1.0
    assert _check(inwards[:20]).ratios[0, 1] <= 1.0
    back = np.concatenate([inwards[:20], inwards[:10]])
    assert _check(back).ratios[0, 1] > 1.04


@pytest.mark.parametrize("gap_ns", [-500_000_000, 0, 3_000_000_000])
def test_a_jump_cannot_hide_behind_a_jump_of_the_clock(gap_ns):
    """Three seconds without a stamp do not make a step of a radian slow: nothing was commanded in between."""
    stamps = np.arange(20) * TICK_NS
    stamps[10:] += gap_ns - TICK_NS
    positions = np.zeros((20, 2))
    positions[10:, 0] = 0.5
    report = _check(positions, stamps)
    assert report.ratios[1, 0] == pytest.approx(25.0)
    assert report.gaps == 1


def test_segments_are_not_compared_with_each_other():
    """Between two of them the arm was not commanded and may have been moved by hand."""
    positions = np.zeros((20, 2))
    positions[10:, 0] = 0.5
    report = _check(positions, segments=np.repeat([0, 1], 10))
    assert report.ok
    assert report.gaps == 0


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_commands_are_checked_as_far_as_they_go(count):
    """A bag that ends at once is no error."""
    assert _check(np.zeros((count, 2))).ok


def test_what_cannot_be_checked_is_an_error():
    """NaN commands and wrong shapes must never pass as kept limits."""
    with pytest.raises(ValueError, match="for joint 'wrist' is nan"):
        _check([[0.0, 0.0], [0.0, np.nan]])
    with pytest.raises(ValueError, match="expected"):
        _check(np.zeros((0, 2)))
    with pytest.raises(ValueError, match=r"\(3, 1\)"):
        _check(np.zeros((3, 1)))
