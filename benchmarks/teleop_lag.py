# SPDX-License-Identifier: Apache-2.0
"""How far commands lag behind a person's hand, and what a hand that is predicted costs in smoothness.

``python benchmarks/teleop_lag.py [--seconds 20] [--json FILE]`` moves a leader as hands move (reaches and pauses, each
joint by itself, an encoder of 4096 steps, messages 3 ms late and jittered), makes chunks of it in several ways, and
lets the executor follow them. Lag is where the commands fit the hand's motion best, shifted in time (cross-correlated);
the rest is the error that remains then; ``error`` is the whole distance from the hand at the same moment; ``shake`` is
the commands' jerk over the hand's own (root mean square); ``overshoot`` is how far commands go beyond the place
where a hand stops and falls silent. Without ROS: a message over DDS adds about a millisecond, which stamps make up for.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from swiftvla_ros.cli.output import write_json
from swiftvla_ros.contract import load_contract
from swiftvla_ros.motion.smooth_step import smooth_step
from swiftvla_ros.teleop.prediction import PredictionSettings
from teleop_rig import Link, TeleopRig

Array = NDArray[np.float64]

CONTRACT = load_contract("so101_sim")
WAYS: dict[str, tuple[PredictionSettings, Link]] = {
    "predicted (as shipped), leader at 50 Hz": (PredictionSettings(), Link()),
    "the same, leader at 100 Hz": (PredictionSettings(), Link(100.0)),
    "the same, leader at 30 Hz": (PredictionSettings(), Link(30.0)),
    "the same, messages 30 ± 20 ms late": (PredictionSettings(), Link(50.0, 0.03, 0.02)),
    "straight on instead of curved": (PredictionSettings(degree=1), Link()),
    "fitted over 80 ms instead of 160": (PredictionSettings(window_s=0.08), Link()),
    "going on for 100 ms instead of 50": (PredictionSettings(ahead_s=0.1), Link()),
    "rows of 20 ms instead of 50": (PredictionSettings(step_s=0.02, past_s=0.06), Link()),
    "predicted, and 40 ms late": (PredictionSettings(delay_s=0.04), Link()),
    "played back 60 ms late, not predicted": (PredictionSettings(degree=2, ahead_s=0.0, delay_s=0.06), Link()),
    "the newest pose, not predicted": (PredictionSettings(degree=0, window_s=1e-3, ahead_s=0.0), Link()),
}


def hand(seconds: float) -> tuple[Array, Array]:
    """Times [N] ms by ms and poses [N, J]: reaches of minimum jerk (Flash and Hogan 1985) with pauses between them."""
    rng, joints = np.random.default_rng(0), len(CONTRACT.joints)
    times = np.arange(0.0, seconds, 0.001)
    poses = np.zeros((len(times), joints))
    for j in range(joints):
        place, k = 0.0, 600
        while k < len(times):
            duration_s = rng.uniform(0.7, 1.6)
            target = place + np.clip(rng.uniform(-0.6, 0.6) - place, -0.7 * duration_s, 0.7 * duration_s)
            u = np.linspace(0.0, 1.0, round(1000 * duration_s))
            pause = np.ones(round(1000 * rng.uniform(0.0, 0.6)))
            way = np.concatenate([place + smooth_step(u, target - place), target * pause])
            poses[k:, j] = target
            poses[k : k + len(way), j] = way[: len(times) - k]
            place, k = target, k + len(way)
    low, high = CONTRACT.limits.min_position + 0.05, CONTRACT.limits.max_position - 0.05
    return times, np.clip(poses + CONTRACT.rest, low, high)


def measure(settings: PredictionSettings, link: Link, seconds: float) -> dict[str, float]:
    """Follow a hand in one way."""
    times, poses = hand(seconds)

    def motion(s: float) -> Array:
        return np.asarray(poses[min(round(1000 * s), len(poses) - 1)])

    rig = TeleopRig(CONTRACT, motion, link=link, prediction=settings)
    rig.run(0.15)
    rig.engagement.engage(rig.ns)
    begin = time.process_time()
    rig.run(seconds - 0.3)
    spent = time.process_time() - begin
    at, commanded = rig.times_s[100:], rig.positions[100:]
    accelerations = np.array([c.acceleration for c in rig.commands])[100:]

    def apart(lag_s: float) -> float:
        shifted = np.stack([np.interp(at - lag_s, times, column) for column in poses.T], axis=1)
        return float(np.sqrt(((shifted - commanded) ** 2).mean()))

    lags = np.arange(-0.05, 0.3, 0.001)
    errors = [apart(lag) for lag in lags]
    jerk = np.diff(accelerations, axis=0) / 0.01
    own = np.diff(np.stack([np.interp(at, times, column) for column in poses.T], axis=1), 3, axis=0) / 1e-6
    return {
        "lag_ms": 1e3 * float(lags[int(np.argmin(errors))]),
        "rest_mrad": 1e3 * min(errors),
        "error_mrad": 1e3 * apart(0.0),
        "shake": float(np.sqrt((jerk**2).mean() / (own**2).mean())),
        "overshoot_mrad": 1e3 * _overshoot(settings, link),
        "cpu": spent / (seconds - 0.3),
    }


def _overshoot(settings: PredictionSettings, link: Link) -> float:
    """How far one joint goes on, rad, after a hand at 1 rad/s has fallen silent in motion."""

    def motion(s: float) -> Array:
        pose = CONTRACT.rest.copy()
        pose[0] += s - 0.85 if s > 1.1 else max(0.0, s - 0.6) ** 2
        return pose

    rig = TeleopRig(CONTRACT, motion, link=link, prediction=settings)
    rig.run(0.15)
    rig.engagement.engage(rig.ns)
    rig.run(1.3)
    last = motion(rig.seconds)[0]
    rig.motion = None
    rig.run(1.5)
    return float(rig.arm[0] - last)


def main() -> None:
    """Measure all ways and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    table = Table(title="from a hand to the command, so101_sim at 100 Hz")
    heads = ("rows are", "lag, ms", "rest, mrad", "error, mrad", "shake", "overshoot, mrad", "core, %")
    for head in heads:
        table.add_column(head, justify="left" if head == heads[0] else "right")
    found = {name: measure(*way, options.seconds) for name, way in WAYS.items()}
    for name, f in found.items():
        figures = (f["lag_ms"], f["rest_mrad"], f["error_mrad"], 100 * f["shake"], f["overshoot_mrad"], 100 * f["cpu"])
        lag, rest, error, shake, over, cpu = figures
        table.add_row(name, f"{lag:.0f}", f"{rest:.1f}", f"{error:.1f}", f"{shake:.0f} %", f"{over:.0f}", f"{cpu:.0f}")
    Console(width=120).print(table)
    write_json(options.json, found)


if __name__ == "__main__":
    main()
