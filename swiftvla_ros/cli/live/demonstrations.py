# SPDX-License-Identifier: Apache-2.0
"""Demonstrations of the scripted expert through the real graph, recorded as a bag."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from swiftvla_ros.bringup.system_options import SystemOptions
from swiftvla_ros.cli.live.graph import LiveGraph
from swiftvla_ros.cli.live.scenes import SETTLE_S, scenes_in_turn
from swiftvla_ros.cli.live.simulated_system import SimulatedSystem
from swiftvla_ros.contract import Contract
from swiftvla_ros.sim.tasks.registry import scene_for

_TASK_TIMEOUT_S = 15.0


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
        for _, _, text in scenes_in_turn(graph, contract, episodes, seed=seed, verbs=verbs, recorded=True):
            outcome = graph.run_instruction(text, _TASK_TIMEOUT_S)
            succeeded += outcome.success
            on_episode(f"{text}: {outcome.name} after {outcome.elapsed_s:.1f} s {outcome.message}")
        graph.spin(SETTLE_S)
    return folder / "bag", succeeded
