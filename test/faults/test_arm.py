# SPDX-License-Identifier: Apache-2.0
"""Executor, driver and controllers that fail."""

from __future__ import annotations

import signal
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install '.[ros]' or source a ROS setup")

from fault_bounds import CONTRACT, HOLD, ORDER_END_S, beside
from lifecycle_msgs.msg import Transition

from swiftvla_ros.motion import check_limits
from swiftvla_ros.msg import ExecutorState

pytestmark = [pytest.mark.ros, pytest.mark.timeout(180)]


def test_executor_killed_in_motion(system: Any, fault: Any) -> None:
    """The last trajectory's own tail brings the arm to rest inside the limits; a new executor starts from there."""
    system.nodes["trajectory_executor"].end()
    system.states.clear()
    system.start_executor(str(system.trajectory_contract))
    system.wait(lambda: system.states.messages, "the executor is there", 60)
    row = fault("executor killed in motion", "SIGKILL to trajectory_executor_node (joint_trajectory)")
    system.send(signal.SIGKILL, "trajectory_executor")
    system.nodes["trajectory_executor"].wait()
    begin_ns = round(row.begin_s * 1e9)
    system.wait(lambda: system.driver.track[-1][0] - system.driver.rests_since_ns() > 300_000_000, "the arm rests")
    row.safe, row.bound_s, row.codes = "the driver rests", 0.7, "no executor_state"
    row.safe_s = max(0, system.driver.rests_since_ns() - begin_ns) / 1e9
    assert row.safe_s <= row.bound_s
    track = [(ns, q) for ns, q in system.driver.track if ns > begin_ns - 200_000_000]
    report = check_limits(
        np.array([ns for ns, _ in track]),
        np.array([q for _, q in track]),
        CONTRACT.limits,
        CONTRACT.joint_names,
        tick_s=0.02,
    )
    # Between the points of a trajectory a driver interpolates, so what it does is known to its velocity.
    assert report.ratios[:2].max() <= 1.0, report.as_dict()
    system.states.clear()
    row.first = 0
    system.start_executor()
    system.wait(lambda: system.states.messages, "a new executor is there", 60)
    row.recovers("a new process, from the measured pose")


def test_pose_outside_limits(system: Any, fault: Any) -> None:
    """Limits that were narrowed (report F1): from the measured pose inwards at limited speed, or not at all if far."""
    row = fault("pose outside limits", "an executor whose limits end 0.1 rad from the arm, then one 0.6 rad")
    name = CONTRACT.joint_names[0]
    for beyond in (0.1, 0.6):
        system.killed.add("trajectory_executor")
        system.nodes["trajectory_executor"].end()
        system.wait(lambda: system.driver.track[-1][0] - system.driver.rests_since_ns() > 300_000_000, "the arm rests")
        begin, pose = len(system.driver.track), system.driver.track[-1][1]
        system.states.clear()
        system.start_executor(str(system.narrowed(round(float(pose[0]) + beyond, 4))))
        system.wait(lambda: system.states.messages, "the executor is there", 60)
        if beyond == 0.1:
            lowest = pose[0] + beyond
            system.wait(lambda at=lowest: system.driver.track[-1][1][0] >= at - 1e-3, "the arm is inside")
            track = system.driver.track[begin:]
            on_the_way = np.array([q[0] for _, q in track])
            outside = on_the_way[: np.flatnonzero(on_the_way >= lowest - 1e-3)[0]]
            assert (np.diff(outside, prepend=pose[0]) >= -1e-9).all()
            # As commanded: the driver's samples bunch up when this process stalls.
            system.check_limits(0)
        else:
            refused = ExecutorState.REFUSAL_FAR_FROM_MEASURED
            system.wait(lambda code=refused: system.states.last.last_refusal == code, "the chunks are refused")
            assert f"'{name}' stands at" in system.states.last.last_refusal_text
            assert all((q == pose).all() for _, q in system.driver.track[begin:])
    row.safe, row.codes = "comes inside slowly; farther than start_tolerance_rad: refused", "FAR_FROM_MEASURED"
    system.killed.add("trajectory_executor")
    system.nodes["trajectory_executor"].end()
    system.states.clear()
    row.first = 0
    system.start_executor()
    system.wait(lambda: system.states.messages, "an executor with the right limits is there", 60)
    row.recovers("the right limits")


def test_driver_deaf(system: Any, fault: Any) -> None:
    """An arm that no longer obeys is not commanded further and further away: latched until an operator resets it."""
    row = fault("driver deaf", "the driver ignores commands, and publishes the same joint states")
    system.driver.deaf = True
    row.ends_in(HOLD, 3.0, ExecutorState.REASON_JOINT_FROZEN, ExecutorState.REASON_TRACKING_ERROR)
    system.driver.heal()
    assert system.graph.trigger("trajectory_executor/reset").success
    row.recovers("~/reset")


def test_controller_takes_another_order(system: Any, fault: Any) -> None:
    """An array's joints in another order (report F4): the arm is let go of, activation refused until it is right."""
    system.ready()
    with beside("wrong_controller.py", CONTRACT.control.topic) as printed:
        row = fault("controller order", "a controller whose `joints` begin with the elbow takes the arrays")
        system.wait(lambda: "listening" in printed(), "the controller is there", 60)
        system.wait(lambda: system.graph.node.count_subscribers(CONTRACT.control.topic) > 1, "it is discovered")
        row.begins()
        # An inactive node hears no joint states, so these may be told as too old before the arm has slowed down.
        reasons = (ExecutorState.REASON_DEACTIVATED, ExecutorState.REASON_STATE_STALE)
        row.ends_in(ExecutorState.RELEASED, ORDER_END_S, *reasons)
        output = system.nodes["trajectory_executor"].output()
        assert "in the order ['elbow_flex', 'shoulder_pan'," in output
        assert "write control.joints: [elbow_flex, shoulder_pan," in output
        with pytest.raises(AssertionError):
            system.change_state("trajectory_executor", Transition.TRANSITION_ACTIVATE)
    system.wait(lambda: system.graph.node.count_subscribers(CONTRACT.control.topic) == 1, "the controller has left")
    system.activate_executor()
    assert system.instruct("pick up the red block").success
    row.recovers("it is ended, the executor activated")
