# SPDX-License-Identifier: Apache-2.0
"""A replay from beginning to end, its numbers, and what of them is judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.executor_codes import ChunkSource
from swiftvla_ros.contract.latency_stages import REPLAYED, durations_s, percentiles
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.observation.message_fields import ExecutorTick
from swiftvla_ros.replay.chunks import ChunkComparison, Policies, compare_chunks, explain
from swiftvla_ros.replay.commands import CommandComparison, replay_commands
from swiftvla_ros.replay.differences import (
    Difference,
    checkpoint_differences,
    conditioning_differences,
    contract_differences,
)
from swiftvla_ros.replay.recorded import RecordedObservation, RecordedRun, read_run
from swiftvla_ros.replay.thresholds import RuntimeChoice, Thresholds, bound_of
from swiftvla_ros.replay.verdicts import VerdictComparison, compare_verdicts

Array = NDArray[np.float64]

EXIT_OK, EXIT_THRESHOLD, EXIT_DIFFERENT = 0, 1, 3

_NS = 1_000_000_000


@dataclass(frozen=True)
class Check:
    """One thing that was judged: ``text`` says what was found, and against which bound."""

    name: str
    ok: bool
    text: str


@dataclass(frozen=True)
class Executed:
    """How far the arm was from a chunk's recomputed rows while it followed them: [J] at worst, rad or m.

    ``measured`` from the joint states, ``commanded`` from the commands; NaN where no row fell into that time.
    """

    measured: Array
    commanded: Array


@dataclass
class ReplayReport:
    """What a replay found."""

    # Folders.
    bag: Path
    checkpoint: Path
    joint_names: tuple[str, ...]
    # How chunks were computed then and now.
    recorded_with: list[str]
    replayed_with: list[str]
    # One each per recorded chunk, in the order of recording.
    chunks: list[ChunkComparison]
    executed: list[Executed]
    commands: CommandComparison
    # Recorded stage → (p50, p95, max), ms; `inference now` is this machine's.
    latency_ms: dict[str, tuple[float, float, float]]
    differences: list[Difference]  # what is otherwise than recorded
    explanation: str  # what would bring the recorded rows back; empty where nothing is to be explained
    notes: list[str]  # what of the recording could not be used
    verdicts: list[VerdictComparison] = field(default_factory=list)  # of each monitor that the bag has verdicts of

    @property
    def computed(self) -> list[ChunkComparison]:
        """The chunks that could be computed again."""
        return [chunk for chunk in self.chunks if chunk.rows is not None]

    @property
    def difference(self) -> Array:
        """Largest absolute difference [J] over all chunks; NaN where none was computed."""
        if not self.computed:
            return np.full(len(self.joint_names), np.nan)
        return np.asarray(np.max([chunk.difference for chunk in self.computed], axis=0))

    def executed_worst(self) -> Executed:
        """The worst [J] over all chunks; NaN where there is none."""
        return Executed(
            _worst([e.measured for e in self.executed], len(self.joint_names)),
            _worst([e.commanded for e in self.executed], len(self.joint_names)),
        )


def replay(
    bag: Bag,
    *,
    checkpoint: Path,
    contract: Contract | None = None,
    override: RuntimeChoice | None = None,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> ReplayReport:
    """Replay a bag: infer every chunk again, run the executor again, compare.

    The robot's contract is the one in the bag where none is given; ``override`` says how to compute otherwise than
    recorded; ``progress`` is told after every chunk how many are done, of how many.

    Raises
    ------
    BagError
        The bag holds nothing to replay.
    CheckpointError
        The checkpoint can't be used for this contract, or not on this machine as recorded.
    """
    contract = contract or bag.contract
    run = read_run(bag)
    differences = checkpoint_differences(run, checkpoint)
    differences += contract_differences(bag, contract) + conditioning_differences(bag, contract)
    policies = Policies(checkpoint, contract, override)
    chunks: dict[int, ChunkComparison] = {}
    worst: RecordedObservation | None = None
    farthest = 0.0
    for comparison, observation in compare_chunks(run, policies):
        chunks[id(comparison.chunk)] = comparison
        gap = float(np.nan_to_num(comparison.difference, nan=0.0).max())
        if gap > farthest:
            farthest, worst = gap, observation
        progress(len(chunks), len(run.chunks))
    ordered = [chunks[id(chunk)] for chunk in run.chunks]
    explanation = ""
    if worst is not None and not any(d.kind != "conditioning" for d in differences):
        explanation = explain(policies.of(worst.chunk.runtime), worst)
    runtimes = list(dict.fromkeys(chunk.runtime for chunk in run.chunks))
    computed = {c.chunk.runtime for c in ordered if c.rows is not None}
    return ReplayReport(
        bag=bag.folder,
        checkpoint=checkpoint,
        joint_names=contract.joint_names,
        recorded_with=[str(runtime) for runtime in runtimes],
        replayed_with=[str(policies.used(runtime)) for runtime in runtimes if runtime in computed],
        chunks=ordered,
        executed=_executed(run, ordered),
        commands=replay_commands(run, contract),
        latency_ms=_latency(run, ordered),
        differences=differences,
        explanation=explanation,
        notes=run.notes,
        verdicts=compare_verdicts(run, checkpoint, contract),
    )


def judge(report: ReplayReport, thresholds: Thresholds) -> list[Check]:
    """Judge a report; every threshold gives one check, every chunk one of its own."""
    checks = [Check(f"{d.kind} as recorded", d.kind in thresholds.allow, d.text) for d in report.differences]
    if not checks:
        checks.append(Check("checkpoint, contract and conditioning as recorded", True, "nothing differs"))
    if report.explanation:
        checks.append(Check("explanation", False, report.explanation))
    bound, names = thresholds.chunks.max_difference, report.joint_names
    missing = [chunk for chunk in report.chunks if chunk.rows is None]
    text = (
        f"{len(missing)} of {len(report.chunks)} chunks lack their observation (allowed: {thresholds.chunks.missing})"
    )
    text += "".join(f"; chunk {c.chunk.chunk_id}: {', '.join(c.missing)}" for c in missing[:5])
    checks.append(Check("observations", len(missing) <= thresholds.chunks.missing, text))
    count, least = len(report.computed), thresholds.chunks.at_least
    checks.append(Check("number of chunks", count >= least, f"{count} were computed again (at least: {least})"))
    checks += [_chunk_check(chunk, bound, names) for chunk in report.computed]
    checks += [_verdict_check(found) for found in report.verdicts]
    return checks + _command_checks(report, thresholds) + _run_checks(report, thresholds)


def exit_code(report: ReplayReport, thresholds: Thresholds) -> int:
    """Return 0 where all checks hold; 3 where something differs that may not; else 1."""
    if any(d.kind not in thresholds.allow for d in report.differences):
        return EXIT_DIFFERENT
    return EXIT_OK if all(check.ok for check in judge(report, thresholds)) else EXIT_THRESHOLD


def _chunk_check(chunk: ChunkComparison, bound: float | dict[str, float], names: tuple[str, ...]) -> Check:
    name = f"chunk {chunk.chunk.chunk_id}"
    assert chunk.rows is not None
    if chunk.rows.shape != chunk.chunk.positions.shape:
        return Check(
            name, False, f"now {list(chunk.rows.shape)} rows and joints, then {list(chunk.chunk.positions.shape)}"
        )
    worst = _over(chunk.difference, bound, names)
    text = f"largest difference {chunk.difference.max():.3g}"
    return Check(name, not worst, worst or text)


def _verdict_check(found: VerdictComparison) -> Check:
    name = f"verdicts of {found.monitor}"
    if not found.differences:
        note = f"; {found.note}" if found.note else ""
        return Check(name, True, f"{found.computed} of {found.recorded} computed again, all alike{note}")
    first = "; ".join(found.differences[:3])
    return Check(name, False, f"{len(found.differences)} of {found.computed} are otherwise now: {first}")


def _command_checks(report: ReplayReport, thresholds: Thresholds) -> list[Check]:
    commands, wanted, names = report.commands, thresholds.commands, report.joint_names
    checks = []
    count, skipped = len(commands.times_ns), sum(commands.not_comparable.values())
    reasons = "".join(f"; {n} ticks: {why}" for why, n in commands.not_comparable.items())
    text = f"{count} were compared (at least: {wanted.at_least}), {skipped} can't be{reasons}"
    enough = count >= wanted.at_least and (wanted.not_comparable is None or skipped <= wanted.not_comparable)
    checks.append(Check("number of commands", enough, text))
    if count:
        worst = _over(commands.difference, wanted.max_difference, names)
        lowest = min((bound_of(wanted.max_difference, n) for n in names), default=0.0)
        where = commands.first_difference(lowest) if worst else ""
        text = f"largest difference {commands.difference.max():.3g}"
        checks.append(Check("commands", not worst, f"{worst}; {where}" if worst else text))
    text = f"{commands.mode_differences} ticks in another mode (allowed: {wanted.mode_differences})"
    if commands.first_mode_difference:
        text += f"; {commands.first_mode_difference}"
    checks.append(Check("modes", commands.mode_differences <= wanted.mode_differences, text))
    return checks


def _run_checks(report: ReplayReport, thresholds: Thresholds) -> list[Check]:
    checks, commands = [], report.commands
    if thresholds.refused is not None:
        refused = sum(commands.refusals.values())
        text = f"{refused} chunks refused (allowed: {thresholds.refused}): {dict(commands.refusals)}"
        checks.append(Check("refusals", refused <= thresholds.refused, text))
    for kind, most in thresholds.limits.model_dump().items():
        if most is not None:
            found = int(commands.clamps[kind].sum()) if kind in commands.clamps else 0
            checks.append(Check(f"{kind} limit counts", found <= most, f"{found} (allowed: {most})"))
    if thresholds.executed is not None:
        measured = report.executed_worst().measured
        worst = _over(measured, thresholds.executed, report.joint_names)
        checks.append(Check("executed motion", not worst, worst or f"at most {np.nanmax(measured):.3g} from the rows"))
    for stage, most_ms in thresholds.latency_ms.items():
        p95 = report.latency_ms[stage][1]
        checks.append(Check(f"latency: {stage}", p95 <= most_ms, f"p95 {p95:.1f} ms (allowed: {most_ms:g} ms)"))
    return checks


def _over(difference: Array, bound: float | dict[str, float], names: tuple[str, ...]) -> str:
    """Name the joints whose difference is over its bound, or is no number; empty where none is."""
    over = []
    for value, name in zip(difference, names, strict=True):
        allowed = bound_of(bound, name)
        if not value <= allowed:
            over.append(f"joint '{name}' differs by {value:.3g} (allowed: {allowed:g})")
    return ", ".join(over)


def _executed(run: RecordedRun, chunks: list[ChunkComparison]) -> list[Executed]:
    joints = len(run.bag.contract.joints)
    taken = sorted({(t.taken_ns, t.chunk_id if _of_the_policy(t) else 0) for t in run.ticks if t.taken_ns})
    moving = [t for t in run.ticks if len(t.commanded)]
    ticks = np.array([t.stamp_ns for t in moving], dtype=np.int64)
    commanded = np.array([t.commanded for t in moving], dtype=np.float64).reshape(len(moving), joints)
    found = []
    for chunk in chunks:
        recorded = chunk.chunk
        windows = [
            (since, taken[k + 1][0] if k + 1 < len(taken) else None)
            for k, (since, number) in enumerate(taken)
            if number == recorded.chunk_id and since >= recorded.stamp_ns
        ]
        if chunk.rows is None or not windows:
            found.append(Executed(np.full(joints, np.nan), np.full(joints, np.nan)))
            continue
        since, until = windows[0]
        times = recorded.stamp_ns + recorded.step_ns * np.arange(len(chunk.rows), dtype=np.int64)
        inside = (times >= since) & (times < (until if until is not None else since + _NS))
        rows, times = chunk.rows[inside], times[inside]
        found.append(Executed(_gap(rows, times, run.state_stamps, run.states), _gap(rows, times, ticks, commanded)))
    return found


def _of_the_policy(tick: ExecutorTick) -> bool:
    """Whether the chunk that a tick tells of is the policy's, not an operator's."""
    return tick.chunk_source != ChunkSource.OPERATOR


def _gap(rows: Array, times: NDArray[np.int64], stamps: NDArray[np.int64], positions: Array) -> Array:
    """Largest distance [J] of rows from positions at their times, between which lines are drawn."""
    covered = (times >= stamps[0]) & (times <= stamps[-1]) if len(stamps) else np.zeros(len(times), dtype=bool)
    if not covered.any():
        return np.full(rows.shape[1], np.nan)
    there = [np.interp(times[covered], stamps, column) for column in positions.T]
    return np.asarray(np.abs(rows[covered] - np.array(there).T).max(axis=0))


def _latency(run: RecordedRun, chunks: list[ChunkComparison]) -> dict[str, tuple[float, float, float]]:
    first = {t.taken_ns: t.first_command_ns for t in run.ticks if t.first_command_ns}
    first_of = {t.chunk_id: first[t.taken_ns] for t in run.ticks if t.taken_ns in first and _of_the_policy(t)}
    found = [durations_s(REPLAYED, c.stamps_ns(first_of.get(c.chunk_id, 0))) for c in run.chunks]
    stages = {name: [durations[name] for durations in found if name in durations] for name in REPLAYED}
    stages["inference now"] = [c.seconds for c in chunks if c.rows is not None]
    return {name: percentiles(1e3 * np.array(seconds, dtype=np.float64)) for name, seconds in stages.items()}


def _worst(rows: list[Array], joints: int) -> Array:
    table = np.array(rows, dtype=np.float64).reshape(len(rows), joints)
    return np.array([np.nanmax(c) if np.isfinite(c).any() else np.nan for c in table.T])
