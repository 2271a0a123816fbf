# SPDX-License-Identifier: Apache-2.0
"""Stage 3: the action expert learns to denoise in fewer steps what it denoised in many."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from swiftvla_ros.contract import Contract
from swiftvla_ros.model.config import SwiftVLAConfig
from swiftvla_ros.model.guidance import Guidance
from swiftvla_ros.model.objective import LOSSES, FlowDistillation, TrainingSample
from swiftvla_ros.model.swiftvla import ModelInput
from swiftvla_ros.policy import CheckpointError
from swiftvla_ros.training.loop import TrainingRun
from swiftvla_ros.training.options import TrainOptions
from swiftvla_ros.training.stages import PolicyStart, train_policy
from swiftvla_ros.training.trainer import build

OPTIONS = TrainOptions(steps=4, batch=8, validate_every=4, warmup_steps=1, noise_samples=2, precision="no")


def draw(config: SwiftVLAConfig, delay: int = 0) -> TrainingSample:
    """Return two observations with three noisy chunks each, of which ``delay`` rows are given."""
    g = torch.Generator().manual_seed(1)
    b, r, h, a = 2, 3, config.horizon, config.action_dim
    images = torch.rand((b, config.num_cameras, 3, 96, 96), generator=g) * 2 - 1
    text = torch.randint(1, 1000, (b, 5), generator=g)
    nothing = torch.zeros(b, dtype=torch.bool)
    return TrainingSample(
        inputs=ModelInput(images, text, torch.ones_like(text, dtype=torch.bool), torch.randn((b, 6), generator=g)),
        actions=torch.randn((b, h, a), generator=g),
        row_valid=torch.ones((b, h), dtype=torch.bool),
        keypoint_uv=torch.zeros((b, 7, 2)),
        keypoint_valid=torch.zeros((b, 7), dtype=torch.bool),
        noise=torch.randn((b, r, h, a), generator=g),
        time=torch.rand((b, r), generator=g),
        delay=torch.full((b, r), delay),
        geometry=None,
        has_geometry=nothing,
        mask_2d=nothing,
        mask_4d=nothing,
    )


@pytest.mark.parametrize(
    ("noise_scale", "delay", "layout"),
    [(1.0, 0, {}), (1.0, 3, {}), (0.0, 0, {"fusion": None, "state_block": "own"})],
    ids=["noise", "delay", "without-noise-SmolVLA"],
)
def test_one_learnt_step_lands_where_ten_did(
    tiny: SwiftVLAConfig, noise_scale: float, delay: int, layout: dict[str, Any]
) -> None:
    """Protects the target: the teacher is the policy itself as it is deployed, with rows that were executed, too."""
    config = dataclasses.replace(tiny, denoise_steps=1, noise_scale=noise_scale, **layout)
    objective = build(config, 0)
    distillation, sample = FlowDistillation(objective.policy, objective.auxiliary, 10), draw(config, delay)
    policy = distillation.policy
    expert = torch.optim.Adam([p for p in distillation.parameters() if p.requires_grad], lr=2e-3)
    before = {name: value.clone() for name, value in distillation.state_dict().items()}
    for _ in range(40):
        losses = distillation(sample)
        expert.zero_grad()
        losses.total(torch.ones(len(LOSSES))).backward()
        expert.step()
    assert losses.counts.tolist() == [2 * 3 * (config.horizon - delay), 0, 0, 0, 0]
    changed = {name.split(".")[1] for name, value in distillation.state_dict().items() if (value != before[name]).any()}
    assert changed == {"expert", "action_out_proj"}
    noise = noise_scale * sample.noise[:, 0]
    guidance = Guidance.over("trained", sample.actions, delay, config.horizon) if delay else None
    landed = policy.sample_actions(sample.inputs, noise, guidance=guidance)
    teacher = build(dataclasses.replace(config, denoise_steps=10), 0).policy
    expected = teacher.sample_actions(sample.inputs, noise, guidance=guidance)
    untrained = build(config, 0).policy.sample_actions(sample.inputs, noise, guidance=guidance)
    assert (landed - expected).square().mean() < 0.05 * (untrained - expected).square().mean()


def test_two_steps_meet_the_teacher_on_its_way(tiny: SwiftVLAConfig) -> None:
    """Protects more steps than one: each begins where the teacher was then, and the last ends where it ended."""
    config = dataclasses.replace(tiny, denoise_steps=2)
    objective = build(config, 0)
    distillation, sample = FlowDistillation(objective.policy, objective.auxiliary, 10), draw(config)
    policy = distillation.policy
    with torch.no_grad():
        prefix = policy.embed_prefix(sample.inputs, policy.backbone.vision_features(sample.inputs.images))
        condition, _ = policy.condition(prefix)
        start, middle, end = distillation._way(sample.noise, sample.executed, condition)
    teacher = build(dataclasses.replace(config, denoise_steps=10), 0).policy
    torch.testing.assert_close(start, sample.noise)
    torch.testing.assert_close(end[:, 0], teacher.sample_actions(sample.inputs, sample.noise[:, 0]))
    assert 0.1 < ((start - middle).norm() / (start - end).norm()) < 0.9


def test_a_distilled_checkpoint_is_one_like_any_other(
    recorded: Path, start: Path, contract: Contract, tmp_path: Path
) -> None:
    """Protects deployment: the same layout of weights, the start's statistics, and fewer steps in its config."""

    def run(name: str) -> TrainingRun:
        return TrainingRun(tmp_path / name, recorded / "scenes", contract, OPTIONS, 1, "cpu")

    train_policy(run("ten"), PolicyStart(recorded / "episodes", start), lambda _: None)
    source = PolicyStart(recorded / "episodes", tmp_path / "ten", flow_steps=1)
    shares = dataclasses.replace(OPTIONS, scene_share=0.0)
    result = train_policy(dataclasses.replace(run("one"), options=shares), source, lambda _: None)
    ten, one = (load_file(tmp_path / name / "model.safetensors") for name in ("ten", "one"))
    assert {k: v.shape for k, v in ten.items()} == {k: v.shape for k, v in one.items()}
    assert {name.split(".")[0] for name in ten if (ten[name] != one[name]).any()} == {"expert", "action_out_proj"}
    assert json.loads((tmp_path / "one" / "config.json").read_text())["model"]["denoise_steps"] == 1
    assert (tmp_path / "one" / "stats.json").read_text() == (tmp_path / "ten" / "stats.json").read_text()
    assert list(result.last.losses) == ["action"]
    assert np.isfinite(result.last.losses["action"])
    with pytest.raises(CheckpointError, match="denoises in 1 step: fewer there are none"):
        train_policy(run("again"), dataclasses.replace(source, checkpoint=tmp_path / "one"), lambda _: None)
    with pytest.raises(CheckpointError, match="is no policy yet"):
        train_policy(run("nothing"), dataclasses.replace(source, checkpoint=start), lambda _: None)
