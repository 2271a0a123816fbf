# SPDX-License-Identifier: Apache-2.0
"""What may happen to a chunk executor, told once and drawn twice: by hypothesis for tests, by numpy for the fuzz.

A :class:`Story` is data: a robot, its settings, where it stands, what happens and when it is ticked. The same functions
draw it from ``Draws``, which is either hypothesis (few, small stories that shrink) or a numpy generator (many,
long ones at a hundred times the speed).
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar, get_args

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from swiftvla_ros.contract import Limits
from swiftvla_ros.contract.control import BlendConfig, BlendKind, FrozenJoint, Gripper, GripperBinary, Tracking
from swiftvla_ros.contract.executor_codes import ChunkSource
from swiftvla_ros.motion import ExecutorConfig

Array = NDArray[np.float64]
T = TypeVar("T")


class NumpyDraws:
    """Draws of a numpy generator."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def integer(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return int(self._rng.integers(low, high + 1))

    def number(self, low: float, high: float) -> float:
        """A number between two others."""
        return float(self._rng.uniform(low, high))

    def one_of(self, options: Sequence[T]) -> T:
        """One of some options; an option that stands there more often is likelier."""
        return options[int(self._rng.integers(len(options)))]

    def numbers(self, shape: tuple[int, ...], low: float, high: float) -> Array:
        """An array of numbers between two others."""
        return self._rng.uniform(low, high, shape)


class HypothesisDraws:
    """Draws of hypothesis, which prefers edges and makes what fails smaller."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def integer(self, low: int, high: int) -> int:
        """See :class:`NumpyDraws`."""
        return self._draw(st.integers(low, high))

    def number(self, low: float, high: float) -> float:
        """See :class:`NumpyDraws`."""
        return self._draw(st.floats(low, high))

    def one_of(self, options: Sequence[T]) -> T:
        """See :class:`NumpyDraws`."""
        return self._draw(st.sampled_from(options))

    def numbers(self, shape: tuple[int, ...], low: float, high: float) -> Array:
        """See :class:`NumpyDraws`."""
        return self._draw(hnp.arrays(float, shape, elements=st.floats(low, high)))


Draws = NumpyDraws | HypothesisDraws
"""Where a story's choices come from."""


@dataclass(frozen=True)
class Event:
    """What happens before a run of ticks.

    Attributes
    ----------
    kind
        ``chunk``, a call (``stop``, ``start``, ``emergency``, ``reset``, ``seed``, ``speed``, ``take``, ``give``), or
        ``nothing``.
    ticks
        How many ticks follow.
    jump_ms
        What the clock does besides.
    rows
        [R, J] of a chunk, to which ``frame`` is added: ``absolute`` nothing, ``pose`` the last command (or the measured
        pose), ``anchor`` what that was when the anchor was set.
    sets_anchor
        Whether the pose before this event becomes the anchor.
    stamp_ms, step_ns, instruction, checkpoint
        Of the chunk; the stamp counts from now.
    source
        Whose it is.
    fault
        What else is wrong with it, or odd about it: one of ``FAULTS``.
    measured
        What the joint states say during the ticks: one of ``MEASURED``.
    scale
        Of ``speed``.
    startled
        How far [J] the arm is moved by hand after a chunk that it begins with was taken, and before the first tick.
    """

    kind: str
    ticks: int
    jump_ms: float = 0.0
    rows: Array | None = None
    frame: str = "absolute"
    sets_anchor: bool = False
    stamp_ms: float = 0.0
    step_ns: int = 100_000_000
    instruction: int = 0
    checkpoint: str = ""
    source: ChunkSource = ChunkSource.POLICY
    fault: str = ""
    measured: str = "follows"
    scale: float = 1.0
    startled: Array | None = None


FAULTS = (
    *("again", "permuted", "wrapped", "repeated joint", "unknown joint", "too few columns", "flat", "no rows"),
    *("ids backwards", "unnamed order"),
)
"""Of chunks: the last one once more; columns in another order, angles wrapped at half a turn (no faults); then names
and shapes that do not fit; columns in another order that are not named."""

MEASURED = (
    *("follows", "noisy", "lags", "deaf", "frozen", "offset"),
    *("outside", "below", "moved", "zero once", "nan once", "rival", "order"),
    *("silent", "nan", "short", "old", "future"),
)
"""Of joint states: those of a good driver, a noisy one, a slow one, one that ignores commands, one joint's same number
for ever, a constant error; positions beyond the limits on both sides, the arm moved by hand, one message of zeros or
NaN, a second publisher's zeros between the states, joints in another order; none, NaN, too few numbers, stamps long
past or yet to come."""


_SCALES = (0.0, 0.03, 0.3, 0.5, 0.9, 1.0, 1.0, 1.0, np.nan, -0.1, 1.1)

_ENDED_BY = {"stop": "start", "emergency": "reset", "take": "give"}


@dataclass(frozen=True)
class Story:
    """A robot, its settings, where it stands [J], what happens to it, and the spacing of its ticks in tick times."""

    limits: Limits
    config: ExecutorConfig
    start: Array
    events: list[Event]
    spacing: list[float] = field(default_factory=lambda: [1.0])
    begin_ns: int = 10_000_000_000

    @property
    def ticks(self) -> int:
        """How often the executor is ticked."""
        return sum(event.ticks for event in self.events)

    @property
    def joint_names(self) -> tuple[str, ...]:
        """One name a joint."""
        return tuple(f"joint_{j}" for j in range(len(self.start)))


def draw_story(draws: Draws, *, most_joints: int, most_events: int, most_ticks: int) -> Story:
    """Draw a story; its events are chapters of chaos and streams of a policy, as many as fit into ``most_events``."""
    limits = draw_limits(draws, draws.integer(1, most_joints))
    config = draw_config(draws, limits)
    events: list[Event] = []
    wanted = draws.integer(1, most_events)
    while len(events) < wanted:
        left = wanted - len(events)
        if draws.one_of((True, False)):
            events += _stream(draws, limits, config, min(left, draws.integer(1, 40)))
        else:
            for _ in range(min(left, draws.integer(1, 15))):
                events += _chaos(draws, limits, most_ticks)
    even = [1.0]
    spacing = draws.one_of((even, even, draws.numbers((draws.integer(1, 7),), 0.05, 3.0).tolist(), [1.0, 0.0, 1.0]))
    start = _start(draws, limits)
    # nanoseconds since 1970 do not fit a float's mantissa: times must not be made floats before they are differences
    begin_ns = draws.one_of((10_000_000_000, 1_700_000_000_123_456_789))
    return Story(limits, config, start, events, spacing, begin_ns)


def _start(draws: Draws, limits: Limits) -> Array:
    """Where the arm stands: inside its limits, at them, or outside, by rounding or by a radian."""
    joints = len(limits.max_velocity)
    low, high = np.maximum(limits.min_position, -np.pi), np.minimum(limits.max_position, np.pi)
    start = low + draws.numbers((joints,), 0.0, 1.0) * (high - low)
    beyond = draws.one_of((None, None, 0.0, 1e-9, 1e-3, 0.1, 1.0))
    if beyond is None:
        return start
    side = draws.numbers((joints,), 0.0, 1.0)
    return np.where(side < 0.2, low - beyond, np.where(side > 0.8, high + beyond, start))


def draw_limits(draws: Draws, joints: int) -> Limits:
    """Joints from sluggish to nervous, some with hardly any room to move, and some that turn without end."""
    shape = (joints,)
    wild = draws.one_of((False, False, True))
    speed = draws.numbers(shape, 0.02, 20.0) if wild else draws.numbers(shape, 0.2, 6.0)
    acceleration = speed * (draws.numbers(shape, 0.5, 60.0) if wild else draws.numbers(shape, 1.5, 15.0))
    jerk = acceleration * (draws.numbers(shape, 1.0, 200.0) if wild else draws.numbers(shape, 3.0, 40.0))
    room = draws.one_of((0.001, 0.05, 0.05, 0.05))
    low, high = -draws.numbers(shape, room, 3.0), draws.numbers(shape, room, 3.0)
    middle = draws.one_of((0.0, 0.0, draws.number(-4.0, 4.0)))  # not every range has 0 in it
    low, high = low + middle, high + middle
    if draws.one_of((False, False, True)):
        endless = draws.numbers(shape, 0.0, 1.0) < 0.5
        endless[-1] = False  # the gripper
        low, high = np.where(endless, -np.inf, low), np.where(endless, np.inf, high)
    return Limits(low, high, speed, acceleration, jerk)


def draw_config(draws: Draws, limits: Limits) -> ExecutorConfig:
    """Rates, patience, ways to join chunks, watches, and sometimes a gripper, which may be open or closed only."""
    open_, closed = limits.max_position[-1], limits.min_position[-1]
    between = closed + draws.number(0.3, 0.45) * (open_ - closed), closed + draws.number(0.5, 0.7) * (open_ - closed)
    binary = GripperBinary(close_below=float(between[0]), open_above=float(between[1]))
    gripper = Gripper(joint=f"joint_{len(limits.max_velocity) - 1}", open=float(open_), closed=float(closed))
    values = {
        "rate_hz": draws.one_of((100.0, 100.0, 50.0, 200.0, 500.0)),
        "start_tolerance_rad": draws.one_of((0.35, 0.35, 0.05, 10.0)),
        "soft_start_s": draws.one_of((0.05, 0.4)),
        "tail_timeout_s": draws.one_of((0.2, 1.0, 3.0)),
        "hold_timeout_s": draws.one_of((None, 0.1)),
        "state_timeout_s": draws.one_of((None, 0.3)),
    }
    approach_s = draws.one_of((None, None, 0.1, 3.0))
    if approach_s is not None:
        values |= {"far_start": "approach", "approach_s": approach_s}
    blend = BlendConfig(
        kind=draws.one_of(("smooth", "smooth", *get_args(BlendKind))),
        over_s=draws.one_of((0.3, 0.3, 0.01, 2.0)),
        decay=draws.one_of((0.1, 0.0, 5.0)),
    )
    off_by, off_for_s = draws.one_of((None, None, 0.5, 0.01)), draws.one_of((0.5, 0.05))
    moved, same_for_s = draws.one_of((None, None, 0.2, 0.01)), draws.one_of((0.5, 0.05))
    grippers = draws.one_of(((), (gripper,)))
    grippers = draws.one_of((grippers, grippers, (gripper.model_copy(update={"binary": binary}),)))
    return ExecutorConfig(
        **values,
        blend=blend,
        tracking=None if off_by is None else Tracking(tolerance_rad=off_by, for_s=off_for_s),
        frozen_joint=None if moved is None else FrozenJoint(moved_rad=moved, for_s=same_for_s),
        grippers=grippers,
    )


def _chaos(draws: Draws, limits: Limits, most_ticks: int) -> list[Event]:
    """Anything: a chunk good or bad, a call, bad joint states, a clock jump. Mostly what was stopped starts again."""
    kind = draws.one_of(
        ("chunk",) * 16 + ("stop", "start", "emergency", "reset", "seed", "speed", "take", "give", "nothing")
    )
    event = Event(
        kind,
        draws.integer(1, most_ticks),
        jump_ms=draws.one_of((0.0, 0.0, 0.0, 0.0, draws.number(-5.0, 120.0), draws.number(-2000.0, 2000.0))),
        measured=draws.one_of(("follows",) * 20 + MEASURED),
    )
    if kind == "speed":
        return [dataclasses.replace(event, scale=draws.one_of(_SCALES))]
    if kind in _ENDED_BY and draws.one_of((True, True, False)):
        return [event, Event(_ENDED_BY[kind], 1)]
    if kind != "chunk":
        return [event]
    joints = len(limits.max_velocity)
    count = draws.integer(1, 12)
    frame = draws.one_of(("pose", "pose", "absolute"))
    step_ms = draws.one_of((100, 100, 100, 50, 20, 333))
    length_ms = (count - 1) * step_ms
    age_ms = draws.one_of((0.0, draws.number(0.0, 0.9) * length_ms, draws.number(0.0, 300.0), draws.number(-100, 2000)))
    chunk = dataclasses.replace(
        event,
        rows=_rows(draws, limits, (count, joints)) * (0.1 if frame == "pose" else 1.0),
        frame=frame,
        stamp_ms=-age_ms,
        step_ns=step_ms * 1_000_000 + draws.one_of((0, 0, 0, 1)),
        instruction=draws.integer(0, 1),
        checkpoint=draws.one_of(("", "", "", "another")),
        source=draws.one_of((ChunkSource.POLICY,) * 4 + (ChunkSource.OPERATOR,)),
        fault=draws.one_of(("",) * 24 + FAULTS),
        startled=draws.one_of((None, None, None, draws.number(-1.0, 1.0) * draws.numbers((joints,), 0.0, 1.0))),
    )
    gives_back = chunk.source is ChunkSource.OPERATOR and draws.one_of((True, False))
    return [chunk, Event("give", 1)] if gives_back else [chunk]


def _rows(draws: Draws, limits: Limits, shape: tuple[int, int]) -> Array:
    """Rows without sense: scattered, still, from limit to limit, one that jumps, or not numbers at all."""
    kind = draws.one_of(("scattered", "scattered", "still", "corners", "jump", "tiny", "wild"))
    if kind == "scattered":
        return draws.numbers(shape, -3.5, 3.5)
    if kind == "corners":
        low, high = np.maximum(limits.min_position, -np.pi), np.minimum(limits.max_position, np.pi)
        return np.where(draws.numbers(shape, 0.0, 1.0) < 0.5, low, high)
    if kind == "tiny":
        return draws.numbers(shape, -1e-9, 1e-9)
    rows = np.repeat(draws.numbers((1, shape[1]), -3.5, 3.5), shape[0], axis=0)
    if kind == "still":
        return rows
    at = draws.integer(0, shape[0] - 1), draws.integer(0, shape[1] - 1)
    if kind == "jump":
        rows[at[0] :, at[1]] += draws.number(-3.0, 3.0)
    else:
        rows[at] = draws.one_of((np.nan, np.inf, -np.inf, 1e300, -1e300, 1e9))
    return rows


def _stream(draws: Draws, limits: Limits, config: ExecutorConfig, count: int) -> list[Event]:
    """``count`` chunks as a policy sends them: every so many ticks, late by its inference, of one motion with noise.

    Now and then the policy changes its mind, misses a chunk, or the operator turns the speed, takes the arm over with
    chunks of the same motion, or gives it back.
    """
    joints = len(limits.max_velocity)
    period = draws.integer(1, max(round(0.3 * config.rate_hz), 2))
    step_ns = draws.one_of((100, 100, 100, 50, 33, 20)) * 1_000_000
    rows = draws.integer(2, 20)
    latency_ms = min(draws.number(0.0, 600.0), draws.number(0.0, 1.0) * (rows - 1) * step_ns / 1e6)
    amplitude = draws.one_of((0.05, 0.3, 1.0, 3.0)) * draws.numbers((joints,), 0.0, 1.0)
    # so fast that the limits are met by the faster half
    omega = draws.number(0.1, 2.0) * limits.max_velocity / np.maximum(amplitude, 0.05)
    omega = np.minimum(omega, 40.0)
    noise = draws.one_of((0.0, 0.0, 0.01, 0.05))
    measured = draws.one_of(("follows",) * 6 + ("noisy", "lags", "frozen", "deaf"))
    phase, source = np.zeros(joints), ChunkSource.POLICY
    events = []
    for k in range(count):
        what = draws.one_of(("goes on",) * 12 + ("turns", "misses", "speed", "speed", "hand", "hand"))
        if what == "turns":
            phase = draws.numbers((joints,), 0.0, 2 * np.pi)
        ticks = period * (draws.integer(2, 6) if what == "misses" else 1)
        if what == "speed":
            scale = draws.one_of(_SCALES)
            events.append(Event("speed", 1, sets_anchor=not events, scale=scale, measured=measured))
        if what == "hand" and source is ChunkSource.OPERATOR:
            source = ChunkSource.POLICY
            events.append(Event("give", 1, measured=measured))
        elif what == "hand" and events:
            source = ChunkSource.OPERATOR
        stamps = k * period / config.rate_hz - latency_ms / 1e3 + np.arange(rows) * (step_ns / 1e9)
        wave = amplitude * (np.cos(phase) - np.cos(phase + np.maximum(stamps, 0.0)[:, None] * omega))
        if noise:
            wave = wave + noise * draws.numbers(wave.shape, -1.0, 1.0)
        events.append(
            Event(
                "chunk",
                ticks,
                rows=wave,
                frame="anchor",
                sets_anchor=not events,
                stamp_ms=-latency_ms,
                step_ns=step_ns,
                source=source,
                measured=measured,
            )
        )
    return events


@st.composite
def stories(draw: st.DrawFn, most_joints: int = 4, most_events: int = 12, most_ticks: int = 40) -> Story:
    """Short stories for property tests."""
    return draw_story(HypothesisDraws(draw), most_joints=most_joints, most_events=most_events, most_ticks=most_ticks)


def numbered_story(seed: int, number: int, *, most_joints: int = 16) -> Story:
    """The ``number``-th long story of a ``seed``: always the same one."""
    draws = NumpyDraws(np.random.default_rng([seed, number]))
    return draw_story(draws, most_joints=most_joints, most_events=60, most_ticks=60)
