# SPDX-License-Identifier: Apache-2.0
"""Draws what a bag's joints were commanded, with the limits and the seams between chunks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from swiftvla_ros.episodes.bag import Bag, stamp_ns


def plot_joints(bag: Bag, path: Path) -> None:
    """Write a PNG: per joint the commanded and measured position, and the commanded velocity, inside their limits.

    A thin vertical line stands where the first command of a new chunk was sent.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    contract, limits = bag.contract, bag.contract.limits
    pieces = bag.commands()
    zero = int(pieces[0].t_ns[0])
    seams = {stamp_ns(s.chunk_first_command) for _, s in bag.messages("executor_state")} - {0}
    seam_s = [(ns - zero) * 1e-9 for ns in sorted(seams)]
    measured = [(stamp_ns(m.header.stamp), m.position) for _, m in bag.messages("observation/state")]
    measured_s = np.array([(ns - zero) * 1e-9 for ns, _ in measured])
    measured_q = np.array([q for _, q in measured])
    inside = measured_s >= -0.2

    figure, axes = plt.subplots(
        len(contract.joints), 2, figsize=(13, 2.1 * len(contract.joints)), sharex=True, squeeze=False
    )
    for j, joint in enumerate(contract.joints):
        position, velocity = axes[j]
        for axis in (position, velocity):
            axis.vlines(seam_s, 0, 1, transform=axis.get_xaxis_transform(), colors="0.85", linewidth=0.6, zorder=0)
            axis.margins(x=0.01)
        if inside.any():
            position.plot(measured_s[inside], measured_q[inside, j], color="tab:orange", linewidth=1, label="measured")
        for k, piece in enumerate(pieces):
            t = (piece.t_ns - zero) * 1e-9
            position.plot(t, piece.positions[:, j], color="tab:blue", linewidth=1.2, label=None if k else "commanded")
            if len(t) > 1:
                rate = np.diff(piece.positions[:, j]) / np.diff(t)
                velocity.plot(t[1:], rate, color="tab:blue", linewidth=0.9)
        for bound in (limits.min_position[j], limits.max_position[j]):
            position.axhline(bound, color="tab:red", linestyle="--", linewidth=0.9)
        for bound in (-limits.max_velocity[j], limits.max_velocity[j]):
            velocity.axhline(bound, color="tab:red", linestyle="--", linewidth=0.9)
        unit = "m" if joint.unit in ("m", "mm") else "rad"
        position.set_ylabel(f"{joint.name}\n{unit}", fontsize=9)
        velocity.set_ylabel(f"{unit}/s", fontsize=9)
    axes[0, 0].set_title("position: commanded, measured, limits (dashed)", fontsize=10)
    axes[0, 1].set_title(f"commanded velocity; {len(seam_s)} chunk seams (grey lines)", fontsize=10)
    axes[0, 0].legend(loc="upper right", fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("s since the first command")
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)
