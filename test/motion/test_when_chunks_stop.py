# SPDX-License-Identifier: Apache-2.0
"""Fresh → tail → decelerate → hold → release, the stops beside them, and the ways back up."""

from itertools import groupby

import numpy as np
import pytest

from swiftvla_ros.motion import Mode, Reason, Refusal

MS = 1_000_000


def ramp(t: np.ndarray) -> np.ndarray:
    """Three joints at half a radian a second."""
    return np.tile(0.5 * np.atleast_1d(t)[:, None], 3)


def _order(bench) -> list[Mode]:
    return [mode for mode, _ in groupby(bench.modes)]


def _moving(bench) -> bool:
    return bool(bench.commands[-1].velocity.any())


def test_chunks_that_stop_bring_the_arm_to_rest(make_bench):
    """The policy dies in motion: the arm rides the rows out, slows on them, rests half a second later."""
    bench = make_bench(hold_timeout_s=1.0)
    bench.stream(ramp, 1.0)
    last_row_ns = bench.executor.chunk.stamp_ns + 900 * MS
    assert bench.executor.mode is Mode.FRESH
    bench.run(3.0)
    assert _order(bench) == [Mode.IDLE, Mode.FRESH, Mode.TAIL, Mode.DECELERATING, Mode.HOLD, Mode.RELEASED]
    hold_ns = bench.commands[0].stamp_ns + (bench.modes.index(Mode.HOLD) - bench.modes.index(Mode.FRESH)) * 10 * MS
    assert last_row_ns < hold_ns <= last_row_ns + 500 * MS
    assert np.allclose(bench.positions[-1], 0.5 * (last_row_ns - 5_000 * MS) / 1e9, atol=5e-3), (
        "on the path, not past it"
    )
    assert bench.report().ok
    assert bench.executor.reason is Reason.HOLD_TIMEOUT
    assert bench.executor.tick(bench.now_ns + 10 * MS) is None


def test_each_step_down_says_why(make_bench):
    """An operator reads the reason, not the source."""
    bench = make_bench()
    bench.stream(ramp, 1.0)
    said = {}
    for _ in range(200):
        bench.run(0.01)
        said.setdefault(bench.executor.mode, (bench.executor.reason, bench.executor.reason_text))
    assert said[Mode.FRESH][0] is Reason.CHUNK
    assert said[Mode.TAIL][0] is Reason.CHUNK_LATE
    assert said[Mode.DECELERATING][0] is Reason.ROWS_EXHAUSTED
    assert said[Mode.HOLD][0] is Reason.ROWS_EXHAUSTED
    assert f"chunk {bench.executor.chunk_id}" in said[Mode.HOLD][1]


def test_a_long_chunk_is_not_ridden_to_its_end(make_bench):
    """Five seconds of rows from one look at the world are not a plan: the tail has its own timeout."""
    bench = make_bench(tail_timeout_s=0.6)
    bench.executor.offer(bench.chunk(ramp, rows=50), bench.now_ns)
    bench.run(1.5)
    assert bench.executor.mode is Mode.HOLD
    assert bench.executor.reason is Reason.CHUNK_LATE
    assert "0.6 s" in bench.executor.reason_text
    assert bench.positions[-1].max() < 0.5 * (0.6 + 0.3)
    assert bench.report().ok


@pytest.mark.parametrize("after_s", [0.1, 0.7, 0.85, 0.95, 1.6])
def test_a_chunk_leads_back_up_from_every_step(make_bench, after_s):
    """The policy comes back while the arm rides, slows or holds: it goes on without a jump."""
    bench = make_bench()
    bench.stream(ramp, 1.0)
    bench.run(after_s)
    assert bench.executor.offer(bench.chunk(lambda t: ramp(0 * t) + bench.positions[-1]), bench.now_ns).accepted
    assert bench.executor.mode is Mode.FRESH
    bench.run(0.5)
    assert bench.report().ok


def test_a_slow_policy_leads_out_of_a_hold(make_bench):
    """A standing arm begins at row 0, however old the observation: else a slow policy would be refused for ever."""
    bench = make_bench()
    bench.stream(ramp, 1.0)
    bench.run(2.0)
    assert bench.executor.mode is Mode.HOLD
    held = bench.positions[-1]
    seen_ns = bench.now_ns
    bench.run(0.5)
    rows = held + 0.8 * np.linspace(0.0, 1.0, 10)[:, None]
    assert bench.executor.offer(bench.chunk(rows, stamp_ns=seen_ns), bench.now_ns).accepted
    bench.run(1.5)
    assert np.allclose(bench.positions[-1], rows[-1], atol=5e-3)
    assert bench.report().ok


def test_released_begins_anew_where_the_arm_is(make_bench):
    """While nothing was commanded, a hand may have moved the arm."""
    bench = make_bench(hold_timeout_s=0.2)
    bench.stream(ramp, 0.5)
    bench.run(2.0)
    assert bench.executor.mode is Mode.RELEASED
    moved = np.full(3, -0.3)
    bench.executor.measured(moved, bench.now_ns)
    far = bench.executor.offer(bench.chunk(np.tile(bench.positions[-1], (10, 1))), bench.now_ns)
    assert far.code is Refusal.FAR_FROM_MEASURED
    assert bench.executor.offer(bench.chunk(np.tile(moved, (10, 1))), bench.now_ns).accepted
    first = bench.executor.tick(bench.now_ns + 10 * MS)
    assert np.allclose(first.position, moved)


def test_an_arm_that_is_held_can_be_taken_over(make_bench):
    """A replay may begin where the arm was held: it is commanded from the first tick on, and goes on from there."""
    bench = make_bench()
    pose = np.full(3, 0.1)
    bench.seeded = pose
    bench.executor.seed(pose, bench.now_ns, holding=True)
    bench.run(0.1)
    assert set(bench.modes) == {Mode.HOLD}
    np.testing.assert_array_equal(bench.positions, np.tile(pose, (10, 1)))
    assert bench.executor.offer(bench.chunk(np.tile(pose + 0.05, (10, 1))), bench.now_ns).accepted
    bench.run(0.8)
    np.testing.assert_allclose(bench.positions[-1], pose + 0.05, atol=1e-3)


def test_the_first_motion_starts_softly(make_bench):
    """A first chunk that is already moving is joined over the soft-start time, inside the limits."""
    bench = make_bench(soft_start_s=0.5)
    bench.executor.offer(bench.chunk(lambda t: 0.2 + ramp(t)), bench.now_ns)
    bench.run(0.9)
    speed = np.array([c.velocity.max() for c in bench.commands])
    assert speed[:10].max() < 0.5
    assert bench.report().ok


def test_stop_slows_along_the_path_and_start_lets_chunks_in_again(make_bench):
    """Stop holds the arm whatever the policy sends, until start."""
    bench = make_bench()
    bench.stream(ramp, 1.0)
    bench.executor.stop()
    assert bench.executor.offer(bench.chunk(ramp), bench.now_ns).code is Refusal.NOT_READY
    bench.run(0.6)
    assert bench.executor.mode is Mode.HOLD
    assert bench.executor.reason is Reason.STOP_REQUESTED
    assert not _moving(bench)
    assert bench.report().ok
    assert bench.executor.offer(bench.chunk(lambda t: 0 * ramp(t) + bench.positions[-1]), bench.now_ns).code
    bench.executor.start()
    assert bench.executor.offer(bench.chunk(lambda t: 0 * ramp(t) + bench.positions[-1]), bench.now_ns).accepted


def test_emergency_stop_is_the_fastest_and_stays(make_bench):
    """Latched: no chunk and no start leads out, only reset, and that only at rest."""
    bench = make_bench()
    bench.stream(ramp, 1.0)
    bench.executor.emergency_stop()
    bench.run(0.02)
    assert not bench.executor.reset(), "still moving"
    bench.run(0.18)
    assert not _moving(bench), "0.5 rad/s at 12 rad/s² and 150 rad/s³ is 0.12 s"
    assert bench.executor.mode is Mode.STOPPED
    bench.executor.start()
    assert bench.executor.offer(bench.chunk(ramp), bench.now_ns).code is Refusal.NOT_READY
    assert bench.executor.tick(bench.now_ns) is not None, "halted, it goes on commanding"
    assert bench.executor.reset()
    assert bench.executor.mode is Mode.IDLE
    assert bench.report().ok


def test_joint_states_that_stop_or_go_bad_stop_the_arm(make_bench):
    """Without feedback the executor would not see that the arm is stuck."""
    for bad, reason in ((False, Reason.STATE_STALE), (True, Reason.STATE_INVALID)):
        bench = make_bench()
        bench.stream(ramp, 1.0)
        for _ in range(40):
            bench.run(0.01, measured=False)
            if bad:
                bench.executor.measured(np.full(3, np.nan), bench.now_ns)
        assert bench.executor.mode is Mode.DECELERATING
        assert bench.executor.reason is reason
        bench.run(0.6, measured=False)
        assert bench.executor.mode is Mode.HOLD
        assert bench.report().ok


@pytest.mark.parametrize("jump_s", [-3.0, -0.02, 5.0])
def test_a_clock_that_jumps_ends_the_plan(make_bench, jump_s):
    """A bag loops, a simulation restarts: brake and hold, and take chunks of the new time."""
    bench = make_bench()
    bench.stream(ramp, 1.0)
    bench.now_ns += round(jump_s * 1e9)
    bench.run(0.05)
    assert bench.executor.mode is Mode.DECELERATING
    assert bench.executor.reason is Reason.CLOCK_JUMP
    bench.run(0.4)
    assert bench.executor.mode is Mode.HOLD
    assert bench.executor.offer(bench.chunk(lambda t: 0 * ramp(t) + bench.positions[-1]), bench.now_ns).accepted
    bench.run(0.3)
    assert bench.report().ok


def test_a_late_tick_is_no_jump(make_bench):
    """The process was stalled for 0.3 s: the arm stood still, and goes on smoothly from where it was commanded."""
    bench = make_bench()
    bench.stream(ramp, 1.0)
    before = bench.positions[-1]
    bench.now_ns += 300 * MS
    bench.run(0.01)
    assert np.abs(bench.positions[-1] - before).max() < 0.01
    bench.run(0.2)
    assert bench.executor.mode in (Mode.FRESH, Mode.TAIL)
    report = bench.report()
    assert report.ok
    assert report.gaps == 1


def test_ticks_that_come_unevenly_follow_the_same_motion(make_bench):
    """A timer on a busy machine comes early and late; what is commanded belongs to the time it is commanded at."""
    rng = np.random.default_rng(1)
    bench = make_bench()
    bench.executor.offer(bench.chunk(lambda t: ramp(t) * 0.5, rows=20), bench.now_ns)
    for _ in range(60):
        bench.now_ns += int(rng.uniform(-9, 30) * MS)
        bench.executor.measured(np.zeros(3), bench.now_ns)
        bench.run(0.01)
    late = bench.times_s > 0.8
    assert np.abs(bench.positions - ramp(bench.times_s) * 0.5)[late & (bench.times_s < 0.95)].max() < 1e-3
    assert bench.report().ok


def test_numbers_for_people_are_kept(make_bench):
    """What executor_state tells: counts, place in the chunk, first command, tracking error."""
    bench = make_bench()
    assert np.array_equal(bench.executor.tracking_error, np.zeros(3))
    assert bench.executor.row == -1.0
    bench.executor.offer(bench.chunk(ramp), bench.now_ns)
    assert bench.executor.first_command_ns is None
    bench.run(0.25)
    assert bench.executor.first_command_ns == bench.commands[0].stamp_ns
    assert bench.executor.row == pytest.approx(2.5)
    assert bench.executor.age_s(bench.now_ns) == pytest.approx(0.25)
    assert (bench.executor.accepted, bench.executor.refused) == (1, 0)
    bench.executor.measured(bench.positions[-1] - 0.02, bench.now_ns)
    assert np.allclose(bench.executor.tracking_error, 0.02)


def test_limits_that_bend_the_plan_are_counted(make_bench):
    """An operator sees that a checkpoint asks for more than the arm may do, and on which joint."""
    bench = make_bench()
    sprint = lambda t: np.atleast_1d(t)[:, None] * np.array([3.5, 0.1, 0.0]) - [1.0, 0, 0]  # noqa: E731
    bench.seed(np.array([-1.0, 0.0, 0.0]))
    bench.executor.offer(bench.chunk(sprint), bench.now_ns)
    bench.run(1.5)
    assert bench.executor.velocity_clamps[0] > 5
    assert bench.executor.position_clamps[0] > 0
    assert not bench.executor.velocity_clamps[1:].any()
    assert not bench.executor.position_clamps[1:].any()
    assert bench.report().ok
