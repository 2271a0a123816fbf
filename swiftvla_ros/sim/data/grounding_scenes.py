# SPDX-License-Identifier: Apache-2.0
"""Still scenes with referring instructions: what teaches a small network which block a sentence means."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.cluster.runner import Runner
from swiftvla_ros.contract import load_contract
from swiftvla_ros.contract.contract import Contract
from swiftvla_ros.episodes.datasets.store import GroundingScenes, save_scenes
from swiftvla_ros.sim.block_layout import sample_spot
from swiftvla_ros.sim.data.rendered import rendered
from swiftvla_ros.sim.inverse_kinematics import InverseKinematics
from swiftvla_ros.sim.language import COLORS
from swiftvla_ros.sim.observe import policy_images
from swiftvla_ros.sim.scene import HOVER_M
from swiftvla_ros.sim.tasks.registry import STANDARD_TASKS, phrase
from swiftvla_ros.sim.world import SimWorld

SHARD = 250
"""Scenes a file."""


def render_scenes(out_dir: Path, n: int, *, runner: Runner, seed: int, contract: Contract) -> list[Path]:
    """Render ``n`` still scenes into shards of ``out_dir``, as :func:`~swiftvla_ros.sim.data.rendered.rendered` says.

    Every scene has a random layout, light and colours and up to three distractors; in half of them the arm is in a
    random pose. It comes with one random wording of each task and the place of the block that is meant.
    """
    work = rendered(_render_shard, out_dir, "scenes", n, SHARD, seed=seed, contract=contract)
    runner.run(work).check()
    return [file.path for file in work.items]


def sample_arm(
    contract: Contract, kinematics: InverseKinematics, rng: np.random.Generator, height_m: tuple[float, float] = HOVER_M
) -> NDArray[np.float64]:
    """A random pose [J] of the arm above the table, rad: near rest, over a random spot, or a little of anything."""
    arm = contract.rest.copy()
    if rng.random() < 0.75:
        arm[:5] = kinematics.solve(np.array([*sample_spot(rng), rng.uniform(*height_m)]))
        arm += rng.normal(0, 0.04, len(arm))
    else:
        arm += rng.normal(0, [0.4, 0.15, 0.15, 0.2, 0.3, 0.0])
    if contract.gripper is not None:
        index = contract.joint_names.index(contract.gripper.joint)
        arm[index] = rng.uniform(contract.gripper.closed, contract.gripper.open)
    return np.clip(arm, contract.limits.min_position, contract.limits.max_position)


def _render_shard(path: Path, first: int, count: int, seed: int, contract_path: Path) -> None:
    contract = load_contract(contract_path)
    kinematics = InverseKinematics(contract)
    images: dict[str, list[NDArray[np.uint8]]] = {name: [] for name in contract.camera_names}
    states, targets, instructions = [], [], []
    with SimWorld(contract) as world:
        for scene in range(first, first + count):
            scene_seed = int(np.random.default_rng([seed, scene]).integers(2**62))
            rng = np.random.default_rng([scene_seed, 3])
            still = rng.random() < 0.5
            arm = (
                contract.rest + rng.normal(0, 0.02, len(contract.joints))
                if still
                else sample_arm(contract, kinematics, rng)
            )
            world.reset(scene_seed, arm=arm, distractors=int(rng.integers(4)))
            for name, image in policy_images(world).items():
                images[name].append(image)
            states.append(world.state())
            uv = contract.project("front", world.block_positions())
            targets.append(uv[[COLORS.index(task.color) for task in STANDARD_TASKS]])
            instructions.append([phrase(task, rng) for task in STANDARD_TASKS])
    colors = np.array([COLORS.index(task.color) for task in STANDARD_TASKS])
    scenes = GroundingScenes(
        images={name: np.stack(stack) for name, stack in images.items()},
        state=np.stack(states).astype(np.float32),
        instructions=instructions,
        target_uv=np.stack(targets).astype(np.float32),
        target_color=np.tile(colors, (count, 1)),
    )
    save_scenes(path, scenes, contract)
