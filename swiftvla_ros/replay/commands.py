# SPDX-License-Identifier: Apache-2.0
"""Runs the recorded chunks through the executor again, tick by tick at the recorded times, and compares commands."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.executor_codes import ChunkSource
from swiftvla_ros.motion import ChunkExecutor, JointChunk, Mode, Reason, Refusal
from swiftvla_ros.observation.message_fields import ExecutorTick
from swiftvla_ros.replay.recorded import RecordedChunk, RecordedRun

Array = NDArray[np.float64]

_NS = 1_000_000_000
# The recorder and the executor receive the same speed limit at most so far apart.
_LIMIT_APART_NS = 200_000_000
# Longer than this between two ticks in motion, in ticks: one came late, or was not recorded.
_GAP_TICKS = 2.5
_REQUESTED = (Reason.STOP_REQUESTED, Reason.DEACTIVATED)


@dataclass
class CommandComparison:
    """What the executor commands now, tick by tick, and what it had commanded."""

    joint_names: tuple[str, ...]  # the columns
    # Compared ticks: int64 [N], and float64 [N, J] both, rad or m.
    times_ns: list[int] = field(default_factory=list)
    recorded: list[Array] = field(default_factory=list)
    replayed: list[Array] = field(default_factory=list)
    not_comparable: Counter[str] = field(default_factory=Counter)  # why ticks could not be compared → how many
    mode_differences: int = 0  # compared ticks in another mode
    first_mode_difference: str = ""
    # Refusal → how many chunks.
    refusals: Counter[str] = field(default_factory=Counter)
    recorded_refusals: Counter[str] = field(default_factory=Counter)
    # Limit counts: kind → [J].
    clamps: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    recorded_clamps: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    # What the recording does not tell to the nanosecond, and what was taken instead.
    notes: Counter[str] = field(default_factory=Counter)

    @property
    def difference(self) -> Array:
        """Largest absolute difference [J] of any tick; NaN where none was compared."""
        if not self.times_ns:
            return np.full(len(self.joint_names), np.nan)
        return np.asarray(np.abs(np.array(self.replayed) - np.array(self.recorded)).max(axis=0))

    def first_difference(self, tolerance: float) -> str:
        """Name the first tick that differs by more, with joint and numbers; empty where none does."""
        for ns, was, now in zip(self.times_ns, self.recorded, self.replayed, strict=True):
            gap = np.abs(now - was)
            j = int(gap.argmax())
            if gap[j] > tolerance:
                return (
                    f"first at {ns / _NS:.3f} s: joint '{self.joint_names[j]}' was commanded {was[j]:.6f}, "
                    f"now {now[j]:.6f}"
                )
        return ""


class CommandReplay:
    """Feeds one executor from a recorded run.

    ``executor_state`` says at which time each tick was, which chunk had been taken over when, and which joint state was
    the newest: between two ticks the same is given to the executor again. What an operator did is told by how the mode
    changed.
    """

    def __init__(self, run: RecordedRun, contract: Contract) -> None:
        self._contract = contract
        self._shadow = any(tick.shadow for tick in run.ticks)
        self._run = run
        self._tick_ns = round(_NS / contract.control.rate_hz)
        self._limited = 0
        self._chunks = sorted([*run.chunks, *run.operator_chunks], key=lambda chunk: chunk.received_ns)
        self._by_id: dict[tuple[int, int], list[RecordedChunk]] = {}
        for chunk in self._chunks:
            self._by_id.setdefault((chunk.source, chunk.chunk_id), []).append(chunk)
        followed = (self._find(tick) for tick in run.ticks if tick.taken_ns)
        self._followed = {id(chunk) for chunk in followed if chunk is not None}
        self.comparison = CommandComparison(contract.joint_names)
        self._begin()

    def run(self) -> CommandComparison:
        """Go through all ticks."""
        ticks = self._run.ticks
        for i, tick in enumerate(ticks):
            before = ticks[i - 1] if i else None
            if before is not None and tick.accepted < before.accepted:
                self._end_of_process()
                self._begin()
                if tick.speed_limits_taken is not None:
                    self._limited = 0  # limits are latched: it heard of them anew
                before = None
            self._step(before, tick)
        self._end_of_process()
        return self.comparison

    # -- one tick ------------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """A process of the executor's begins: nothing is commanded."""
        self._core = ChunkExecutor.from_contract(self._contract, shadow=self._shadow)
        self._fed = self._seen_ns = 0
        self._offered: set[int] = set()
        self._joined: ExecutorTick | None = None
        self._last: ExecutorTick | None = None
        self._limits_before = 0

    def _step(self, before: ExecutorTick | None, tick: ExecutorTick) -> None:
        core = self._core
        if self._joined is None:
            self._join(tick)
            if self._joined is None:
                if len(tick.commanded):
                    self.comparison.not_comparable["recording began while the arm moved"] += 1
                return
        self._operator(before, tick)
        self._take_in(before, tick)
        self._limit_speed(tick)
        command = core.tick(tick.stamp_ns)
        self._last = tick
        self._compare(before, tick, None if command is None else command.position)

    def _join(self, tick: ExecutorTick) -> None:
        """Begin where the recording does, if that is a place at rest: nothing commanded, or one position held."""
        if tick.mode == Mode.HOLD and len(tick.commanded):
            self._core.seed(tick.commanded, tick.stamp_ns, holding=True)
            self._joined = tick
        elif not len(tick.commanded):
            self._joined = tick
        if self._joined is not None and tick.operator_holds:
            self._core.take_over()

    def _operator(self, before: ExecutorTick | None, tick: ExecutorTick) -> None:
        """Press the buttons that were pressed between two ticks, as the modes tell."""
        if before is None:
            return
        core = self._core
        if tick.mode == Mode.STOPPED and before.mode != Mode.STOPPED:
            core.emergency_stop()
            self.comparison.notes["emergency stop"] += 1
        elif tick.mode == Mode.STOPPED and len(before.commanded) and not len(tick.commanded):
            core.let_go()
        elif tick.mode == Mode.IDLE and before.mode != Mode.IDLE:
            core.reset()
            self.comparison.notes["reset"] += 1
        if tick.reason in _REQUESTED and before.reason != tick.reason and tick.mode != Mode.STOPPED:
            core.stop(Reason(tick.reason))
            self.comparison.notes["stop"] += 1
        by_chunk = tick.accepted > before.accepted and tick.chunk_source == ChunkSource.OPERATOR
        if tick.operator_holds and not before.operator_holds and not by_chunk:
            core.take_over()
            self.comparison.notes["an operator took over"] += 1
        if tick.accepted > before.accepted:
            # Chunks are let in, so the executor was not stopped any more.
            core.start()

    def _take_in(self, before: ExecutorTick | None, tick: ExecutorTick) -> None:
        """Chunks and joint states that came between two ticks.

        The node takes a chunk over right behind a tick, and tells of that tick: so first the chunk, then the states.
        """
        newly = before is not None and _taken(tick) != _taken(before)
        if before is not None:
            if tick.accepted - before.accepted > 1:
                self.comparison.notes["chunk overtaken between two ticks, whose time of taking over is not told"] += 1
            # What was taken over, and then the arm given back, is the operator's; what comes after it is the policy's.
            early = newly and tick.taken_ns <= tick.gave_back_ns
            if early:
                self._offer_taken(tick)
            if tick.gave_back_ns and tick.gave_back_ns != before.gave_back_ns:
                self._core.give_back(tick.gave_back_ns)
                self.comparison.notes["an operator gave back"] += 1
            if tick.refused > before.refused:
                self._offer_refused(before, tick)
            if newly and not early:
                self._offer_taken(tick)
        for k in self._arrived(tick):
            self._core.measured(self._run.states[k], int(self._run.state_stamps[k]))

    def _offer_taken(self, tick: ExecutorTick) -> None:
        chunk = self._find(tick)
        if chunk is not None:
            self._offer(chunk, tick.taken_ns)
        elif tick.taken_ns:
            self.comparison.notes[f"chunk {tick.chunk_id} was followed, but not recorded"] += 1

    def _arrived(self, tick: ExecutorTick) -> list[int]:
        """The joint states, by index, that the executor had taken in by a tick and not by the one before."""
        end = int(np.searchsorted(self._run.state_stamps, tick.measured_ns, side="right"))
        if end and tick.measured_ns != self._seen_ns and self._run.state_stamps[end - 1] != tick.measured_ns:
            self.comparison.notes["joint state that the executor saw was not recorded"] += 1
        self._seen_ns = tick.measured_ns
        first, self._fed = self._fed, max(self._fed, end)
        return list(range(first, end))

    def _find(self, tick: ExecutorTick) -> RecordedChunk | None:
        """The newest chunk of this id whose observation was before it was taken (ids begin anew with the policy)."""
        of_its_id = self._by_id.get((tick.chunk_source, tick.chunk_id), [])
        found = [c for c in of_its_id if c.stamp_ns <= tick.taken_ns]
        return found[-1] if found else None

    def _offer(self, recorded: RecordedChunk, now_ns: int) -> None:
        self._offered.add(id(recorded))
        verdict = self._core.offer(as_chunk(recorded, self.comparison.joint_names), now_ns)
        if not verdict.accepted:
            self.comparison.refusals[verdict.code.name] += 1

    def _offer_refused(self, before: ExecutorTick, tick: ExecutorTick) -> None:
        """Offer the chunks that were refused between two ticks, as of the first: their own times are not told."""
        count = tick.refused - before.refused
        self.comparison.recorded_refusals[Refusal(tick.last_refusal).name] += count
        waiting = [c for c in self._chunks if id(c) not in self._offered | self._followed and c.end_ns <= tick.stamp_ns]
        for chunk in waiting[-count:]:
            self._offer(chunk, before.stamp_ns)

    def _limit_speed(self, tick: ExecutorTick) -> None:
        """Set the speed limits that the executor had taken in by a tick.

        Where it does not tell how many those were, a limit is set at the tick from which on it shows: the recorder and
        the executor heard of it apart.
        """
        limits, core, taken = self._run.speed_limits, self._core, tick.speed_limits_taken
        while self._limited < len(limits) and limits[self._limited][0] < tick.stamp_ns + _LIMIT_APART_NS:
            received, limit = limits[self._limited]
            if taken is None:
                shown = np.float32(core.speed_scale_at(tick.stamp_ns)) != np.float32(tick.speed_scale)
                due = shown or received <= tick.stamp_ns - _LIMIT_APART_NS
            elif tick is self._joined:
                due = received <= tick.stamp_ns
            else:
                due = core.speed_limits.taken < taken - self._limits_before
            if not due:
                break
            core.speed_limits.set(limit)
            self._limited += 1
        if taken is not None and tick is self._joined:
            self._limits_before = taken - core.speed_limits.taken

    def _compare(self, before: ExecutorTick | None, tick: ExecutorTick, position: Array | None) -> None:
        comparison, core = self.comparison, self._core
        let_go = tick.mode == Mode.RELEASED and len(tick.commanded) > 0
        if core.mode != tick.mode and not let_go:
            comparison.mode_differences += 1
            if not comparison.first_mode_difference:
                comparison.first_mode_difference = (
                    f"first at {tick.stamp_ns / _NS:.3f} s: was {Mode(tick.mode).name}, now {core.mode.name} "
                    f"({core.reason_text})"
                )
        if position is None and not len(tick.commanded):
            return
        if position is None or not len(tick.commanded):
            comparison.not_comparable["commanded only then, or only now"] += 1
            return
        if before is not None and tick.mode in (Mode.FRESH, Mode.TAIL, Mode.DECELERATING):
            gap_ns = tick.stamp_ns - before.stamp_ns
            if len(before.commanded) and gap_ns > _GAP_TICKS * self._tick_ns:
                comparison.notes["longer than two ticks between two ticks in motion (late, or not recorded)"] += 1
        comparison.times_ns.append(tick.stamp_ns)
        comparison.recorded.append(tick.commanded)
        comparison.replayed.append(position.copy())

    def _end_of_process(self) -> None:
        """Add up what one process of the executor's counted."""
        if self._last is None or self._joined is None:
            return
        core, comparison = self._core, self.comparison
        for name in ("position", "velocity", "acceleration"):
            now, end, begin = (getattr(source, f"{name}_clamps") for source in (core, self._last, self._joined))
            zero = np.zeros(len(comparison.joint_names), dtype=np.int64)
            comparison.clamps[name] = comparison.clamps.get(name, zero) + now
            comparison.recorded_clamps[name] = comparison.recorded_clamps.get(name, zero) + end - begin


def as_chunk(recorded: RecordedChunk, joint_names: tuple[str, ...]) -> JointChunk:
    """A recorded chunk as the executor takes it."""
    return JointChunk(
        stamp_ns=recorded.stamp_ns,
        step_ns=recorded.step_ns,
        positions=recorded.positions,
        chunk_id=recorded.chunk_id,
        instruction_id=recorded.instruction_id,
        checkpoint=recorded.checkpoint_sha256,
        joint_names=joint_names,
        source=recorded.source,
    )


def _taken(tick: ExecutorTick) -> tuple[int, int, int]:
    """Which chunk was taken over, and when."""
    return tick.taken_ns, tick.chunk_source, tick.chunk_id


def replay_commands(run: RecordedRun, contract: Contract) -> CommandComparison:
    """Compare every recorded command with what the executor commands now, given the same chunks and states."""
    return CommandReplay(run, contract).run()
