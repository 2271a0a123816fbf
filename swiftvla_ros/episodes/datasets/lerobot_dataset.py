# SPDX-License-Identifier: Apache-2.0
"""What the ``meta`` folder of a LeRobotDataset v3 says, checked once for all of its episodes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from swiftvla_ros.contract import Camera, Contract
from swiftvla_ros.contract.sections.lerobot import ACTION, STATE
from swiftvla_ros.episodes.datasets.store import EpisodeError
from swiftvla_ros.errors import in_a_sentence
from swiftvla_ros.files import read_json_object, unreadable, where_else

CONDITIONED = "swiftvla.conditioned"
"""Key of a camera feature's ``info``: its images are as the contract makes them for the policy, not as they came."""

_TIME_TOLERANCE_FRAMES = 0.02
_MOST_NAMES, _LONGEST_NAME = 40, 80
_AGAIN = "copy the dataset again"
# Names of the instructions' column: pandas writes an index without a name as the second.
_TASK_COLUMNS = ("task", "__index_level_0__")
_PLACEHOLDER = r"\{(?:chunk_index|file_index)(?::0?[1-9]d)?\}"


class _DatasetFeature(BaseModel):
    dtype: str
    shape: list[int] | None = None
    names: Any = None
    info: dict[str, Any] | None = None


class _Info(BaseModel):
    model_config = ConfigDict(strict=True)

    fps: Annotated[float, Field(gt=0, le=1000)]
    features: dict[str, _DatasetFeature]
    data_path: str
    video_path: str | None = None


@dataclass(frozen=True)
class Vector:
    """A vector feature: the entries that are the contract's joints, in its order, and SI = scale · value + offset."""

    feature: str
    entries: NDArray[np.int64]
    scale: NDArray[np.float64]
    offset: NDArray[np.float64]

    def to_si(self, table: pa.Table) -> Float32[np.ndarray, "frames joints"]:
        """Raise ValueError where a row has not as many numbers as there are names."""
        values = np.array(table[self.feature].to_pylist(), np.float64).reshape(table.num_rows, -1)
        if values.shape[1] <= self.entries.max():
            raise ValueError(f"{self.feature} has {values.shape[1]} numbers, meta/info.json names more")
        with np.errstate(over="ignore"):  # infinity is refused with NaN
            return (values[:, self.entries] * self.scale + self.offset).astype(np.float32)


@dataclass(frozen=True)
class Dataset:
    """What is read once for all episodes of a folder.

    ``cameras`` are (contract's camera, feature, is a video); those in ``conditioned`` are as the policy sees them.
    """

    folder: Path
    contract: Contract
    fps: float
    data_path: str
    video_path: str
    tasks: dict[int, str]
    state: Vector
    action: Vector
    cameras: tuple[tuple[Camera, str, bool], ...]
    conditioned: frozenset[str]

    def frames_at_steps(self, length: int) -> NDArray[np.int64]:
        """For each policy step of an episode of ``length`` frames, the newest frame that is not in its future."""
        ratio = self.contract.policy.step_s / frame_s(self.fps, self.contract)
        steps = int((length - 1) / ratio + _TIME_TOLERANCE_FRAMES) + 1
        return np.minimum(np.floor(np.arange(steps) * ratio + _TIME_TOLERANCE_FRAMES).astype(np.int64), length - 1)


def read_dataset(folder: Path, contract: Contract) -> Dataset:
    """Read ``meta/info.json`` and ``meta/tasks.parquet``.

    Raises
    ------
    EpisodeError
        It is another version, a file or key is missing, or its features aren't the robot's cameras and joints.
    """
    path = folder / "meta" / "info.json"
    try:
        data = read_json_object(path)
    except (OSError, ValueError) as error:
        raise EpisodeError(unreadable(path, error, where_else(folder, "meta/info.json") or _AGAIN)) from error
    version = str(data.get("codebase_version"))
    if not version.startswith("v3."):
        raise EpisodeError(
            f"{path}: codebase_version is '{version}', only v3 is read; convert a copy of the dataset with lerobot: "
            f"`python -m lerobot.scripts.convert_dataset_v21_to_v30 --repo-id=ME/NAME --root={folder} "
            "--push-to-hub=false` (until lerobot 0.4 the module is lerobot.datasets.v30.convert_dataset_v21_to_v30)"
        )
    try:
        info = _Info.model_validate(data)
    except ValidationError as error:
        raise EpisodeError(f"{path}: {in_a_sentence(error)}; {_AGAIN}") from None
    for key, pattern in (("data_path", info.data_path), ("video_path", info.video_path or "")):
        rest = re.sub(_PLACEHOLDER + (r"|\{video_key\}" if key == "video_path" else ""), "", pattern)
        if (
            set(rest) & set("{}\0")
            or Path(pattern).is_absolute()
            or ".." in Path(pattern).parts
            or not rest.isprintable()
        ):
            raise EpisodeError(
                f"{path}: {key} '{pattern[:200]}' is no path of v3, which has {{chunk_index}} and {{file_index}} (and "
                "{video_key}); v2 datasets must be converted, not renamed"
            )
    if frame_s(info.fps, contract) > contract.policy.step_s * (1 + 1e-3):
        raise EpisodeError(
            f"{path}: fps {info.fps:g} is slower than a policy step of {contract.policy.step_s} s ({contract.path}, "
            f"policy.step_s); write at least {1 / info.fps:.4f} there"
        )
    cameras = tuple((camera, *_camera(path, info.features, camera, contract)) for camera in contract.cameras)
    if any(is_video for _, _, is_video in cameras) and not info.video_path:
        raise EpisodeError(f"{path}: video_path is missing, though cameras are videos; {_AGAIN}")
    return Dataset(
        folder=folder,
        contract=contract,
        fps=info.fps,
        data_path=info.data_path,
        video_path=info.video_path or "",
        tasks=_tasks(folder / "meta" / "tasks.parquet"),
        state=_joints(path, info.features, STATE, contract),
        action=_joints(path, info.features, ACTION, contract),
        cameras=cameras,
        conditioned=frozenset(name for name, value in info.features.items() if (value.info or {}).get(CONDITIONED)),
    )


def frame_s(fps: float, contract: Contract) -> float:
    """Time between two frames, s: the dataset's own, or what the contract knows better."""
    return contract.lerobot_step_s or 1 / fps


def _joints(info: Path, features: dict[str, _DatasetFeature], feature: str, contract: Contract) -> Vector:
    """Find the contract's joints by name in a vector feature; the numbers of a hand lie in the contract's order."""
    if feature not in features:
        raise EpisodeError(f"{info}: features: lacks '{feature}'; it has {_shown(sorted(features))}")
    if contract.hand is not None:
        columns = contract.action_names if feature == ACTION else contract.joint_names
        if features[feature].shape != [len(columns)]:
            raise EpisodeError(
                f"{info}: features.{feature}.shape is {features[feature].shape}, but {contract.path} has the "
                f"{len(columns)} numbers {list(columns)}; it is another robot's dataset, or in another convention"
            )
        return Vector(feature, np.arange(len(columns)), np.ones(len(columns)), np.zeros(len(columns)))
    names = _names(features[feature].names)
    entries, lines = [], []
    for joint, column in contract.lerobot_joints.items():
        found = [name for name in column.names if name in names]
        if not found:
            raise EpisodeError(
                f"{info}: features.{feature}.names: {_shown(names)} has no '{column.names[0]}'; write what "
                f"joint {joint} is called there in {contract.path}: "
                f"`lerobot: {{joints: {{{joint}: {{feature: …, unit: …}}}}}}`"
            )
        if names.count(found[0]) > 1:
            raise EpisodeError(f"{info}: features.{feature}.names: '{found[0]}' stands there twice; correct the names")
        entries.append(names.index(found[0]))
        lines.append((column.scale, column.offset))
    scale, offset = np.array(lines).T
    return Vector(feature, np.array(entries), scale, offset)


def _names(names: Any) -> list[str]:
    """Flatten a feature's names: a list, or groups of them such as ``{"motors": [...]}``, or none."""
    groups = list(names.values()) if isinstance(names, dict) else [names]
    return [str(name) for group in groups if isinstance(group, list) for name in group]


def _shown(names: Sequence[str]) -> list[str]:
    return [name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]} …" for name in names[:_MOST_NAMES]]


def _camera(info: Path, features: dict[str, _DatasetFeature], camera: Camera, contract: Contract) -> tuple[str, bool]:
    """Find a camera's feature, and say whether it is a video."""
    feature = contract.lerobot_cameras[camera.name]
    kind = features[feature].dtype if feature in features else ""
    if kind not in ("video", "image"):
        cameras = sorted(name for name, value in features.items() if value.dtype in ("video", "image"))
        raise EpisodeError(
            f"{info}: features: '{feature}' is no camera; the dataset has {_shown(cameras)}: write which of them is "
            f"camera {camera.name} in {contract.path}: `lerobot: {{cameras: {{{camera.name}: …}}}}`"
        )
    return feature, kind == "video"


def _tasks(path: Path) -> dict[int, str]:
    """The instructions by number: lerobot's table has them as its index, beside ``task_index``."""
    table = read_table(path)
    named = [name for name in (table.schema.pandas_metadata or {}).get("index_columns", []) if isinstance(name, str)]
    text = next((name for name in (*named, *_TASK_COLUMNS) if name in table.column_names), None)
    if text is None or "task_index" not in table.column_names or not pa.types.is_integer(table["task_index"].type):
        raise EpisodeError(
            f"{path}: lacks the instructions (the table's index, or column 'task') or a whole-numbered task_index; it "
            f"has {_shown(table.column_names)}: {_AGAIN}"
        )
    found: dict[int, str] = {}
    for number, words in zip(table["task_index"].to_pylist(), table[text].to_pylist(), strict=True):
        if not isinstance(words, str) or number is None or found.setdefault(number, words) != words:
            raise EpisodeError(f"{path}: task_index {number} has no instruction, or two ('{words}'); {_AGAIN}")
    return found


def read_table(
    path: Path, columns: Sequence[str] | None = None, filters: list[tuple[str, str, int]] | None = None
) -> pa.Table:
    """Read a parquet file, or some of it; raises EpisodeError."""
    try:
        # Without partitioning: a folder may be called a=b. Not mapped: a file that is cut then would end the process.
        return pq.read_table(path, columns=columns, filters=filters, partitioning=None, memory_map=False)
    except (OSError, pa.ArrowException, UnicodeError) as error:
        raise EpisodeError(unreadable(path, error, _AGAIN)) from error
