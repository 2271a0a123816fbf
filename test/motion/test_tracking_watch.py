# SPDX-License-Identifier: Apache-2.0
"""An arm that does not do what it is told: stopped, latched, and named."""

import numpy as np
import pytest

from swiftvla_ros.motion import Mode, Reason, Refusal
from swiftvla_ros.motion.speed_limits import SourceLimit

MS = 1_000_000


def ramp(t: np.ndarray) -> np.ndarray:
    """Three joints at half a radian a second."""
    return np.tile(0.5 * np.atleast_1d(t)[:, None], 3)


def _run(bench, seconds, measure):
    """Tick with chunks coming; ``measure`` makes the measured pose of the commanded one."""
    for k in range(round(seconds * 100)):
        if k % 10 == 0:
            bench.executor.offer(bench.chunk(ramp), bench.now_ns)
        bench.run(0.01, measured=False)
        if bench.commands:
            bench.executor.measured(measure(bench.commands[-1].position), bench.now_ns)


def _stuck(joint, at):
    def measure(position):
        position = position.copy()
        position[joint] = at
        return position

    return measure


def test_a_joint_that_does_not_follow_stops_the_arm_until_reset(make_bench):
    """A stalled motor: slowed down along the path, the joint and both numbers named, and only reset leads out."""
    bench = make_bench(tracking={"tolerance_rad": 0.2, "for_s": 0.3})
    wobble = iter(np.arange(10_000) * 1e-6)
    _run(bench, 0.4, lambda p: p)
    assert bench.executor.mode is Mode.FRESH

    def measure(position):
        return _stuck(1, 0.1 + next(wobble))(position)

    _run(bench, 1.2, measure)
    assert bench.executor.reason is Reason.TRACKING_ERROR
    assert bench.executor.mode in (Mode.DECELERATING, Mode.HOLD)
    verdict = bench.executor.offer(bench.chunk(ramp), bench.now_ns)
    assert verdict.code is Refusal.NOT_READY
    for part in ("'joint_1'", "commanded", "measured 0.1", "~/reset"):
        assert part in verdict.text
    bench.run(1.0)
    assert bench.executor.mode is Mode.HOLD
    assert bench.executor.reason is Reason.TRACKING_ERROR
    assert bench.report().ok
    bench.executor.start()
    assert bench.executor.offer(bench.chunk(ramp), bench.now_ns).code is Refusal.NOT_READY
    assert bench.executor.reset()
    bench.executor.measured(np.zeros(3), bench.now_ns)
    assert bench.executor.offer(bench.chunk(np.zeros((10, 3))), bench.now_ns).accepted


def test_a_measurement_that_never_changes_is_a_frozen_joint(make_bench):
    """A driver that repeats itself looks alive; the command that moved away tells."""
    bench = make_bench(frozen_joint={"moved_rad": 0.1, "for_s": 0.3})
    _run(bench, 1.5, _stuck(2, 0.0))
    assert bench.executor.reason is Reason.JOINT_FROZEN
    verdict = bench.executor.offer(bench.chunk(ramp), bench.now_ns)
    assert verdict.code is Refusal.NOT_READY
    assert "'joint_2' is frozen" in verdict.text
    assert bench.report().ok


def test_one_bad_state_and_a_lagging_driver_set_nothing_off(make_bench):
    """Both watches take time: a spike is no stall, and a driver 60 ms behind is no error."""
    bench = make_bench(tracking={"tolerance_rad": 0.1, "for_s": 0.3}, frozen_joint={"moved_rad": 0.1, "for_s": 0.3})
    count = iter(range(10_000))

    def measure(_position):
        behind = bench.commands[max(len(bench.commands) - 7, 0)].position
        return behind + (0.5 if next(count) % 20 == 0 else 0.0)

    _run(bench, 2.0, measure)
    assert bench.executor.mode is Mode.FRESH


def test_an_arm_that_rests_is_not_frozen(make_bench):
    """Commands that stand still ask for no movement."""
    bench = make_bench(frozen_joint={"moved_rad": 0.1, "for_s": 0.3})
    bench.executor.offer(bench.chunk(np.zeros((10, 3))), bench.now_ns)
    bench.run(5.0)
    assert bench.executor.mode is Mode.HOLD
    assert bench.executor.reason is Reason.ROWS_EXHAUSTED


def test_an_arm_that_its_driver_holds_is_not_frozen(make_bench):
    """A driver that holds the arm and pauses the executor: the arm stands while its command slows down, and goes on."""
    bench = make_bench(frozen_joint={"moved_rad": 0.02, "for_s": 0.05})
    executor = bench.executor
    _run(bench, 0.5, lambda p: p)
    held = bench.commands[-1].position.copy()
    executor.speed_limits.set(SourceLimit("driver", 0.0, "a servo is hot"))
    _run(bench, 1.0, lambda _: held)
    assert np.abs(executor.tracking_error).max() > 0.02, "the command went on for longer than the watch would bear"
    assert executor.reason is Reason.PAUSED
    executor.speed_limits.set(SourceLimit("driver", 1.0))
    _run(bench, 0.2, lambda p: p)
    assert executor.mode is Mode.FRESH
    _run(bench, 1.0, _stuck(2, 0.0))
    assert executor.reason is Reason.JOINT_FROZEN


def test_a_gripper_that_holds_something_is_left_alone(make_bench):
    """It is neither where its command is nor does it move, and that is its job."""
    holding = {"joint": "joint_2", "open": 1.0, "closed": 0.0}
    bench = make_bench(tracking={"tolerance_rad": 0.1}, frozen_joint={"moved_rad": 0.1}, grippers=(holding,))
    _run(bench, 2.0, _stuck(2, 0.0))
    assert bench.executor.mode is Mode.FRESH


@pytest.mark.parametrize("age_s", [0.05, 30.0])
def test_a_state_older_than_the_newest_changes_nothing(make_bench, age_s):
    """Messages out of order, or a bag played into the live system: the pose is not taken back."""
    bench = make_bench()
    bench.stream(ramp, 1.0)
    error = bench.executor.tracking_error.copy()
    assert not bench.executor.measured(np.full(3, -1.0), bench.now_ns - round(age_s * 1e9))
    assert np.array_equal(bench.executor.tracking_error, error)
    assert not bench.executor.measured(np.full(3, -1.0), bench.now_ns + 3600 * 10**9, bench.now_ns)
    bench.run(0.1)
    assert bench.executor.mode is Mode.FRESH


def test_after_the_clock_jumped_back_states_are_taken_again(make_bench):
    """Else no state would be fresh until the clock is where it was, in motion and before the first chunk alike."""
    for moving in (True, False):
        bench = make_bench()
        if moving:
            bench.stream(ramp, 1.0)
        else:
            bench.run(0.1)
        bench.now_ns -= 3 * 10**9
        bench.run(1.0)
        assert bench.executor.measured(np.zeros(3), bench.now_ns)
        assert bench.executor.offer(
            bench.chunk(np.tile(bench.executor._follower.state[0], (10, 1))), bench.now_ns
        ).accepted
