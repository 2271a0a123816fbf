# SPDX-License-Identifier: Apache-2.0
"""One simulated scene after another on a whole graph, each with its task: rollouts and demonstrations alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from swiftvla_ros.bringup.system_options import SystemOptions
from swiftvla_ros.cli.live.graph import LiveGraph
from swiftvla_ros.cli.live.simulated_system import SimulatedSystem, describe_simulated
from swiftvla_ros.contract import Contract
from swiftvla_ros.sim.evaluation.first_step import task_of_episode
from swiftvla_ros.sim.tasks.registry import tasks_of
from swiftvla_ros.sim.wording.sentences import Wordings, say

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


def run_scenes(
    contract: Contract,
    options: SystemOptions,
    episodes: int,
    *,
    verbs: tuple[str, ...],
    timeout_s: float,
    folder: Path,
    on_episode: Callable[[RosEpisode], None],
    expert: bool = False,
    wordings: Wordings = "known",
) -> list[RosEpisode]:
    """Give one instruction in each of ``episodes`` scenes, the same as an evaluation without ROS has.

    Every node is a process and everything goes over DDS, in real time. With ``expert`` the scripted demonstrator gives
    the chunks in the policy's place; failed tries stay in its recording: they are marked, and nothing trains on them.

    The options' ``seed`` is the first scene's, and each episode has the next one; ``verbs`` are asked for in turn;
    ``folder`` gets the processes' ``log``. GraphError where the system does not start, or a part that it can't do
    without died.
    """
    results: list[RosEpisode] = []
    with (
        SimulatedSystem(describe_simulated(options, expert=expert), folder) as system,
        LiveGraph(check=system.check) as graph,
    ):
        graph.wait_until_ready(contract, _START_TIMEOUT_S, recorded=options.record is not None)
        for index in range(episodes):
            if index:
                # The executor forgets where the arm was before the simulator puts it back to rest.
                graph.wait_until_at_rest(_REST_TIMEOUT_S)
                graph.trigger("trajectory_executor/reset")
                graph.trigger("sim_robot/reset")
            graph.spin(_SETTLE_S)
            seed, task = options.seed + index, task_of_episode(index, verbs)
            text = say(task, np.random.default_rng([seed, 4]), wordings, tasks_of(verbs))
            outcome = graph.run_instruction(text, timeout_s)
            results.append(
                RosEpisode(seed, task.verb, task.color, text, outcome.name, outcome.message, outcome.elapsed_s)
            )
            on_episode(results[-1])
        graph.spin(_SETTLE_S)
    return results
