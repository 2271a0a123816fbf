# SPDX-License-Identifier: Apache-2.0
"""Clocks of two machines, and /clock (last: from there on the nodes read it)."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install '.[ros]' or source a ROS setup")

from fault_bounds import HOLD, STATE_END_S, TRANSPORT_S

from swiftvla_ros.msg import ExecutorState
from swiftvla_ros.observation.message_fields import stamp_ns

pytestmark = [pytest.mark.ros, pytest.mark.timeout(180)]


def test_clock_ahead(system: Any, fault: Any) -> None:
    """Stamps of a robot whose clock is ahead: named with their offset, and used by their time of receipt (F9)."""
    row = fault("clock ahead", "the driver's stamps are 0.4 s ahead")
    names = ("joint_state", "camera_front", "camera_wrist")
    said = {name: len(system.nodes[name].output()) for name in names}
    system.driver.offset_s = 0.4
    chunk = system.states.last.chunk_id
    told = r"is stamped 0\.[234]\d s ahead of this clock; synchronise the clocks \(chrony\)"
    try:
        row.goes_on(lambda: system.states.last.chunk_id > chunk + 8, "chunks are followed")
        for name in names:
            system.wait(lambda name=name: re.search(told, system.nodes[name].output()[said[name] :]), f"{name} says so")
        found = re.search(told, system.nodes["joint_state"].output()[said["joint_state"] :])
        assert found is not None
        row.codes = f"log: {found[0]}"
        system.driver.heal()
        row.recovers()
    finally:
        system.driver.heal()
        healed_s = time.time()
        system.wait(lambda: time.time() - healed_s > 2.5, "a hundred stamps were good, so they count again")


def test_clock_behind(system: Any, fault: Any) -> None:
    """Stamps of a robot whose clock is behind may as well be late: nothing moves, and the offset is told (F9)."""
    row = fault("clock behind", "the driver's stamps are 1 s behind")
    system.driver.offset_s = -1.0
    row.ends_in(HOLD, STATE_END_S, ExecutorState.REASON_STATE_STALE, policy="s behind this clock")
    system.driver.heal()
    row.recovers("stamps of this clock")


def test_no_clock(system: Any, fault: Any) -> None:
    """use_sim_time without /clock: nothing moves, and that is named within 2 s; not one line was said (C)."""
    row = fault("no /clock", "the executor is ended, and started with use_sim_time")
    system.killed.add("trajectory_executor")
    system.nodes["trajectory_executor"].end()
    system.states.clear()
    row.first = 0
    system.start_executor(use_sim_time=True)
    told = "use_sim_time is true and no time comes on /clock"
    system.wait(lambda: told in system.nodes["trajectory_executor"].output(), "the clock is named", 60)
    assert not system.states.messages
    row.safe, row.codes = "nothing is commanded", f"log: {told}"
    system.driver.clock_on = True
    system.wait(lambda: system.states.messages, "the executor ticks")
    row.recovers("/clock comes")


@pytest.mark.parametrize(
    ("name", "jump_s"), [("clock jumps back", -20), ("clock jumps forward", 30)], ids=["back", "forward"]
)
def test_clock_jumps(system: Any, fault: Any, name: str, jump_s: int) -> None:
    """A time that is another: the plan of the old one is not followed; with chunks of the new time the arm goes on."""
    system.use_clock(True)
    row = fault(name, f"/clock and all stamps by {jump_s:+d} s")
    before_ns = stamp_ns(system.states.last.header.stamp)
    system.driver.jumped_ns += jump_s * 1_000_000_000
    stopped = (ExecutorState.DECELERATING, HOLD)
    system.wait(lambda: any(s.mode in stopped for _, s in row.states()), "the arm brakes")
    at_s, state = next((at_s, s) for at_s, s in row.states() if s.mode in stopped)
    assert state.reason == ExecutorState.REASON_CLOCK_JUMP, row.trace()
    row.safe, row.safe_s, row.bound_s, row.codes = "brakes", at_s - row.begin_s, TRANSPORT_S, "CLOCK_JUMP"
    assert row.safe_s <= row.bound_s
    assert abs(stamp_ns(state.header.stamp) - before_ns) > (abs(jump_s) - 5) * 1e9
    row.recovers("chunks of the new time")
