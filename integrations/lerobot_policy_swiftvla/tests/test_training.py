# SPDX-License-Identifier: Apache-2.0
"""``lerobot-train --policy.type=swiftvla``: the losses of ``swiftvla train``, both stages, and a run that goes on."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from exported_dataset import CACHES, START, Exported, Run, saved
from lerobot_policy_swiftvla.modeling_swiftvla import SwiftVLAPolicy
from swiftvla_ros.cluster.runner import Runner
from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.datasets.finder import EpisodeFolder
from swiftvla_ros.episodes.datasets.lerobot_part import PartWriter
from swiftvla_ros.episodes.datasets.lerobot_writer import export_lerobot
from swiftvla_ros.episodes.datasets.sources import open_episodes
from swiftvla_ros.episodes.teacher.targets import TeacherTargets
from swiftvla_ros.model.config import GeometryBranchConfig, SwiftVLAConfig
from swiftvla_ros.model.objective import LOSSES
from swiftvla_ros.policy.normalization import Normalizer, compute_statistics
from swiftvla_ros.policy.tokenizer import InstructionTokenizer
from swiftvla_ros.resources import model_path
from swiftvla_ros.training.checkpoint_writer import load_start
from swiftvla_ros.training.options import TrainOptions
from swiftvla_ros.training.samples import EpisodeSamples
from swiftvla_ros.training.trainer import Data, Trainer, build

STEPS, BATCH = 8, 8
# Both optimisers round otherwise (ours is the fused one), and what they differ by grows from step to step.
TOLERANCE = 1e-3


class Spy:
    """Notes the frames that LeRobot's loader drew, and the losses."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.frames: list[np.ndarray] = []
        self.losses: list[dict[str, float]] = []
        self.policy: SwiftVLAPolicy | None = None
        forward = SwiftVLAPolicy.forward

        def note(policy: SwiftVLAPolicy, batch: dict, reduction: str = "mean") -> tuple:
            loss, parts = forward(policy, batch, reduction)
            self.frames.append(batch["index"].numpy())
            self.losses.append({name: parts[f"{name}_loss"] for name in LOSSES if f"{name}_loss" in parts})
            self.policy = policy
            return loss, parts

        monkeypatch.setattr(SwiftVLAPolicy, "forward", note)


def ours(exported: Exported, contract: Contract, config: SwiftVLAConfig, options: TrainOptions, spy: Spy) -> Trainer:
    """Make our trainer for the same frames in the same order."""
    tokenizer = InstructionTokenizer(model_path(START) / "tokenizer.json", config.text.max_tokens)
    targets = None if config.geometry is None else TeacherTargets.open(exported.targets)
    samples = EpisodeSamples(exported.episodes, contract, config, tokenizer)
    samples.targets = targets
    order = iter(spy.frames)
    samples.draw = lambda count, rng: next(order)  # noqa: ARG005
    if targets is not None:
        # The dataset is called otherwise than what the targets were computed of.
        parts = [targets.read(name, shown.part.stamps_s, k) for k in (CACHES[0],) for name, shown in
                 zip(targets.episode_names, exported.episodes, strict=True)]  # fmt: skip
        by_cache = {CACHES[0]: np.concatenate(parts)}
        samples.geometry = lambda frames, cache_steps: by_cache[CACHES[0]][frames]  # noqa: ARG005
    names = contract.joint_names
    statistics = {
        "state": compute_statistics(samples.state, names),
        "action": compute_statistics(samples.valid_actions(), names),
    }
    assert spy.policy is not None
    for what, rows in statistics.items():
        for joint, row in rows.items():
            assert spy.policy.config.statistics[what][f"{joint}.pos"] == pytest.approx(row, rel=1e-6, abs=1e-7)
    objective = build(config, 0)
    load_start(model_path(START), objective)
    state, action = (Normalizer.from_statistics(statistics, what, names) for what in ("state", "action"))
    return Trainer(objective, Data(samples, samples, None, None, state, action), options, "cpu")


def show(capsys: pytest.CaptureFixture, title: str, theirs: list[dict], own: list[dict]) -> float:
    """Print both curves side by side, and return the largest relative difference."""
    worst = 0.0
    with capsys.disabled():
        print(f"\n{title}\nstep  " + "  ".join(f"{name:>14} lerobot / swiftvla" for name in own[0]))
        for step, (a, b) in enumerate(zip(theirs, own, strict=True)):
            assert a.keys() == b.keys()
            print(f"{step + 1:4}  " + "  ".join(f"{a[name]:24.6f} / {b[name]:.6f}" for name in b))
            worst = max(worst, *(abs(a[name] - b[name]) / abs(b[name]) for name in b))
        print(f"largest relative difference {worst:.1e}")
    return worst


def test_the_losses_are_those_of_swiftvla_train(
    lerobot_train: Run, exported: Exported, contract: Contract, tmp_path: Path, monkeypatch, capsys
) -> None:
    """Protects from training something else: the same seed and frames give our own trainer's losses, step by step."""
    spy = Spy(monkeypatch)
    options = ["--policy.type=swiftvla", f"--policy.init={START}", "--policy.scheduler_warmup_steps=4"]
    lerobot_train(tmp_path / "run", *options, f"--steps={STEPS}", f"--batch_size={BATCH}", f"--save_freq={STEPS}")
    assert spy.policy is not None
    train = TrainOptions(steps=STEPS, batch=BATCH, scene_share=0.0, warmup_steps=4, precision="no")
    trainer = ours(exported, contract, spy.policy.config.swiftvla, train, spy)
    trainer.parallel.train()
    own = [trainer.step(step) for step in range(STEPS)]
    assert show(capsys, "stage 1", spy.losses, own) < TOLERANCE
    moved = load_file(saved(tmp_path / "run") / "model.safetensors")
    for name, value in trainer.objective.policy.state_dict().items():
        torch.testing.assert_close(moved[f"model.policy.{name}"], value, rtol=0, atol=1e-3)


def test_stage_two_reconstructs_what_is_masked(
    lerobot_train: Run, exported: Exported, contract: Contract, tmp_path: Path, monkeypatch, capsys
) -> None:
    """Protects the 4D stage: features come from the dataset's columns, masks and losses are `swiftvla train`'s."""
    spy = Spy(monkeypatch)
    options = [
        "--policy.type=swiftvla", f"--policy.init={START}", "--policy.stage=2", f"--policy.cache_steps=[{CACHES[0]}]",
        "--policy.mask_2d=0.4", "--policy.mask_2d_ramp_steps=0", "--policy.scheduler_warmup_steps=4",
    ]  # fmt: skip
    lerobot_train(tmp_path / "run", *options, f"--steps={STEPS}", f"--batch_size={BATCH}", f"--save_freq={STEPS}")
    assert spy.policy is not None
    config = spy.policy.config.swiftvla
    assert config.geometry == GeometryBranchConfig(8, 4, 0.5, 0.4, 0)
    train = TrainOptions(
        steps=STEPS, batch=BATCH, scene_share=0.0, warmup_steps=4, precision="no", learning_rate=5e-4, frozen="vision",
        cache_steps=CACHES[:1],
    )  # fmt: skip
    trainer = ours(exported, contract, config, train, spy)
    # Ours takes the targets' mean and deviation from 128 frames, the policy from its first batch.
    for name in ("standardize_2d", "standardize_4d"):
        getattr(trainer.objective.auxiliary, name).load_state_dict(
            getattr(spy.policy.model.auxiliary, name).state_dict()
        )
    trainer.parallel.train()
    own = [trainer.step(step) for step in range(STEPS)]
    assert {name for line in own for name in line} == set(LOSSES) - {"alignment"}
    assert show(capsys, "stage 2", spy.losses, own) < TOLERANCE
    vision = "model.policy.backbone.vision_model.post_layernorm.weight"
    start = load_file(model_path(START) / "model.safetensors")
    moved = load_file(saved(tmp_path / "run") / "model.safetensors")
    assert (moved[vision] == start[vision.removeprefix("model.policy.")].float()).all()


def test_a_stage_goes_on_from_another_and_is_resumed(
    lerobot_train: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects long trainings: stage 2 starts from stage 1's folder, and resuming keeps labels, steps and targets."""
    lerobot_train(tmp_path / "one", "--policy.type=swiftvla", "--steps=2", "--batch_size=4", "--save_freq=2")
    path = f"--policy.path={saved(tmp_path / 'one')}"
    caches = "--policy.cache_steps=[3,6]"
    lerobot_train(tmp_path / "two", path, "--policy.stage=2", caches, "--steps=2", "--batch_size=4", "--save_freq=2")
    stage_two = load_file(saved(tmp_path / "two") / "model.safetensors")
    assert int(stage_two["steps"]) == 2
    assert bool(stage_two["standardized"])
    spy = Spy(monkeypatch)
    config = saved(tmp_path / "two") / "train_config.json"
    lerobot_train(tmp_path / "two", f"--config_path={config}", "--resume=true", "--steps=4", fresh=False)
    resumed = load_file(saved(tmp_path / "two") / "model.safetensors")
    assert len(spy.losses) == 2
    assert int(resumed["steps"]) == 4
    name = "model.auxiliary.standardize_2d.mean"
    assert (resumed[name] == stage_two[name]).all()
    assert any("reconstruct_4d" in line for line in spy.losses)


def test_a_dataset_without_labels_trains_actions(
    exported: Exported, contract: Contract, tmp_path: Path, lerobot_train: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects everybody else's datasets: without our columns all rows count and there are no keypoints."""
    plain, source = tmp_path / "plain", EpisodeFolder(exported.folder, contract)
    handles = open_episodes(exported.folder, contract)
    export_lerobot(handles, source, plain, PartWriter(contract), Runner(progress=False))
    spy = Spy(monkeypatch)
    words = ["--policy.type=swiftvla", "--steps=1", "--batch_size=4", f"--dataset.root={plain}"]
    lerobot_train(tmp_path / "run", *words)
    assert spy.losses[0].keys() == {"action"}
    with pytest.raises(ValueError, match="--teacher-targets"):
        lerobot_train(tmp_path / "two", *words, "--policy.stage=2")
