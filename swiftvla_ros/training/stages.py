# SPDX-License-Identifier: Apache-2.0
"""The two stages: grounding (words and places, no motion), then the policy (demonstrations and some grounding scenes).

The paper starts from a pretrained VLM, which already binds words to places; a nano network has no such start. So the
grounding stage gives it one, and its result is a checkpoint of its own, as SmolVLM is for the full-size model.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.store import list_episodes, list_scenes
from swiftvla_ros.model.config import SwiftVLAConfig, swiftvla_nano
from swiftvla_ros.model.swiftvla import SwiftVLA
from swiftvla_ros.policy import checkpoint as files
from swiftvla_ros.policy.checkpoint import CheckpointError
from swiftvla_ros.policy.normalization import Normalizer, compute_statistics
from swiftvla_ros.policy.tokenizer import InstructionTokenizer, trim_tokenizer
from swiftvla_ros.training import checkpoint_writer as writer
from swiftvla_ros.training.gauges import Listening
from swiftvla_ros.training.samples import EpisodeSamples, SceneSamples
from swiftvla_ros.training.state import STATE
from swiftvla_ros.training.trainer import Data, Report, TrainOptions, build, listens, run_distributed

# Share of the files that is held out for validation.
_HELD_OUT = 0.05
# Below this share of held-out scenes a policy would not listen.
_LISTENS = 0.95


@dataclass(frozen=True)
class StageRun:
    """What a stage is run with.

    Attributes
    ----------
    out
        The checkpoint folder; the training state lies in its ``training`` folder until it is done.
    scenes
        Folder of grounding scenes.
    contract
        The robot.
    options
        How to train.
    processes
        Processes on the CPU; 0 is one per core.
    device
        "auto", "cpu" or "cuda".
    """

    out: Path
    scenes: Path
    contract: Contract
    options: TrainOptions
    processes: int = 0
    device: str = "auto"


@dataclass(frozen=True)
class StageResult:
    """The last validation, and what it cost."""

    out: Path
    last: Report
    facts: dict[str, Any]

    def listens(self) -> bool:
        """Whether both gauges reach 95 %."""
        return listens(self.last, _LISTENS)


def pretrain_grounding(run: StageRun, full_tokenizer: str, report: Callable[[Report], None]) -> StageResult:
    """Train the backbone on still scenes and write a grounding checkpoint."""
    config = _config(run)
    tokenizer = trim_tokenizer(full_tokenizer, config.text.vocab_size)

    def make() -> tuple[SwiftVLA, Data]:
        train, held_out = _scenes(run, config, tokenizer)
        names = run.contract.joint_names
        state = Normalizer.from_statistics({"state": compute_statistics(train.state, names)}, "state", names)
        return build(config, run.options.seed), Data(None, None, train, held_out, state, None)

    def finish(model: SwiftVLA, last: Report, facts: dict[str, Any]) -> None:
        writer.write_grounding(run.out, model, tokenizer, run.contract, _card("Grounding stage", run, last, facts))

    return _run(run, make, finish, report, {"scene_shards": len(list_scenes(run.scenes))})


def train_policy(run: StageRun, episodes: Path, grounding: Path, report: Callable[[Report], None]) -> StageResult:
    """Train a policy on demonstrations, from a grounded backbone, and write a checkpoint."""
    config = _config(run)
    tokenizer = writer.read_tokenizer(grounding)
    paths = list_episodes(episodes)
    statistics: dict[str, Any] = {}

    def make() -> tuple[SwiftVLA, Data]:
        tokenize = _tokenizer(run, tokenizer, config)
        # Files lie in the order of recording, where one layout is shown for several instructions: cut, don't shuffle.
        cut = max(1, round(len(paths) * (1 - _HELD_OUT)))
        train = EpisodeSamples(paths[:cut], run.contract, config, tokenize)
        held_out = EpisodeSamples(paths[cut:] or paths[-1:], run.contract, config, tokenize)
        scenes, held_out_scenes = _scenes(run, config, tokenizer)
        names = run.contract.joint_names
        statistics["state"] = compute_statistics(np.concatenate([train.state, scenes.state]), names)
        statistics["action"] = compute_statistics(train.valid_actions(), names)
        state = Normalizer.from_statistics(statistics, "state", names)
        action = Normalizer.from_statistics(statistics, "action", names)
        model = build(config, run.options.seed)
        writer.load_grounding(grounding, model)
        return model, Data(train, held_out, scenes, held_out_scenes, state, action)

    def finish(model: SwiftVLA, last: Report, facts: dict[str, Any]) -> None:
        card = _card("Policy", run, last, facts)
        writer.write_policy(run.out, model, statistics, tokenizer, run.contract, card)

    return _run(run, make, finish, report, {"episodes": len(paths)})


def _run(
    run: StageRun,
    make: Callable[[], tuple[SwiftVLA, Data]],
    finish: Callable[[SwiftVLA, Report, dict[str, Any]], None],
    report: Callable[[Report], None],
    facts: dict[str, Any],
) -> StageResult:
    device = run.device if run.device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    processes = 1 if device != "cpu" else run.processes or 2
    facts = {**facts, "device": device, "processes": processes, "began": time.strftime("%Y-%m-%d", time.gmtime())}
    result_file = run.out / "training" / "result.json"
    if result_file.is_file():
        raise CheckpointError(f"{run.out}: holds a finished checkpoint; choose another folder, or delete this one")
    last: list[Report] = []

    def keep(line: Report) -> None:
        if line.listening is not None:
            last[:] = [line]
        report(line)

    def done(model: SwiftVLA) -> None:
        finish(model, last[0], facts)
        result_file.write_text(json.dumps(last[0].to_json()))
        (run.out / "training" / STATE).unlink()

    run_distributed(make, run.options, run.out / "training", keep, done, processes, device)
    return StageResult(run.out, _load(result_file), facts)


def _scenes(run: StageRun, config: SwiftVLAConfig, tokenizer: str) -> tuple[SceneSamples, SceneSamples]:
    paths = list_scenes(run.scenes)
    tokenize = _tokenizer(run, tokenizer, config)
    cut = max(1, round(len(paths) * (1 - _HELD_OUT)))
    return (
        SceneSamples(paths[:cut], run.contract, config, tokenize),
        SceneSamples(paths[cut:] or paths[-1:], run.contract, config, tokenize),
    )


def _tokenizer(run: StageRun, tokenizer: str, config: SwiftVLAConfig) -> InstructionTokenizer:
    run.out.mkdir(parents=True, exist_ok=True)
    path = run.out / files.TOKENIZER
    path.write_text(tokenizer, encoding="utf-8")
    return InstructionTokenizer(path, config.text.max_tokens)


def _config(run: StageRun) -> SwiftVLAConfig:
    return swiftvla_nano(num_cameras=len(run.contract.cameras), joints=len(run.contract.joints))


def _load(path: Path) -> Report:
    data = json.loads(path.read_text())
    return replace(Report(**{**data, "listening": None}), listening=Listening(**data["listening"]))


def _card(title: str, run: StageRun, last: Report, facts: dict[str, Any]) -> str:
    gauges = last.listening
    assert gauges is not None
    lines = [
        f"# {title}: {run.out.name}",
        "",
        f"- robot: {run.contract.robot}",
        *(f"- {key.replace('_', ' ')}: {value}" for key, value in facts.items()),
        f"- steps: {last.step} of batch {run.options.batch}, seed {run.options.seed}",
        f"- seconds: {last.seconds:.0f}",
        f"- held-out trajectory loss: {last.validation_trajectory_loss:.3f}",
    ]
    if last.validation_action_loss is not None:
        lines.append(f"- held-out flow-matching loss: {last.validation_action_loss:.4f}")
    lines.append(f"- right block before the first motion: {gauges.first_step_accuracy:.1%} of held-out instructions")
    lines.append(f"- scenes in which every colour word gives another answer: {gauges.answers_change:.1%}")
    if not np.isnan(gauges.chunks_change):
        lines.append(f"- scenes in which every colour word gives another chunk: {gauges.chunks_change:.1%}")
    return "\n".join(lines) + "\n"
