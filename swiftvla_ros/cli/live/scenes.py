# SPDX-License-Identifier: Apache-2.0
"""One simulated scene after another on a live graph, each with its task: for rollouts and demonstrations alike."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from swiftvla_ros.cli.live.graph import LiveGraph
from swiftvla_ros.contract import Contract
from swiftvla_ros.sim.evaluation.first_step import task_of_episode
from swiftvla_ros.sim.language import Task
from swiftvla_ros.sim.tasks.registry import phrase

_START_TIMEOUT_S = 60.0
_REST_TIMEOUT_S = 10.0
SETTLE_S = 1.0
"""A reset scene falls into place, and the observation that showed the old one grows too old to be used."""


def scenes_in_turn(
    graph: LiveGraph, contract: Contract, episodes: int, *, seed: int, verbs: tuple[str, ...], recorded: bool = False
) -> Iterator[tuple[int, Task, str]]:
    """Give each scene's seed, task and sentence once the arm is at rest in it; the same as without ROS.

    Raises GraphError where the system does not start, or a part that it can't do without died.
    """
    graph.wait_until_ready(contract, _START_TIMEOUT_S, recorded=recorded)
    for index in range(episodes):
        if index:
            # The executor forgets where the arm was before the simulator puts it back to rest.
            graph.wait_until_at_rest(_REST_TIMEOUT_S)
            graph.trigger("trajectory_executor/reset")
            graph.trigger("sim_robot/reset")
        graph.spin(SETTLE_S)
        task = task_of_episode(index, verbs)
        yield seed + index, task, phrase(task, np.random.default_rng([seed + index, 4]))
