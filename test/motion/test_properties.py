# SPDX-License-Identifier: Apache-2.0
"""The promise, for whatever arrives: inside all limits, smooth from tick to tick, at rest when chunks stop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from swiftvla_ros.contract import Limits
from swiftvla_ros.motion import Chunk, ChunkExecutor, Command, ExecutorConfig, brake_trajectory, check_limits

MS = 1_000_000
SETTINGS = settings(
    max_examples=60, deadline=None, derandomize=True, phases=(Phase.explicit, Phase.generate, Phase.shrink)
)


@dataclass(frozen=True)
class Event:
    """What happens before a run of ticks."""

    ticks: int
    jump_ms: float
    kind: str
    rows: np.ndarray
    stamp_ms: float
    step_ms: int
    instruction: int


@st.composite
def robots(draw: st.DrawFn) -> Limits:
    """One to four joints, from sluggish to nervous, some with hardly any room to move."""
    joints = draw(st.integers(1, 4))
    numbers = lambda low, high: hnp.arrays(float, joints, elements=st.floats(low, high))  # noqa: E731
    speed = draw(numbers(0.2, 6.0))
    acceleration = speed * draw(numbers(1.5, 15.0))
    return Limits(
        -draw(numbers(0.05, 3.0)),
        draw(numbers(0.05, 3.0)),
        speed,
        acceleration,
        acceleration * draw(numbers(3.0, 40.0)),
    )


def events(joints: int) -> st.SearchStrategy[list[Event]]:
    """Chunks good and bad, calls, bad states and clock jumps, with some ticks after each."""
    value = st.one_of(
        st.floats(-3.5, 3.5), st.sampled_from([-3.0, 3.0, 0.0]), st.sampled_from([np.nan, np.inf, 1e300, -1e300])
    )
    tame = st.one_of(st.floats(-3.5, 3.5), st.sampled_from([-3.0, 3.0, 0.0]))
    rows = st.integers(1, 12).flatmap(
        lambda n: st.one_of(
            hnp.arrays(float, (n, joints), elements=tame),
            hnp.arrays(float, (n, joints), elements=st.floats(-0.1, 0.1)),
            hnp.arrays(float, (n, joints), elements=value),
        )
    )
    kinds = ["chunk"] * 10 + ["near"] * 6 + ["stop", "start", "emergency", "reset", "reset", "nan", "measured"]
    return st.lists(
        st.builds(
            Event,
            ticks=st.integers(1, 40),
            jump_ms=st.one_of(st.just(0.0), st.just(0.0), st.floats(-2000, 2000), st.floats(-5, 120)),
            kind=st.sampled_from(kinds),
            rows=rows,
            stamp_ms=st.one_of(st.floats(-300, 20), st.floats(-2000, 500)),
            step_ms=st.sampled_from([100, 100, 100, 50, 20, 333]),
            instruction=st.integers(0, 1),
        ),
        min_size=1,
        max_size=12,
    )


@dataclass
class Record:
    """What an executor commanded, with a new segment wherever it began anew from a measured pose."""

    commands: list[Command]
    segments: list[int]

    def check(self, limits: Limits) -> None:
        """Assert all limits, on the commands and on their differences."""
        if not self.commands:
            return
        position, velocity, acceleration = (
            np.array([getattr(c, name) for c in self.commands]) for name in ("position", "velocity", "acceleration")
        )
        assert (position >= limits.min_position).all()
        assert (position <= limits.max_position).all()
        assert (np.abs(velocity) <= limits.max_velocity * (1 + 1e-5)).all()
        assert (np.abs(acceleration) <= limits.max_acceleration * (1 + 1e-5)).all()
        stamps = np.array([c.stamp_ns for c in self.commands])
        names = tuple(f"joint_{j}" for j in range(position.shape[1]))
        report = check_limits(stamps, position, limits, names, tick_s=0.01, segments=np.array(self.segments))
        assert report.ok, report.violations()


def play(executor: ChunkExecutor, script: list[Event], jitter: list[float], start: np.ndarray) -> Record:
    """Let everything in the script happen to an executor, with ticks at uneven times."""
    record, segment, now_ns, ticks = Record([], []), 0, 10_000 * MS, 0
    pose = start
    executor.measured(pose, now_ns)
    for number, event in enumerate(script, start=1):
        now_ns += round(event.jump_ms * MS)
        if event.kind in ("chunk", "near"):
            rows = event.rows + pose if event.kind == "near" else event.rows
            stamp_ns = now_ns + round(event.stamp_ms * MS)
            executor.offer(Chunk(stamp_ns, event.step_ms * MS, rows, number, event.instruction), now_ns)
        elif event.kind == "stop":
            executor.stop(now_ns)
        elif event.kind == "start":
            executor.start()
        elif event.kind == "emergency":
            executor.emergency_stop()
        elif event.kind == "reset":
            executor.reset()
        elif event.kind == "nan":
            executor.measured(np.full(len(start), np.nan), now_ns)
        for _ in range(event.ticks):
            ticks += 1
            now_ns += round(10 * MS * jitter[ticks % len(jitter)])
            if event.kind != "nan":
                executor.measured(pose, now_ns)
            command = executor.tick(now_ns)
            if command is None:
                segment += 1
            elif not record.commands or command is not record.commands[-1]:
                record.commands.append(command)
                record.segments.append(segment)
                pose = command.position
    return record


@st.composite
def stories(draw: st.DrawFn) -> tuple[Limits, ExecutorConfig, list[Event], list[float], np.ndarray]:
    """A robot, its settings, what happens to it, the spacing of its ticks, and where it stands."""
    limits = draw(robots())
    joints = len(limits.max_velocity)
    config = ExecutorConfig(
        start_tolerance=draw(st.sampled_from([0.35, 10.0])),
        soft_start_s=draw(st.sampled_from([0.05, 0.4])),
        tail_timeout_s=draw(st.sampled_from([0.2, 1.0, 3.0])),
        hold_timeout_s=draw(st.sampled_from([None, 0.1])),
        state_timeout_s=draw(st.sampled_from([None, 0.3])),
    )
    jitter = draw(st.one_of(st.just([1.0]), st.lists(st.floats(0.05, 3.0), min_size=1, max_size=7)))
    place = draw(hnp.arrays(float, joints, elements=st.floats(0, 1)))
    start = limits.min_position + place * (limits.max_position - limits.min_position)
    return limits, config, draw(events(joints)), jitter, start


def _executor(limits: Limits, config: ExecutorConfig) -> ChunkExecutor:
    return ChunkExecutor(limits, tuple(f"joint_{j}" for j in range(len(limits.max_velocity))), config)


@SETTINGS
@given(stories())
def test_whatever_arrives_the_limits_hold(story):
    """Position, velocity, acceleration, jerk: NaN, jumps, limit-to-limit targets, wild stamps, clock jumps, stops."""
    limits, config, script, jitter, start = story
    play(_executor(limits, config), script, jitter, start).check(limits)


@SETTINGS
@given(stories())
def test_from_every_command_the_arm_can_stop_inside_the_limits(story):
    """The invariant that position limits rest on, seen from outside: each command's brake tail stays inside."""
    limits, config, script, jitter, start = story
    for command in play(_executor(limits, config), script, jitter, start).commands[::7]:
        stop = brake_trajectory(command, limits)
        assert (np.diff(stop.times_s, prepend=0.0) > 0).all()
        assert (stop.positions >= limits.min_position).all()
        assert (stop.positions <= limits.max_position).all()
        assert not stop.velocities[-1].any()


@SETTINGS
@given(stories())
def test_left_alone_the_arm_comes_to_rest(story):
    """Whatever was going on: without another chunk, it rests half a second after the last row at the latest."""
    limits, config, script, jitter, start = story
    executor = _executor(limits, config)
    record = play(executor, script, jitter, start)
    if not record.commands:
        return
    longest_stop_s = (
        limits.max_velocity / limits.max_acceleration + 2 * limits.max_acceleration / limits.max_jerk
    ).max()
    rows_end_s = 3.0 + 0.25 if config.tail_timeout_s == 3.0 else config.tail_timeout_s + 0.25
    now_ns = max(record.commands[-1].stamp_ns, executor._ticked_ns)
    for _ in range(round((rows_end_s + max(0.5, longest_stop_s + 0.25)) * 100) + 2):
        now_ns += 10 * MS
        command = executor.tick(now_ns)
    assert command is None or not (command.velocity.any() or command.acceleration.any())


@SETTINGS
@given(stories())
def test_the_same_input_gives_the_same_commands(story):
    """No clock is read and nothing is drawn: a bag can be played again."""
    limits, config, script, jitter, start = story
    first, second = (play(_executor(limits, config), script, jitter, start) for _ in range(2))
    assert np.array_equal([c.position for c in first.commands], [c.position for c in second.commands])
