# SPDX-License-Identifier: Apache-2.0
"""Stamps that are zero or of another clock."""

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
