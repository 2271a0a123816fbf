# SPDX-License-Identifier: Apache-2.0
"""Rolls a checkpoint out over the real graph: every node a process, in real time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from swiftvla_ros.bringup.system_options import SystemOptions
from swiftvla_ros.cli.live.graph import LiveGraph
from swiftvla_ros.cli.live.simulated_system import SimulatedSystem
from swiftvla_ros.contract import Contract
from swiftvla_ros.sim.evaluation.first_step import task_of_episode
from swiftvla_ros.sim.tasks.registry import phrase, scene_for

_START_TIMEOUT_S = 60.0
_REST_TIMEOUT_S = 10.0
# A reset scene falls into place, and the observation that showed the old one grows too old to be used.
_SETTLE_S = 1.0


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
        graph.wait_until_ready(contract, _START_TIMEOUT_S)
        for index in range(episodes):
            if index:
                # The executor forgets where the arm was before the simulator puts it back to rest.
                graph.wait_until_at_rest(_REST_TIMEOUT_S)
                graph.trigger("trajectory_executor/reset")
                graph.trigger("sim_robot/reset")
            graph.spin(_SETTLE_S)
            task = task_of_episode(index, verbs)
            text = phrase(task, np.random.default_rng([seed + index, 4]))
            began = time.monotonic()
            outcome = graph.run_instruction(text, timeout_s)
            results.append(
                RosEpisode(
                    seed + index, task.verb, task.color, text, outcome.name, outcome.message, time.monotonic() - began
                )
            )
            on_episode(results[-1])
    return results
