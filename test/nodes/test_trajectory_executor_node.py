# SPDX-License-Identifier: Apache-2.0
"""trajectory_executor_node as a process; the test is the policy, and an arm that follows exactly."""

import math
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from executor_arm import CONTRACT, ROWS, STEP_NS, Arm
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from swiftvla_ros.msg import ExecutorState
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.messages import header
from swiftvla_ros.observation.message_fields import stamp_ns


def test_commands_come_at_the_control_rate_inside_the_limits(arm: Arm) -> None:
    """Chunks at 15 Hz become commands at 100 Hz without a jump at their seams, in the driver's units and order."""
    arm.move()
    arm.graph.wait_until(lambda: len(arm.commands.messages) > 250, "commands keep coming")
    assert arm.mode == ExecutorState.FRESH
    states = [s for s in arm.states.messages if len(s.commanded_position)]
    # The middle one: a machine that stalls has a few long ones.
    tick_ns = np.median(np.diff([stamp_ns(s.header.stamp) for s in states]))
    assert tick_ns == pytest.approx(1e9 / CONTRACT.control.rate_hz, rel=0.2)
    commanded = [list(s.commanded_position) for s in states]
    assert list(CONTRACT.to_si(np.array(arm.commands.messages[100].data))) in [pytest.approx(c) for c in commanded]
    arm.check_limits()


def test_when_chunks_stop_the_arm_slows_down_and_holds_in_time(arm: Arm) -> None:
    """HOLD within 0.5 s of the last usable row, inside the limits, with the reason on executor_state."""
    arm.move()
    arm.sending.clear()
    arm.settle(ExecutorState.HOLD)
    last = next(s for s in arm.states.messages[::-1] if s.mode != ExecutorState.HOLD)
    hold = next(s for s in arm.states.messages if s.mode == ExecutorState.HOLD)
    last_row_ns = stamp_ns(last.chunk_stamp) + (ROWS - 1) * STEP_NS
    assert stamp_ns(hold.header.stamp) <= last_row_ns + 500_000_000
    assert hold.reason == ExecutorState.REASON_ROWS_EXHAUSTED
    assert f"chunk {arm.chunk_id}" in hold.reason_text
    arm.check_limits()
    # The last chunk's planned rows, told when it was taken over, are what was commanded then.
    followed = [s for s in arm.states.messages if s.chunk_id == arm.chunk_id and s.row >= 0]
    told = next(np.array(s.planned_rows).reshape(-1, 6) for s in followed if len(s.planned_rows))
    rows = np.arange(math.ceil(followed[0].row), len(told))
    columns = np.array([s.commanded_position for s in followed]).T
    came = np.stack([np.interp(rows, [s.row for s in followed], column) for column in columns], axis=1)
    assert len(rows) >= 4
    assert np.abs(told[rows] - came).max() < 1e-3


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("nan", ExecutorState.REFUSAL_NON_FINITE),
        ("future", ExecutorState.REFUSAL_FUTURE_STAMP),
        ("stale", ExecutorState.REFUSAL_STALE),
        ("joints", ExecutorState.REFUSAL_WRONG_JOINTS),
        ("far", ExecutorState.REFUSAL_FAR_FROM_MEASURED),
    ],
)
def test_a_bad_chunk_is_refused_and_nothing_moves(executor: Arm, fault: str, code: int) -> None:
    """NaN, a stamp of another time, other joints, a first target far away: each refused with its code and a text."""
    executor.graph.wait_until(lambda: executor.states.messages, "executor_state comes")
    refused = executor.states.last.chunks_refused
    executor.nan = fault == "nan"
    ns = executor.now_ns() + {"future": 2_000_000_000, "stale": -5_000_000_000}.get(fault, -30_000_000)
    joints = [f"other_{k}" for k in range(len(CONTRACT.joints))] if fault == "joints" else None
    executor.begin_ns = ns
    executor.send(ns, offset=1.0 if fault == "far" else 0.0, joints=joints)
    executor.nan = False
    executor.graph.wait_until(lambda: executor.states.last.chunks_refused > refused, "the chunk is refused")
    assert executor.states.last.last_refusal == code
    assert executor.states.last.last_refusal_text
    assert executor.mode == ExecutorState.IDLE
    assert not executor.commands.messages
    executor.begin_ns = None


def test_stop_and_start(arm: Arm) -> None:
    """~/stop slows down and holds though chunks go on; ~/start follows them again."""
    arm.move()
    assert arm.graph.trigger("trajectory_executor/stop").success
    arm.settle(ExecutorState.HOLD)
    assert arm.states.last.reason == ExecutorState.REASON_STOP_REQUESTED
    arm.graph.wait_until(lambda: arm.states.last.last_refusal == ExecutorState.REFUSAL_NOT_READY, "chunks are refused")
    arm.check_limits()
    assert arm.graph.trigger("trajectory_executor/start").success
    # The sweep comes by where the arm holds.
    arm.settle(ExecutorState.FRESH)


def test_emergency_stop_is_latched(arm: Arm) -> None:
    """~/emergency_stop brakes inside the limits and stays, whatever comes, until ~/reset; a moving arm is not reset."""
    arm.move()
    assert not arm.graph.trigger("trajectory_executor/reset").success
    assert arm.graph.trigger("trajectory_executor/emergency_stop").success
    arm.graph.wait_until(lambda: arm.mode == ExecutorState.STOPPED and not arm.moves(), "the arm is stopped")
    assert arm.states.last.reason == ExecutorState.REASON_EMERGENCY_STOP
    arm.graph.trigger("trajectory_executor/start")
    arm.graph.wait_until(lambda: arm.states.last.last_refusal == ExecutorState.REFUSAL_NOT_READY, "chunks are refused")
    assert arm.mode == ExecutorState.STOPPED
    arm.check_limits()
    arm.sending.clear()
    arm.graph.wait_until(lambda: arm.graph.trigger("trajectory_executor/reset").success, "reset leads out")
    arm.settle(ExecutorState.IDLE)
    arm.position = CONTRACT.rest.copy()
    arm.begin_ns = None
    arm.states.clear()
    arm.move()


def test_nan_in_the_measured_state_stops_the_arm(arm: Arm) -> None:
    """Without a state to trust the arm slows down and holds, though chunks go on."""
    arm.move()
    arm.broken_state = True
    arm.settle(ExecutorState.HOLD)
    assert arm.states.last.reason in (ExecutorState.REASON_STATE_INVALID, ExecutorState.REASON_STATE_STALE)
    arm.check_limits()
    arm.sending.clear()
    arm.broken_state = False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_process_that_is_ended_in_motion_brings_the_arm_to_rest(graph: Any, number: int) -> None:
    """Ctrl-C is no emergency: the last commands slow the arm down inside its limits, then the process ends with 0."""
    arm = Arm(graph, "so101_sim", Float64MultiArray, CONTRACT.control.topic, namespace=f"ended_{number:d}")
    arm.move()
    assert arm.process.end(number) == 0, arm.process.output()
    arm.check_limits()
    assert arm.states.last.reason == ExecutorState.REASON_DEACTIVATED
    # The last command is the resting position itself: nothing is missing between it and where the arm was going.
    rest = CONTRACT.from_si(np.array(arm.states.last.commanded_position))
    graph.wait_until(lambda: np.allclose(arm.commands.last.data, rest, atol=1e-12), "the last command is the rest")
    arm.close()


def test_deactivating_in_motion_slows_the_arm_down_and_lets_go(graph: Any) -> None:
    """The lifecycle's deactivate is no jolt: inside the limits to rest, then RELEASED and no more commands."""
    from lifecycle_msgs.msg import Transition
    from lifecycle_msgs.srv import ChangeState

    def change(transition: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(graph.call(ChangeState, "/managed/trajectory_executor/change_state", request).success)

    arm = Arm(graph, "so101_sim", Float64MultiArray, CONTRACT.control.topic, namespace="managed")
    arm.move()
    assert change(Transition.TRANSITION_DEACTIVATE)
    arm.settle(ExecutorState.RELEASED)
    arm.check_limits()
    count = len(arm.commands.messages)
    states = len(arm.states.messages)
    graph.wait_until(lambda: len(arm.states.messages) > states + 5, "executor_state goes on")
    assert len(arm.commands.messages) == count
    assert change(Transition.TRANSITION_ACTIVATE)
    arm.settle(ExecutorState.FRESH)
    arm.close()


def test_in_shadow_mode_nothing_can_be_commanded(graph: Any) -> None:
    """No publisher of commands exists; what would be sent, and how far the arm is from it, is published instead."""
    predicted = graph.listen(JointTrajectory, "/shadow/shadow/predicted", qos.STATE)
    errors = graph.listen(JointState, "/shadow/shadow/error", qos.STATE)
    others = graph.node.count_publishers(CONTRACT.control.topic)
    arm = Arm(graph, "so101_sim", Float64MultiArray, CONTRACT.control.topic, namespace="shadow", shadow=True)
    arm.follows = False
    arm.move()
    assert graph.node.count_publishers(CONTRACT.control.topic) == others
    assert all(s.shadow for s in arm.states.messages)
    graph.wait_until(lambda: len(errors.messages) > 60 and len(predicted.messages) > 5, "predictions come")
    assert tuple(predicted.last.joint_names) == CONTRACT.joint_names
    commanded = {stamp_ns(s.header.stamp): s.commanded_position for s in arm.states.messages if s.commanded_position}
    named = [m for m in predicted.messages if stamp_ns(m.header.stamp) in commanded]
    assert named
    assert all(list(m.points[0].positions) == list(commanded[stamp_ns(m.header.stamp)]) for m in named)
    # The arm stands at rest, so the error is the prediction's distance from there, at the state's own stamp.
    ns = np.array(sorted(commanded))
    path = np.array([commanded[k][0] for k in ns.tolist()])
    for message in errors.messages[-30:]:
        expected = np.interp(stamp_ns(message.header.stamp), ns, path) - CONTRACT.rest[0]
        assert message.position[0] == pytest.approx(expected, abs=2e-3)
    # When the plan has ended the next one begins where the arm is, with nobody calling ~/reset.
    arm.sending.clear()
    arm.settle(ExecutorState.RELEASED)
    arm.begin_ns = None
    arm.move()
    assert not arm.commands.messages
    arm.close()


def test_its_health_is_on_diagnostics(arm: Arm) -> None:
    """An aggregator sees OK while chunks are followed, and an error with its reason once the arm is stopped."""
    diagnostics = pytest.importorskip("diagnostic_msgs.msg", reason="diagnostic_msgs is not installed")
    inbox = arm.graph.listen(diagnostics.DiagnosticArray, "/diagnostics", 10)

    def newest(text: str, level: bytes) -> bool:
        mine = [s for m in inbox.messages for s in m.status if s.name == "/trajectory_executor"]
        return bool(mine) and text in mine[-1].message and mine[-1].level == level

    arm.move()
    arm.graph.wait_until(lambda: newest("FRESH", b"\x00"), "it is well")
    rival = arm.graph.node.create_publisher(Float64MultiArray, CONTRACT.control.topic, qos.COMMAND)
    arm.graph.wait_until(lambda: newest("somebody else publishes", b"\x02"), "a second master is noticed")
    arm.graph.node.destroy_publisher(rival)
    arm.graph.wait_until(lambda: newest("FRESH", b"\x00"), "and that it is gone")
    assert arm.graph.trigger("trajectory_executor/emergency_stop").success
    arm.graph.wait_until(lambda: newest("STOPPED", b"\x02"), "it is not")
    values = {v.key: v.value for v in inbox.last.status[0].values}
    assert values["reason"] == "EMERGENCY_STOP"
    assert float(values["longest time between ticks, ms"]) > 0


def test_a_trajectory_ends_at_rest(graph: Any, tmp_path: Path) -> None:
    """With output: joint_trajectory each message begins at the command and brakes to rest, in the driver's units."""
    text = CONTRACT.text.replace("output: forward_position", "output: joint_trajectory")
    text = text.replace("topic: /forward_position_controller/commands", "topic: /arm_controller/joint_trajectory")
    for urdf in CONTRACT.path.parent.glob("*.urdf"):
        (tmp_path / urdf.name).write_text(urdf.read_text())
    (tmp_path / "trajectory.yaml").write_text(text)
    arm = Arm(
        graph,
        str(tmp_path / "trajectory.yaml"),
        JointTrajectory,
        "/arm_controller/joint_trajectory",
        namespace="trajectory",
    )
    arm.move()
    arm.graph.wait_until(lambda: len(arm.commands.messages) > 100, "trajectories keep coming")
    for message in arm.commands.messages[-50:]:
        assert tuple(message.joint_names) == CONTRACT.joint_names
        times = [p.time_from_start.sec + p.time_from_start.nanosec / 1e9 for p in message.points]
        assert times[0] == pytest.approx(1 / CONTRACT.control.rate_hz)
        assert times == sorted(set(times))
        assert not any(message.points[-1].velocities)
    assert any(abs(message.points[0].velocities[0]) > 0.1 for message in arm.commands.messages)
    arm.check_limits()
    arm.close()


def test_a_clock_that_jumps_back_holds_the_arm(graph: Any) -> None:
    """On sim time, a bag that loops does not move the arm: it holds, with the reason."""
    from rosgraph_msgs.msg import Clock

    clock = graph.node.create_publisher(Clock, "/clock", qos.CLOCK)
    offset_ns = 0
    timer = graph.node.create_timer(
        0.01,
        lambda: clock.publish(Clock(clock=header(int(graph.node.get_clock().now().nanoseconds) + offset_ns).stamp)),
    )
    arm = Arm(graph, "so101_sim", Float64MultiArray, CONTRACT.control.topic, namespace="sim_time", use_sim_time=True)
    arm.move()
    offset_ns = -60_000_000_000
    graph.wait_until(lambda: arm.states.last.reason == ExecutorState.REASON_CLOCK_JUMP, "the jump is noticed")
    graph.wait_until(lambda: not arm.moves(), "the arm rests")
    graph.node.destroy_timer(timer)
    arm.close()
