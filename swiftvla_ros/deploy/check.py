# SPDX-License-Identifier: Apache-2.0
"""Export and gate together: no folder is written whose graphs don't do what the checkpoint does."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from swiftvla_ros.cluster.runner import Runner
from swiftvla_ros.contract import Contract
from swiftvla_ros.deploy.evidence import Evidence
from swiftvla_ros.deploy.export import GraphKind, write_deployment
from swiftvla_ros.deploy.gate import Parity, measure, precision_problems, with_longest_text
from swiftvla_ros.errors import UserError
from swiftvla_ros.policy import load_checkpoint
from swiftvla_ros.policy.checkpoint import CheckpointError, open_checkpoint
from swiftvla_ros.policy.checkpoint_policy import CheckpointPolicy
from swiftvla_ros.policy.deployment import DEPLOY, Deployment
from swiftvla_ros.policy.runtime import RuntimeNotInstalledError, RuntimeOptions, load_runtime
from swiftvla_ros.policy.runtimes.graph_runtime import GraphRuntime
from swiftvla_ros.policy.runtimes.torch_runtime import load_model
from swiftvla_ros.runtime_registry import readers
from swiftvla_ros.sim.evaluation.statistics import PairedDifference, paired_difference

# Seconds from an observation to its chunk in paired rollouts: the same for both, whatever this machine needs.
_LATENCY_S = 0.1
# How much rarer the task may be done with the graphs, at the unfavourable end of the difference's interval.
LARGEST_LOSS = 0.05


class GateError(UserError, ValueError):
    """Graphs that don't do what their checkpoint does; each failure stands in the message."""


@dataclass(frozen=True)
class Checked:
    """What was found of one folder's graphs."""

    deployment: Deployment
    parity: dict[str, Parity]  # by the runtime that was measured
    rollouts: PairedDifference | None = None
    problems: tuple[str, ...] = ()  # why the gate is shut; empty where it is open


def export(
    folder: Path,
    out: Path,
    contract: Contract,
    kind: GraphKind,
    precision: str,
    evidence: Evidence,
    *,
    rollouts: int = 0,
    progress: Callable[[str, float], object] = lambda _what, _share: None,
) -> Checked:
    """Export the checkpoint in ``folder`` to ``out``, which appears only when the graphs have passed the gate.

    ``out`` may be ``folder``: then graphs in ONNX come beside the weights.

    Raises
    ------
    GateError
        What the graphs do otherwise; ``out`` is as it was.
    CheckpointError
        ``folder`` holds no checkpoint for the contract, or ``out`` is there already.
    """
    reference = _torch_policy(folder, contract)
    checkpoint = replace(open_checkpoint(folder), deployment=None)
    inside = out.resolve() == folder.resolve()
    if inside and kind != "onnx":
        raise CheckpointError(f"{out}: only graphs in ONNX lie in the checkpoint's own folder; name another one")
    if out.exists() and not inside and any(out.iterdir() if out.is_dir() else [out]):
        raise CheckpointError(f"{out}: is there already; name another folder, or delete it")
    with _folder_beside(out) as partial:
        progress("exporting", 0.0)
        calibration = [reference.network_input(observation) for observation in evidence.calibration]
        write_deployment(checkpoint, partial, kind, precision, calibration)
        found = check(partial, folder, contract, evidence, rollouts=rollouts, progress=progress)
        if found.problems:
            raise GateError(f"{out} was not written: " + "; ".join(found.problems))
        found.deployment.write(partial)
        if inside:
            for path in [*partial.glob("*.onnx"), partial / DEPLOY]:
                path.replace(out / path.name)
        else:
            out.parent.mkdir(parents=True, exist_ok=True)
            if out.is_dir():
                out.rmdir()
            partial.replace(out)
    return found


def check(
    folder: Path,
    source: Path,
    contract: Contract,
    evidence: Evidence,
    *,
    rollouts: int = 0,
    progress: Callable[[str, float], object] = lambda _what, _share: None,
) -> Checked:
    """Judge the graphs in ``folder`` beside the checkpoint in ``source``; nothing is written."""
    deployed, checkpoint = open_checkpoint(folder), open_checkpoint(source)
    deployment = deployed.deployment
    if deployment is None:
        raise CheckpointError(f"{folder}: has no {DEPLOY}; `swiftvla export` makes graphs")
    problems = precision_problems(deployment)
    if deployment.checkpoint_sha256 != checkpoint.sha256:
        problems.append(
            f"{folder} was exported from checkpoint {deployment.checkpoint_sha256[:12]}, but {source} is "
            f"{checkpoint.sha256[:12]}"
        )
    reference = _torch_policy(source, contract)
    inputs = with_longest_text(
        [reference.network_input(observation) for observation in evidence.judging], checkpoint.model.text.max_tokens
    )
    network, noise = load_model(checkpoint, torch.float32), reference.sample_noise(0)
    parity = {}
    for name in readers(deployment.graphs):
        try:
            runtime = load_runtime(deployed, RuntimeOptions(runtime=name, threads=torch.get_num_threads())).runtime
        except RuntimeNotInstalledError:
            continue
        except CheckpointError as error:
            problems.append(str(error))
            continue
        assert isinstance(runtime, GraphRuntime)
        advance = _counter(len(inputs), lambda share, name=name: progress(f"{name}: comparing", share))  # type: ignore[misc]
        try:
            parity[name] = measure(checkpoint, network, runtime, inputs, noise, advance)
        except (RuntimeError, ValueError) as error:
            problems.append(f"{name}: {' '.join(str(error).split())[:300]}")
            continue
        problems += [f"{name}: {failure}" for failure in parity[name].failures]
    if not parity and not problems:
        problems.append(f"none of {readers(deployment.graphs)} is installed, so nothing was compared")
    paired = None
    if rollouts and not problems:
        paired = _paired(folder, source, contract, next(iter(parity)), rollouts)
        if paired.low < -LARGEST_LOSS:
            problems.append(f"closed loop: the task is done {paired}; at most {LARGEST_LOSS:.0%} may be lost")
    gate = {name: found.figures() for name, found in parity.items()}
    if paired is not None:
        gate["closed loop"] = {**vars(paired), "latency_s": _LATENCY_S}
    return Checked(deployment.model_copy(update={"gate": gate}), parity, paired, tuple(problems))


def _torch_policy(folder: Path, contract: Contract) -> CheckpointPolicy:
    return load_checkpoint(folder, contract, RuntimeOptions("torch", "cpu", "float32"))


def _paired(folder: Path, source: Path, contract: Contract, runtime: str, scenes: int) -> PairedDifference:
    # The simulator's extra is needed for this alone.
    from swiftvla_ros.sim.evaluation.rollout import Conditions, Evaluation, evaluate

    done: list[Sequence[bool]] = []
    for where, name in ((source, "torch"), (folder, runtime)):
        evaluation = Evaluation(
            where, contract.path, 10_000, Conditions(latency_s=_LATENCY_S), runtime=name, device="cpu", threads=None
        )
        report = evaluate(evaluation, scenes, Runner())
        done.append([episode.verdict == "DONE" for episode in report.episodes])
    return paired_difference(*done)


def _counter(total: int, tell: Callable[[float], object]) -> Callable[[], None]:
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        tell(done / total)

    return advance


@contextmanager
def _folder_beside(out: Path) -> Iterator[Path]:
    """A folder that is gone afterwards unless it was moved."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.parent / f".{out.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)
