# SPDX-License-Identifier: Apache-2.0
"""Is there something to gain from 4D? Demonstrations and rollouts with the simulation's own geometry in its place.

    python benchmarks/ablation/oracle.py collect EPISODES TARGETS --episodes 2000     # true geometry as teacher targets
    ROBOT=benchmarks/ablation/so101_front.yaml; INIT=models/swiftvla-nano-grounding    # trained with two cameras
    swiftvla train EPISODES 2D --robot $ROBOT --preset swiftvla-nano --init $INIT --scenes 0 --steps 1000
    swiftvla train EPISODES ORACLE --robot $ROBOT --preset swiftvla-nano --init $INIT --stage 2 \
        --teacher-targets TARGETS --cache-steps 1 --mask-4d 0 --mask-2d 0 --no-reconstruct --freeze nothing \
        --learning-rate 1e-3 --scenes 0 --steps 1000
    python benchmarks/ablation/oracle.py eval 2D ORACLE --episodes 100      # development scenes, paired

A token is a cell of the front view, as with the teacher's features: where in the base frame what it shows is, on
average, how far away the nearest and the farthest of it are, and its colour, since the teacher's features know what a
patch looks like, too (docs/ablation.md). Each length is told by sines and cosines: the branch's first layer takes a
token's mean and scale away, and with them the place where five plain numbers say that a thing is.
"""

import argparse
import os
from contextlib import closing
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray
from rich.progress import track

from swiftvla_ros.contract import Contract, load_contract
from swiftvla_ros.episodes.datasets.store import save_episode
from swiftvla_ros.episodes.teacher.stream import FRONT, CameraImages, view_order
from swiftvla_ros.episodes.teacher.targets import EpisodeTargets, TargetsConfig, prepare, write_index, write_shard
from swiftvla_ros.policy import load_policy
from swiftvla_ros.sim.data.collect import Recorder
from swiftvla_ros.sim.evaluation.policy_with_4d import PolicyWith4D
from swiftvla_ros.sim.evaluation.rollout import Conditions, roll_out
from swiftvla_ros.sim.evaluation.statistics import paired_difference, wilson
from swiftvla_ros.sim.observe import RENDER_SIZE
from swiftvla_ros.sim.scene import Scene
from swiftvla_ros.sim.tasks.registry import SCENES, STANDARD_TASKS
from swiftvla_ros.sim.world import SimWorld
from swiftvla_ros.training.checkpoint_writer import read_config

CELLS = 8
"""Cells along each side of the front view: as many tokens as the teacher's are pooled to."""
LENGTHS = 5
WAVELENGTHS_M = (4.0, 1.0, 0.25, 0.0625)
"""The longest tells any two places of the scene apart, the shortest a millimetre."""
COLORS = 3
DIM = LENGTHS * 2 * len(WAVELENGTHS_M) + COLORS
DEVELOPMENT_SEED = 900_000
ROBOT = Path(__file__).with_name("so101_front.yaml")
# The shape of what the policy's front picture is made from.
_WIDTH, _HEIGHT = (size // 2 for size in RENDER_SIZE)
_FAR_M = 2.0
# A fixed latency: neither the machine's load nor the cost of depth shall decide.
_LATENCY_S = 0.12

Features = Float32[np.ndarray, "tokens dim"]


def true_geometry(world: SimWorld) -> Features:
    """Each cell of the front view: mean position [3], base frame, nearest and farthest depth, as waves; and colour."""
    depth = np.minimum(world.render_depth(FRONT, _WIDTH, _HEIGHT).astype(np.float64), _FAR_M)
    pose, focal = world.camera_pose(FRONT), _HEIGHT / 2 / np.tan(world.camera_fovy_rad(FRONT) / 2)
    v, u = np.mgrid[:_HEIGHT, :_WIDTH] + 0.5
    seen = np.stack([(u - _WIDTH / 2) / focal * depth, (v - _HEIGHT / 2) / focal * depth, depth], axis=-1)
    points = seen @ pose[:3, :3].T + pose[:3, 3]

    def cells(values: NDArray[np.float64]) -> NDArray[np.float64]:
        cut = values.reshape(CELLS, _HEIGHT // CELLS, CELLS, _WIDTH // CELLS, -1).swapaxes(1, 2)
        return cut.reshape(CELLS * CELLS, -1, cut.shape[-1])

    near, far = cells(depth).min(1), cells(depth).max(1)
    lengths_m = np.concatenate([cells(points).mean(1), near, far], axis=1)
    phases = 2 * np.pi * lengths_m[:, :, None] / np.array(WAVELENGTHS_M)
    waves = np.concatenate([np.sin(phases), np.cos(phases)], axis=2).reshape(CELLS * CELLS, -1)
    # SimWorld's own: a world that notes what it shows would note this, too.
    colors = cells(SimWorld.render(world, FRONT, _WIDTH, _HEIGHT) / 127.5 - 1.0).mean(1)
    return np.concatenate([waves, colors], axis=1).astype(np.float32)


class OracleStream:
    """What feeds a policy's 4D branch instead of a geometry transformer."""

    def __init__(self, world: SimWorld) -> None:
        self._world = world

    def reset(self) -> None:
        """Nothing is remembered."""

    def observe(self, images: CameraImages) -> Features:  # noqa: ARG002
        """The world as it is now."""
        return true_geometry(self._world)


class _SeenWorld(SimWorld):
    """A world that notes its geometry whenever its front camera is looked through."""

    def __init__(self, contract: Contract, scene: Scene) -> None:
        self.seen: list[Features] = []
        super().__init__(contract, scene=scene)

    def render(self, camera: str, width: int = 320, height: int = 240) -> NDArray[np.uint8]:
        """As the world's."""
        if camera == FRONT:
            self.seen.append(true_geometry(self))
        return super().render(camera, width, height)


def collect(options: argparse.Namespace) -> None:
    """Record demonstrations, and true geometry as their targets; what is there is kept."""
    contract, scene = load_contract(options.robot), SCENES[options.scene]
    config = TargetsConfig("true geometry", (1,), view_order(contract), CELLS * CELLS, DIM, "float32")
    done = prepare(options.targets, config)
    recorder = Recorder(contract, scene=scene)
    recorder.world.close()
    world = recorder.world = _SeenWorld(contract, scene)
    with closing(recorder):
        for number in track(range(options.episodes), "recording"):
            path = options.folder / f"episode_{number:06d}.safetensors"
            if path.name in done and path.exists():
                continue
            # A layout that was shown for every task could be told by its exact numbers, and learnt by heart.
            layout, task = number, number % len(STANDARD_TASKS)
            for attempt in range(5):
                world.seen.clear()
                rng = np.random.default_rng([options.seed, number, attempt])
                seed = int(np.random.default_rng([options.seed, layout]).integers(2**62))
                episode = recorder.record(STANDARD_TASKS[task], seed, rng)
                if episode is None:
                    continue
                features = {1: np.stack(world.seen).astype(np.float16)}
                write_shard(options.targets, config, [EpisodeTargets(path.name, episode.stamps_s, features)])
                save_episode(path, episode, contract)
                break
    print(f"{write_index(options.targets)} episodes with their geometry")


def evaluate(options: argparse.Namespace) -> None:
    """Roll checkpoints out in the same scenes: by images alone, and those with a 4D branch with true geometry, too."""
    contract = load_contract(options.robot)
    conditions = Conditions(_LATENCY_S, contract.policy.step_s, options.timeout)
    seeds = range(options.seed, options.seed + options.episodes)
    tasks = [STANDARD_TASKS[k % len(STANDARD_TASKS)] for k in range(options.episodes)]

    def done(folder: Path, *, with_4d: bool) -> list[bool]:
        loaded = load_policy(folder, contract=contract, threads=1, with_4d=with_4d)
        with SimWorld(contract, scene=SCENES[options.scene]) as world:
            policy = PolicyWith4D(loaded, OracleStream(world)) if with_4d else loaded
            pairs = track(list(zip(tasks, seeds, strict=True)), folder.name)
            return [roll_out(policy, world, task, seed, conditions).verdict == "DONE" for task, seed in pairs]

    found: dict[str, list[bool]] = {}
    for folder in options.checkpoints:
        branch = read_config(folder).geometry
        for with_4d in (True, False) if branch is not None and branch.shown else (False,):
            name = f"{folder} {'with true geometry' if with_4d else 'by images alone'}"
            found[name] = done(folder, with_4d=with_4d)
            print(f"{name}: {wilson(sum(found[name]), len(found[name]))}", flush=True)
    first, *others = found
    for name in others:
        print(f"{name} less {first}: {paired_difference(found[first], found[name])}")


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, run, episodes, seed in (("collect", collect, 2000, 0), ("eval", evaluate, 100, DEVELOPMENT_SEED)):
        command = commands.add_parser(name)
        command.add_argument("--episodes", type=int, default=episodes)
        command.add_argument("--seed", type=int, default=seed)
        command.add_argument("--scene", default="sizes", choices=sorted(SCENES))
        command.add_argument("--robot", default=str(ROBOT), help="the contract; its default has the front camera alone")
        command.set_defaults(run=run)
        if run is collect:
            command.add_argument("folder", type=Path)
            command.add_argument("targets", type=Path)
        else:
            command.add_argument("checkpoints", type=Path, nargs="+")
            command.add_argument("--timeout", type=float, default=8.0)
    options = parser.parse_args()
    os.environ.setdefault("MUJOCO_GL", "egl")
    options.run(options)


if __name__ == "__main__":
    main()
