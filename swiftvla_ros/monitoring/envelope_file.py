# SPDX-License-Identifier: Apache-2.0
"""An envelope beside the checkpoint that it belongs to: ``envelope.safetensors``, a few kilobytes, and optional.

It is no part of the checkpoint's hash: the hash stands in it.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from swiftvla_ros.contract import Contract
from swiftvla_ros.errors import in_a_sentence
from swiftvla_ros.files import some_of, tensor_problems, unreadable, whole_file
from swiftvla_ros.monitoring.calibration import AlarmBounds, FalseAlarms
from swiftvla_ros.monitoring.envelope import Envelope, EnvelopeError, TrainedRange, parts_of
from swiftvla_ros.monitoring.principal import PrincipalDirections

ENVELOPE = "envelope.safetensors"

Array = NDArray[np.float64]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Header(BaseModel):
    """What stands in the file's header, as JSON under the key "envelope"."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    format: Literal["swiftvla_ros/envelope/1"] = "swiftvla_ros/envelope/1"
    checkpoint_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    joint_names: Annotated[list[str], Field(min_length=1)]
    camera_names: list[str]  # cameras whose features are known
    residuals: list[_Positive]  # of the pose, the chunk and each camera
    horizon: Annotated[int, Field(gt=0)]
    slow_per_hour: _Positive
    hold_per_hour: _Positive
    calibration_runs: int
    calibration_hours: float
    made_from: str  # for people


def fix(folder: Path) -> str:
    """How to get an envelope for a checkpoint."""
    return f"make one with `swiftvla fit-envelope {folder} EPISODES`, from demonstrations of what it was trained on"


def write_envelope(folder: Path, envelope: Envelope, made_from: str) -> Path:
    """Write ``envelope.safetensors`` into a checkpoint's folder; ``made_from`` says of what, for people."""
    clouds = {"pose": envelope.pose, "chunk": envelope.chunk}
    clouds |= {f"camera.{name}": cloud for name, cloud in zip(envelope.camera_names, envelope.cameras, strict=False)}
    bounds = envelope.bounds
    tensors: dict[str, Array] = {
        "states.low": envelope.states.low,
        "states.high": envelope.states.high,
        "motions.low": envelope.motions.low,
        "motions.high": envelope.motions.high,
        "slow_at": bounds.slow_at,
        "hold_at": bounds.hold_at,
    }
    for name, cloud in clouds.items():
        tensors |= {f"{name}.centre": cloud.centre, f"{name}.directions": cloud.directions}
        tensors[f"{name}.spread"] = cloud.spread
    header = _Header(
        checkpoint_sha256=envelope.checkpoint_sha256,
        joint_names=list(envelope.joint_names),
        camera_names=list(envelope.camera_names[: len(envelope.cameras)]),
        residuals=[cloud.residual for cloud in clouds.values()],
        horizon=len(envelope.motions.low),
        **asdict(bounds.alarms),
        calibration_runs=bounds.runs,
        calibration_hours=bounds.hours,
        made_from=made_from,
    )
    path = folder / ENVELOPE
    with whole_file(path) as partial:
        save_file(
            {name: np.ascontiguousarray(value, dtype=np.float32) for name, value in tensors.items()},
            partial,
            {"envelope": header.model_dump_json()},
        )
    return path


def read_envelope(folder: Path, checkpoint_sha256: str, contract: Contract) -> Envelope:
    """Read the envelope that lies in a checkpoint's folder.

    Raises
    ------
    EnvelopeError
        There is none, it is damaged, or it is of another checkpoint or of other joints than the contract's.
    """
    path = folder / ENVELOPE
    if not path.is_file():
        raise EnvelopeError(f"{path}: missing; {fix(folder)}")
    try:
        with safe_open(path, framework="numpy") as file:
            header = _Header.model_validate(json.loads((file.metadata() or {}).get("envelope", "{}")))
            tensors = {name: file.get_tensor(name).astype(np.float64) for name in file.keys()}  # noqa: SIM118
    except ValidationError as error:
        raise EnvelopeError(f"{path}: {in_a_sentence(error)}; {fix(folder)}") from None
    except (OSError, ValueError, SafetensorError) as error:
        raise EnvelopeError(unreadable(path, error, fix(folder))) from error
    if header.checkpoint_sha256 != checkpoint_sha256:
        raise EnvelopeError(
            f"{path}: belongs to checkpoint {header.checkpoint_sha256[:12]}, not to {checkpoint_sha256[:12]}, which "
            f"lies there: it was trained on, or files were exchanged; {fix(folder)}"
        )
    if set(header.joint_names) != set(contract.joint_names):
        raise EnvelopeError(
            f"{path}: is of joints {header.joint_names}, but {contract.path} has {list(contract.joint_names)}"
        )
    _check(path, header, tensors)

    def cloud(name: str, residual: float) -> PrincipalDirections:
        centre, directions, spread = (tensors[f"{name}.{part}"] for part in ("centre", "directions", "spread"))
        return PrincipalDirections(centre, directions, spread, residual)

    cameras = tuple(header.camera_names)
    names = ("pose", "chunk", *(f"camera.{name}" for name in cameras))
    pose, chunk, *clouds = (cloud(name, residual) for name, residual in zip(names, header.residuals, strict=True))
    alarms = FalseAlarms(header.slow_per_hour, header.hold_per_hour)
    return Envelope(
        checkpoint_sha256,
        tuple(header.joint_names),
        cameras,
        TrainedRange(tensors["states.low"], tensors["states.high"]),
        TrainedRange(tensors["motions.low"], tensors["motions.high"]),
        pose,
        chunk,
        tuple(clouds),
        AlarmBounds(tensors["slow_at"], tensors["hold_at"], alarms, header.calibration_runs, header.calibration_hours),
    )


def _check(path: Path, header: _Header, tensors: dict[str, Array]) -> None:
    """Refuse tensors that are missing, of another shape than the header says, or not finite."""
    joints, cameras, horizon = len(header.joint_names), header.camera_names, header.horizon
    parts = len(parts_of(tuple(header.joint_names), tuple(cameras)))
    expected: dict[str, tuple[int, ...]] = {
        "states.low": (joints,),
        "states.high": (joints,),
        "motions.low": (horizon, joints),
        "motions.high": (horizon, joints),
        "slow_at": (parts,),
        "hold_at": (parts,),
    }
    sizes = {"pose": joints, "chunk": horizon * joints}
    sizes |= {f"camera.{name}": tensors.get(f"camera.{name}.centre", np.zeros(1)).size for name in cameras}
    for name, size in sizes.items():
        count = len(np.atleast_1d(tensors.get(f"{name}.spread", np.zeros(0))))
        expected |= {f"{name}.centre": (size,), f"{name}.directions": (count, size), f"{name}.spread": (count,)}
    problems = tensor_problems(expected, {name: tensor.shape for name, tensor in tensors.items()})
    problems += [f"{name} is not finite" for name, tensor in tensors.items() if not np.isfinite(tensor).all()]
    if len(header.residuals) != len(sizes):
        problems.append(f"{len(header.residuals)} residuals, expected {len(sizes)}")
    if problems:
        raise EnvelopeError(f"{path}: {some_of(problems)}; {fix(path.parent)}")
