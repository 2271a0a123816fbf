# SPDX-License-Identifier: Apache-2.0
"""Draw ``docs/images/teleoperation.png``: a far leader takes an arm over from a policy, leads it, and gives it back.

``PYTHONPATH=benchmarks python docs/plots/teleoperation.py``
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")

from matplotlib import pyplot as plt

from swiftvla_ros.contract import load_contract
from swiftvla_ros.teleop.hand import TeleopPhase
from teleop_rig import TeleopRig

IMAGE = Path(__file__).parents[1] / "images" / "teleoperation.png"
CONTRACT = load_contract("so101_sim")
JOINT = 0
ENGAGE_S, SILENT_S, AGAIN_S, RELEASE_S, END_S = 2.0, 9.0, 10.5, 12.5, 15.5
COLORS = {
    TeleopPhase.RELEASED: "#cfe2f3",
    TeleopPhase.STOPPING: "#f4cccc",
    TeleopPhase.APPROACHING: "#fff2cc",
    TeleopPhase.FOLLOWING: "#d9ead3",
    TeleopPhase.HELD: "#d9d9d9",
}
LABELS = {
    TeleopPhase.RELEASED: "released: the policy moves the arm",
    TeleopPhase.STOPPING: "stopping: engaged, the leader is far",
    TeleopPhase.APPROACHING: "approaching",
    TeleopPhase.FOLLOWING: "following",
    TeleopPhase.HELD: "held: the leader fell silent",
}


def hand(s: float) -> np.ndarray:
    """A person's motion: still, then swinging."""
    pose = CONTRACT.rest.copy()
    pose[JOINT] += 0.8 + 0.35 * np.sin(2.2 * max(0.0, s - 5.0))
    return pose


def main() -> None:
    """Let a person take over, and draw what was commanded."""
    rig = TeleopRig(CONTRACT, hand)
    told: list[tuple[float, TeleopPhase, float, float]] = []

    def policy(s: float) -> np.ndarray:
        """Swing about where the arm was when the policy was asked last, as one that sees the arm does."""
        return middle + 0.25 * np.sin(1.8 * s) * np.eye(len(middle))[JOINT]

    middle = CONTRACT.rest
    rig.policy = policy
    events = {ENGAGE_S: "engage", SILENT_S: "silent", AGAIN_S: "engage", RELEASE_S: "release"}
    while rig.seconds < END_S:
        event = next((what for at, what in events.items() if abs(rig.seconds - at) < 0.005), "")
        if event == "engage":
            rig.motion = hand
            rig.run(0.05)
            assert rig.engagement.engage(rig.ns)[0]
        elif event == "silent":
            rig.motion = None
        elif event == "release":
            middle = rig.arm - 0.25 * np.sin(1.8 * rig.seconds) * np.eye(len(rig.arm))[JOINT]
            rig.engagement.release()
        rig.run(0.01)
        leader = np.nan if rig.motion is None else hand(rig.seconds)[JOINT]
        told.append((rig.seconds, rig.engagement.phase, rig.arm[JOINT], leader))
    t, phases, _, leader = (np.array(column) for column in zip(*told, strict=True))
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(9, 5.4), sharex=True, height_ratios=(2, 1), layout="constrained"
    )
    top.plot(t, leader, "--", color="C1", lw=1.5, label="leader")
    top.plot(rig.times_s, rig.positions[:, JOINT], "k", lw=1.8, label="command")
    bottom.plot(rig.times_s, [c.velocity[JOINT] for c in rig.commands], "k", lw=1.2)
    for sign in (1, -1):
        bottom.axhline(sign * CONTRACT.limits.max_velocity[JOINT], color="C3", lw=0.8, ls="--")
    for axis in (top, bottom):
        for phase, color in COLORS.items():
            at = np.flatnonzero(phases == phase)
            for run in np.split(at, np.flatnonzero(np.diff(at) > 1) + 1) if len(at) else ():
                axis.axvspan(t[run[0]], t[run[-1]] + 0.01, color=color, lw=0, zorder=-1)
        axis.margins(x=0)
    for phase, color in COLORS.items():
        top.fill_between([], [], color=color, label=LABELS[phase])
    top.legend(loc="lower right", fontsize=8, ncols=2)
    top.set_ylabel("shoulder_pan, rad")
    bottom.set_ylabel("velocity, rad/s")
    bottom.set_xlabel("time, s")
    top.set_ylim(-0.9, 1.3)
    figure.savefig(IMAGE, dpi=90)


if __name__ == "__main__":
    main()
