# SPDX-License-Identifier: Apache-2.0
"""Short films of the arm at work with the true depth and camera poses: what teaches the small 4D network geometry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from ruckig import RuckigError

from swiftvla_ros.cluster.runner import Runner
from swiftvla_ros.contract import load_contract
from swiftvla_ros.contract.contract import Contract
from swiftvla_ros.contract.schema import CameraPose
from swiftvla_ros.episodes.datasets.store import GeometrySequences, save_sequences
from swiftvla_ros.motion.smooth_step import smooth_step
from swiftvla_ros.sim.data.grounding_scenes import sample_arm
from swiftvla_ros.sim.data.rendered import rendered
from swiftvla_ros.sim.expert.expert import TICK_S, Expert
from swiftvla_ros.sim.inverse_kinematics import InverseKinematics, OutOfReachError
from swiftvla_ros.sim.language import COLORS
from swiftvla_ros.sim.observe import RENDER_SIZE, policy_images
from swiftvla_ros.sim.scene import SceneSetup, moved_camera
from swiftvla_ros.sim.tasks.registry import STANDARD_TASKS
from swiftvla_ros.sim.varied_world import PatternedWorld
from swiftvla_ros.sim.world import MAX_STAND_M, SimWorld

STEPS = 8
"""Policy steps of a sequence: more than the longest cache, so that frames fall out of it."""
SHARD = 25
"""Sequences a file."""
FRONT = "front"
_NO_STANDS = 0.25
_CAMERA_SHIFT_M = 0.10
_CAMERA_TURN_RAD = np.radians(10)
_CAMERA_FOVY_DEG = (25.0, 35.0)
# Two thirds of the films show the expert at some moment of a task, the others an arm that sweeps over the table.
_EXPERT = 0.67
_EXPERT_BEFORE_S = (0.0, 2.2)
_SWEEP_S = (0.7, 1.5)
_SWEEP_HEIGHT_M = (0.01, 0.09)
_STRANGE_BLOCKS = 0.3
_ATTEMPTS = 5

Array = NDArray[np.float64]


class RandomLookWorld(PatternedWorld):
    """The simulated robot in surroundings in which nothing but shapes is to be relied on, blocks' colours included."""

    def _paint(self, rng: np.random.Generator) -> None:
        super()._paint(rng)
        model = self._model
        rgba = model.geom_rgba
        for geom in range(model.ngeom):
            if geom not in self._block_geom:
                rgba[geom, :3] = np.clip(rgba[geom, :3] * rng.uniform(0.5, 1.4) + rng.uniform(-0.1, 0.1, 3), 0.02, 1)
            elif rng.random() < _STRANGE_BLOCKS:
                rgba[geom, :3] = rng.uniform(0, 1, 3)
        table = model.geom("table").id
        rgba[table, :3] = rng.uniform(0.15, 1) * rng.uniform(0.6, 1, 3)
        self._cover([table, *(model.body(f"stand_{color}").geomadr[0] for color in COLORS)], rng)
        model.light_diffuse[:] *= rng.uniform(0.4, 1.6, (model.nlight, 1))
        model.light_dir[:] = rng.normal(0, 0.5, (model.nlight, 3)) - [0, 0, 1]
        model.vis.headlight.ambient[:] = rng.uniform(0.2, 0.5)


def render_sequences(out_dir: Path, n: int, *, runner: Runner, seed: int, contract: Contract) -> list[Path]:
    """Render ``n`` sequences into shards of ``out_dir``, as :func:`~swiftvla_ros.sim.data.rendered.rendered` says.

    Every sequence is a scene of its own: layout, stands of different heights under the blocks, colours, textures,
    light, distractors, and a front camera somewhere around its place in the contract. Raises ValueError where a camera
    of the contract rotates, crops or pads its image, or is not simulated.
    """
    for camera in contract.cameras:
        if camera.rotate_deg or camera.crop is not None or camera.fit != "stretch":
            raise ValueError(
                f"{contract.path}: cameras: {camera.name}: rotate_deg, crop and fit: pad change which ray a pixel "
                "sees; geometry is learned from whole images (fit: stretch)"
            )
    work = rendered(_render_shard, out_dir, "sequences", n, SHARD, seed=seed, contract=contract)
    runner.run(work).check()
    return [file.path for file in work.items]


def sample_front_pose(contract: Contract, rng: np.random.Generator) -> CameraPose:
    """The front camera somewhere around its place: moved, turned about all its axes, with another field of view."""
    nominal = contract.camera(FRONT).pose
    assert nominal is not None, "SimWorld refuses contracts without it"
    rotation = rng.uniform(-_CAMERA_TURN_RAD, _CAMERA_TURN_RAD, 3)
    moved = moved_camera(nominal, rng.uniform(-_CAMERA_SHIFT_M, _CAMERA_SHIFT_M, 3), rotation)
    return moved.model_copy(update={"fovy_deg": float(rng.uniform(*_CAMERA_FOVY_DEG))})


def _render_shard(path: Path, first: int, count: int, seed: int, contract_path: Path) -> None:
    contract = load_contract(contract_path)
    views = (*(name for name in contract.camera_names if name != FRONT), FRONT)
    with RandomLookWorld(contract) as world:
        films = [_film_some_scene(world, contract, views, [seed, index]) for index in range(first, first + count)]
    stacks = (np.stack(parts) for parts in zip(*films, strict=True))
    save_sequences(path, GeometrySequences(views, *stacks), contract)


def _film_some_scene(
    world: SimWorld, contract: Contract, views: tuple[str, ...], seed: list[int]
) -> tuple[NDArray[np.generic], ...]:
    """The first scene of a seed in which the demonstrator's trajectory generator finds a way (all but one of 2,000)."""
    for attempt in range(_ATTEMPTS):
        scene_seed = int(np.random.default_rng([*seed, *([attempt] if attempt else [])]).integers(2**62))
        try:
            return _film(world, contract, views, scene_seed)
        except RuckigError:
            continue
    raise RuntimeError(f"no film of scene {seed} in {_ATTEMPTS} attempts")


def _film(
    world: SimWorld, contract: Contract, views: tuple[str, ...], scene_seed: int
) -> tuple[NDArray[np.generic], ...]:
    """One sequence: images, depth, camera poses and fields of view, each [S, V, …]."""
    rng = np.random.default_rng([scene_seed, 5])
    world.reset(
        scene_seed,
        arm=sample_arm(contract, InverseKinematics(contract), rng) if rng.random() < 0.5 else None,
        distractors=int(rng.integers(4)),
        setup=SceneSetup(
            stands=None if rng.random() < _NO_STANDS else rng.uniform(0, MAX_STAND_M, len(COLORS)),
            front_pose=sample_front_pose(contract, rng),
        ),
    )
    command = _expert(world, rng) if rng.random() < _EXPERT else _sweep(world, rng)
    ticks = round(contract.policy.step_s / TICK_S)
    frames = []
    for step in range(STEPS):
        if step:
            _advance(world, command, ticks)
        frames.append(_look(world, views))
    return tuple(np.stack(parts) for parts in zip(*frames, strict=True))


def _look(world: SimWorld, views: tuple[str, ...]) -> tuple[NDArray[np.generic], ...]:
    """Images, depth, camera poses and fields of view of this moment, each [V, …]."""
    images = policy_images(world)
    width, height = RENDER_SIZE
    depths, poses, fovs = [], [], []
    for name in views:
        w, h = world.contract.camera(name).size
        rows = ((np.arange(h) + 0.5) * height / h).astype(int)
        columns = ((np.arange(w) + 0.5) * width / w).astype(int)
        # A depth between two surfaces belongs to none: take pixels, don't average them.
        depths.append(world.render_depth(name, width, height)[np.ix_(rows, columns)])
        poses.append(world.camera_pose(name))
        fovy = world.camera_fovy_rad(name)
        fovs.append([fovy, 2 * np.arctan(np.tan(fovy / 2) * width / height)])
    return (
        np.stack([images[name] for name in views]),
        np.stack(depths).astype(np.float16),
        np.stack(poses).astype(np.float32),
        np.array(fovs, np.float32),
    )


def _advance(world: SimWorld, command: Callable[[], Array], ticks: int) -> None:
    for _ in range(ticks):
        world.command(command())
        world.advance(TICK_S)


def _expert(world: SimWorld, rng: np.random.Generator) -> Callable[[], Array]:
    """The demonstrator at a random moment of a random task."""
    expert = Expert(world.contract)
    expert.start(STANDARD_TASKS[int(rng.integers(len(STANDARD_TASKS)))], world.commanded())

    def command() -> Array:
        try:
            return expert.tick(world)
        except OutOfReachError:  # it pushed the block away: the arm stays where it is
            return world.commanded()

    _advance(world, command, round(rng.uniform(*_EXPERT_BEFORE_S) / TICK_S))
    return command


def _sweep(world: SimWorld, rng: np.random.Generator) -> Callable[[], Array]:
    """Smooth motion between random poses, low enough to push blocks."""
    kinematics = InverseKinematics(world.contract)
    time_s, duration_s, start, goal = 0.0, 0.0, world.commanded(), world.commanded()

    def command() -> Array:
        nonlocal time_s, duration_s, start, goal
        if time_s >= duration_s:
            start, goal = goal, sample_arm(world.contract, kinematics, rng, _SWEEP_HEIGHT_M)
            time_s, duration_s = 0.0, rng.uniform(*_SWEEP_S)
        time_s += TICK_S
        return start + (goal - start) * smooth_step(min(time_s / duration_s, 1.0))

    return command
