# SPDX-License-Identifier: Apache-2.0
"""Stamps that are zero or of another clock."""

import pytest

from swiftvla_ros.observation.stamp_clock import StampClock

S = 1_000_000_000
NOW = 1_700_000_000 * S


def test_a_usual_stamp_is_kept() -> None:
    """The sensor's own time is used, without a warning."""
    clock = StampClock("/camera")
    assert clock.resolve(NOW - S, NOW) == NOW - S
    assert clock.take_warning() == ""


def test_a_zero_stamp_is_the_time_of_receipt_with_one_warning() -> None:
    """An unstamped topic works, and says once, by its name, that its latency is not known."""
    clock = StampClock("/camera")
    assert clock.resolve(0, NOW) == NOW
    assert "/camera" in clock.take_warning()
    assert clock.resolve(0, NOW + S) == NOW + S
    assert clock.take_warning() == ""


def test_a_driver_on_another_clock_is_noticed() -> None:
    """A camera that stamps with its uptime is used by time of receipt, with a warning."""
    clock = StampClock("/camera")
    assert clock.resolve(5 * S, NOW) == NOW
    assert "behind this clock" in clock.take_warning()
    assert clock.resolve(6 * S, NOW + S) == NOW + S


def test_a_camera_that_freezes_looks_old_not_foreign() -> None:
    """Once a topic's stamps were good, an old one stays old: a frozen camera never becomes fresh again."""
    clock = StampClock("/camera")
    clock.resolve(NOW, NOW)
    assert clock.resolve(NOW, NOW + 3600 * S) == NOW


def test_a_foreign_stamp_that_repeats_does_not_age_backwards() -> None:
    """A frozen camera on another clock keeps its first time of receipt."""
    clock = StampClock("/camera")
    assert clock.resolve(5 * S, NOW) == NOW
    assert clock.resolve(5 * S, NOW + 60 * S) == NOW


def test_clear_decides_anew() -> None:
    """After a bag looped, or a clock jumped, the topic is judged again."""
    clock = StampClock("/camera")
    clock.resolve(NOW, NOW)
    clock.clear()
    assert clock.resolve(5 * S, NOW) == NOW


def test_a_first_message_of_another_time_does_not_mark_the_topic_for_ever() -> None:
    """A message on its way while the clock jumped back, or before the first /clock: the next good stamp is believed."""
    clock = StampClock("/camera")
    assert clock.resolve(NOW + 20 * S, NOW) == NOW
    assert clock.resolve(NOW + S // 2, NOW + S) == NOW + S // 2
    assert clock.resolve(NOW + S // 2, NOW + 3600 * S) == NOW + S // 2


@pytest.mark.parametrize("ahead_s", [0.06, 0.3, 3.0, 60.0, 86400.0])
def test_a_clock_ahead_is_one_rule_for_all_sizes(ahead_s: float) -> None:
    """Nothing comes before its time: 0.06 s ahead is of another clock as 60 s are, told with the fix (report F9)."""
    clock, now, told = StampClock("/joint_states"), NOW, []
    for k in range(300):
        now += 10_000_000
        jitter = (k * 7919) % 40 * 1_000_000  # on its way for up to 40 ms
        assert clock.resolve(now - jitter + round(ahead_s * S), now) == now
        told.append(clock.take_warning())
    text = "".join(told)
    assert "/joint_states is stamped" in text
    assert "ahead of this clock; synchronise the clocks (chrony)" in text
    assert text.count("topic") == 1


def test_a_topic_whose_clock_is_set_right_is_trusted_again() -> None:
    """Once the clocks are synchronised the sensor's own stamps count again."""
    clock = StampClock("/camera")
    assert clock.resolve(NOW + S // 10, NOW) == NOW
    times = [NOW + k * S // 30 for k in range(1, 200)]
    assert [clock.resolve(t - 5_000_000, t) for t in times][-1] == times[-1] - 5_000_000


@pytest.mark.parametrize("behind_s", [0.1, 0.7, 3.0, 9.0])
def test_what_may_be_late_is_not_made_fresh(behind_s: float) -> None:
    """A picture that is stamped 3 s behind may be 3 s old: it keeps its stamp, so nothing moves on it."""
    clock = StampClock("/camera")
    times = [NOW + k * S // 30 for k in range(100)]
    assert all(clock.resolve(t - round(behind_s * S), t) == t - round(behind_s * S) for t in times)
    assert clock.take_warning() == ""


def test_one_stamp_ahead_of_a_clock_that_is_slewed() -> None:
    """A camera that freezes on a stamp ahead grows old like any other."""
    clock = StampClock("/camera")
    assert clock.resolve(NOW + S, NOW) == NOW
    assert clock.resolve(NOW + S, NOW + 60 * S) == NOW
