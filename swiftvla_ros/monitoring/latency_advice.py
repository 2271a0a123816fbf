# SPDX-License-Identifier: Apache-2.0
"""From how long each stage of a run took: what limits it, and which knob to turn, in sentences with numbers.

A chunk is one horizon long from the stamp of its observation on. The way to the arm (``CHAIN`` of
:mod:`swiftvla_ros.contract.latency_stages`) uses up its first rows, and what is left must last until the next one is
taken over. While it does, and at most half of each chunk is past before the arm follows it, there is nothing to say.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.latency_stages import CHAIN, STAGES, durations_s, percentiles

# A chunk of which more than this is past on its arrival tells of a scene that was.
_OLD_PART = 0.5
# Periods vary; beyond this part of what there is, the next slow one is too late.
_NARROW = 0.9
# One network on one machine takes alike long; what varies more is held up by others.
_UNSTEADY = 1.5
# Observations that were too old, of all.
_MANY_STALE = 0.05
# Chunks that come this near to `max_rate_hz` are held back by it and not by what computes them.
_AT_ITS_RATE = 0.85
# What is told of fewer chunks is chance.
_FEWEST = 5
_MOST_REMEMBERED = 200
# Of so few denoising steps none can be spared: the flow's curve would be cut short.
_FEWEST_FLOW_STEPS = 4
_QUICK_CAMERA_HZ = 30.0
_MS = 1e3


@dataclass(frozen=True)
class ComputedBy:
    """How the chunks are computed, as far as it is known: 0, empty or None where it is not.

    ``rows`` is the number of rows of a chunk, ``cores`` those of the policy's machine, ``max_delay_rows`` the most
    executed rows that it was trained to continue (guidance ``trained``).
    """

    rows: int
    runtime: str = ""
    device: str = ""
    precision: str = ""
    guidance: str = ""
    threads: int = 0
    cores: int = 0
    flow_steps: int = 0
    max_rate_hz: float = 0.0
    max_delay_rows: int = 0


@dataclass(frozen=True)
class RunTiming:
    """How a run went: each stage's 50th and 95th percentile and maximum, s, and those of the time between chunks.

    Only stages of ``STAGES`` are read; ``stale`` of ``observations`` were dropped because they were too old.
    """

    stages_s: Mapping[str, tuple[float, float, float]]
    period_s: tuple[float, float, float]
    chunks: int
    stale: int = 0

    @classmethod
    def of(cls, durations: Iterable[Mapping[str, float]], stamps_ns: Iterable[int], stale: int = 0) -> RunTiming:
        """Sum up the stages of each chunk (:func:`durations_s`) and the stamps of their observations."""
        found = list(durations)
        stages = {name: percentiles(np.array([d[name] for d in found if name in d])) for name in STAGES}
        gaps = np.diff(np.sort(np.array([ns / 1e9 for ns in stamps_ns], dtype=np.float64)))
        measured = {name: values for name, values in stages.items() if np.isfinite(values[0])}
        return cls(measured, percentiles(gaps), len(found), stale)

    @property
    def largest(self) -> str:
        """The stage of ``CHAIN`` that takes longest, by the 95th percentile; empty where none was measured."""
        known = [name for name in CHAIN if name in self.stages_s]
        return max(known, key=lambda name: self.stages_s[name][1], default="")

    @property
    def way_s(self) -> float:
        """From a camera's stamp to the arm, 95th percentile; from the stages' sum where no whole way was measured.

        It is no shorter than the longest stage, which chunks have, too, that no command followed.
        """
        stages = [self.stages_s[name][1] for name in CHAIN if name in self.stages_s]
        whole = self.stages_s.get("camera_to_command")
        return max([whole[1], *stages]) if whole is not None else sum(stages)


@dataclass
class RollingTiming:
    """The newest chunks of a run that goes on."""

    _chunks: deque[tuple[int, dict[str, float], int]] = field(default_factory=lambda: deque(maxlen=_MOST_REMEMBERED))

    def add(self, stamp_ns: int, at_ns: Mapping[str, int], stale: int = 0) -> None:
        """Take a chunk: its observation's stamp, when each of its stages began and ended, and ``stale`` so far."""
        self._chunks.append((stamp_ns, durations_s(STAGES, at_ns), stale))

    def timing(self) -> RunTiming:
        """Sum up what is remembered; of the observations those that were dropped meanwhile."""
        stale = self._chunks[-1][2] - self._chunks[0][2] if self._chunks else 0
        return RunTiming.of([d for _, d, _ in self._chunks], [ns for ns, _, _ in self._chunks], max(0, stale))


class _Knob(NamedTuple):
    """What may be turned, and the sentence that says how far and why."""

    name: str
    text: str


@dataclass(frozen=True)
class LatencyAdvice:
    """What limits a run, and what to do: ``limits`` is the largest stage's name, ``knobs`` name what is to be turned.

    Nothing at all (``sentences`` empty) where all is well, or too little was measured.
    """

    limits: str = ""
    sentences: tuple[str, ...] = ()
    knobs: tuple[str, ...] = ()


def advise(timing: RunTiming, contract: Contract, by: ComputedBy) -> LatencyAdvice:
    """Say what limits a run and which knob to turn; silent where chunks come in time."""
    stage = timing.largest
    if timing.chunks < _FEWEST or not stage or not by.rows:
        return LatencyAdvice()
    troubles = list(_troubles(timing, contract, by))
    if not troubles:
        return LatencyAdvice()
    p50, p95, _ = timing.stages_s[stage]
    part = p95 / timing.way_s
    limits = (
        f"{STAGES[stage]} takes the longest: {p50 * _MS:.0f} ms, {p95 * _MS:.0f} ms at p95, {part:.0%} of the "
        f"{timing.way_s * _MS:.0f} ms from a camera's stamp to the arm"
    )
    knobs = list(_knobs(stage, timing, contract, by))
    return LatencyAdvice(stage, (*troubles, limits, *(knob.text for knob in knobs)), tuple(knob.name for knob in knobs))


def _troubles(timing: RunTiming, contract: Contract, by: ComputedBy) -> Iterator[str]:
    """What goes wrong because of the latency."""
    step_s, way_s, period_s = contract.policy.step_s, timing.way_s, timing.period_s[1]
    chunk_s = by.rows * step_s
    if np.isfinite(period_s) and way_s + period_s > _NARROW * chunk_s:
        yield (
            f"chunks of {chunk_s:.2f} s run out before the next one: {way_s:.2f} s on the way and {period_s:.2f} s "
            "until the next (p95); the arm slows down between them"
        )
    elif way_s > _OLD_PART * chunk_s:
        yield (
            f"{way_s / step_s:.1f} of a chunk's {by.rows} rows are past when the arm follows it (p95): it acts on "
            f"what was {way_s:.2f} s ago"
        )
    if np.isfinite(period_s) and period_s > contract.control.fresh_s:
        yield (
            f"a chunk comes every {period_s:.2f} s (p95), and control.fresh_s is {contract.control.fresh_s:g} s: "
            "between them the arm follows a tail"
        )
    if timing.stale > _MANY_STALE * (timing.stale + timing.chunks):
        yield (
            f"{timing.stale} observations were dropped as too old beside {timing.chunks} chunks: "
            f"policy.max_image_age_s is {contract.policy.max_image_age_s:g} s"
        )
    if by.guidance == "trained" and by.max_delay_rows and way_s / step_s > by.max_delay_rows:
        yield (
            f"{way_s / step_s:.1f} rows are executed until a chunk arrives (p95), and the checkpoint was trained to "
            f"continue {by.max_delay_rows} at most"
        )


def _knobs(stage: str, timing: RunTiming, contract: Contract, by: ComputedBy) -> Iterator[_Knob]:
    """Name what shortens the largest stage first, then what lives with the latency; each knob once, one way."""
    if stage == "camera":
        yield from _camera(timing, contract)
    elif stage == "wait" and _held_back(timing, by):
        yield _rate(timing)
    elif stage in ("wait", "inference"):
        yield from _inference(timing, by)
    elif stage == "chunk_transport":
        yield _Knob(
            "load",
            "the executor gets chunks late: look for what else uses the machine (top), and leave it a core: fewer "
            "threads for the policy, monitors and viewers elsewhere",
        )
    else:
        yield _Knob(
            "realtime_priority",
            "the executor takes chunks over late: give it a real-time priority (parameter realtime_priority; "
            "`swiftvla doctor` says whether it is granted)",
        )
    yield from _living_with_it(timing, contract, by)


def _held_back(timing: RunTiming, by: ComputedBy) -> bool:
    """Whether the set rate makes complete observations wait, and not the computing of the chunk before."""
    if "inference" not in timing.stages_s:
        return False
    period_s = 1 / by.max_rate_hz if by.max_rate_hz else timing.period_s[0]
    return timing.stages_s["inference"][1] < _AT_ITS_RATE * period_s


def _rate(timing: RunTiming) -> _Knob:
    inference_s = timing.stages_s["inference"][1]
    return _Knob(
        "max_rate_hz",
        f"the policy has time left: its inference takes {inference_s * _MS:.0f} ms (p95), so policy_node's max_rate_hz "
        f"may be {_AT_ITS_RATE / inference_s:.0f}",
    )


def _camera(timing: RunTiming, contract: Contract) -> Iterator[_Knob]:
    slowest = min(contract.cameras, key=lambda camera: camera.rate_hz)
    took_s, period_s = timing.stages_s["camera"][0], 1 / slowest.rate_hz
    if slowest.rate_hz < _QUICK_CAMERA_HZ:
        gained_s = 0.5 * (period_s - 1 / _QUICK_CAMERA_HZ)
        yield _Knob(
            "cameras.rate_hz",
            f"camera '{slowest.name}' gives a picture every {period_s * _MS:.0f} ms: with {_QUICK_CAMERA_HZ:g} Hz, at "
            f"its driver and as cameras.rate_hz of the contract, pictures are {gained_s * _MS:.0f} ms younger",
        )
    raw = [camera.name for camera in contract.cameras if camera.transport == "raw"]
    if took_s > period_s and raw:
        yield _Knob(
            "cameras.transport",
            f"pictures need {took_s * _MS:.0f} ms to the policy, more than the {period_s * _MS:.0f} ms between two: "
            f"send {', '.join(raw)} compressed, or smaller (cameras.transport, source_size)",
        )


def _inference(timing: RunTiming, by: ComputedBy) -> Iterator[_Knob]:
    on_cpu = by.device.startswith("cpu")
    p50, p95, _ = timing.stages_s.get("inference", (0.0, 0.0, 0.0))
    if p95 > _UNSTEADY * p50:
        yield _Knob(
            "load",
            f"its inference takes {p50 * _MS:.0f} ms mostly, and {p95 * _MS:.0f} ms at p95: something else uses the "
            "machine at times (top); leave the policy its cores",
        )
    if by.runtime == "torch" and on_cpu:
        yield _Knob(
            "runtime",
            "the policy computes with torch on the CPU: graphs are quicker there; `swiftvla export` makes them, and "
            "runtime:=auto takes them (docs/performance.md)",
        )
    if by.precision == "float32":
        way = "`swiftvla export` with another --precision" if on_cpu else "policy_node's precision:=bfloat16"
        yield _Knob("precision", f"it computes in float32; {way} is quicker where the hardware has it")
    if on_cpu and by.threads and by.threads < by.cores - 1:
        yield _Knob(
            "threads",
            f"it has {by.threads} threads, and the machine has {by.cores} cores: raise policy_node's threads "
            f"to at most {by.cores - 1}",
        )
    if by.flow_steps > _FEWEST_FLOW_STEPS:
        inference_s = timing.stages_s.get("inference", timing.stages_s["wait"])[1]
        yield _Knob(
            "denoise_steps",
            f"{by.flow_steps} denoising steps a chunk: half of them leave at most half of the {inference_s * _MS:.0f} "
            "ms out; evaluate the policy with fewer before an arm follows it (config.json: model.denoise_steps)",
        )


def _living_with_it(timing: RunTiming, contract: Contract, by: ComputedBy) -> Iterator[_Knob]:
    """What makes a latency bearable that can't be shortened."""
    way_s, step_s = timing.way_s, contract.policy.step_s
    if contract.control.blend.kind == "replace":
        yield _Knob(
            "control.blend", "control.blend.kind 'replace' shows each late chunk as a jump: 'smooth' joins them"
        )
    if timing.stale > _MANY_STALE * (timing.stale + timing.chunks):
        longest_s = timing.stages_s.get("camera", (0.0, 0.0, 0.0))[1] + 1 / min(c.rate_hz for c in contract.cameras)
        if longest_s > contract.policy.max_image_age_s:
            yield _Knob(
                "policy.max_image_age_s",
                f"pictures are up to {longest_s:.2f} s old when they could be read (p95): raise policy.max_image_age_s "
                "above it only where the scene moves slowly",
            )
    if by.guidance == "trained" and by.max_delay_rows and way_s / step_s > by.max_delay_rows:
        yield _Knob(
            "max_delay_steps",
            f"train it to continue {int(np.ceil(way_s / step_s))} rows (`swiftvla train --max-delay-steps`), or "
            "shorten the way",
        )
