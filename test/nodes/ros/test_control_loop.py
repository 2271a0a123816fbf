# SPDX-License-Identifier: Apache-2.0
"""The arm's commands come on time, whatever clock the robot has, and never silently stop."""

import os
import subprocess
import sys
import threading

import pytest
from rclpy.clock import ROSClock
from rclpy.time import Time

from swiftvla_ros.doctor.machine import try_real_time
from swiftvla_ros.nodes.ros.control_loop import ControlLoop

pytestmark = pytest.mark.ros  # judged in real time
MS = 1_000_000
BROKEN_NODE = """
from swiftvla_ros.nodes.ros.lifecycle import run
from swiftvla_ros.nodes.trajectory_executor_node import TrajectoryExecutorNode

class Broken(TrajectoryExecutorNode):
    def _tick(self, parts):
        raise RuntimeError("a tick went wrong")

raise SystemExit(run(Broken, ["--ros-args", "-p", "robot:=so101_sim"]))
"""


class Ticks:
    """Notes the ROS time of each call."""

    def __init__(self, clock):
        self.clock, self.ns, self.came = clock, [], threading.Condition()

    def __call__(self):
        with self.came:
            self.ns.append(self.clock.now().nanoseconds)
            self.came.notify()

    def wait(self, count, timeout_s=10.0):
        with self.came:
            assert self.came.wait_for(lambda: len(self.ns) >= count, timeout_s), f"{len(self.ns)} of {count} ticks"
            return list(self.ns)


def fail(error):
    """What a loop may not do in these tests."""
    pytest.fail(f"the loop raised {error}")


def simulated(ns):
    """Make a clock that stands still at a time."""
    clock = ROSClock()
    clock._set_ros_time_is_active(True)
    clock.set_ros_time_override(Time(nanoseconds=ns, clock_type=clock.clock_type))
    return clock


def test_calls_keep_to_the_grid():
    """Lateness of one call does not move the ones after it: ten periods take ten periods."""
    clock = ROSClock()
    ticks = Ticks(clock)
    loop = ControlLoop(clock, 0.02, ticks, fail)
    try:
        ns = ticks.wait(11)
        first_due_ns = loop.due_ns - round((loop.due_ns - ns[0]) / (20 * MS)) * 20 * MS
        assert all((t - first_due_ns) % (20 * MS) < 15 * MS for t in ns)
    finally:
        loop.end()
    calls = len(ticks.ns)
    assert not loop._thread.is_alive()
    assert len(ticks.ns) == calls


def test_simulated_time_is_followed():
    """While /clock stands still nothing is called; when it goes on, one call a period, however fast it goes."""
    clock = simulated(1000 * MS)
    ticks = Ticks(clock)
    loop = ControlLoop(clock, 0.01, ticks, fail)
    try:
        for k in range(1, 6):
            clock.set_ros_time_override(Time(nanoseconds=(1000 + 10 * k) * MS, clock_type=clock.clock_type))
            assert len(ticks.wait(k)) == k
    finally:
        loop.end()


@pytest.mark.parametrize("jump_ms", [-20_000, 30_000])
def test_a_clock_that_jumps_is_told_at_once(jump_ms):
    """The call after a jump does not wait for the old time to come again, and the next is a period later."""
    clock = simulated(100_000 * MS)
    ticks = Ticks(clock)
    loop = ControlLoop(clock, 0.01, ticks, fail)
    try:
        after_ms = 100_000 + jump_ms
        clock.set_ros_time_override(Time(nanoseconds=after_ms * MS, clock_type=clock.clock_type))
        assert ticks.wait(1) == [after_ms * MS]
        clock.set_ros_time_override(Time(nanoseconds=(after_ms + 10) * MS, clock_type=clock.clock_type))
        assert ticks.wait(2)[1] == (after_ms + 10) * MS
    finally:
        loop.end()


def test_a_priority_that_is_not_granted_is_refused():
    """Nobody believes to have a real-time loop who has none."""
    with pytest.raises(ValueError, match=r"realtime_priority is 1000, .*write 0, or a priority from 1 to 99"):
        ControlLoop(ROSClock(), 0.01, lambda: None, fail, priority=1000)


def test_the_maker_of_a_real_time_loop_is_raised_while_it_runs():
    """A busy machine may not take the processor from a thread that holds Python's lock, or the arm waits for both."""
    if refusal := try_real_time():
        pytest.skip(f"no real-time priority is granted here: {refusal}")
    loop = ControlLoop(ROSClock(), 0.01, lambda: None, fail, priority=5)
    raised = os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK, os.sched_getparam(0).sched_priority
    loop.end()
    assert raised == (os.SCHED_FIFO, 4)
    assert os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_OTHER


def test_a_tick_that_raises_ends_the_process(ros_environment):
    """An executor that can't tick any more must not look alive: traceback, and a status that respawns it."""
    done = subprocess.run(
        [sys.executable, "-c", BROKEN_NODE],
        env=ros_environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "RuntimeError: a tick went wrong" in done.stderr
