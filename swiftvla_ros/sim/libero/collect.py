# SPDX-License-Identifier: Apache-2.0
"""Demonstrations of the expert on layouts that are not the benchmark's, with true depth and poses for a teacher."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.cluster.runner import Runner
from swiftvla_ros.cluster.settings import claim
from swiftvla_ros.cluster.work import Work
from swiftvla_ros.contract import Camera, Contract, load_contract
from swiftvla_ros.contract.store import digest_of
from swiftvla_ros.episodes.datasets.store import PICTURES, Episode, GeometrySequences, save_episode, save_sequences
from swiftvla_ros.sim.data.collect import CollectReport
from swiftvla_ros.sim.libero.drivers import camera_pose, policy_views
from swiftvla_ros.sim.libero.evaluation import evaluated_layouts, scene_files
from swiftvla_ros.sim.libero.expert import LiberoExpert
from swiftvla_ros.sim.libero.layouts import draw_layout
from swiftvla_ros.sim.libero.process import LiberoClient, LiberoError, OpenScene, SceneMoment, kept_client
from swiftvla_ros.sim.libero.suites import LIMIT_STEPS, SUITES, spoken, worded

SETTINGS = "collection.json"
"""The file that says what a folder of demonstrations was recorded with."""
# Building a scene takes longer than a demonstration: so many are shown in each.
_IN_A_SCENE = 8
_ATTEMPTS = 4
# After success the hand goes on: the end of an episode is no reason to stop above the basket.
_STAY_STEPS = 4
# In half of the episodes the hand is pushed off its way now and then; what the expert would have done is recorded.
_DISTURBED, _PUSHED, _PUSH_STD = 0.5, 0.3, 0.35
# Drawing takes five times as long as moving, and a step later almost the same is seen: so every third step is pictured,
# and the first ones, in which words alone say where to go.
_PICTURE_STEPS, _FIRST_STEPS = 3, 3


@dataclass(frozen=True)
class LiberoCollection:
    """What is recorded, in plain values that go to other processes."""

    out: Path
    suite: str
    contract: Path
    python: str
    seed: int
    pixels: int = 256
    truth: bool = False

    def file(self, episode: int) -> Path:
        """Where an episode lies."""
        return self.out / f"episode_{episode:06d}.safetensors"

    def film(self, episode: int) -> Path:
        """Where its depth and poses lie."""
        return self.out / "truth" / f"sequences_{episode:06d}.safetensors"


@dataclass(frozen=True)
class ShownScene:
    """A task's scene, which of its things is meant, and the episodes that show it."""

    task: str
    thing: int
    episodes: tuple[int, ...]


def shown_scenes(tasks: Sequence[str], things: int, episodes: int) -> list[ShownScene]:
    """Share episodes out to scenes: all tasks in turn, and in each all of its things, so that words decide."""
    found = []
    for number, first in enumerate(range(0, episodes, _IN_A_SCENE)):
        round_, task = divmod(number, len(tasks))
        found.append(ShownScene(tasks[task], round_ % things, tuple(range(first, min(first + _IN_A_SCENE, episodes)))))
    return found


def collect_libero(collection: LiberoCollection, episodes: int, runner: Runner) -> CollectReport:
    """Record what is not there of ``episodes`` demonstrations that succeed; the same seed gives the same ones.

    Raises
    ------
    SettingsError
        The folder's episodes were recorded otherwise.
    LiberoError
        No interpreter here has the benchmark, or the suite's things can't change places.
    """
    if collection.suite != "object":
        raise LiberoError(
            f"suite '{collection.suite}': demonstrations are recorded of object alone; where things change places in "
            "the others, their sentences are no longer true"
        )
    begin = time.monotonic()
    scenes = scene_files(collection.python, SUITES[collection.suite])
    claim(
        collection.out / SETTINGS,
        {
            "benchmark": "libero",
            "suite": collection.suite,
            "seed": collection.seed,
            "pixels": collection.pixels,
            "truth": collection.truth,
            "contract_sha256": digest_of(load_contract(collection.contract)),
        },
    )
    things = min(len(scene.things) for scene in scenes.values())
    work: Work[ShownScene, tuple[int, int]] = Work(
        "recording",
        shown_scenes(list(scenes), things, episodes),
        partial(_record_scene, collection),
        files=lambda shown: [collection.file(episode) for episode in shown.episodes],
        size=lambda shown: len(shown.episodes),
        unit="episodes",
    )
    done = runner.run(work)
    there = len(list(collection.out.glob("episode_*.safetensors")))
    recorded, attempts = (sum(counts) for counts in zip(*done.results, strict=True)) if done.results else (0, 0)
    return CollectReport(there, recorded, attempts, time.monotonic() - begin, done.problem)


def _record_scene(collection: LiberoCollection, shown: ShownScene) -> tuple[int, int]:
    contract = load_contract(collection.contract)
    scene = scene_files(collection.python, SUITES[collection.suite])[shown.task]
    target = scene.things[shown.thing]
    client = kept_client(collection.python, collection.pixels)
    opened = client.open(SUITES[collection.suite], shown.task, scene.for_target(target))
    recorded = attempts = 0
    for episode in shown.episodes:
        if collection.file(episode).exists():
            continue
        for attempt in range(_ATTEMPTS):
            attempts += 1
            rng = np.random.default_rng([collection.seed, episode, attempt])
            places = draw_layout(scene, evaluated_layouts(collection.python, shown.task), rng)
            succeeded = _record(client, opened, places, contract, rng, collection.truth)
            if succeeded is not None:
                found, film = succeeded
                found.metadata.update(suite=collection.suite, task=shown.task, target=target, seed=episode)
                if film is not None:
                    save_sequences(collection.film(episode), film, contract)
                save_episode(collection.file(episode), found, contract)
                recorded += 1
                break
        else:
            raise LiberoError(f"episode {episode}: {_ATTEMPTS} layouts of {shown.task}, and {target} was never brought")
    return recorded, attempts


def _record(
    client: LiberoClient,
    opened: OpenScene,
    places: dict[str, tuple[float, float]],
    contract: Contract,
    rng: np.random.Generator,
    truth: bool,
) -> tuple[Episode, GeometrySequences | None] | None:
    """Show the task once; None where it did not succeed."""
    disturbed, hand = rng.random() < _DISTURBED, contract.hand
    assert hand is not None
    expert = LiberoExpert(opened, hand)
    moment = client.reset(initial=None, seed=int(rng.integers(1 << 31)), places=places, look=True, depth=True)
    moments, actions, after = [], [], 0
    for step in range(LIMIT_STEPS):
        action = expert.act(step, moment)
        moments.append(moment)
        actions.append(action)
        sent = action.copy()
        if disturbed and expert.free and rng.random() < _PUSHED:
            sent[:3] += rng.normal(0.0, _PUSH_STD, 3)
        film = (step + 1) % _PICTURE_STEPS == 0
        moment = client.step(sent, look=film or step + 1 < _FIRST_STEPS, depth=film and truth)
        after += moment.success
        if after > _STAY_STEPS:
            break
    if after <= _STAY_STEPS:
        return None
    pictures = [k for k, each in enumerate(moments) if each.views]
    seen = [policy_views(moments[k], contract) for k in pictures]
    # What is not pictured keeps what was seen last.
    views = [seen[k] for k in np.searchsorted(pictures, np.arange(len(moments)), side="right") - 1]
    episode = Episode(
        instruction=worded(expert.target, rng),
        images={name: np.stack([view[name] for view in views]) for name in contract.camera_names},
        state=np.stack([each.state for each in moments]).astype(np.float32),
        action=np.stack(actions).astype(np.float32),
        expert=np.ones(len(moments), bool),
        stamps_s=np.arange(len(moments), dtype=np.float64) * contract.policy.step_s,
        metadata={
            "benchmark": "libero",
            "success": True,
            "thing": spoken(expert.target),
            "places": {name: list(place) for name, place in places.items()},
            "disturbed": disturbed,
            PICTURES: pictures,
            "front_pose": camera_pose(moments[0].views[contract.camera_names[0]]).model_dump(mode="json"),
        },
    )
    return episode, _film(moments[::_PICTURE_STEPS], contract) if truth else None


def _film(moments: Sequence[SceneMoment], contract: Contract) -> GeometrySequences:
    """Pictures, depth and poses of the true view: what is turned over in the benchmark's is turned back."""
    # The cameras that move first, as the 4D network takes them.
    names = tuple(reversed(contract.camera_names))
    cameras = [contract.camera(name) for name in names]
    images = [[_true(policy_views(each, contract)[name]) for name in names] for each in moments]
    depth, poses, fov = [], [], []
    for each in moments:
        views = [each.views[name] for name in names]
        assert all(view.depth_m is not None and view.world_from_camera is not None for view in views)
        depth.append([_true(_conditioned(v.depth_m, camera)) for v, camera in zip(views, cameras, strict=True)])
        poses.append([v.world_from_camera for v in views])
        fov.append([_field(v.fovy_deg, camera) for v, camera in zip(views, cameras, strict=True)])
    return GeometrySequences(
        names,
        np.array(images)[None],
        np.array(depth, np.float16)[None],
        np.array(poses, np.float32)[None],
        np.array(fov, np.float32)[None],
    )


def _cut(camera: Camera) -> tuple[int, int, int, int]:
    return camera.crop or (0, 0, *camera.source_size)


def _conditioned(depth_m: NDArray[np.float32] | None, camera: Camera) -> NDArray[np.generic]:
    """Depth, m, cut and resized as the camera's images are."""
    x, y, width, height = _cut(camera)
    return cv2.resize(np.asarray(depth_m)[y : y + height, x : x + width], camera.size, interpolation=cv2.INTER_NEAREST)


def _field(fovy_deg: float, camera: Camera) -> list[float]:
    """Vertical and horizontal field of view of what is cut out around the image's middle, rad."""
    _, _, width, height = _cut(camera)
    tangent = np.tan(np.deg2rad(fovy_deg) / 2) / camera.source_size[1]
    return [2 * float(np.arctan(tangent * side)) for side in (height, width)]


def _true(view: NDArray[np.generic]) -> NDArray[np.generic]:
    return view[:, ::-1]
