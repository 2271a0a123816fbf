# SPDX-License-Identifier: Apache-2.0
"""Demonstrations, grounding scenes and geometry sequences on disk: safetensors files, metadata as JSON in the header.

Images are stored as the policy sees them (already conditioned by the contract), positions in SI units and in the order
of the joint names that stand in the file, which are checked against the contract on reading.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from swiftvla_ros.contract import Contract
from swiftvla_ros.errors import UserError
from swiftvla_ros.files import unreadable, where_else, whole_file

Images = dict[str, NDArray[np.uint8]]

_IMAGES = "images."
_EPISODE, _SCENES = ("state", "action", "expert", "stamps_s"), ("state", "target_uv", "target_color")
_CORRECTIONS = "corrections"
PICTURES = "pictures"
"""The key of an episode's metadata that names its :attr:`~Episode.pictured` steps, where not all of them are."""
_GEOMETRY = ("depth", "base_from_camera", "fov")
_REMEDIES = {
    "episode": "record some with `swiftvla collect {folder}`, or name a bag, a folder of bags, or a LeRobotDataset v3 "
    "folder (one with meta/info.json)",
    "scenes": "`swiftvla pretrain-grounding` renders them",
    "sequences": "`swiftvla train-geometry` renders them",
}


class EpisodeError(UserError, ValueError):
    """A file of recorded data that can't be used; the message names the file, what is wrong and the fix."""


@dataclass(frozen=True)
class Episode:
    """One demonstration of T policy steps."""

    instruction: str  # what was asked for
    images: Images  # camera name → RGB uint8 [T, h, w, 3] as the policy sees it
    state: NDArray[np.float32]  # measured joint positions, float32 [T, J], rad (or m), contract order
    action: NDArray[np.float32]  # positions commanded at the same times, float32 [T, J], or steps of a hand [T, A]
    expert: NDArray[np.bool_]  # bool [T]: False where the command was a disturbance that must not be imitated
    stamps_s: NDArray[np.float64]  # float64 [T], s
    metadata: dict[str, Any] = field(default_factory=dict)  # JSON values: verb, color, seed, success, block positions …
    # bool [T]: where an operator had taken over from the policy, None where nobody could.
    corrections: NDArray[np.bool_] | None = None
    # Of bags, not kept in files: the stamps of what was chosen for each step, by camera, of `state` and of `action`,
    # float64 [T], s.
    chosen_s: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    @property
    def pictured(self) -> NDArray[np.bool_]:
        """The steps [T] that have images of their own; the others keep those of the step before."""
        steps = np.arange(len(self.state))
        return np.isin(steps, self.metadata.get(PICTURES, steps))


@dataclass(frozen=True)
class GroundingScenes:
    """N still scenes, each with K referring instructions and where the block (or other thing) that is meant lies."""

    images: Images  # camera name → RGB uint8 [N, h, w, 3]
    state: NDArray[np.float32]  # float32 [N, J], rad (or m)
    instructions: list[list[str]]  # N lists of K texts
    # float32 [N, K, 2]: the meant block's centre in the front image, u right and v down, 0…1.
    target_uv: NDArray[np.float32]
    # int64 [N, K]: the meant block's colour index, or the thing's number; equal ones in a row mean the same.
    target_color: NDArray[np.int64]


@dataclass(frozen=True)
class GeometrySequences:
    """N short films of V cameras over S policy steps, with the true depth and the true camera poses."""

    # Camera names in the order of the 4D network: the cameras that move first, the front camera last.
    views: tuple[str, ...]
    images: NDArray[np.uint8]  # RGB uint8 [N, S, V, h, w, 3] as the policy sees it
    depth: NDArray[np.float16]  # float16 [N, S, V, h, w], m along the optical axis
    # float32 [N, S, V, 4, 4]: optical frames (x right, y down, z forward) in the base frame, m.
    base_from_camera: NDArray[np.float32]
    fov: NDArray[np.float32]  # float32 [N, S, V, 2]: vertical and horizontal field of view, rad


def save_episode(path: Path, episode: Episode, contract: Contract) -> None:
    """Write one episode; the file appears under its name only when it is whole."""
    header = {"instruction": episode.instruction, "metadata": episode.metadata}
    tensors = _tensors(episode, _EPISODE)
    if episode.corrections is not None:
        tensors[_CORRECTIONS] = episode.corrections
    _write(path, tensors, contract, header)


def load_episode(path: Path, contract: Contract) -> Episode:
    """Read one episode; raises :class:`EpisodeError`."""
    tensors, header = _read(path, contract, _EPISODE)
    own, steps, joints = {key: tensors[key] for key in _EPISODE}, len(tensors["stamps_s"]), len(contract.joint_names)
    shapes: dict[str, tuple[int, ...]] = {"state": (steps, joints), "expert": (steps,), "stamps_s": (steps,)}
    shapes["action"] = (steps, len(contract.action_names))
    for camera in contract.cameras:
        shapes[_IMAGES + camera.name] = (steps, camera.size[1], camera.size[0], 3)
    if _CORRECTIONS in tensors:
        shapes[_CORRECTIONS] = (steps,)
        own[_CORRECTIONS] = tensors[_CORRECTIONS]
    wrong = [
        f"{key} {list(tensors[key].shape)} instead of {list(s)}" for key, s in shapes.items() if tensors[key].shape != s
    ]
    instruction, metadata = header.get("instruction"), header.get("metadata", {})
    if wrong or steps == 0 or not isinstance(instruction, str) or not isinstance(metadata, dict):
        raise EpisodeError(f"{path}: {', '.join(wrong) or 'no instruction or no step'}; delete it and record it again")
    return Episode(instruction, _images(tensors), **own, metadata=metadata)


def count_steps(path: Path) -> int:
    """Read from an episode file's header how many steps it has; raises :class:`EpisodeError`."""
    try:
        with safe_open(path, framework="numpy") as file:
            return int(file.get_slice("stamps_s").get_shape()[0])
    except (OSError, SafetensorError, IndexError) as error:
        raise EpisodeError(unreadable(path, error, "delete it and record it again")) from error


def check_path(path: Path) -> None:
    """Raise EpisodeError where there is nothing of this name."""
    if not path.exists():
        hint = where_else(path, "") or "look at its spelling"
        raise EpisodeError(f"{path}: there is no such file or folder; {hint}")


def list_files(folder: Path, kind: str) -> list[Path]:
    """The ``episode``, ``scenes`` or ``sequences`` files of a folder, in order; EpisodeError when there is none."""
    found = sorted(folder.glob(f"{kind}_*.safetensors"))
    if not found:
        raise EpisodeError(f"{folder}: holds no {kind}_*.safetensors; {_REMEDIES[kind].format(folder=folder)}")
    return found


def save_scenes(path: Path, scenes: GroundingScenes, contract: Contract) -> None:
    """Write one shard of grounding scenes."""
    _write(path, _tensors(scenes, _SCENES), contract, {"instructions": scenes.instructions})


def load_scenes(path: Path, contract: Contract) -> GroundingScenes:
    """Read one shard of grounding scenes; raises :class:`EpisodeError`."""
    tensors, header = _read(path, contract, _SCENES)
    own = {key: tensors[key] for key in _SCENES}
    return GroundingScenes(_images(tensors), instructions=header["instructions"], **own)


def save_sequences(path: Path, sequences: GeometrySequences, contract: Contract) -> None:
    """Write one shard of geometry sequences."""
    tensors: dict[str, NDArray[Any]] = {
        _IMAGES + name: sequences.images[:, :, index] for index, name in enumerate(sequences.views)
    }
    tensors |= {key: getattr(sequences, key) for key in _GEOMETRY}
    _write(path, tensors, contract, {"views": sequences.views})


def load_sequences(path: Path, contract: Contract) -> GeometrySequences:
    """Read one shard of geometry sequences; raises :class:`EpisodeError`."""
    tensors, header = _read(path, contract, _GEOMETRY)
    views = tuple(header["views"])
    images = np.stack([tensors[_IMAGES + name] for name in views], axis=2)
    return GeometrySequences(views, images, *(tensors[key] for key in _GEOMETRY))


def _tensors(recorded: Episode | GroundingScenes, keys: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    tensors: dict[str, NDArray[Any]] = {_IMAGES + name: images for name, images in recorded.images.items()}
    return tensors | {key: getattr(recorded, key) for key in keys}


def _images(tensors: dict[str, NDArray[Any]]) -> Images:
    return {key.removeprefix(_IMAGES): tensors[key] for key in tensors if key.startswith(_IMAGES)}


def _write(path: Path, tensors: dict[str, NDArray[Any]], contract: Contract, header: dict[str, Any]) -> None:
    metadata = {key: json.dumps(value) for key, value in header.items()}
    metadata["joint_names"] = json.dumps(contract.joint_names)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path, durable=True) as partial:
        save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, partial, metadata=metadata)


def _read(path: Path, contract: Contract, required: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        with safe_open(path, framework="numpy") as file:
            header = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError, ValueError, TypeError, RecursionError) as error:
        raise EpisodeError(unreadable(path, error, "delete it and record it again")) from error
    missing = [key for key in required if key not in tensors]
    missing += [_IMAGES + name for name in contract.camera_names if _IMAGES + name not in tensors]
    if missing:
        raise EpisodeError(f"{path}: lacks {missing}; it was not recorded with {contract.path}")
    if header.get("joint_names") != list(contract.joint_names):
        raise EpisodeError(
            f"{path}: joints {header.get('joint_names')} differ from {list(contract.joint_names)} of {contract.path}"
        )
    return tensors, header
