# SPDX-License-Identifier: Apache-2.0
"""Rolls a checkpoint out over the real graph: every node a process, in real time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from swiftvla_ros.bringup.system_options import SystemOptions
from swiftvla_ros.cli.live.graph import LiveGraph
from swiftvla_ros.cli.live.scenes import scenes_in_turn
from swiftvla_ros.cli.live.simulated_system import SimulatedSystem
from swiftvla_ros.contract import Contract
from swiftvla_ros.sim.tasks.registry import scene_for


@dataclass(frozen=True)
class RosEpisode:
    """One instruction: scene, what was asked, and how the action ended (SUCCEEDED, FAILED, TIMEOUT …)."""

    seed: int
    verb: str
    color: str
    instruction: str
    outcome: str
    message: str
    seconds: float


def roll_out_over_ros(
    contract: Contract,
    checkpoint: str,
    *,
    episodes: int,
    seed: int,
    device: str,
    timeout_s: float,
    verbs: tuple[str, ...],
    folder: Path,
    on_episode: Callable[[RosEpisode], None],
) -> list[RosEpisode]:
    """Give one instruction in each of ``episodes`` scenes, the same as an evaluation without ROS has.

    Raises
    ------
    GraphError
        The system does not start, or a part that it can't do without died.
    """
    results: list[RosEpisode] = []
    options = SystemOptions(
        robot=str(contract.path), checkpoint=checkpoint, device=device, seed=seed, scene=scene_for(verbs).name
    )
    with (
        SimulatedSystem(options, folder) as system,
        LiveGraph(check=system.check) as graph,
    ):
        for scene, task, text in scenes_in_turn(graph, contract, episodes, seed=seed, verbs=verbs):
            began = time.monotonic()
            outcome = graph.run_instruction(text, timeout_s)
            results.append(
                RosEpisode(scene, task.verb, task.color, text, outcome.name, outcome.message, time.monotonic() - began)
            )
            on_episode(results[-1])
    return results
