# SPDX-License-Identifier: Apache-2.0
"""Demonstrations as a LeRobot dataset with everything that training reads, and what tests share of it."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from swiftvla_ros.cluster.runner import Runner
from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.datasets.finder import EpisodeFolder
from swiftvla_ros.episodes.datasets.lerobot_part import PartWriter, even_part
from swiftvla_ros.episodes.datasets.lerobot_writer import export_lerobot
from swiftvla_ros.episodes.datasets.sources import EpisodeHandle, open_episodes
from swiftvla_ros.episodes.datasets.store import Episode
from swiftvla_ros.episodes.teacher import targets as teacher_targets
from swiftvla_ros.resources import model_path
from swiftvla_ros.sim.data.collect import collect
from swiftvla_ros.training.checkpoint_writer import read_config
from swiftvla_ros.training.importers.lerobot_columns import TrainingColumns

START = "models/swiftvla-nano-grounding"
SHIPPED = model_path("models/swiftvla-nano-so101")
CACHES = (3, 6)
EPISODES = 6
Run = Callable[..., None]


@dataclass(frozen=True)
class Shown:
    """An episode of the dataset as our reader gives it, but with what the demonstration itself knows besides.

    The standard has no mark for frames that must not be imitated, and our reader takes all for the expert's; the
    dataset's own columns say which are.
    """

    handle: EpisodeHandle
    part: Episode

    @property
    def name(self) -> str:
        """The handle's."""
        return self.handle.name

    def steps(self) -> int:
        """The handle's."""
        return self.handle.steps()

    def load(self) -> Episode:
        """Images, state and action of the dataset; who acted, of the demonstration."""
        return dataclasses.replace(self.handle.load(), expert=self.part.expert, metadata=self.part.metadata)


@dataclass(frozen=True)
class Exported:
    """A dataset, and its episodes for our own training."""

    folder: Path
    targets: Path
    episodes: tuple[Shown, ...]


def export(root: Path, contract: Contract) -> Exported:
    """Export six demonstrations with labels for the nano network; random numbers stand for the teacher's features."""
    runner = Runner(progress=False)
    collect(root / "episodes", EPISODES, runner=runner, seed=3, contract=contract)
    handles = open_episodes(root / "episodes", contract)
    config = teacher_targets.TargetsConfig("0" * 64, CACHES, ("wrist", "front"), tokens=4, dim=8, precision="float32")
    teacher_targets.prepare(root / "targets", config)
    rng, found, parts = np.random.default_rng(0), [], []
    for handle in handles:
        episode = handle.load()
        shape = (len(episode.state), config.tokens, config.dim)
        features = {k: (k + rng.standard_normal(shape)).astype(np.float16) for k in CACHES}
        found.append(teacher_targets.EpisodeTargets(handle.name, episode.stamps_s, features))
        part, _ = even_part(episode, contract.policy.step_s)
        assert part is not None
        parts.append(part)
    teacher_targets.write_shard(root / "targets", config, found)
    teacher_targets.write_index(root / "targets")
    columns = TrainingColumns(
        contract, read_config(model_path(START)), teacher_targets.TeacherTargets.open(root / "targets")
    )
    source = EpisodeFolder(root / "episodes", contract)
    export_lerobot(handles, source, root / "dataset", PartWriter(contract, extra=columns), runner)
    again = open_episodes(root / "dataset", contract)
    shown = tuple(Shown(handle, part) for handle, part in zip(again, parts, strict=True))
    return Exported(root / "dataset", root / "targets", shown)


def saved(out: Path) -> Path:
    """The policy that a training wrote last."""
    return out / "checkpoints" / "last" / "pretrained_model"
