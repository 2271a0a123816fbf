# SPDX-License-Identifier: Apache-2.0
"""Renders the still scenes of a robot's world for the commands that train."""

from __future__ import annotations

from pathlib import Path

from swiftvla_ros.cluster.engine import on_this_machine
from swiftvla_ros.cluster.runner import Runner
from swiftvla_ros.contract import Contract


def render_still_scenes(folder: Path, count: int, *, workers: int, seed: int, contract: Contract) -> None:
    """Render what is missing of ``count`` scenes: of blocks for an arm, of LIBERO for a hand in space."""
    if contract.hand is None:
        from swiftvla_ros.sim.data.grounding_scenes import render_scenes
    else:
        from swiftvla_ros.sim.libero.scenes import render_scenes
    render_scenes(folder, count, runner=Runner(on_this_machine(workers)), seed=seed, contract=contract)
