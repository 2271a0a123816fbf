# SPDX-License-Identifier: Apache-2.0
"""What recorded episodes say of the monitors: detection by kind, false alarms, and whether failure is foretold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from _monitor_runs import HIT, LATENCY_S, PERIOD_S, TIMEOUT_S, poolings
from _monitor_worlds import KINDS
from swiftvla_ros.contract import Contract
from swiftvla_ros.monitoring.disagreement import HOLD_AT, SLOW_AT, SLOW_PERCENT, DisagreementMeter, Rows, disagreement
from swiftvla_ros.monitoring.envelope import Envelope
from swiftvla_ros.monitoring.envelope_monitor import EnvelopeMonitor, Look
from swiftvla_ros.monitoring.verdict import Verdict, VerdictLevel
from swiftvla_ros.sim.evaluation.statistics import Share, wilson

Array = NDArray[np.float64]

_NS = 1_000_000_000
_HIT_N = 1.0
"""A touch is a hit from this force on, N."""
_FORETELL_S = (1.0, 2.0, 3.0)
_RESAMPLES = 1000


@dataclass(frozen=True)
class Recorded:
    """An episode as it was saved, cut at the time-out."""

    kind: str
    seed: int
    onset_s: float
    done: bool
    seconds: float
    tick_s: float
    time_s: Array
    arrays: dict[str, NDArray[Any]]

    def hit(self) -> tuple[float, str] | None:
        """When the hand first hit what it must not, and what; None where it never did."""
        forces = self.arrays["forces"][: round(TIMEOUT_S / self.tick_s)]
        hits = np.argwhere(forces > _HIT_N)
        return None if not len(hits) else (float(hits[0, 0]) * self.tick_s, HIT[int(hits[0, 1])])


def read(folder: Path) -> list[Recorded]:
    """All episodes of a folder; ends the program where there are none."""
    episodes: list[Recorded] = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        cut = arrays["time_s"] < TIMEOUT_S
        looked = [poolings(tokens) for tokens in arrays.pop("tokens")[cut]]
        for name in ("time_s", "state", "rows"):
            arrays[name] = arrays[name][cut]
        arrays |= {name: np.stack([look[name] for look in looked]) for name in looked[0]}
        seconds = float(arrays["seconds"])
        done = str(arrays["verdict"]) == "DONE" and seconds <= TIMEOUT_S
        head = (str(arrays["kind"]), int(arrays["seed"]), float(arrays["onset_s"]))
        episodes.append(Recorded(*head, done, seconds, float(arrays["tick_s"]), arrays["time_s"], arrays))
    if not episodes:
        raise SystemExit(f"{folder}: holds no episodes; make some with `python benchmarks/monitors.py record {folder}`")
    return episodes


def verdicts(episode: Recorded, envelope: Envelope, contract: Contract, pooling: str = "mean") -> list[Verdict]:
    """What the envelope monitor says of each of an episode's looks."""
    monitor = EnvelopeMonitor(envelope, contract)
    features = pooled(episode.arrays, pooling)
    found = []
    for i, time_s in enumerate(episode.time_s):
        rows, state = episode.arrays["rows"][i], episode.arrays["state"][i]
        sha = envelope.checkpoint_sha256
        found.append(
            monitor.look(Look(round((1 + time_s) * _NS), i + 1, sha, rows, state, envelope.camera_names, features[i]))
        )
    return found


def doubts(episode: Recorded, *, sampled: bool) -> list[Verdict]:
    """What the disagreement meter says from the first whole second on; ``sampled``: of second samples, too."""
    meter = DisagreementMeter(np.array(SLOW_AT), np.array(HOLD_AT), SLOW_PERCENT)
    samples = dict(zip(episode.arrays["sampled"].tolist(), episode.arrays["samples"], strict=True)) if sampled else {}
    found = []
    for i, rows in enumerate(episode.arrays["rows"]):
        stamp_ns = round((1 + episode.time_s[i]) * _NS)
        found.append(meter.take(i + 1, Rows(stamp_ns, _NS // 10, rows)))
        if i in samples:
            meter.take_sample(i + 1, Rows(stamp_ns, _NS // 10, samples[i]))
    return [verdict for verdict in found if verdict is not None]


def disagreements(episode: Recorded) -> Array:
    """The measured distances [T, 2] of successive chunks, and of samples; 0 where there was no sample yet."""
    return np.array([[*verdict.values, 0.0][:2] for verdict in doubts(episode, sampled=True)]).reshape(-1, 2)


def growth(episodes: Sequence[Recorded], apart: Sequence[int] = (1, 2, 3, 4)) -> Array:
    """How far chunks so many looks apart differ in the mean, after the first second, in times of those one apart."""
    means = []
    for count in apart:
        found = []
        for episode in episodes:
            chunks = [
                Rows(round(t * _NS), _NS // 10, r)
                for t, r in zip(episode.time_s, episode.arrays["rows"], strict=True)
                if t >= 1
            ]
            pairs = zip(chunks, chunks[count:], strict=False)
            found += [np.sqrt((d**2).mean()) for a, b in pairs if (d := disagreement(a, b)) is not None]
        means.append(np.mean(found))
    return np.array(means) / means[0]


def pooled(arrays: dict[str, NDArray[Any]], pooling: str) -> NDArray[np.float32]:
    """Features [T, cams, D] of a pooling; "mean+std" is both."""
    names = pooling.split("+")
    return np.concatenate([arrays[name].astype(np.float32) for name in names], axis=-1)


def first(found: Sequence[Verdict], level: VerdictLevel, since_s: float = -1.0) -> float | None:
    """When the arm was first told of a level or a higher one, at or after a time; None where never."""
    for verdict in found:
        time_s = verdict.stamp_ns / _NS - 1
        if time_s >= since_s and level <= verdict.level < VerdictLevel.BLIND:
            return time_s + LATENCY_S
    return None


@dataclass(frozen=True)
class Detection:
    """Of the episodes of a kind: how many were flagged, after how long, and what was named first."""

    kind: str
    done: Share
    slowed: Share
    held: Share
    slow_s: float  # median of those that were, from the onset on
    hold_s: float
    named: str


def detect(episodes: Sequence[Recorded], judged: Sequence[list[Verdict]]) -> list[Detection]:
    """One row a kind, in the order of KINDS."""
    rows = []
    for kind in KINDS:
        own = [(e, v) for e, v in zip(episodes, judged, strict=True) if e.kind == kind]
        since = [0.0 if kind == "nominal" else e.onset_s for e, _ in own]
        times = {}
        for level in (VerdictLevel.SLOW, VerdictLevel.HOLD):
            found = [first(v, level, s) for (_, v), s in zip(own, since, strict=True)]
            times[level] = [t - s for t, s in zip(found, since, strict=True) if t is not None]
        parts: dict[str, int] = {}
        for _, v in own:
            flagged = next((x for x in v if VerdictLevel.SLOW <= x.level < VerdictLevel.BLIND), None)
            if flagged is not None:
                worst = flagged.parts[int(np.argmax(flagged.values / flagged.slow_at))]
                parts[worst] = parts.get(worst, 0) + 1
        named = ", ".join(f"{part} ({n})" for part, n in sorted(parts.items(), key=lambda item: -item[1])[:2])
        slow, hold = times[VerdictLevel.SLOW], times[VerdictLevel.HOLD]
        rows.append(
            Detection(
                kind,
                wilson(sum(e.done for e, _ in own), len(own)),
                wilson(len(slow), len(own)),
                wilson(len(hold), len(own)),
                float(np.median(slow)) if slow else float("nan"),
                float(np.median(hold)) if hold else float("nan"),
                named,
            )
        )
    return rows


def false_alarms(
    episodes: Sequence[Recorded], judged: Sequence[list[Verdict]]
) -> tuple[float, dict[str, tuple[int, float]]]:
    """Hours of nominal episodes that were judged, and how often each level began in them: count, and per hour."""
    nominal = [(e, v) for e, v in zip(episodes, judged, strict=True) if e.kind == "nominal"]
    hours = sum(len(v) for _, v in nominal) * PERIOD_S / 3600
    counts = {}
    for name, level in (("slowed", VerdictLevel.SLOW), ("held", VerdictLevel.HOLD)):
        beyond = [[level <= x.level < VerdictLevel.BLIND for x in v] for _, v in nominal]
        begins = sum(sum(b and not a for a, b in zip([False, *e], e, strict=False)) for e in beyond)
        counts[name] = (begins, begins / hours if hours else float("nan"))
    return hours, counts


def scores(episode: Recorded, found: Sequence[Verdict], until_s: float) -> dict[str, float]:
    """What could foretell failure, from the first ``until_s`` seconds alone."""
    early = episode.time_s < until_s
    shares = [float((x.values / x.slow_at).max()) for x, e in zip(found, early, strict=True) if e and len(x.values)]
    rows, times = episode.arrays["rows"], episode.time_s
    chunks = [Rows(round(t * _NS), _NS // 10, r) for t, r in zip(times, rows, strict=True)]
    successive = [
        float(np.sqrt((d**2).mean()))
        for i in np.flatnonzero(early)[1:]
        if (d := disagreement(chunks[i - 1], chunks[i])) is not None
    ]
    sampled = [
        float(np.sqrt(((episode.arrays["samples"][k] - rows[i]) ** 2).mean()))
        for k, i in enumerate(episode.arrays["sampled"])
        if i < len(times) and early[i]
    ]
    return {
        "successive chunks, mean": float(np.mean(successive or [0.0])),
        "successive chunks, highest": float(np.max(successive or [0.0])),
        "two samples, mean": float(np.mean(sampled or [0.0])),
        "two samples, highest": float(np.max(sampled or [0.0])),
        "envelope, highest": float(np.max(shares or [0.0])),
    }


def auc(values: Array, failed: NDArray[np.bool_]) -> float:
    """Area under the ROC curve: how likely a failure has the higher value (Mann and Whitney), ties count half."""
    if failed.all() or not failed.any():
        return float("nan")
    bad, good = values[failed][:, None], values[~failed][None]
    return float(((bad > good) + 0.5 * (bad == good)).mean())


def interval(values: Array, failed: NDArray[np.bool_], rng: np.random.Generator) -> tuple[float, float]:
    """95 % bootstrap interval of the area, over episodes."""
    drawn = [rng.integers(len(values), size=len(values)) for _ in range(_RESAMPLES)]
    found = [auc(values[i], failed[i]) for i in drawn]
    low, high = np.nanquantile(found, [0.025, 0.975])
    return float(low), float(high)


def foretell(
    episodes: Sequence[Recorded], judged: Sequence[list[Verdict]], which: Callable[[Recorded], bool]
) -> list[tuple[str, str, str, str, str]]:
    """Rows of what foretells failure: score, and the area with its interval for each time."""
    pairs = [(e, v) for e, v in zip(episodes, judged, strict=True) if which(e)]
    failed = np.array([not e.done for e, _ in pairs])
    rng, table = np.random.default_rng(0), {}
    for until_s in _FORETELL_S:
        found = [scores(e, v, until_s) for e, v in pairs]
        for name in found[0]:
            values = np.array([entry[name] for entry in found])
            low, high = interval(values, failed, rng)
            table.setdefault(name, []).append(f"{auc(values, failed):.2f} ({low:.2f}…{high:.2f})")
    return [(name, f"{int(failed.sum())} of {len(failed)}", *cells) for name, cells in table.items()]
