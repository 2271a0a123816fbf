# SPDX-License-Identifier: Apache-2.0
"""Pairing of images and joint states by stamp."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftvla_ros.observation.pairing import ObservationPairing, PairingStatus

MS = 1_000_000
CAMERAS = ("front", "wrist")
IMAGE = np.zeros((4, 4, 3), np.uint8)
STATE = np.zeros(6)
SLOP_S, IMAGE_AGE_S, STATE_AGE_S = 0.06, 0.5, 0.3


def new_pairing() -> ObservationPairing:
    """Empty histories with the demo robot's tolerances."""
    return ObservationPairing(CAMERAS, slop_s=SLOP_S, max_image_age_s=IMAGE_AGE_S, max_state_age_s=STATE_AGE_S)


def filled(front_ms: int, wrist_ms: int, state_ms: int) -> ObservationPairing:
    """One part of each kind, received 1, 2 and 3 ns after its stamp."""
    pairing = new_pairing()
    pairing.add_image("front", front_ms * MS, IMAGE, front_ms * MS + 1)
    pairing.add_image("wrist", wrist_ms * MS, IMAGE, wrist_ms * MS + 2)
    pairing.add_state(state_ms * MS, STATE, state_ms * MS + 3)
    return pairing


def test_parts_of_one_moment_are_paired() -> None:
    """The plain case works, with every stamp kept and the stamp of the oldest image as the observation's."""
    result = filled(1010, 1000, 1005).pair(1020 * MS)
    assert result.status is PairingStatus.READY
    observation = result.observation
    assert observation is not None
    assert observation.stamp_ns == 1000 * MS
    assert observation.image_stamps_ns == {"front": 1010 * MS, "wrist": 1000 * MS}
    assert observation.state_stamp_ns == 1005 * MS
    assert observation.ready_ns == 1010 * MS + 1


def test_an_observation_is_used_once() -> None:
    """Without a new image there is no second inference from the same one."""
    pairing = filled(1000, 1000, 1000)
    assert pairing.pair(1010 * MS, newer_than_ns=1000 * MS).status is PairingStatus.NOTHING_NEW


def test_the_newest_frame_wins() -> None:
    """A backlog of frames is skipped, not worked off."""
    pairing = new_pairing()
    for k in range(10):
        for camera in CAMERAS:
            pairing.add_image(camera, k * 66 * MS, IMAGE, k * 66 * MS)
        pairing.add_state(k * 66 * MS, STATE, k * 66 * MS)
    result = pairing.pair(600 * MS, newer_than_ns=0)
    assert result.observation is not None
    assert result.observation.stamp_ns == 9 * 66 * MS


def test_a_missing_part_is_named() -> None:
    """Before the first message of a camera or of the joints nothing is inferred, and the reason names it."""
    pairing = new_pairing()
    pairing.add_image("front", MS, IMAGE, MS)
    assert "camera 'wrist'" in pairing.pair(2 * MS).reason
    pairing.add_image("wrist", MS, IMAGE, MS)
    assert "joint state" in pairing.pair(2 * MS).reason


def test_a_frozen_camera_is_stale_and_named() -> None:
    """A camera that stops alone stops the inference, by name; its last frame is not served for ever."""
    pairing = filled(1000, 1000, 1000)
    for k in range(1, 20):
        pairing.add_image("front", (1000 + 66 * k) * MS, IMAGE, 0)
        pairing.add_state((1000 + 66 * k) * MS, STATE, 0)
    result = pairing.pair(2260 * MS, newer_than_ns=1000 * MS)
    assert result.status is PairingStatus.STALE
    assert "camera 'wrist'" in result.reason
    assert "1.26 s" in result.reason


def test_a_repeated_stamp_is_not_a_new_frame() -> None:
    """A driver that repeats its last frame does not look alive."""
    pairing = filled(1000, 1000, 1000)
    assert not pairing.add_image("front", 1000 * MS, IMAGE, 5000 * MS)


def test_stopped_joint_states_are_stale() -> None:
    """Images alone are not an observation."""
    result = filled(2000, 2000, 1650).pair(2000 * MS)
    assert result.status is PairingStatus.STALE
    assert "joint state" in result.reason


def test_parts_too_far_apart_are_unpaired() -> None:
    """Stamps further apart than the slop are refused, and the reason says which part."""
    result = filled(1000, 1100, 1000).pair(1110 * MS)
    assert result.status is PairingStatus.UNPAIRED
    assert "camera 'wrist'" in result.reason


def test_images_from_the_future_are_refused() -> None:
    """A camera clock that runs ahead is told, not followed."""
    result = filled(5000, 5000, 4000).pair(4010 * MS)
    assert result.status is PairingStatus.UNPAIRED
    assert "stamped 0.99 s ahead of this clock; synchronise the clocks (chrony)" in result.reason


def test_stamps_behind_are_not_called_stopped() -> None:
    """A camera that sends, 3 s behind, has not stopped: the offset and the fix are told (report F9)."""
    pairing = new_pairing()
    for k in range(30):
        for camera in CAMERAS:
            pairing.add_image(camera, k * 66 * MS, IMAGE, (k * 66 + 3000) * MS)
        pairing.add_state(k * 66 * MS, STATE, (k * 66 + 1) * MS)
    now_ms = 29 * 66 + 3010
    result = pairing.pair(now_ms * MS)
    assert result.status is PairingStatus.STALE
    assert "camera 'front' is stamped 3.00 s behind this clock" in result.reason
    assert "synchronise the clocks (chrony)" in result.reason
    assert "stopped" in pairing.pair((now_ms + 5000) * MS).reason


def test_late_pictures_are_told_from_a_clock_that_is_behind() -> None:
    """A clock that is behind delays each picture by as much; what comes 0.6 s late, then 1.4 s, is late (report F9)."""
    pairing = filled(0, 0, 0)
    for k in range(1, 30):
        pairing.add_image("front", k * 66 * MS, IMAGE, (k * 66 + 600 + 800 * (k % 2)) * MS)
        pairing.add_image("wrist", k * 66 * MS, IMAGE, k * 66 * MS)
    assert "camera 'front' is 0.60 to 1.40 s late" in pairing.pair((29 * 66 + 1410) * MS).reason


def test_a_pair_that_never_comes_is_named_with_its_gap() -> None:
    """Two 5 Hz cameras 100 ms apart: after some tries it is told that none ever fitted, and by how much (report C)."""
    pairing = new_pairing()
    reasons = []
    for k in range(20):
        pairing.add_state(200 * k * MS, STATE, 200 * k * MS)
        pairing.add_image("front", 200 * k * MS, IMAGE, 200 * k * MS)
        pairing.add_image("wrist", (200 * k + 100) * MS, IMAGE, (200 * k + 100) * MS)
        reasons.append(pairing.pair((200 * k + 110) * MS).reason)
    assert "none came nearer" not in reasons[0]
    assert "of the last 20 observations none came nearer than 0.100 s" in reasons[-1]
    assert "pair_slop_s" in reasons[-1]


stamps = st.lists(st.integers(0, 2000), min_size=0, max_size=30)


@given(front=stamps, wrist=stamps, states=stamps, now=st.integers(0, 3000), used=st.none() | st.integers(0, 2000))
def test_no_observation_breaks_the_rules(
    front: list[int], wrist: list[int], states: list[int], now: int, used: int | None
) -> None:
    """Whatever arrives in whatever order: an observation is fresh, within the slop, and newer than the last."""
    pairing = new_pairing()
    for camera, times in zip(CAMERAS, (front, wrist), strict=True):
        for t in times:
            pairing.add_image(camera, t * MS, IMAGE, t * MS)
    for t in states:
        pairing.add_state(t * MS, STATE, t * MS)
    result = pairing.pair(now * MS, None if used is None else used * MS)
    assert (result.observation is not None) == (result.status is PairingStatus.READY)
    assert bool(result.reason) != (result.status in (PairingStatus.READY, PairingStatus.NOTHING_NEW))
    if result.observation is None:
        return
    o = result.observation
    assert used is None or o.stamp_ns > used * MS
    assert o.stamp_ns in o.image_stamps_ns.values()
    for stamp in (*o.image_stamps_ns.values(), o.state_stamp_ns):
        assert abs(stamp - o.stamp_ns) <= SLOP_S * 1e9
    for newest in (max(front), max(wrist)):
        assert now - newest <= IMAGE_AGE_S * 1e3
    assert now - max(states) <= STATE_AGE_S * 1e3


def test_clear_forgets_everything() -> None:
    """After a clock jump nothing of the old time is used."""
    pairing = filled(1000, 1000, 1000)
    pairing.clear()
    assert pairing.pair(1000 * MS).status is PairingStatus.MISSING
    assert pairing.add_image("front", 10 * MS, IMAGE, 10 * MS)


def test_an_unknown_camera_is_an_error() -> None:
    """A wrong name is a programming error, not silence."""
    with pytest.raises(KeyError):
        new_pairing().add_image("side", 1, IMAGE, 1)


def test_a_message_of_a_time_before_the_clock_went_back_blocks_nothing() -> None:
    """One late message of the old time, after everything was forgotten: observations of the new time are paired."""
    pairing = filled(1000, 1000, 1000)
    pairing.clear()
    pairing.add_image("front", 21_000 * MS, IMAGE, 1010 * MS)
    pairing.add_state(21_000 * MS, STATE, 1010 * MS)
    for ms in (1020, 1086):
        assert pairing.add_image("front", ms * MS, IMAGE, (ms + 5) * MS)
        assert pairing.add_image("wrist", ms * MS, IMAGE, (ms + 5) * MS)
        assert pairing.add_state(ms * MS, STATE, (ms + 5) * MS)
        result = pairing.pair((ms + 10) * MS)
        assert result.observation is not None, result.reason
        assert result.observation.stamp_ns == ms * MS
