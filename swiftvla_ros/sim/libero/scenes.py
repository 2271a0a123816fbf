# SPDX-License-Identifier: Apache-2.0
"""Still scenes of the benchmark's things with a sentence for each: what teaches a small network which thing is meant.

A demonstration shows one thing of one layout. A picture costs a twentieth of it, and says where all of them stand.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.cluster.runner import Runner
from swiftvla_ros.contract import Contract, load_contract
from swiftvla_ros.contract.sections.hand import HAND_ACTIONS, CartesianHand
from swiftvla_ros.episodes.datasets.store import GroundingScenes, save_scenes
from swiftvla_ros.sim.data.rendered import rendered
from swiftvla_ros.sim.libero.drivers import camera_pose, policy_views
from swiftvla_ros.sim.libero.evaluation import evaluated_layouts, hand_of, scene_files
from swiftvla_ros.sim.libero.geometry import body_grip, corners_in_world
from swiftvla_ros.sim.libero.layouts import draw_layout
from swiftvla_ros.sim.libero.process import LiberoClient, OpenScene, SceneMoment, kept_client
from swiftvla_ros.sim.libero.suites import SUITES, worded

SHARD = 50
"""Scenes a file: layouts of one task's things."""
# In half of the pictures the hand is somewhere on a way of so many steps to a place over the things, m.
_MOVED, _MOST_STEPS = 0.5, 12
_LOW_M, _HIGH_M = np.array([-0.2, -0.28, 0.18]), np.array([0.18, 0.28, 0.32])
_OPEN = -1.0


def render_scenes(out_dir: Path, n: int, *, runner: Runner, seed: int, contract: Contract) -> list[Path]:
    """Render ``n`` still scenes into shards of ``out_dir``, as :func:`~swiftvla_ros.sim.data.rendered.rendered` says.

    Each has a layout of its own, a sentence for each of its things, and where in the agent's picture that is taken. In
    half of them the hand is on its way.
    """
    work = rendered(render_shard, out_dir, "scenes", n, SHARD, seed=seed, contract=contract)
    runner.run(work).check()
    return [file.path for file in work.items]


def render_shard(path: Path, first: int, count: int, seed: int, contract_path: Path) -> None:
    """Draw scenes ``first`` to ``first + count``, of which none has a layout of the evaluation."""
    contract = load_contract(contract_path)
    suite = SUITES["object"]
    scenes = scene_files("", suite)
    task = list(scenes)[first // SHARD % len(scenes)]
    client = kept_client("", contract.cameras[0].source_size[0])
    opened, things = client.open(suite, task), scenes[task].things
    evaluated = evaluated_layouts("", task)
    images: dict[str, list[NDArray[np.uint8]]] = {name: [] for name in contract.camera_names}
    states, targets, instructions = [], [], []
    for number in range(first, first + count):
        rng = np.random.default_rng([seed, number])
        places = draw_layout(scenes[task], evaluated, rng)
        client.reset(initial=None, seed=int(rng.integers(1 << 31)), places=places, look=False)
        moment = _moved(client, hand_of(contract_path), rng)
        for name, image in policy_views(moment, contract).items():
            images[name].append(image)
        states.append(moment.state)
        targets.append(_places(opened, moment, things, contract))
        instructions.append([worded(thing, rng) for thing in things])
    shard = GroundingScenes(
        images={name: np.stack(stack) for name, stack in images.items()},
        state=np.stack(states).astype(np.float32),
        instructions=instructions,
        target_uv=np.stack(targets).astype(np.float32),
        target_color=np.tile(np.arange(len(things)), (count, 1)),
    )
    save_scenes(path, shard, contract)


def _moved(client: LiberoClient, hand: CartesianHand, rng: np.random.Generator) -> SceneMoment:
    """What is seen from where the hand begins, or from somewhere on a way of its own."""
    moment = client.look()
    if rng.random() >= _MOVED:
        return moment
    goal, steps = rng.uniform(_LOW_M, _HIGH_M), int(rng.integers(1, _MOST_STEPS + 1))
    for step in range(steps):
        action = np.zeros(len(HAND_ACTIONS))
        action[:3], action[-1] = np.clip((goal - moment.state[:3]) / hand.step_m, -1.0, 1.0), _OPEN
        last = step == steps - 1
        moment = client.step(action, look=last, depth=last)
    return moment


def _places(opened: OpenScene, moment: SceneMoment, things: tuple[str, ...], contract: Contract) -> NDArray[np.float64]:
    """Where in the agent's picture each thing would be taken [K, 2]: what a demonstration's label is, too."""
    name = contract.camera_names[0]
    alone = np.zeros((0, 8, 3))
    points = [
        body_grip(corners_in_world(opened.boxes[thing], moment.things[thing]), alone, moment.hand).point
        for thing in things
    ]
    return contract.with_camera_pose(name, camera_pose(moment.views[name])).project(name, np.stack(points))
