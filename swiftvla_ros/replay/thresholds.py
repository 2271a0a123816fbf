# SPDX-License-Identifier: Apache-2.0
"""What a replay must hold: a YAML file, and which of its lines a report breaks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from swiftvla_ros.contract.checks.yaml_text import YamlError, parse_yaml, read_yaml_text
from swiftvla_ros.errors import UserError

Bound = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


class ThresholdError(UserError, ValueError):
    """A thresholds file that can't be used; the message names file, key, what is wrong and what to write."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ChunkThresholds(_Strict):
    """Recomputed against recorded rows. Bounds in rad (m for a sliding joint), one for all joints or by joint name."""

    max_difference: Bound | dict[str, Bound] = 0.0
    at_least: Count = 1
    missing: Count = 0


class CommandThresholds(_Strict):
    """The executor's commands, now against recorded. ``not_comparable``: most ticks that can't be compared."""

    max_difference: Bound | dict[str, Bound] = 0.0
    mode_differences: Count = 0
    at_least: Count = 0
    not_comparable: Count | None = None


class LimitCounts(_Strict):
    """Most limit counts of the replayed executor, summed over joints; null: any number."""

    position: Count | None = None
    velocity: Count | None = None
    acceleration: Count | None = None


class RuntimeChoice(_Strict):
    """How to compute; what is left out is as recorded, and what the runtime can't do is refused when it is loaded."""

    runtime: str = ""
    device: str = ""
    precision: str = ""
    threads: Count = 0


class Thresholds(_Strict):
    """A thresholds file."""

    # For a test: where the bag lies, beside the file, and with what it is replayed. Left out: as recorded.
    bag: str = ""
    checkpoint: str = ""
    robot: str = ""
    # In a bag of several robots: the ROS namespace of the one that is replayed, / for the root.
    namespace: str | None = None
    runtime: RuntimeChoice = RuntimeChoice()
    chunks: ChunkThresholds = ChunkThresholds()
    commands: CommandThresholds = CommandThresholds()
    # How far the arm, as measured, may be from the rows of the chunk that it followed; rad or m. null: not judged.
    executed: Bound | dict[str, Bound] | None = None
    # Largest recorded 95th percentile by stage: observation, wait, inference, first_command.
    latency_ms: dict[Literal["observation", "wait", "inference", "first_command"], Bound] = {}
    refused: Count | None = None  # most chunks that the replayed executor refuses; null: any number
    limits: LimitCounts = LimitCounts()
    # What may be otherwise than recorded: checkpoint, contract, conditioning.
    allow: tuple[Literal["checkpoint", "contract", "conditioning"], ...] = ()


def load_thresholds(path: Path) -> Thresholds:
    """Read a thresholds file; raises :class:`ThresholdError`."""
    try:
        data = parse_yaml(read_yaml_text(path), path)
    except YamlError as error:
        raise ThresholdError(str(error)) from error
    if not isinstance(data, dict | None):
        raise ThresholdError(f"{path}: holds no keys; write e.g. `chunks: {{max_difference: 0.001}}`")
    try:
        return Thresholds.model_validate(data or {})
    except ValidationError as error:
        raise ThresholdError("\n".join(f"{path}: {_explain(dict(e))}" for e in error.errors())) from None


def beside(file: Path, name: str) -> str:
    """What a thresholds file names, where it lies beside the file; else the name as it is, such as a shipped one's."""
    return str(file.parent / name) if name and (file.parent / name).exists() else name


def _explain(error: dict[str, object]) -> str:
    location = error["loc"]
    key = ".".join(str(part) for part in location) if isinstance(location, tuple) else str(location)
    if error["type"] == "extra_forbidden":
        section = Thresholds.model_fields.get(key.rpartition(".")[0])
        known: Any = Thresholds if section is None else section.annotation
        return f"{key}: unknown key; known keys are {sorted(known.model_fields)}"
    return f"{key}: {error['msg']} (got {error['input']!r})"


def bound_of(bound: Bound | dict[str, Bound], joint: str) -> float:
    """The bound of one joint; 0 for a joint that a mapping leaves out."""
    return bound.get(joint, 0.0) if isinstance(bound, dict) else bound
