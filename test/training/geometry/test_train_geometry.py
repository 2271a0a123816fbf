# SPDX-License-Identifier: Apache-2.0
"""Training of the geometry network: samples, losses, gauges, resuming, and the checkpoint that is shipped."""

import dataclasses
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from swiftvla_ros.cluster.runner import Runner
from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.datasets.store import list_files
from swiftvla_ros.geometry import PRESETS, GeometryConfig, GeometryOutput, GeometryTransformer, load_geometry
from swiftvla_ros.geometry.config import CameraHeadConfig, EncoderConfig, geometry_nano
from swiftvla_ros.sim.data.geometry_sequences import render_sequences
from swiftvla_ros.training.geometry import trainer as geometry_trainer
from swiftvla_ros.training.geometry.accuracy import TrivialPredictor, measure
from swiftvla_ros.training.geometry.objective import LOSSES, WEIGHTS, GeometryObjective
from swiftvla_ros.training.geometry.samples import SequenceSamples
from swiftvla_ros.training.geometry.trainer import GeometryRun, GeometryTrainer, train_geometry
from swiftvla_ros.training.options import TrainOptions
from swiftvla_ros.training.report import Report

SHIPPED = Path(__file__).parents[3] / "models" / "geometry-nano"
# Far from the seed of the shipped weights' scenes.
SEED = 987_654


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, contract: Contract) -> Path:
    """Return a folder with four sequences that no network was trained on."""
    out = tmp_path_factory.mktemp("sequences")
    render_sequences(out, 4, runner=Runner(progress=False), seed=SEED, contract=contract)
    return out


@pytest.fixture(scope="module")
def samples(folder: Path, contract: Contract) -> SequenceSamples:
    """Return them as samples."""
    return SequenceSamples(list_files(folder, "sequences"), contract)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> GeometryConfig:
    """Return sizes of a network whose steps take a few milliseconds, which takes the preset's place."""
    config = dataclasses.replace(
        geometry_nano(),
        dim=32,
        num_heads=2,
        num_pairs=1,
        encoder=EncoderConfig(num_layers=1, num_heads=2, mlp_ratio=2.0, registers=1, position_grid=8),
        camera=CameraHeadConfig(num_layers=1, num_heads=2, iterations=2),
    )
    monkeypatch.setitem(PRESETS, "geometry-nano", lambda: config)
    return config


def test_losses_fall_on_one_batch(tiny: GeometryConfig, samples: SequenceSamples) -> None:
    """Protect every loss's gradient: fitted to one sequence, each of them falls, and every parameter is reached."""
    torch.manual_seed(0)
    objective = GeometryObjective(GeometryTransformer(tiny))
    optimizer = torch.optim.Adam(objective.parameters(), 5e-3)
    sample, window, weights = samples.take(np.array([0]), 0, 4), torch.tensor([3]), torch.tensor(WEIGHTS)
    history = []
    for _ in range(25):
        losses = objective(sample, window, False)
        optimizer.zero_grad()
        (losses * weights).sum().backward()
        optimizer.step()
        history.append(losses.detach())
    assert all(p.grad is not None for p in objective.parameters())
    last = torch.stack(history[-3:]).mean(dim=0)
    better = dict(zip(LOSSES, (last / history[0]).tolist(), strict=True))
    assert max(better.values()) < 0.9, better
    assert better["depth"] < 0.5


def test_frames_without_a_reference_are_not_asked_for_their_pose(
    tiny: GeometryConfig, samples: SequenceSamples
) -> None:
    """Protect the pose and point losses: a frame that no longer sees step 0 cannot know them without an anchor."""
    torch.manual_seed(0)
    objective = GeometryObjective(GeometryTransformer(tiny))
    sample = samples.take(np.array([0, 1]))
    pose, points = sample.pose.clone(), sample.points.clone()
    pose[0, 3:], points[0, 3:] = 9.0, 9.0
    wrong = sample._replace(pose=pose, points=points)
    window = torch.tensor([3, 5])
    with torch.no_grad():
        torch.testing.assert_close(objective(wrong, window, False), objective(sample, window, False))
        assert not torch.allclose(objective(wrong, window, True), objective(sample, window, True))


def test_gauges_are_the_errors(tiny: GeometryConfig, samples: SequenceSamples) -> None:
    """Protect the gauges: true poses have no error, whatever the quaternion's sign; depth that is 10 % off has that."""
    sample = samples.take(np.arange(len(samples)))

    class Truth(GeometryTransformer):
        def forward(self, images: torch.Tensor, window: object = None, *_: object) -> GeometryOutput:
            assert window == 6
            pose = sample.pose * torch.tensor([1.0, 1, 1, -1, -1, -1, -1, 1, 1])
            return GeometryOutput(images, depth=1.1 * sample.depth, pose=pose, points=sample.points + 0.01)

    gauges = measure(Truth(tiny), samples, cache_steps=6)
    assert gauges.depth_abs_rel == pytest.approx({"wrist": 0.1, "front": 0.1}, abs=1e-3)
    for errors in (gauges.translation_cm, gauges.rotation_deg, gauges.fov_deg):
        assert max(errors.values()) < 0.1
    assert gauges.points_cm == pytest.approx({"wrist": 3**0.5, "front": 3**0.5}, abs=1e-3)


def test_trivial_predictors_know_what_is_the_same_everywhere(samples: SequenceSamples) -> None:
    """Protect the bar: the pixel's mean and median beat the view's mean, and a pose that never changes has no error."""
    found = TrivialPredictor.fit(samples).measure(samples, cache_steps=6)
    view, pixel = found["mean of the view"], found["mean of the pixel"]
    for name in ("wrist", "front"):
        assert pixel.depth_abs_rel[name] < view.depth_abs_rel[name]
    assert pixel.fov_deg["wrist"] == pytest.approx(0, abs=1e-3)
    assert pixel.translation_cm["front"] > 3


def test_a_run_resumes_and_its_checkpoint_loads(
    tmp_path: Path, tiny: GeometryConfig, folder: Path, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protect long runs: killed at step 2 and started again, it ends where an undisturbed run ends."""
    monkeypatch.setattr(
        geometry_trainer, "load_samples", lambda _: 2 * (SequenceSamples(list_files(folder, "sequences"), contract),)
    )
    options = TrainOptions(steps=4, batch=2, warmup_steps=1, validate_every=2, precision="no")

    def run(out: Path) -> GeometryRun:
        return GeometryRun(out, folder, contract, options, lengths=(1, 2), processes=1, device="cpu")

    whole: list[Report] = []
    table = train_geometry(run(tmp_path / "whole"), whole.append)

    class KilledError(Exception):
        pass

    def kill(line: Report) -> None:
        if line.step == 3:
            raise KilledError

    with pytest.raises(KilledError):
        train_geometry(run(tmp_path / "out"), kill)
    rest: list[Report] = []
    train_geometry(run(tmp_path / "out"), rest.append)
    assert [line.step for line in rest] == [3, 4]
    assert rest[-1].losses == pytest.approx(whole[-1].losses, rel=1e-4)
    net, again = load_geometry(tmp_path / "whole"), load_geometry(tmp_path / "out")
    assert net.config == tiny
    for name, weight in net.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], weight, rtol=1e-4, atol=1e-6)
    card = (tmp_path / "out" / "card.md").read_text()
    assert "median of the pixel" in card
    assert len(table) == 5
    with pytest.raises(ValueError, match="finished checkpoint"):
        train_geometry(run(tmp_path / "out"), kill)


def test_processes_share_one_batch(
    tiny: GeometryConfig, samples: SequenceSamples, contract: Contract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protect that n processes train on the batches of one: their shares, put together, are what one draws."""
    run = GeometryRun(tmp_path, tmp_path, contract, TrainOptions(steps=1, batch=24, precision="no"), device="cpu")
    trainer = GeometryTrainer(GeometryObjective(GeometryTransformer(tiny)), samples, samples, run)
    whole, window, anchor = trainer._draw(5)

    class Share:
        num_processes = 2
        process_index = 0

    monkeypatch.setattr(trainer, "accelerator", Share)
    for index in (0, 1):
        Share.process_index = index
        part, its_window, its_anchor = trainer._draw(5)
        torch.testing.assert_close(part.points, whole.points[index::2])
        torch.testing.assert_close(part.images, whole.images[index::2])
        assert (its_window == window[index::2]).all()
        assert its_anchor == anchor


def test_the_shipped_network_beats_the_trivial_predictor(samples: SequenceSamples) -> None:
    """Protect the shipped teacher: on scenes rendered now, its depth error is far below what no image can give."""
    trained = measure(load_geometry(SHIPPED), samples, cache_steps=6)
    # The training set's pixel means over its held-out scenes, as the card has them: fitted to four scenes, a mean would
    # know these four. The card's factor of 2 is over 100 scenes; four scatter.
    best_trivial = {"wrist": 0.242, "front": 0.174}
    assert sum(trained.depth_abs_rel.values()) <= 0.6 * sum(best_trivial.values())
    assert json.loads((SHIPPED / "config.json").read_text())["model"] == json.loads(json.dumps(asdict(geometry_nano())))
