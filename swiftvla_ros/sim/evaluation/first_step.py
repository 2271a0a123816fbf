# SPDX-License-Identifier: Apache-2.0
"""Where does the policy head before anything has moved? The gauge that shows whether it listens.

After a few steps the arm's own motion tells which block is meant, so success of later frames proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract.contract import Contract
from swiftvla_ros.observation.observation import Observation
from swiftvla_ros.policy import Policy
from swiftvla_ros.sim.language import COLORS, Task
from swiftvla_ros.sim.observe import policy_images
from swiftvla_ros.sim.tasks.registry import STANDARD_VERBS, phrase, tasks_of
from swiftvla_ros.sim.world import SimWorld

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FirstScene:
    """A scene in which nothing has moved yet."""

    task: Task  # what the observation's instruction asks for
    observation: Observation  # what the policy sees
    blocks: Array  # centres of the blocks in the base frame, [3, 3], m, in the order of the colours


def task_of_episode(index: int, verbs: tuple[str, ...] = STANDARD_VERBS) -> Task:
    """The task of the index-th episode of an evaluation: all in turn."""
    tasks = tasks_of(verbs)
    return tasks[index % len(tasks)]


def first_scene(
    world: SimWorld, task: Task, rng: np.random.Generator, say: Callable[[Task, np.random.Generator], str] = phrase
) -> FirstScene:
    """What ``world`` looks like now, with ``task`` as it is said."""
    observation = Observation(policy_images(world), world.state(), say(task, rng))
    return FirstScene(task, observation, world.block_positions())


def heads_to(contract: Contract, chunk: Array, blocks: Array) -> int:
    """The block (colour index) that the hand is nearest to, seen from above, at the end of a chunk [H, J]."""
    hand = contract.end_effector_position(chunk[-1])
    return int(np.hypot(*(blocks[:, :2] - hand[:2]).T).argmin())


def choices(policy: Policy, contract: Contract, scene: FirstScene) -> tuple[int, ...]:
    """The block that the policy heads to in one scene for each colour word, the rest of the sentence being the same."""
    chosen = []
    for color in COLORS:
        text = scene.observation.instruction.replace(scene.task.color, color)
        observation = Observation(scene.observation.images, scene.observation.state, text)
        chosen.append(heads_to(contract, policy.infer(observation), scene.blocks))
    return tuple(chosen)
