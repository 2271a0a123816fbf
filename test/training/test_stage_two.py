# SPDX-License-Identifier: Apache-2.0
"""Stage 2: what the teacher's features train, what is left of them in a deployed checkpoint, and one batch for all."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from swiftvla_ros.contract import Contract
from swiftvla_ros.model.config import GeometryBranchConfig, SwiftVLAConfig
from swiftvla_ros.model.objective import LOSSES
from swiftvla_ros.policy import CheckpointError, load_policy
from swiftvla_ros.training.checkpoint_writer import load_start
from swiftvla_ros.training.loop import LOSSES_FILE, TrainingRun, learning_rate
from swiftvla_ros.training.options import LossWeights, TrainOptions
from swiftvla_ros.training.report import ACTION_WITH_4D
from swiftvla_ros.training.stages import PolicyStart, train_policy
from swiftvla_ros.training.trainer import build

REPOSITORY = Path(__file__).parents[2]
# In float32, since the order of sums is all that may differ.
OPTIONS = TrainOptions(
    steps=6, batch=8, validate_every=6, warmup_steps=2, noise_samples=2, cache_steps=(3, 6), frozen="vision",
    precision="no", weights=LossWeights(reconstruct_2d=1.0, reconstruct_4d=1.0), restrain_auxiliary=True,
    log_gradients_every=3,
)  # fmt: skip


def geometry(dim: int, tokens: int) -> GeometryBranchConfig:
    """Mask often, so that a few samples hold all cases."""
    return GeometryBranchConfig(dim, tokens, p_mask_4d=0.5, p_mask_2d=0.4, mask_2d_ramp_steps=0, align_layer=1)


def curve(out: Path) -> np.ndarray:
    """Return the losses of each step [steps, losses], NaN where nothing was to be counted."""
    lines = [json.loads(line)["losses"] for line in (out / "training" / LOSSES_FILE).read_text().splitlines()]
    return np.array([[line.get(name, np.nan) for name in LOSSES] for line in lines])


Train = Callable[..., Path]


@pytest.fixture(scope="module")
def train(recorded: Path, start: Path, contract: Contract) -> Train:
    """Return a function that trains stage 2 into a folder."""

    def run(out: Path, options: TrainOptions = OPTIONS, processes: int = 1) -> Path:
        stage = TrainingRun(out, recorded / "scenes", contract, options, processes, "cpu")
        source = PolicyStart(recorded / "episodes", start, targets=recorded / "targets", geometry=geometry)
        train_policy(stage, source, lambda _: None)
        return out

    return run


@pytest.fixture(scope="module")
def trained(train: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a stage-2 checkpoint that one process trained."""
    return train(tmp_path_factory.mktemp("stage_two") / "one")


def test_a_deployed_checkpoint_holds_the_policy_alone(trained: Path, contract: Contract) -> None:
    """Protects the promise that 4D costs nothing after training: none of its weights are in the policy's file."""
    with safe_open(trained / "model.safetensors", framework="numpy") as file:
        parts = {name.partition(".")[0] for name in file.keys()}  # noqa: SIM118 - not a dict
    assert parts == {"backbone", "state_proj", "fusion", "expert", "action_out_proj", "guide"}
    with safe_open(trained / "auxiliary.safetensors", framework="numpy") as file:
        parts = {name.partition(".")[0] for name in file.keys()}  # noqa: SIM118 - not a dict
    assert parts >= {"trajectory_head", "geometry_proj", "reconstruct_2d", "reconstruct_4d", "standardize_4d"}
    (trained / "auxiliary.safetensors").rename(trained / "elsewhere")
    load_policy(trained, contract=contract, device="cpu")
    (trained / "elsewhere").rename(trained / "auxiliary.safetensors")


def test_targets_are_standardised_and_the_vision_tower_stays(trained: Path, start: Path) -> None:
    """Protects the reconstruction targets: statistics come from the features (mean 3 or 6), and the tower is frozen."""
    auxiliary = load_file(trained / "auxiliary.safetensors")
    assert 3 < auxiliary["standardize_4d.mean"].mean() < 6
    assert 1 < auxiliary["standardize_4d.std"].mean() < 2.5
    assert auxiliary["standardize_2d.std"].min() > 0
    before, after = load_file(start / "model.safetensors"), load_file(trained / "model.safetensors")
    for name in before:
        moved = not torch.equal(before[name].float(), after[name])
        assert not (moved and "vision_model" in name), name
    assert not torch.equal(before["fusion.tokens"].float(), after["fusion.tokens"])


def test_all_losses_are_trained(trained: Path) -> None:
    """Protects the weighted total: a loss that is never counted would train nothing; 4D's use is told beside it."""
    assert np.isfinite(np.nanmean(curve(trained), axis=0)).all()
    last = json.loads((trained / "training" / "result.json").read_text())
    losses = last["validation"]["losses"]
    assert set(losses) == {*LOSSES, ACTION_WITH_4D}
    assert losses[ACTION_WITH_4D] != losses["action"]


def test_gradients_of_every_loss_are_told(trained: Path) -> None:
    """Protects the reason for a no: how much each loss asks of the shared layers, and how far against the action."""
    lines = [json.loads(line)["gradients"] for line in (trained / "training" / LOSSES_FILE).read_text().splitlines()]
    assert [line is not None for line in lines] == [False, False, True] * 2
    told = lines[2] | lines[5]
    assert set(told) == {f"{loss} {what}" for loss in LOSSES for what in ("norm", "cosine")}
    assert told["action cosine"] == pytest.approx(1.0, abs=1e-5)
    assert all(abs(told[f"{loss} cosine"]) <= 1 + 1e-5 and told[f"{loss} norm"] > 0 for loss in LOSSES)


def test_restraining_changes_the_training(trained: Path, train: Train, tmp_path: Path) -> None:
    """Protects `--restrain-auxiliary` from doing nothing: the first step's loss is the same, the last one's other."""
    free = curve(train(tmp_path / "free", dataclasses.replace(OPTIONS, restrain_auxiliary=False)))
    action = LOSSES.index("action")
    assert free[0, action] == pytest.approx(curve(trained)[0, action], rel=1e-6)
    assert abs(free[-1, action] / curve(trained)[-1, action] - 1) > 1e-5


def test_alignment_without_4d_tokens(
    recorded: Path, start: Path, contract: Contract, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects the row `alignment`: features are a target alone, no 4D token is trained; nor an envelope."""

    def aligned(dim: int, tokens: int) -> GeometryBranchConfig:
        return GeometryBranchConfig(dim, tokens, p_mask_4d=1.0, p_mask_2d=0.0, reconstruct=False, align_layer=1)

    options = dataclasses.replace(OPTIONS, steps=2, validate_every=2)
    run = TrainingRun(tmp_path / "out", recorded / "scenes", contract, options, 1, "cpu")
    source = PolicyStart(recorded / "episodes", start, targets=recorded / "targets", geometry=aligned)
    losses = train_policy(run, source, lambda _: None, None).last.losses
    assert "envelope" not in capsys.readouterr().err
    assert losses.keys() == {"action", "trajectory", "alignment"}
    assert not [name for name in load_file(run.out / "auxiliary.safetensors") if name.startswith("geometry_proj")]
    with pytest.raises(ValueError, match="without 4D tokens"):
        load_policy(run.out, contract=contract, device="cpu", with_4d=True)


@pytest.mark.parametrize(("processes", "accumulate"), [(1, 4), (2, 2)])
def test_shares_of_a_batch_train_like_the_whole(
    trained: Path, train: Train, tmp_path: Path, processes: int, accumulate: int
) -> None:
    """Protects the effective batch: micro-batches and forked processes give the loss curve of one whole batch."""
    out = train(tmp_path / "shared", dataclasses.replace(OPTIONS, accumulate=accumulate), processes)
    np.testing.assert_allclose(curve(out), curve(trained), rtol=1e-4)


def test_accelerate_launch_gives_the_same_curve(trained: Path, recorded: Path, start: Path, tmp_path: Path) -> None:
    """Protects training on several devices: two launched processes give the loss curve of one, as documented."""
    options = {
        "--init": start, "--stage": 2, "--teacher-targets": recorded / "targets", "--cache-steps": "3,6",
        "--scenes-dir": recorded / "scenes", "--scene-share": OPTIONS.scene_share, "--mask-2d": 0.4, "--steps": 6,
        "--mask-2d-ramp-steps": 0, "--batch": 8, "--noise-samples": 2, "--warmup-steps": 2, "--validate-every": 6,
        "--learning-rate": OPTIONS.learning_rate, "--reconstruct-2d-weight": 1, "--reconstruct-4d-weight": 1,
        "--precision": "no", "--device": "cpu", "--align-layer": 1, "--log-gradients-every": 3,
    }  # fmt: skip
    command = [
        *(sys.executable, "-m", "accelerate.commands.launch"),
        *("--config_file", REPOSITORY / "config" / "accelerate" / "cpus.yaml"),
        *("-m", "swiftvla_ros.training", recorded / "episodes", tmp_path / "two", "--restrain-auxiliary"),
        *(str(part) for option in options.items() for part in option),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(part) for part in command], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "6 steps" in done.stdout
    assert "processes: 2" in (tmp_path / "two" / "card.md").read_text()
    np.testing.assert_allclose(curve(tmp_path / "two"), curve(trained), rtol=1e-4)


def test_stage_two_goes_on_from_stage_one(trained: Path, tiny: SwiftVLAConfig, tmp_path: Path) -> None:
    """Protects the schedule: what a checkpoint has is taken from both files, what it lacks is new and named."""
    objective = build(dataclasses.replace(tiny, geometry=geometry(8, 4)), 5)
    assert load_start(trained, objective) == ()
    weights = load_file(trained / "auxiliary.safetensors")
    assert objective.auxiliary.trajectory_head is not None
    assert torch.equal(objective.auxiliary.trajectory_head.query.weight, weights["trajectory_head.query.weight"])
    (tmp_path / "model.safetensors").write_bytes((trained / "model.safetensors").read_bytes())
    assert "reconstruct_4d" in load_start(tmp_path, objective)
    # Another robot has other numbers of joints and actions: what reads and writes them is new.
    other = dataclasses.replace(tiny, state_dim=7, action_dim=8, geometry=geometry(8, 4))
    assert load_start(trained, build(other, 5)) == ("state_proj", "action_out_proj", "expert.action_in_proj")
    # Nothing else may be of another size.
    wider = dataclasses.replace(tiny.expert, hidden_size=48)
    with pytest.raises(CheckpointError, match="same preset"):
        load_start(trained, build(dataclasses.replace(tiny, expert=wider), 0))


def test_wrong_caches_are_refused(recorded: Path, start: Path, contract: Contract, tmp_path: Path) -> None:
    """Protects the ablation: targets for another cache length are refused with the lengths that are there."""
    run = TrainingRun(tmp_path, recorded / "scenes", contract, dataclasses.replace(OPTIONS, cache_steps=(4,)), 1, "cpu")
    with pytest.raises(CheckpointError, match=r"--cache-steps 3,6"):
        train_policy(run, PolicyStart(recorded / "episodes", start, targets=recorded / "targets"), lambda _: None)


def test_learning_rate_warms_up_and_decays() -> None:
    """Protects the schedule's ends: it starts small, peaks after the warm-up and ends at a fiftieth."""
    options = TrainOptions(steps=100, warmup_steps=10, learning_rate=1.0)
    rates = [learning_rate(step, options) for step in (0, 9, 10, 100)]
    np.testing.assert_allclose(rates, [0.1, 1.0, 1.0, 0.02])
