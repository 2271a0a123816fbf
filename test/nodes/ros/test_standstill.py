# SPDX-License-Identifier: Apache-2.0
"""A process that stood still for longer than the others remember it notices."""

import threading
import time

import pytest

from swiftvla_ros.nodes.ros.ending import StandstillWatch, stood_still
from swiftvla_ros.preflight.transport import Profile, Transport


@pytest.mark.parametrize(("passed_s", "busy_s", "still"), [(0.3, 0.0, False), (9.5, 0.0, True), (9.5, 9.0, False)])
def test_who_computes_does_not_stand_still(passed_s: float, busy_s: float, still: bool) -> None:
    """While a library holds Python's lock the watch sleeps, but DDS's own threads go on announcing the process."""
    assert stood_still(passed_s, busy_s, 9.0) is still


def test_a_pause_is_told_once_with_its_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time that passed is the clock's, which goes on while a machine is suspended; no lease, no watch."""
    told, ended = [], threading.Event()
    paused_s = 0.0
    monkeypatch.setattr(time, "clock_gettime", lambda _clock: time.monotonic() + paused_s)

    def forgotten(text: str) -> None:
        told.append(text)
        ended.set()

    endless = Profile(lease_s=None)
    for profile in (Profile(lease_s=10.0, announcement_s=1.0), endless):
        StandstillWatch(Transport("0", "SUBNET", profile, None, None, ()), forgotten)
    assert not ended.wait(0.1)
    StandstillWatch(
        Transport("0", "SUBNET", Profile(), None, None, ()), told.append, lambda held_up_s: held_up_s < 30.0
    )
    paused_s = 40.0
    assert ended.wait(2.0)
    assert "stood still for 40." in told[0]
    assert "10 s" in told[0]
    assert len(told) == 1, "what loads for long is excused"
