# SPDX-License-Identifier: Apache-2.0
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.datasets.store import Episode, load_episode, save_episode
from swiftvla_ros.monitoring.envelope import EnvelopeError
from swiftvla_ros.monitoring.envelope_file import read_envelope
from swiftvla_ros.monitoring.envelope_monitor import EnvelopeMonitor, Look
from swiftvla_ros.monitoring.verdict import VerdictLevel
from swiftvla_ros.policy import CheckpointPolicy, Observation
from swiftvla_ros.policy.checkpoint import open_checkpoint
from swiftvla_ros.training.envelope_fit import fit_envelope
from swiftvla_ros.training.loop import TrainingRun
from swiftvla_ros.training.options import TrainOptions
from swiftvla_ros.training.stages import PolicyStart, train_policy

STEPS, HORIZON = 12, 4


@dataclass(frozen=True)
class Shown:
    """A demonstration around the rest pose."""

    name: str
    episode: Episode

    def steps(self) -> int:
        """Its length."""
        return STEPS

    def load(self) -> Episode:
        """Itself."""
        return self.episode


class Watched:
    """A policy that wants what was shown, and sees the pictures' mean colours."""

    checkpoint_sha256, horizon, step_s = "ab" * 32, HORIZON, 0.1

    def __init__(self, contract: Contract) -> None:
        self.camera_names = contract.camera_names

    def infer(self, observation: Observation) -> np.ndarray:
        """Stay."""
        self.seen = np.stack([observation.images[name].mean(axis=(0, 1)) for name in self.camera_names])
        return np.tile(observation.state, (HORIZON, 1))

    def vision_features(self) -> np.ndarray:
        """Of the last images."""
        return self.seen.astype(np.float32)


def demonstrations(contract: Contract, count: int) -> list[Shown]:
    """So many, all different."""
    rng = np.random.default_rng(0)
    shown = []
    for number in range(count):
        state = (contract.rest + 0.02 * rng.normal(size=(STEPS, len(contract.joints)))).astype(np.float32)
        images = {name: rng.integers(90, 110, (STEPS, 8, 8, 3)).astype(np.uint8) for name in contract.camera_names}
        episode = Episode("pick", images, state, state, np.ones(STEPS, bool), 0.1 * np.arange(STEPS))
        shown.append(Shown(f"episode_{number}", episode))
    return shown


def test_what_was_shown_is_usual_and_what_was_not_is_told(tmp_path: Path, contract: Contract) -> None:
    """Protects: an envelope fitted on demonstrations lies beside the checkpoint, passes their like, tells others."""
    policy = cast(CheckpointPolicy, Watched(contract))
    fit_envelope(policy, tmp_path, demonstrations(contract, 30), contract, "a test")
    envelope = read_envelope(tmp_path, "ab" * 32, contract)
    monitor = EnvelopeMonitor(envelope, contract)

    def look(number: int, **other: Any) -> VerdictLevel:
        rest = contract.rest
        seen = SimpleNamespace(features=np.full((len(contract.cameras), 3), 99.5, np.float32))
        given = {"state": rest, "rows": np.tile(rest, (HORIZON, 1)), "features": seen.features, **other}
        common = {"checkpoint_sha256": "ab" * 32, "camera_names": contract.camera_names}
        return monitor.look(Look(stamp_ns=number * 10**8, chunk_id=number, **common, **given)).level

    assert [look(number) for number in (1, 2, 3)] == [VerdictLevel.USUAL] * 3
    dark = np.full((len(contract.cameras), 3), 20, np.float32)
    assert [look(number, features=dark) for number in (4, 5)][-1] is VerdictLevel.HOLD


def test_too_few_demonstrations_are_told(tmp_path: Path, contract: Contract) -> None:
    """Protects: bounds of three episodes would be chance; training goes on without an envelope."""
    with pytest.raises(EnvelopeError, match="needs 20 episodes"):
        fit_envelope(cast(CheckpointPolicy, Watched(contract)), tmp_path, demonstrations(contract, 3), contract, "few")


def test_a_training_ends_with_an_envelope(
    recorded: Path, start: Path, contract: Contract, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects: the envelope is of the checkpoint that was just written, and of what it sees; few episodes are told."""
    few = recorded / "episodes"
    enough = tmp_path / "episodes"
    enough.mkdir()
    for i, file in enumerate(sorted(few.glob("*.safetensors")) * 4):
        whole = load_episode(file, contract)
        parts = {key: getattr(whole, key)[:6] for key in ("state", "action", "expert", "stamps_s")}
        images = {camera: images[:6] for camera, images in whole.images.items()}
        save_episode(
            enough / f"episode_{i:06d}.safetensors", dataclasses.replace(whole, images=images, **parts), contract
        )
    run = TrainingRun(tmp_path / "out", None, contract, TrainOptions(steps=1, batch=2, scene_share=0.0), processes=1)
    told: list[tuple[int, int]] = []
    train_policy(run, PolicyStart(enough, start), lambda _: None, lambda done, total: told.append((done, total)))
    assert told == [(i + 1, 24) for i in range(24)]
    envelope = read_envelope(run.out, open_checkpoint(run.out).sha256, contract)
    assert envelope.camera_names == contract.camera_names
    assert envelope.bounds.runs == 12
    assert np.isfinite(envelope.bounds.hold_at).all()
    run = TrainingRun(tmp_path / "few", None, contract, run.options, processes=1)
    train_policy(run, PolicyStart(few, start), lambda _: None)
    assert "no envelope for monitors was written: an envelope needs 20 episodes at least" in capsys.readouterr().err
