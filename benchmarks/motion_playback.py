# SPDX-License-Identifier: Apache-2.0
"""Let a story happen to an executor, and note every command; ``motion_promise`` judges them."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from motion_strategies import Event, Story
from swiftvla_ros.motion import ChunkExecutor, Command, JointChunk

Array = NDArray[np.float64]

NS = 1_000_000_000
MS = 1_000_000
ROUNDING = 1e-9  # of a pose and of an acceleration
_LAG_TICKS = 5


@dataclass(frozen=True)
class Violation:
    """A broken promise: which, how badly (1 is the limit), at which joint and when (of the first such one)."""

    kind: str
    text: str


@dataclass(frozen=True)
class Begin:
    """Where the arm was measured to be [J] when a chunk was taken from there, or at the first tick if it ``moved``."""

    stamp_ns: int
    pose: Array
    moved: bool


@dataclass
class Record:
    """What an executor commanded and answered.

    Attributes
    ----------
    commands, segments
        Every command, and the number of the segment it belongs to; a new one begins where commanding began anew.
    begins
        Where each segment began, by its number.
    modes, refusals
        How many ticks ended in each mode, and how many chunks were refused for each reason.
    accepted, ticks
        Chunks that were taken, and all ticks.
    wrong
        Broken promises that are no matter of the commands: a refused chunk that changed something, an answer that
        makes no sense.
    end_ns
        When the last tick was.
    """

    commands: list[Command] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)
    begins: dict[int, Begin] = field(default_factory=dict)
    modes: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    accepted: int = 0
    ticks: int = 0
    wrong: list[Violation] = field(default_factory=list)
    end_ns: int = 0


def make_executor(story: Story) -> ChunkExecutor:
    """The executor that a story happens to."""
    return ChunkExecutor(story.limits, story.joint_names, story.config)


def play(executor: ChunkExecutor, story: Story) -> Record:
    """Let everything in the story happen to an executor."""
    return _Player(executor, story).play()


def rest_after_s(story: Story) -> float:
    """How long after the last chunk an executor that is left alone may still move."""
    limits = story.limits
    stop_s = (limits.max_velocity / limits.max_acceleration + 2 * limits.max_acceleration / limits.max_jerk).max()
    return float(story.config.tail_timeout_s + 0.25 + max(0.5, stop_s + 0.25))


class _Player:
    """One story under way: the clock, the arm and its driver."""

    def __init__(self, executor: ChunkExecutor, story: Story) -> None:
        self._executor, self._story = executor, story
        self._record = Record()
        self._tick_s = 1.0 / story.config.rate_hz
        self._now_ns = story.begin_ns
        self._arm = self._pose = self._anchor = story.start
        self._known: Array | None = None
        self._commanding = False
        self._chunk: JointChunk | None = None
        self._begun: tuple[int, Array] | None = None  # a chunk was taken, then and from this pose; no command yet
        self._told = 0
        self._rng = np.random.default_rng(len(story.events))

    def play(self) -> Record:
        """All of it."""
        self._measure("follows")
        for number, event in enumerate(self._story.events, start=1):
            self._happen(number, event)
            for _ in range(event.ticks):
                spacing = self._story.spacing[self._record.ticks % len(self._story.spacing)]
                self._now_ns += round(self._tick_s * NS * spacing)
                self._measure(event.measured)
                self._tick()
        self._record.end_ns = self._now_ns
        return self._record

    def _happen(self, number: int, event: Event) -> None:
        executor = self._executor
        self._now_ns += round(event.jump_ms * MS)
        if event.sets_anchor:
            self._anchor = self._pose
        if event.kind == "chunk":
            self._offer(number, event)
        elif event.kind == "stop":
            executor.stop()
        elif event.kind == "start":
            executor.start()
        elif event.kind == "emergency":
            executor.emergency_stop()
        elif event.kind == "speed":
            taken = executor.set_speed_scale(event.scale)
            if taken != (0.0 <= event.scale <= 1.0):
                self._wrong("speed scale", f"{event.scale} was {'taken' if taken else 'refused'}")
        elif event.kind == "take":
            executor.take_over()
        elif event.kind == "give":
            executor.give_back(self._now_ns)
        elif event.kind == "reset":
            if executor.reset():
                self._commanding, self._known, self._begun = False, None, None
        elif event.kind == "seed":
            executor.seed(self._arm, self._now_ns)
            self._commanding, self._known, self._begun = False, self._arm, None

    def _offer(self, number: int, event: Event) -> None:
        chunk = self._made(number, event)
        executor = self._executor
        self._ask(chunk)
        before = executor.mode, executor.reason, executor.reason_text, executor.chunk, executor.accepted
        verdict = executor.offer(chunk, self._now_ns)
        if not verdict.accepted:
            self._record.refusals[verdict.code.name] += 1
            after = executor.mode, executor.reason, executor.reason_text, executor.chunk, executor.accepted
            if after[3] is not before[3] or after[:3] != before[:3] or after[4] != before[4]:
                self._wrong("refused chunk", f"{verdict.text}: {before} became {after}")
            return
        self._chunk = chunk
        self._record.accepted += 1
        if not self._commanding and self._begun is None:
            assert self._known is not None
            self._begun = self._now_ns, self._known
            if event.startled is not None:
                elsewhere = self._known + event.startled
                if executor.measured(elsewhere, self._now_ns, self._now_ns):
                    self._known = self._arm = self._pose = elsewhere
            if self._rng.random() < 0.5:
                self._note(executor.tick(self._now_ns))

    def _ask(self, chunk: JointChunk) -> None:
        """What a policy asks before it infers has to be a pose each, inside the limits."""
        if self._known is None or chunk.step_ns <= 0:
            return
        try:
            rows = self._executor.plan_rows(chunk.stamp_ns, chunk.step_ns, 5)
        except ValueError:  # nothing known since the clock jumped
            return
        limits, places = self._story.limits, np.stack([self._known, self._pose])
        low = np.minimum(limits.min_position, places.min(axis=0) - ROUNDING)
        high = np.maximum(limits.max_position, places.max(axis=0) + ROUNDING)
        if not ((rows >= low) & (rows <= high)).all():
            self._wrong("plan_rows", f"farther outside the limits than the arm at {self._now_ns} ns")

    def _wrong(self, kind: str, text: str) -> None:
        if all(violation.kind != kind for violation in self._record.wrong):
            self._record.wrong.append(Violation(kind, text))

    def _made(self, number: int, event: Event) -> JointChunk:
        """The chunk of an event, with what is wrong with it."""
        if event.fault == "again" and self._chunk is not None:
            return self._chunk
        base = {"absolute": 0.0, "pose": self._pose, "anchor": self._anchor}[event.frame]
        rows = np.asarray(event.rows) + base
        names: tuple[str, ...] | None = None
        joints = self._story.joint_names
        if event.fault == "permuted":
            order = self._rng.permutation(len(joints))
            rows, names = rows[:, order], tuple(joints[j] for j in order)
        elif event.fault == "unnamed order":
            rows = rows[:, ::-1]
        elif event.fault == "wrapped":
            rows = np.where(self._story.limits.continuous, wrapped(rows), rows)
        elif event.fault == "repeated joint":
            names = (joints[-1],) * len(joints)
        elif event.fault == "unknown joint":
            names = (*joints[:-1], "tail")
        elif event.fault == "too few columns":
            rows = rows[:, 1:]
        elif event.fault == "flat":
            rows = rows.reshape(-1)
        elif event.fault == "no rows":
            rows = rows[:0]
        stamp_ns = self._now_ns + round(event.stamp_ms * MS)
        chunk_id = max(number - 3, 0) if event.fault == "ids backwards" else number
        return JointChunk(
            stamp_ns, event.step_ns, rows, chunk_id, event.instruction, event.checkpoint, names, event.source
        )

    def _measure(self, kind: str) -> None:
        """A joint state, as good as ``kind`` says."""
        seen, stamp_ns = self._pose, self._now_ns
        if kind == "silent":
            return
        if kind == "lags":
            commands = self._record.commands
            seen = commands[-_LAG_TICKS].position if len(commands) >= _LAG_TICKS and self._commanding else self._arm
        elif kind == "deaf":
            seen = self._arm
        elif kind == "frozen":
            seen = np.concatenate([self._arm[:1], seen[1:]])
        self._arm = seen
        if kind == "noisy":
            seen = seen + 1e-3 * self._rng.standard_normal(len(seen))
        elif kind == "offset":
            seen = seen + 0.2
        elif kind == "outside":
            seen = np.minimum(self._story.limits.max_position, 4.0) + 0.1
        elif kind == "below":
            seen = np.maximum(self._story.limits.min_position, -4.0) - 0.5
        elif kind == "moved":
            seen = self._arm = seen + 0.03 * self._rng.uniform(-1.0, 1.0, len(seen))
        elif kind in ("zero once", "nan once"):
            self._told += 1
            if self._told % 5 == 0:
                seen = np.full(len(seen), 0.0 if kind == "zero once" else np.nan)
        elif kind == "rival":
            self._told += 1
            seen = seen if self._told % 2 else np.zeros(len(seen))
        elif kind == "order":
            seen = seen[::-1]
        elif kind == "nan":
            seen = np.full(len(seen), np.nan)
        elif kind == "short":
            seen = seen[1:]
        elif kind == "old":
            stamp_ns -= 10 * NS
        elif kind == "future":
            stamp_ns += 3600 * NS
        if np.shape(seen) == np.shape(self._story.start):
            seen = np.where(self._story.limits.continuous, wrapped(seen), seen)
        if self._executor.measured(seen, stamp_ns, self._now_ns):
            self._known = seen
            if not self._commanding:
                self._pose = seen

    def _tick(self) -> None:
        command = self._executor.tick(self._now_ns)
        self._record.ticks += 1
        self._record.modes[self._executor.mode.name] += 1
        self._note(command)

    def _note(self, command: Command | None) -> None:
        record = self._record
        if command is None:
            self._commanding, self._begun = False, None
        elif not record.commands or command is not record.commands[-1]:
            if self._begun is not None:
                assert self._known is not None
                moved = not np.array_equal(self._begun[1], self._known)
                record.begins[len(record.begins)] = Begin(self._begun[0], self._known, moved)
                self._begun, self._commanding = None, True
            record.commands.append(command)
            record.segments.append(len(record.begins) - 1)
            self._pose = command.position


def left_alone(executor: ChunkExecutor, story: Story, record: Record) -> list[Violation]:
    """Tick on without chunks for as long as coming to rest may take; the commands are added to the record.

    A story whose arm may take long to approach a far start is not waited for.
    """
    if not record.commands or record.segments[-1] < 0 or story.config.far_start == "approach":
        return []
    now_ns = record.end_ns
    tick_ns = round(NS / story.config.rate_hz)
    for _ in range(round(rest_after_s(story) * story.config.rate_hz) + 2):
        now_ns += tick_ns
        executor.measured(record.commands[-1].position, now_ns)
        command = executor.tick(now_ns)
        record.ticks += 1
        record.modes[executor.mode.name] += 1
        if command is None:
            return []
        record.commands.append(command)
        record.segments.append(record.segments[-1])
    last = record.commands[-1]
    if not (last.velocity.any() or last.acceleration.any()):
        return []
    return [
        Violation("no rest", f"{rest_after_s(story):.2f} s after the last chunk at {np.abs(last.velocity).max():.3g}")
    ]


def wrapped(angles: Array) -> Array:
    """Angles as many drivers have them: from -π to π."""
    return (angles + np.pi) % (2 * np.pi) - np.pi
