# SPDX-License-Identifier: Apache-2.0
"""The stages: grounding (words and places, no motion), then the policy in the paper's two stages (appendix B).

The paper starts from a pretrained VLM, which already binds words to places; a nano network has no such start. So the
grounding stage gives it one, and its result is a checkpoint of its own, as SmolVLM is for the full-size model. Stage 1
trains actions (and Fusion Tokens) from images, text and state. Stage 2 goes on from there with the teacher's 4D
features, which are masked and reconstructed, so that the network keeps what they taught it when they are gone. Stage 3
is not the paper's: the action expert learns to denoise in fewer steps.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from swiftvla_ros.episodes.datasets.sources import EpisodeHandle, open_episodes
from swiftvla_ros.episodes.datasets.store import EpisodeError, list_files
from swiftvla_ros.episodes.teacher.targets import TeacherTargets
from swiftvla_ros.files import whole_file
from swiftvla_ros.model.config import PRESETS, GeometryBranchConfig, SwiftVLAConfig, swiftvla_nano
from swiftvla_ros.model.objective import FlowDistillation, Objective
from swiftvla_ros.monitoring.envelope import EnvelopeError
from swiftvla_ros.monitoring.envelope_file import read_envelope
from swiftvla_ros.policy import checkpoint as files
from swiftvla_ros.policy import load_checkpoint
from swiftvla_ros.policy.checkpoint import CheckpointError
from swiftvla_ros.policy.normalization import Normalizer, compute_statistics
from swiftvla_ros.policy.runtime import RuntimeOptions
from swiftvla_ros.policy.tokenizer import InstructionTokenizer, trim_tokenizer
from swiftvla_ros.training import checkpoint_writer as writer
from swiftvla_ros.training.batch_sampling import DELAYED_SHARE
from swiftvla_ros.training.distributed import used_precision
from swiftvla_ros.training.envelope_fit import fit_envelope
from swiftvla_ros.training.loop import TrainingRun, hold_out
from swiftvla_ros.training.report import Report, listens
from swiftvla_ros.training.resume_state import STATE
from swiftvla_ros.training.samples import EpisodeSamples, SceneSamples
from swiftvla_ros.training.trainer import Data, build, run_distributed

# Below this share of held-out scenes a policy would not listen.
_LISTENS = 0.95


@dataclass(frozen=True)
class PolicyStart:
    """What a policy is trained from."""

    episodes: Path  # folder of demonstrations
    checkpoint: Path  # the start: a grounded backbone, an imported SmolVLA, or the checkpoint of an earlier stage
    preset: str | None = None  # network to build, and to fill with what the start has of it; None: the start's own
    # Folder of the teacher's 4D features (`swiftvla teacher-targets`): the 4D branch. None trains without it.
    targets: Path | None = None
    # How 4D features are masked and reconstructed, given their width and number.
    geometry: Callable[[int, int], GeometryBranchConfig] = GeometryBranchConfig
    # Most rows of a chunk that are given clean in training, so that the policy can continue what will have been
    # executed when its chunk arrives; None: as the start was trained.
    max_delay_steps: int | None = None
    namespace: str | None = None  # the robot's, in bags of several
    instruction: str = ""  # what was done in bags that a person drove
    # Stage 3: the denoising steps that the start's are distilled into; None trains actions.
    flow_steps: int | None = None


@dataclass(frozen=True)
class StageResult:
    """The last validation, and what it cost."""

    out: Path
    last: Report
    facts: dict[str, Any]

    def listens(self) -> bool:
        """Whether both gauges reach 95 %."""
        return listens(self.last, _LISTENS)


def pretrain_grounding(run: TrainingRun, full_tokenizer: str, report: Callable[[Report], None]) -> StageResult:
    """Train the backbone on still scenes and write a grounding checkpoint."""
    config = swiftvla_nano(num_cameras=len(run.contract.cameras), joints=len(run.contract.joints))
    tokenizer = trim_tokenizer(full_tokenizer, config.text.vocab_size)

    def make() -> tuple[Objective, Data]:
        train, held_out = _scenes(run, config, _tokenizer(run, tokenizer, config))
        assert train is not None
        names = run.contract.joint_names
        state = Normalizer.from_statistics({"state": compute_statistics(train.state, names)}, "state", names)
        return build(config, run.options.seed), Data(None, None, train, held_out, state, None)

    def finish(objective: Objective, last: Report, facts: dict[str, Any]) -> None:
        card = _card("Grounding stage", run, last, facts)
        writer.write_grounding(run.out, objective, tokenizer, run.contract, card)

    return _run(run, make, finish, report, {})


def train_policy(
    run: TrainingRun,
    start: PolicyStart,
    report: Callable[[Report], None],
    fitting: Callable[[int, int], None] | None = lambda _done, _all: None,
) -> StageResult:
    """Train a policy on demonstrations and write a checkpoint, with its envelope for monitors.

    ``fitting`` is told on how many of how many episodes the envelope is fitted; None fits none.
    """
    targets = None if start.targets is None else TeacherTargets.open(start.targets)
    config = _config(run, start, targets)
    tokenizer = writer.read_tokenizer(start.checkpoint)
    left_out: list[str] = []
    episodes = open_episodes(
        start.episodes, run.contract, left_out, namespace=start.namespace, instruction=start.instruction
    )
    statistics: dict[str, Any] = {}
    facts: dict[str, Any] = {"episodes": len(episodes), "start": start.checkpoint.name}
    if targets is not None and config.geometry is not None:
        _check_targets(targets, run)
        facts["4D features of geometry checkpoint"] = targets.config.geometry_sha256
        facts["temporal cache, steps"] = list(run.options.cache_steps)
        facts["masked"] = f"4D {config.geometry.p_mask_4d:.0%}, 2D {config.geometry.p_mask_2d:.0%} of the samples"
        facts["reconstruction"] = config.geometry.reconstruct
        if config.geometry.align_layer is not None:
            facts["aligned text layer"] = config.geometry.align_layer
    if run.options.restrain_auxiliary:
        facts["auxiliary gradients"] = "restrained"
    if config.max_delay_steps:
        facts["executed rows given, at most"] = f"{config.max_delay_steps}, in {DELAYED_SHARE:.0%} of the noisy chunks"

    def make() -> tuple[Objective, Data]:
        tokenize = _tokenizer(run, tokenizer, config)
        source = (run.contract, config, tokenize, targets, run.folder)
        train, held_out = (EpisodeSamples(part, *source) for part in hold_out(episodes))
        left_out.extend(dict.fromkeys([*train.left_out, *held_out.left_out]))
        facts["episodes left out"] = len(left_out)
        _tell(left_out)
        scenes, held_out_scenes = _scenes(run, config, tokenize)
        names = run.contract.joint_names
        if start.flow_steps is not None:
            # Who learns from the start reads and writes the same numbers.
            statistics.update(files.read_json(start.checkpoint / files.STATS))
        else:
            states = [train.state] if scenes is None else [train.state, scenes.state]
            statistics["state"] = compute_statistics(np.concatenate(states), names)
            statistics["action"] = compute_statistics(train.valid_actions(), run.contract.action_names)
        state = Normalizer.from_statistics(statistics, "state", names)
        action = Normalizer.from_statistics(statistics, "action", run.contract.action_names)
        objective = build(config, run.options.seed)
        new = writer.load_start(start.checkpoint, objective)
        facts["new parts"] = ", ".join(new) or "none"
        if start.flow_steps is not None:
            before = writer.read_config(start.checkpoint).denoise_steps
            objective = FlowDistillation(objective.policy, objective.auxiliary, before)
            facts["denoising steps"] = f"{before} distilled into {start.flow_steps}"
        return objective, Data(train, held_out, scenes, held_out_scenes, state, action)

    def finish(objective: Objective, last: Report, facts: dict[str, Any]) -> None:
        card = _card("Policy", run, last, facts)
        writer.write_policy(run.out, objective.policy, statistics, tokenizer, run.contract, card, objective.auxiliary)

    result = _run(run, make, finish, report, facts)
    if fitting is not None and os.environ.get("RANK", "0") == "0":
        _fit_envelope(run, episodes, fitting)
    return result


def _fit_envelope(run: TrainingRun, episodes: Sequence[EpisodeHandle], fitting: Callable[[int, int], None]) -> None:
    """Write the envelope of what was trained, unless it is there; a policy is one without it, too."""
    checkpoint = files.open_checkpoint(run.out)
    try:
        read_envelope(run.out, checkpoint.sha256, run.contract)
    except EnvelopeError:
        pass
    else:
        return
    try:
        policy = load_checkpoint(run.out, run.contract, RuntimeOptions("torch", run.used_device))
        fit_envelope(policy, run.out, episodes, run.contract, "the training data", progress=fitting)
    except (CheckpointError, EnvelopeError, EpisodeError) as error:
        print(f"no envelope for monitors was written: {error}", file=sys.stderr)


def _tell(left_out: Sequence[str]) -> None:
    """Name what is not learnt from, once."""
    for line in left_out if os.environ.get("RANK", "0") == "0" else ():
        print(f"left out: {line}", file=sys.stderr)


def _run(
    run: TrainingRun,
    make: Callable[[], tuple[Objective, Data]],
    finish: Callable[[Objective, Report, dict[str, Any]], None],
    report: Callable[[Report], None],
    facts: dict[str, Any],
) -> StageResult:
    if run.rendered is not None:
        facts["scene shards"] = len(list_files(run.rendered, "scenes"))
    facts["device"], facts["precision"] = run.used_device, used_precision(run.options.precision, run.used_device)
    facts["processes"] = max(run.used_processes, int(os.environ.get("WORLD_SIZE", "1")))
    facts["began"] = time.strftime("%Y-%m-%d", time.gmtime())
    run.begin()
    last: list[Report] = []

    def keep(line: Report) -> None:
        if line.validation is not None:
            last[:] = [line]
        run.log(line)
        report(line)

    def done(objective: Objective) -> None:
        finish(objective, last[0], facts)
        run.result_file.write_text(json.dumps(asdict(last[0])))
        (run.folder / STATE).unlink()

    run_distributed(run, make, keep, done)
    return StageResult(run.out, Report.from_json(json.loads(run.result_file.read_text())), facts)


def _config(run: TrainingRun, start: PolicyStart, targets: TeacherTargets | None) -> SwiftVLAConfig:
    """The network to train, checked against the robot."""
    contract = run.contract
    config = writer.read_config(start.checkpoint)
    if start.preset is not None:
        if start.preset not in PRESETS:
            raise CheckpointError(f"preset '{start.preset}' is unknown; write one of {sorted(PRESETS)}")
        config = PRESETS[start.preset](num_cameras=len(contract.cameras))
        if start.preset == "swiftvla-nano":
            config = replace(config, state_dim=len(contract.joints), action_dim=len(contract.action_names))
    if config.num_cameras != len(contract.cameras):
        raise CheckpointError(
            f"{start.checkpoint}: reads {config.num_cameras} cameras, but {contract.path} has "
            f"{list(contract.camera_names)}; start from a checkpoint for as many"
        )
    if len(contract.joints) > config.state_dim or len(contract.action_names) > config.action_dim:
        raise CheckpointError(
            f"{start.checkpoint}: has room for {min(config.state_dim, config.action_dim)} joints, but {contract.path} "
            f"has {len(contract.joints)}; write --preset swiftvla-nano, which is built for it and takes what fits"
        )
    side = config.vision.image_size
    for camera in contract.cameras:
        if camera.size != (side, side):
            raise CheckpointError(
                f"{start.checkpoint}: reads images of {side}×{side} px, but {contract.path} cameras.{camera.name}.size "
                f"is {list(camera.size)}; write [{side}, {side}] and record or convert the demonstrations with it"
            )
    delay = config.max_delay_steps if start.max_delay_steps is None else start.max_delay_steps
    if not 0 <= delay < config.horizon:
        raise CheckpointError(
            f"--max-delay-steps {delay}: a chunk has {config.horizon} rows, and one at least must be left to predict; "
            f"write 0 to {config.horizon - 1}"
        )
    steps = config.denoise_steps
    if start.flow_steps is not None:
        if not (start.checkpoint / files.STATS).is_file():
            raise CheckpointError(
                f"{start.checkpoint}: is no policy yet, so there is nothing to distil; --init with one"
            )
        fewer = [n for n in range(1, steps) if steps % n == 0]
        if start.flow_steps not in fewer:
            way = f"write --flow-steps {' or '.join(map(str, fewer))}" if fewer else "fewer there are none"
            raise CheckpointError(f"{start.checkpoint}: denoises in {steps} step{'s' * (steps > 1)}: {way}")
    geometry = None if targets is None else start.geometry(targets.dim, targets.tokens)
    layers = config.text.num_layers
    if geometry is not None and geometry.align_layer is not None and geometry.align_layer > layers:
        raise CheckpointError(f"--align-layer {geometry.align_layer}: the network has text layers 1 to {layers}")
    return replace(config, geometry=geometry, max_delay_steps=delay, denoise_steps=start.flow_steps or steps)


def _check_targets(targets: TeacherTargets, run: TrainingRun) -> None:
    absent = sorted(set(run.options.cache_steps) - set(targets.cache_steps))
    if absent:
        raise CheckpointError(
            f"{targets.folder}: has no targets for K = {absent}, only for {list(targets.cache_steps)}; write "
            f"--cache-steps {','.join(map(str, targets.cache_steps))}, or compute them with `swiftvla teacher-targets`"
        )


def _scenes(
    run: TrainingRun, config: SwiftVLAConfig, tokenize: InstructionTokenizer
) -> tuple[SceneSamples | None, SceneSamples | None]:
    if run.rendered is None:
        return None, None
    train, held_out = hold_out(list_files(run.rendered, "scenes"))
    return SceneSamples(train, run.contract, config, tokenize), SceneSamples(held_out, run.contract, config, tokenize)


def _tokenizer(run: TrainingRun, tokenizer: str, config: SwiftVLAConfig) -> InstructionTokenizer:
    run.out.mkdir(parents=True, exist_ok=True)
    path = run.out / files.TOKENIZER
    # Whole at any time: other processes of a launcher read it, too.
    with whole_file(path) as partial:
        partial.write_text(tokenizer, encoding="utf-8")
    return InstructionTokenizer(path, config.text.max_tokens)


def _card(title: str, run: TrainingRun, last: Report, facts: dict[str, Any]) -> str:
    validation = last.validation
    assert validation is not None
    options, gauges = run.options, validation.listening
    micro = f" in {options.accumulate} micro-batches" if options.accumulate > 1 else ""
    lines = [
        f"# {title}: {run.out.name}",
        "",
        f"- robot: {run.contract.robot}",
        *(f"- {key}: {value}" for key, value in facts.items()),
        f"- steps: {last.step} of batch {options.batch}{micro}, seed {options.seed}",
        f"- learning rate {options.learning_rate:g}, not trained: {options.frozen}",
        f"- seconds: {last.seconds:.0f}",
        *(f"- held-out {name.replace('_', ' ')} loss: {loss:.4f}" for name, loss in validation.losses.items()),
    ]
    if gauges is not None:
        lines.append(
            f"- right block before the first motion: {gauges.first_step_accuracy:.1%} of held-out instructions"
        )
        lines.append(f"- scenes in which every colour word gives another answer: {gauges.answers_change:.1%}")
        if not np.isnan(gauges.chunks_change):
            lines.append(f"- scenes in which every colour word gives another chunk: {gauges.chunks_change:.1%}")
    return "\n".join(lines) + "\n"
