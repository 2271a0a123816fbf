# SPDX-License-Identifier: Apache-2.0
"""Where a motion begins: at the measured pose, wherever the arm stands."""

import dataclasses

import numpy as np
import pytest

from swiftvla_ros.contract.control import Gripper, GripperBinary
from swiftvla_ros.motion import Mode, Refusal, brake_trajectory

MS = 1_000_000
HIGH = 1.7


def _moved(bench, pose):
    """Let the arm be found at a pose, at rest, with nothing commanded."""
    bench.seed(np.asarray(pose, dtype=float))


def _comes_inside(bench, pose):
    """Each command is no farther out than the one before, and no farther from it than the limits allow."""
    path = np.concatenate([[pose], bench.positions])
    outside = np.maximum(np.abs(path) - HIGH, 0.0)
    assert (np.diff(outside, axis=0) <= 1e-9).all()
    assert (np.abs(np.diff(path, axis=0)) <= bench.limits.max_velocity * 0.01 + 1e-9).all()
    bench.commands.insert(0, dataclasses.replace(bench.commands[0], stamp_ns=bench.began_ns, position=np.array(pose)))
    report = bench.report()
    assert report.ok, report.violations()


@pytest.mark.parametrize("beyond", [1e-9, 1e-4, 0.05, 0.19, 1.0])
@pytest.mark.parametrize("side", [-1.0, 1.0])
@pytest.mark.parametrize("far_start", ["refuse", "approach"])
def test_an_arm_outside_its_limits_comes_inside_slowly(make_bench, far_start, side, beyond):
    """The first command was the limit itself, a radian away in one tick (report F1)."""
    bench = make_bench(start_tolerance_rad=0.2, far_start=far_start, approach_s=0.5)
    pose = np.array([0.3, side * (HIGH + beyond), 0.0])
    _moved(bench, pose)
    rows = np.tile([0.3, side * HIGH, 0.0], (10, 1))
    answer = bench.executor.offer(bench.chunk(rows), bench.now_ns)
    if beyond > 0.2 and far_start == "refuse":
        assert answer.code is Refusal.FAR_FROM_MEASURED
        for named in ("'joint_1'", f"{pose[1]:.3f}", "1.700", "0.2", "far_start"):
            assert named in answer.text
        bench.run(0.1)
        assert not bench.commands
        return
    bench.began_ns = bench.now_ns
    assert answer.accepted
    for _ in range(7):
        bench.run(0.5)
        bench.executor.offer(bench.chunk(rows), bench.now_ns)
    _comes_inside(bench, pose)
    assert abs(bench.positions[-1, 1]) == pytest.approx(HIGH, abs=1e-3)


@pytest.mark.parametrize("then", ["stop", "emergency", "silence", "clock", "pause", "another"])
def test_whatever_happens_on_the_way_in_leads_no_farther_out(make_bench, then):
    """A stop, a brake, silence or another plan find an arm that is still outside (report F1)."""
    bench = make_bench(far_start="approach", approach_s=1.0)
    pose = np.array([0.0, HIGH + 0.8, -HIGH - 0.3])
    _moved(bench, pose)
    bench.began_ns = bench.now_ns
    assert bench.executor.offer(bench.chunk(np.zeros((10, 3))), bench.now_ns).accepted
    bench.run(0.45)
    assert (np.abs(bench.positions[-1, 1:]) > HIGH).any()
    if then == "stop":
        bench.executor.stop()
    elif then == "emergency":
        bench.executor.emergency_stop()
    elif then == "clock":
        bench.now_ns += 50_000 * MS
    elif then == "pause":
        bench.executor.set_speed_scale(0.0)
    elif then == "another":
        bench.run(1.2)
        bench.executor.offer(bench.chunk(np.full((10, 3), 3.0)), bench.now_ns)
    bench.run(1.0, measured=then != "silence")
    _comes_inside(bench, pose)
    stop = brake_trajectory(bench.commands[len(bench.commands) // 2], bench.limits)
    assert (np.abs(stop.positions[:, 1]) <= abs(pose[1])).all()


def test_a_pose_outside_is_held_and_told_as_it_is(make_bench):
    """An arm that is taken over where it is held, and what a policy is told of one that nothing moves (report F1)."""
    bench = make_bench()
    pose = np.array([0.0, HIGH + 0.1, 0.0])
    bench.executor.seed(pose, bench.now_ns, holding=True)
    bench.run(0.1)
    np.testing.assert_array_equal(bench.positions, np.tile(pose, (10, 1)))
    bench.executor.seed(pose, bench.now_ns)
    np.testing.assert_array_equal(bench.executor.plan_rows(bench.now_ns, 100 * MS, 2), np.tile(pose, (2, 1)))


def test_a_gripper_outside_its_limits_begins_where_it_is(make_bench):
    """A closed gripper that is squeezed past its limit, as open or closed only (report F1)."""
    binary = GripperBinary(close_below=-0.5, open_above=0.5)
    gripper = Gripper(joint="joint_2", open=HIGH, closed=-HIGH, binary=binary)
    bench = make_bench(grippers=(gripper,))
    pose = np.array([0.0, 0.0, -HIGH - 0.1])
    _moved(bench, pose)
    bench.began_ns = bench.now_ns
    rows = np.tile([0.0, 0.0, 1.0], (10, 1))
    assert bench.executor.offer(bench.chunk(rows), bench.now_ns).accepted
    bench.run(0.9)
    _comes_inside(bench, pose)
    _moved(bench, [0.0, 0.0, -HIGH - 0.6])
    assert "'joint_2' stands at -2.300" in bench.executor.offer(bench.chunk(rows), bench.now_ns).text


def test_an_arm_that_is_moved_before_the_first_command_begins_where_it_is(make_bench):
    """Between a chunk and the next tick the arm was moved by hand, or a second publisher spoke: no jump back."""
    bench = make_bench()
    assert bench.executor.offer(bench.chunk(np.zeros((10, 3))), bench.now_ns).accepted
    near = np.array([0.1, -0.1, 0.0])
    bench.executor.measured(near, bench.now_ns + 5 * MS)
    first = bench.executor.tick(bench.now_ns + 10 * MS)
    np.testing.assert_array_equal(first.position, near)
    assert (bench.executor.accepted, bench.executor.mode) == (1, Mode.FRESH)
    bench.executor.stop()
    bench.run(1.0)


def test_a_latched_stop_lets_go_of_an_arm_that_may_be_moved(make_bench):
    """A node that is activated again after an emergency stop must not pull the arm back to where that was."""
    bench = make_bench()
    assert bench.executor.offer(bench.chunk(np.zeros((10, 3)) + 0.1), bench.now_ns).accepted
    bench.run(0.2)
    bench.executor.emergency_stop()
    bench.executor.let_go()
    bench.run(0.01)
    assert len(bench.commands) == 21, "it brakes to the end"
    bench.run(0.5)
    bench.executor.let_go()
    assert bench.executor.tick(bench.now_ns + 10 * MS) is None
    assert bench.executor.mode is Mode.STOPPED
    elsewhere = np.array([0.5, 0.0, 0.0])
    bench.executor.measured(elsewhere, bench.now_ns + 10 * MS)
    assert bench.executor.reset()
    bench.executor.measured(elsewhere, bench.now_ns + 20 * MS)
    bench.now_ns += 20 * MS
    assert bench.executor.offer(bench.chunk(np.tile(elsewhere, (10, 1))), bench.now_ns).accepted
    np.testing.assert_array_equal(bench.executor.tick(bench.now_ns).position, elsewhere)


@pytest.mark.parametrize("then", ["nothing", "emergency", "stop", "clock"])
def test_a_chunk_that_is_far_after_all_moves_nothing(make_bench, then):
    """The same by more than the start tolerance, or by a stop or a clock jump before the first command."""
    bench, far = make_bench(), np.array([1.0, 0.0, 0.0])
    assert bench.executor.offer(bench.chunk(np.zeros((10, 3))), bench.now_ns).accepted
    bench.executor.measured(far, bench.now_ns + 5 * MS)
    if then == "emergency":
        bench.executor.emergency_stop()
    elif then == "stop":
        bench.executor.stop()
    command = bench.executor.tick(bench.now_ns + (5000 if then == "clock" else 10) * MS)
    if then in ("nothing", "clock"):
        assert command is None
        assert bench.executor.mode is Mode.IDLE
        assert (bench.executor.accepted, bench.executor.refused) == ((0, 1) if then == "nothing" else (1, 0))
    else:
        np.testing.assert_array_equal(command.position, far)
        bench.now_ns += 10 * MS
        bench.run(0.1)
        assert bench.executor.mode is (Mode.STOPPED if then == "emergency" else Mode.HOLD)
        np.testing.assert_array_equal(bench.positions, np.tile(far, (10, 1)))
