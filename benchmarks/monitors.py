# SPDX-License-Identifier: Apache-2.0
"""What the monitors notice, how often for nothing, whether they foretell failure, and what they cost.

    python benchmarks/monitors.py record runs/monitors         # episodes by kind; goes on where it was left
    python benchmarks/monitors.py bounds runs/calibration      # of disagreement, from nominal episodes of other scenes
    python benchmarks/monitors.py tables runs/monitors         # detection, false alarms, what foretells failure
    python benchmarks/monitors.py adverse runs/adverse         # hits, and the same runs with the monitor; films
    python benchmarks/monitors.py poolings runs/monitors --episodes EPISODES    # how to pool what the encoder sees
    python benchmarks/monitors.py cost runs/monitors           # time of a verdict
    python benchmarks/monitors.py cpu                          # of each node's process, in the running system
    python benchmarks/monitors.py live runs/live               # what they say of usual scenes there, and a bag of it

But for cpu and live the simulated arm runs without ROS, faster than real time, through the executor that drives the
real one. The envelope's bounds come from demonstrations of other scenes than any that is run here.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from _monitor_adverse import film, search, sheet
from _monitor_poolings import compare_poolings
from _monitor_runs import LATENCY_S, PERIOD_S, run_episode, save
from _monitor_tables import Recorded, detect, disagreements, doubts, false_alarms, foretell, growth, read, verdicts
from _monitor_worlds import KINDS, ShiftedWorld, onset_s
from swiftvla_ros.cli.output import print_table
from swiftvla_ros.contract import Contract, load_contract
from swiftvla_ros.monitoring.calibration import FalseAlarms, calibrate
from swiftvla_ros.monitoring.disagreement import (
    HOLD_AT,
    SAMPLES,
    SLOW_AT,
    SLOW_PERCENT,
    SUCCESSIVE,
    DisagreementMeter,
    Rows,
)
from swiftvla_ros.monitoring.envelope import Envelope
from swiftvla_ros.monitoring.envelope_file import read_envelope
from swiftvla_ros.monitoring.verdict import Verdict
from swiftvla_ros.policy import load_policy
from swiftvla_ros.policy.checkpoint import open_checkpoint
from swiftvla_ros.resources import model_path

# Scenes that neither training, nor the envelope's demonstrations, nor its calibration has.
_SEED, _ADVERSE_SEED, _CALIBRATION_SEED, _LIVE_SEED = 60_000, 70_000, 80_000, 90_000
_NOMINAL, _SHIFTED, _CALIBRATION, _LIVE_SCENES = 420, 24, 200, 30
_ADVERSE_KINDS = ("unknown words", "pose outside", "unknown object", "camera moved", "lights dimmed")
# Runs in all, of one kind at most, and scenes that are tried.
_ADVERSE_WANTED, _ADVERSE_TRIES = (10, 3), 200
_EARLY_S = 0.6


def wanted() -> list[tuple[str, int]]:
    """Kind and seed of every episode, so that the kinds are even wherever it stops."""
    counts = {name: _NOMINAL if name == "nominal" else _SHIFTED for name in KINDS}
    ordered = [(i / count, name, _SEED + i) for name, count in counts.items() for i in range(count)]
    return [(name, seed) for _, name, seed in sorted(ordered)]


def _state_range(checkpoint: Path, contract: Contract) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    statistics = json.loads((checkpoint / "stats.json").read_text())["state"]
    low, high = (np.array([statistics[joint][key] for joint in contract.joint_names]) for key in ("q01", "q99"))
    return low, high


def _envelope(checkpoint: Path, contract: Contract) -> Envelope:
    return read_envelope(checkpoint, open_checkpoint(checkpoint).sha256, contract)


def record(folder: Path, checkpoint: Path, episodes: Sequence[tuple[str, int]], seconds: float) -> bool:
    """Run the episodes (kind and seed) that are missing; False where time was up before."""
    contract = load_contract("so101_sim")
    policy = load_policy(checkpoint, contract=contract, threads=1)
    folder.mkdir(parents=True, exist_ok=True)
    worlds: dict[str, ShiftedWorld] = {}
    began = time.monotonic()
    for kind, seed in episodes:
        path = folder / f"{kind.replace(' ', '_')}_{seed}.npz"
        if path.exists():
            continue
        if time.monotonic() - began > seconds:
            print("stopped; the same command goes on")
            return False
        scene = KINDS[kind].scene
        if scene.name not in worlds:
            worlds[scene.name] = ShiftedWorld(contract, seed, scene)
        save(run_episode(policy, worlds[scene.name], kind, seed, _state_range(checkpoint, contract)), path)
    return True


def bounds(folder: Path, checkpoint: Path, seconds: float) -> None:
    """Print from where on the disagreement meter slows and holds, for the stated rates of false alarms."""
    if not record(folder, checkpoint, [("nominal", _CALIBRATION_SEED + i) for i in range(_CALIBRATION)], seconds):
        return
    episodes = read(folder)
    found = calibrate([disagreements(episode) for episode in episodes], PERIOD_S, np.zeros((2, 2)))
    alarms = found.alarms
    print(
        f"{found.runs} nominal episodes, judged for {60 * found.hours:.1f} min; for {alarms.slow_per_hour:g} slowings "
        f"and {alarms.hold_per_hour:g} holds for nothing an hour, both parts together:"
    )
    columns = zip((SUCCESSIVE, SAMPLES), found.slow_at, found.hold_at, strict=True)
    rows = [(part, f"{slow:.3f}", f"{hold:.3f}") for part, slow, hold in columns]
    print_table(("part", "slow_at, rad", "hold_at, rad"), rows)
    grown = ", ".join(f"{times:.2f}" for times in growth(episodes))
    print(f"chunks 0.1, 0.2, 0.3 and 0.4 s apart differ by {grown} times as much")


def tables(folder: Path, checkpoint: Path) -> None:
    """Print what the episodes say."""
    contract = load_contract("so101_sim")
    envelope, episodes = _envelope(checkpoint, contract), read(folder)
    judged = [verdicts(episode, envelope, contract) for episode in episodes]
    print(f"{len(episodes)} episodes")
    _print_detection("envelope", episodes, judged, envelope.bounds.alarms)
    for title, sampled in (("disagreement of successive chunks", False), ("disagreement, with second samples", True)):
        doubted = [doubts(episode, sampled=sampled) for episode in episodes]
        _print_detection(title, episodes, doubted, FalseAlarms())
    before = {name for name, kind in KINDS.items() if not kind.visible} | {"nominal"}
    for title, which in (("all kinds", set(KINDS)), ("nominal and what no picture shows", before)):
        print_table(
            (f"foretells failure: {title}", "failed", "AUC after 1 s", "2 s", "3 s"),
            foretell(episodes, judged, lambda episode, which=which: episode.kind in which),  # type: ignore[misc]
        )


def _print_detection(
    title: str, episodes: Sequence[Recorded], judged: Sequence[list[Verdict]], wanted_alarms: FalseAlarms
) -> None:
    """Print one monitor's rows by kind, and its false alarms."""
    print_table(
        (title, "episodes", "done", "slowed or held", "held", "until slow, s", "until hold, s", "named first"),
        [
            (
                d.kind,
                str(d.slowed.total),
                str(d.done.count),
                str(d.slowed),
                str(d.held.count),
                _number(d.slow_s),
                _number(d.hold_s),
                d.named,
            )
            for d in detect(episodes, judged)
        ],
    )
    hours, counts = false_alarms(episodes, judged)
    wanted_rates = f"{wanted_alarms.slow_per_hour:g} and {wanted_alarms.hold_per_hour:g} an hour"
    print(f"nominal: judged for {60 * hours:.1f} min; bounds for {wanted_rates}")
    for name, (count, rate) in counts.items():
        # Of none seen, the rate is below three in that time with 95 % confidence.
        below = "" if count else f" (below {3 / hours:.0f} per hour, 95 %)"
        print(f"  {name} {count} times: {rate:.0f} per hour{below}")


def _number(value: float | None) -> str:
    return "–" if value is None or np.isnan(value) else f"{value:.2f}"


def _onset_s(seed: int) -> float:
    return onset_s(KINDS["nominal"], np.random.default_rng([seed, 77]))


def adverse(folder: Path, checkpoint: Path, first: list[str], seconds: float) -> None:
    """Find runs in which a monitor spares a hit; ``first`` are candidates KIND:SEED to begin with."""
    contract = load_contract("so101_sim")
    policy = load_policy(checkpoint, contract=contract, threads=1)
    candidates = [(kind, int(seed)) for kind, _, seed in (entry.partition(":") for entry in first)]
    # Scenes in which it changes before the hand is at the block: later, nobody could stop in time.
    early = [_ADVERSE_SEED + i for i in range(_ADVERSE_TRIES) if _onset_s(_ADVERSE_SEED + i) < _EARLY_S]
    candidates += [(kind, seed) for seed in early for kind in _ADVERSE_KINDS]
    envelope, state_range = _envelope(checkpoint, contract), _state_range(checkpoint, contract)
    pairs, missed = search(policy, envelope, contract, candidates, state_range, _ADVERSE_WANTED, seconds)
    folder.mkdir(parents=True, exist_ok=True)
    print_table(
        ("run", "seed", "changes at, s", "without: hit at, s", "hit", "by", "slows at, s", "holds at, s", "with: hit"),
        [
            (
                f"{i + 1}. {plain.kind}",
                str(plain.seed),
                _number(plain.onset_s),
                _number(plain.hit_s),
                f"{plain.hit}, {plain.newtons:.0f} N",
                watched.by,
                _number(watched.slow_s),
                _number(watched.hold_s),
                watched.hit or "nothing",
            )
            for i, (plain, watched) in enumerate(pairs)
        ],
    )
    print(f"{len(missed)} other hits were not spared: {[f'{run.kind}:{run.seed}' for run in missed]}")
    for kind in dict.fromkeys(plain.kind for plain, _ in pairs):
        shown = next(pair for pair in pairs if pair[0].kind == kind)
        film(*shown, folder / f"monitors-adverse-{kind.replace(' ', '-')}.gif")
    sheet(pairs, folder / "monitors-adverse.png")


def cost(folder: Path, checkpoint: Path) -> None:
    """Print what both cores cost at the policy's rate, without ROS."""
    contract = load_contract("so101_sim")
    envelope, episodes = _envelope(checkpoint, contract), read(folder)[:40]
    looks = sum(len(episode.time_s) for episode in episodes)
    began = time.process_time()
    for episode in episodes:
        verdicts(episode, envelope, contract)
    envelope_s = (time.process_time() - began) / looks
    began = time.process_time()
    for episode in episodes:
        meter = DisagreementMeter(np.array(SLOW_AT), np.array(HOLD_AT), SLOW_PERCENT)
        for i, rows in enumerate(episode.arrays["rows"]):
            meter.take(i, Rows(round(1e9 * episode.time_s[i]), 100_000_000, rows))
    meter_s = (time.process_time() - began) / looks
    share = (envelope_s + meter_s) / PERIOD_S
    print(f"{looks} looks: envelope {1e3 * envelope_s:.2f} ms, disagreement {1e3 * meter_s:.2f} ms a chunk")
    print(
        f"together {share:.2%} of a core at {1 / PERIOD_S:g} chunks/s; a verdict follows its chunk ({LATENCY_S} s here)"
    )


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("record", "bounds", "tables", "adverse", "poolings", "cost", "cpu", "live"))
    parser.add_argument("folder", type=Path, nargs="?", help="where episodes and films lie; of all but cpu")
    parser.add_argument("--checkpoint", type=Path, default=Path("models/swiftvla-nano-so101"))
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument("--episodes", type=Path, help="demonstrations, for poolings")
    parser.add_argument("--first", action="append", default=[], metavar="KIND:SEED", help="adverse runs to begin with")
    options = parser.parse_args()
    checkpoint = model_path(options.checkpoint)
    if options.folder is None and options.what != "cpu":
        parser.error(f"{options.what} needs a folder")
    if options.what == "record":
        record(options.folder, checkpoint, wanted(), options.seconds)
    elif options.what == "bounds":
        bounds(options.folder, checkpoint, options.seconds)
    elif options.what == "cpu":
        # The others run without ROS.
        from _monitor_live import cpu

        cpu(checkpoint, min(options.seconds, 30.0))
    elif options.what == "live":
        from _monitor_live import live

        live(checkpoint, options.folder, _LIVE_SEED, _LIVE_SCENES)
    elif options.what == "tables":
        tables(options.folder, checkpoint)
    elif options.what == "adverse":
        adverse(options.folder, checkpoint, options.first, options.seconds)
    elif options.what == "cost":
        cost(options.folder, checkpoint)
    elif options.episodes is None:
        parser.error("poolings needs --episodes, a folder of demonstrations")
    else:
        contract = load_contract("so101_sim")
        policy = load_policy(checkpoint, contract=contract, threads=1)
        compare_poolings(read(options.folder), policy, _envelope(checkpoint, contract), contract, options.episodes)


if __name__ == "__main__":
    main()
