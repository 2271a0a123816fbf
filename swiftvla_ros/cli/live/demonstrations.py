# SPDX-License-Identifier: Apache-2.0
"""Demonstrations of the scripted expert through the real graph, recorded as a bag."""

from __future__ import annotations

from collections.abc import Callable
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
_TASK_TIMEOUT_S = 15.0
# A reset scene falls into place, and the observation that showed the old one grows too old to be used.
_SETTLE_S = 1.0


def demonstrate_over_ros(
    contract: Contract,
    episodes: int,
    *,
    seed: int,
    verbs: tuple[str, ...],
    folder: Path,
    on_episode: Callable[[str], None],
) -> tuple[Path, int]:
    """Let the expert show ``episodes`` tasks, each in a scene of its own, and record it all.

    Every node is a process and everything goes over DDS, in real time; only who gives the chunks differs from a
    policy's run. Failed tries stay in the bag: they are marked, and nothing trains on them.

    Parameters
    ----------
    contract
        The simulated robot's.
    episodes
        How many.
    seed
        First scene; they are the scenes of an evaluation with the same seed.
    verbs
        Which tasks are shown in turn.
    folder
        Gets ``bag`` and the processes' ``log``.
    on_episode
        Called with the outcome of each.

    Returns
    -------
    The bag, and how many succeeded.

    Raises
    ------
    GraphError
        The system does not start, or a part that it can't do without died.
    """
    succeeded = 0
    options = SystemOptions(
        robot=str(contract.path), checkpoint="", seed=seed, scene=scene_for(verbs).name, record=folder / "bag"
    )
    with (
        SimulatedSystem(options, folder, expert=True) as system,
        LiveGraph(check=system.check) as graph,
    ):
        graph.wait_until_ready(contract, _START_TIMEOUT_S, recorded=True)
        for index in range(episodes):
            if index:
                # The executor forgets where the arm was before the simulator puts it back to rest.
                graph.wait_until_at_rest(_REST_TIMEOUT_S)
                graph.trigger("trajectory_executor/reset")
                graph.trigger("sim_robot/reset")
            graph.spin(_SETTLE_S)
            task = task_of_episode(index, verbs)
            text = phrase(task, np.random.default_rng([seed + index, 4]))
            outcome = graph.run_instruction(text, _TASK_TIMEOUT_S)
            succeeded += outcome.success
            on_episode(f"{text}: {outcome.name} after {outcome.elapsed_s:.1f} s {outcome.message}")
        graph.spin(_SETTLE_S)
    return folder / "bag", succeeded
