# SPDX-License-Identifier: Apache-2.0
"""LeRobotDataset v3 folders read as the project's episodes.

A v3 folder keeps many episodes in one file::

    meta/info.json                            fps, features (each with its dtype, shape and names), path patterns
    meta/tasks.parquet                        instruction ↔ task_index
    meta/episodes/chunk-*/file-*.parquet      a row per episode: its length, its data file, and for each camera its
                                              video file and from where to where in it
    data/chunk-*/file-*.parquet               a row per frame: state, action, timestamp, task_index
    videos/<feature>/chunk-*/file-*.mp4

The contract says which features are the robot's cameras and joints, and in which unit
(:class:`swiftvla_ros.contract.schema.LeRobot`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32, UInt8
from numpy.typing import NDArray

from swiftvla_ros.contract import Camera, Contract
from swiftvla_ros.contract.images import condition_image
from swiftvla_ros.episodes.datasets.store import Episode, EpisodeError
from swiftvla_ros.observation.observation import InstructionError, validate_instruction

_STATE, _ACTION = "observation.state", "action"
CONDITIONED = "swiftvla.conditioned"
"""Key of a camera feature's ``info``: its images are as the contract makes them for the policy, not as they came."""

# Timestamps are float32 and sums of many durations; frames lie at least 1/fps apart. A video's frame is the meant one
# when it is nearer than this share of the time between two.
_VIDEO_TOLERANCE_FRAMES = 0.25
_TIME_TOLERANCE_FRAMES = 0.02


@dataclass(frozen=True)
class _Column:
    """A vector feature: the entries that are the contract's joints, in its order, and SI = scale · value + offset."""

    feature: str
    entries: NDArray[np.int64]
    scale: NDArray[np.float64]
    offset: NDArray[np.float64]

    def to_si(self, table: pa.Table) -> Float32[np.ndarray, "frames joints"]:
        values = np.array(table[self.feature].to_pylist(), np.float64).reshape(table.num_rows, -1)
        return (values[:, self.entries] * self.scale + self.offset).astype(np.float32)


@dataclass(frozen=True)
class _Dataset:
    """What is read once for all episodes of a folder.

    ``cameras`` are (contract's camera, feature, is a video); those in ``conditioned`` are as the policy sees them.
    """

    folder: Path
    contract: Contract
    fps: float
    data_path: str
    video_path: str
    tasks: dict[int, str]
    state: _Column
    action: _Column
    cameras: tuple[tuple[Camera, str, bool], ...]
    conditioned: frozenset[str]

    def frames_at_steps(self, length: int) -> NDArray[np.int64]:
        """For each policy step of an episode of ``length`` frames, the newest frame that is not in its future."""
        ratio = self.contract.policy.step_s * self.fps
        steps = int((length - 1) / ratio + _TIME_TOLERANCE_FRAMES) + 1
        return np.minimum(np.floor(np.arange(steps) * ratio + _TIME_TOLERANCE_FRAMES).astype(np.int64), length - 1)


@dataclass(frozen=True)
class LeRobotEpisode:
    """An episode of a LeRobot dataset, not loaded yet; ``row`` is its row of ``meta/episodes``."""

    dataset: _Dataset
    row: dict[str, Any]

    @property
    def name(self) -> str:
        """``episode_<index>``."""
        return f"episode_{int(self.row['episode_index']):06d}"

    def steps(self) -> int:
        """Count the policy steps that it is resampled to."""
        return len(self.dataset.frames_at_steps(int(self.row["length"])))

    def load(self) -> Episode:
        """Read data and videos, resampled to the contract's step; images conditioned as live ones are.

        Raises
        ------
        EpisodeError
            A file is missing or damaged, or its numbers can't be the robot's.
        """
        data = self.dataset
        path = data.folder / data.data_path.format(
            chunk_index=self.row["data/chunk_index"], file_index=self.row["data/file_index"]
        )
        table = self._frames(path)
        timestamps = table["timestamp"].to_numpy().astype(np.float64).reshape(-1)
        drift = np.abs(timestamps - timestamps[0] - np.arange(len(timestamps)) / data.fps).max()
        if drift * data.fps > _VIDEO_TOLERANCE_FRAMES:
            raise EpisodeError(
                f"{path}: {self.name}'s timestamps leave the {data.fps:g} fps of meta/info.json by {drift:.4f} s; "
                "correct fps, or record the episode again"
            )
        used = data.frames_at_steps(len(timestamps))
        state, action = data.state.to_si(table), data.action.to_si(table)
        _check_positions(path, self.name, data.contract, {_STATE: state, _ACTION: action})
        images = {
            camera.name: self._video(camera, feature, timestamps[used])
            if is_video
            else self._stills(path, camera, table[feature].take(pa.array(used)))
            for camera, feature, is_video in data.cameras
        }
        return Episode(
            instruction=self._instruction(path, table),
            images=images,
            state=state[used],
            action=action[used],
            expert=np.ones(len(used), bool),
            stamps_s=np.arange(len(used), dtype=np.float64) * data.contract.policy.step_s,
            metadata={"dataset": data.folder.name, "episode_index": int(self.row["episode_index"])},
        )

    def _frames(self, path: Path) -> pa.Table:
        """The episode's rows of its data file."""
        data, index, length = self.dataset, int(self.row["episode_index"]), int(self.row["length"])
        stills = [feature for _, feature, is_video in data.cameras if not is_video]
        columns = [data.state.feature, data.action.feature, "timestamp", "frame_index", "task_index", *stills]
        table = _read(path, columns, [("episode_index", "=", index)]).sort_by("frame_index")
        if table.num_rows != length or length == 0:
            raise EpisodeError(
                f"{path}: has {table.num_rows} frames of {self.name}, meta/episodes says {length}; copy the dataset "
                "again"
            )
        return table

    def _instruction(self, path: Path, table: pa.Table) -> str:
        tasks = sorted(set(table["task_index"].to_pylist()))
        if len(tasks) > 1:
            raise EpisodeError(
                f"{path}: {self.name} changes its task on the way ({tasks}); an episode has one instruction: split it "
                "into one episode per task"
            )
        if tasks[0] not in self.dataset.tasks:
            raise EpisodeError(f"{path}: {self.name} has task_index {tasks[0]}, which meta/tasks.parquet lacks")
        try:
            return validate_instruction(self.dataset.tasks[tasks[0]])
        except InstructionError as error:
            raise EpisodeError(f"{self.dataset.folder / 'meta/tasks.parquet'}: task {tasks[0]}: {error}") from error

    def _video(self, camera: Camera, feature: str, timestamps: NDArray[np.float64]) -> UInt8[np.ndarray, "steps h w 3"]:
        """The frames of a camera's video at ``timestamps`` (s since the episode's start), conditioned."""
        data, prefix = self.dataset, f"videos/{feature}/"
        try:
            begin, end = float(self.row[prefix + "from_timestamp"]), float(self.row[prefix + "to_timestamp"])
            place = {key: self.row[prefix + key] for key in ("chunk_index", "file_index")}
        except KeyError as error:
            raise EpisodeError(
                f"{data.folder / 'meta/episodes'}: lacks column {error} of camera {camera.name}"
            ) from error
        path = data.folder / data.video_path.format(video_key=feature, **place)
        tolerance = _VIDEO_TOLERANCE_FRAMES / data.fps
        wanted = begin + timestamps
        if wanted[-1] > end - tolerance:
            raise EpisodeError(
                f"{path}: {self.name} ends at {end:.3f} s of this video, its data at {wanted[-1]:.3f} s; the dataset "
                "is damaged"
            )
        pictures = []
        frames = _decode(path, float(wanted[0]) - tolerance)
        at_s, frame = next(frames, (np.inf, None))
        for time_s in wanted:
            while at_s < time_s - tolerance:
                at_s, frame = next(frames, (np.inf, None))
            if frame is None or at_s > time_s + tolerance:
                raise EpisodeError(
                    f"{path}: has no frame within {tolerance:.4f} s of {time_s:.4f} s ({self.name}, camera "
                    f"{camera.name}); the video is cut short or damaged: copy it again"
                )
            pictures.append(self._condition(path, feature, frame.to_ndarray(format="rgb24"), camera))
        return np.stack(pictures)

    def _stills(self, path: Path, camera: Camera, cells: pa.ChunkedArray) -> UInt8[np.ndarray, "steps h w 3"]:
        """The images that lie in the data file itself, or beside it, as PNG or JPEG, conditioned."""
        feature = next(f for c, f, _ in self.dataset.cameras if c is camera)
        pictures = []
        for cell in cells.to_pylist():
            encoded = cell["bytes"]
            if encoded is None:
                encoded = (self.dataset.folder / cell["path"]).read_bytes()
            picture = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR_RGB)
            if picture is None:
                raise EpisodeError(f"{path}: {feature}: an image of {self.name} is neither PNG nor JPEG")
            pictures.append(self._condition(path, feature, picture.astype(np.uint8, copy=False), camera))
        return np.stack(pictures)

    def _condition(self, path: Path, feature: str, picture: NDArray[np.uint8], camera: Camera) -> NDArray[np.uint8]:
        if feature in self.dataset.conditioned:
            width, height = camera.size
            if picture.shape != (height, width, 3):
                raise EpisodeError(
                    f"{path}: {feature}: exported for a policy that sees {picture.shape[1]}×{picture.shape[0]} px, "
                    f"camera {camera.name} of {self.dataset.contract.path} has {width}×{height}; export the bags again"
                )
            return picture
        try:
            return condition_image(picture, camera)
        except ValueError as error:
            raise EpisodeError(f"{path}: {feature}: {error}") from error


def open_lerobot(folder: Path, contract: Contract) -> list[LeRobotEpisode]:
    """List the episodes of a LeRobotDataset v3 folder, in order, and load none.

    Raises
    ------
    EpisodeError
        It is another version, a file or key is missing, or its features aren't the robot's cameras and joints.
    """
    info_path = folder / "meta" / "info.json"
    try:
        info = dict(json.loads(info_path.read_text(encoding="utf-8")))
        version, fps, features = str(info["codebase_version"]), float(info["fps"]), dict(info["features"])
        data_path = str(info["data_path"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise EpisodeError(f"{info_path}: can't be read ({error!r}); copy the dataset again") from error
    if not version.startswith("v3."):
        raise EpisodeError(
            f"{info_path}: codebase_version is '{version}', only v3 is read; convert the dataset with lerobot's "
            "`python -m lerobot.datasets.v30.convert_dataset_v21_to_v30`"
        )
    if 1 / fps > contract.policy.step_s * (1 + 1e-3):
        raise EpisodeError(
            f"{info_path}: fps {fps:g} is slower than a policy step of {contract.policy.step_s} s ({contract.path}, "
            f"policy.step_s); write at least {1 / fps:.4f} there"
        )
    dataset = _Dataset(
        folder=folder,
        contract=contract,
        fps=fps,
        data_path=data_path,
        video_path=str(info.get("video_path") or ""),
        tasks=_tasks(folder / "meta" / "tasks.parquet"),
        state=_joints(info_path, features, _STATE, contract),
        action=_joints(info_path, features, _ACTION, contract),
        cameras=tuple((camera, *_camera(info_path, features, camera, contract)) for camera in contract.cameras),
        conditioned=frozenset(name for name, value in features.items() if (value.get("info") or {}).get(CONDITIONED)),
    )
    rows = [row for path in sorted(folder.glob("meta/episodes/chunk-*/file-*.parquet")) for row in _episode_rows(path)]
    if not rows:
        raise EpisodeError(f"{folder / 'meta/episodes'}: lists no episode; copy the dataset again")
    return [LeRobotEpisode(dataset, row) for row in sorted(rows, key=lambda row: int(row["episode_index"]))]


def _joints(info: Path, features: dict[str, Any], feature: str, contract: Contract) -> _Column:
    """Find the contract's joints by name in a vector feature."""
    if feature not in features:
        raise EpisodeError(f"{info}: features: lacks '{feature}'; it has {sorted(features)}")
    names = _names(features[feature].get("names"))
    entries, lines = [], []
    for joint, column in contract.lerobot_joints.items():
        found = [names.index(name) for name in column.names if name in names]
        if not found:
            raise EpisodeError(
                f"{info}: features.{feature}.names: {names} has no '{column.names[0]}'; write what joint {joint} is "
                f"called there in {contract.path}: `lerobot: {{joints: {{{joint}: {{feature: …, unit: …}}}}}}`"
            )
        entries.append(found[0])
        lines.append((column.scale, column.offset))
    scale, offset = np.array(lines).T
    return _Column(feature, np.array(entries), scale, offset)


def _names(names: Any) -> list[str]:
    """Flatten a feature's names: a list, or groups of them such as ``{"motors": [...]}``, or none."""
    groups = names.values() if isinstance(names, dict) else [names or []]
    return [str(name) for group in groups for name in group]


def _camera(info: Path, features: dict[str, Any], camera: Camera, contract: Contract) -> tuple[str, bool]:
    """Find a camera's feature, and say whether it is a video."""
    feature = contract.lerobot_cameras[camera.name]
    kind = features.get(feature, {}).get("dtype")
    if kind not in ("video", "image"):
        cameras = sorted(name for name, value in features.items() if value.get("dtype") in ("video", "image"))
        raise EpisodeError(
            f"{info}: features: '{feature}' is no camera; the dataset has {cameras}: write which of them is camera "
            f"{camera.name} in {contract.path}: `lerobot: {{cameras: {{{camera.name}: …}}}}`"
        )
    return feature, kind == "video"


def _tasks(path: Path) -> dict[int, str]:
    table = _read(path)
    # The text is the table's index, which has had no name and different ones.
    text = next((f.name for f in table.schema if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)), None)
    if text is None or "task_index" not in table.column_names:
        raise EpisodeError(f"{path}: lacks the instructions or task_index, it has {table.column_names}")
    return dict(zip(table["task_index"].to_pylist(), table[text].to_pylist(), strict=True))


def _episode_rows(path: Path) -> Iterator[dict[str, Any]]:
    # Statistics of every feature lie beside what is needed and are much larger.
    columns = [name for name in pq.read_schema(path).names if not name.startswith(("stats/", "meta/"))]
    needed = {"episode_index", "length", "data/chunk_index", "data/file_index"}
    if not needed <= set(columns):
        raise EpisodeError(f"{path}: lacks {sorted(needed - set(columns))}; copy the dataset again")
    yield from _read(path, columns).to_pylist()


def _read(
    path: Path, columns: Sequence[str] | None = None, filters: list[tuple[str, str, int]] | None = None
) -> pa.Table:
    try:
        # Without partitioning: a folder may be called a=b.
        return pq.read_table(path, columns=columns, filters=filters, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise EpisodeError(f"{path}: can't be read ({error}); copy the dataset again") from error


def _decode(path: Path, from_s: float) -> Iterator[tuple[float, av.VideoFrame]]:
    """(time in s, frame) of a video from ``from_s`` on, or a little earlier."""
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            # To the key frame at or before: what is wanted may need it to be decoded.
            container.seek(max(int(from_s / stream.time_base), 0), stream=stream, backward=True)
            for frame in container.decode(stream):
                yield float(frame.pts * stream.time_base), frame
    except (OSError, IndexError, av.FFmpegError) as error:
        raise EpisodeError(f"{path}: can't be decoded ({error}); copy the dataset again") from error


def _check_positions(
    path: Path, name: str, contract: Contract, values: dict[str, Float32[np.ndarray, "frames joints"]]
) -> None:
    """Refuse numbers that no pose of the robot has: most often their unit is another one."""
    low, high = contract.limits.min_position, contract.limits.max_position
    room = high - low
    for feature, positions in values.items():
        if not np.isfinite(positions).all():
            raise EpisodeError(f"{path}: {name}: {feature} holds NaN or infinity; record the episode again")
        for j, joint in enumerate(contract.joints):
            lowest, highest = positions[:, j].min(), positions[:, j].max()
            if lowest < low[j] - room[j] or highest > high[j] + room[j]:
                raise EpisodeError(
                    f"{path}: {name}: {feature} of {joint.name} goes from {lowest:.2f} to {highest:.2f} rad (or m), "
                    f"far outside its limits {list(joint.position)}; is its unit in the dataset right? Write it in "
                    f"{contract.path}: `lerobot: {{joints: {{{joint.name}: {{feature: …, unit: deg}}}}}}`"
                )
