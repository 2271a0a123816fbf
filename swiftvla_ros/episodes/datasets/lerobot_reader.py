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

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Float32, UInt8
from numpy.typing import NDArray

from swiftvla_ros.contract import Camera, Contract
from swiftvla_ros.contract.images import condition_image
from swiftvla_ros.contract.sections.lerobot import ACTION, STATE
from swiftvla_ros.episodes.datasets.lerobot_dataset import Dataset, read_dataset, read_table
from swiftvla_ros.episodes.datasets.store import Episode, EpisodeError
from swiftvla_ros.files import unreadable
from swiftvla_ros.observation.image_decoding import ImageDecodingError, decode_picture
from swiftvla_ros.observation.observation import InstructionError, validate_instruction

# Timestamps are float32 and sums of many durations; frames lie at least 1/fps apart. A video's frame is the meant one
# when it is nearer than this share of the time between two.
_VIDEO_TOLERANCE_FRAMES = 0.25
_NUMBERS = ("timestamp", "frame_index", "episode_index", "task_index")
# Of a video, s: no recording is as long.
_LONGEST_S = 1e7
# A little more than 1: datasets keep what a person's device gave.
_LONGEST_STEP = 1.1
_AGAIN = "copy the dataset again"


@dataclass(frozen=True)
class _Track:
    """An episode's numbers, frame by frame."""

    path: Path
    instruction: str
    timestamps: NDArray[np.float64]
    state: Float32[np.ndarray, "frames joints"]
    action: Float32[np.ndarray, "frames joints"]


@dataclass(frozen=True)
class LeRobotEpisode:
    """An episode of a LeRobot dataset, not loaded yet; ``row`` is its row of ``meta/episodes``."""

    dataset: Dataset
    row: dict[str, Any]

    @property
    def name(self) -> str:
        """``episode_<index>``."""
        return f"episode_{self.row['episode_index']:06d}"

    def steps(self) -> int:
        """Count the policy steps that it is resampled to."""
        return len(self.dataset.frames_at_steps(self.row["length"]))

    def expected_steps(self) -> int:
        """Count them."""
        return self.steps()

    def check(self) -> None:
        """Read all but the pictures; EpisodeError where it can't be used."""
        track = self._track()
        for camera, feature, is_video in self.dataset.cameras:
            if is_video:
                self._place(camera, feature, track.timestamps)

    def load(self) -> Episode:
        """Read data and videos, resampled to the contract's step; images conditioned as live ones are.

        Raises
        ------
        EpisodeError
            A file is missing or damaged, or its numbers can't be the robot's.
        """
        data, track = self.dataset, self._track()
        used = data.frames_at_steps(len(track.timestamps))
        images = {
            camera.name: self._video(camera, feature, track.timestamps, used)
            if is_video
            else self._stills(track.path, camera, feature, used)
            for camera, feature, is_video in data.cameras
        }
        return Episode(
            instruction=track.instruction,
            images=images,
            state=track.state[used],
            action=track.action[used],
            expert=np.ones(len(used), bool),
            stamps_s=np.arange(len(used), dtype=np.float64) * data.contract.policy.step_s,
            metadata={"dataset": data.folder.name, "episode_index": self.row["episode_index"]},
        )

    def _track(self) -> _Track:
        data, index, length = self.dataset, self.row["episode_index"], self.row["length"]
        place = {key: self.row[f"data/{key}"] for key in ("chunk_index", "file_index")}
        path = data.folder / data.data_path.format(**place)
        try:
            stat = path.stat()
        except OSError as error:
            raise EpisodeError(unreadable(path, error, f"it has the frames of {self.name}: {_AGAIN}")) from error
        table = _vectors(path, (data.state.feature, data.action.feature), (stat.st_mtime_ns, stat.st_size))
        table = table.filter(pc.equal(table["episode_index"], index)).sort_by("frame_index")
        if table.num_rows != length:
            raise EpisodeError(
                f"{path}: has {table.num_rows} frames of {self.name}, meta/episodes says {length}; {_AGAIN}"
            )
        timestamps = table["timestamp"].to_numpy().astype(np.float64)
        drift = np.abs(timestamps - timestamps[0] - np.arange(len(timestamps)) / data.fps).max()
        if not drift * data.fps <= _VIDEO_TOLERANCE_FRAMES:
            raise EpisodeError(
                f"{path}: {self.name}'s timestamps leave the {data.fps:g} fps of meta/info.json by {drift:.4f} s; "
                "correct fps, or record the episode again"
            )
        try:
            state, action = data.state.to_si(table), data.action.to_si(table)
        except (TypeError, ValueError) as error:
            raise EpisodeError(f"{path}: {self.name}: {STATE} or {ACTION} is no table of numbers ({error})") from error
        _check_positions(path, self.name, data.contract, {STATE: state, ACTION: action})
        return _Track(path, self._instruction(path, table), timestamps, state, action)

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

    def _place(self, camera: Camera, feature: str, timestamps: NDArray[np.float64]) -> tuple[Path, float]:
        """A camera's video, and when the episode begins in it, s."""
        data, prefix = self.dataset, f"videos/{feature}/"
        keys = ("from_timestamp", "to_timestamp", "chunk_index", "file_index")
        values: list[Any] = [self.row.get(prefix + key) for key in keys]
        begin, end, *place = values
        if not all(_is_number(value) for value in (begin, end)) or not all(_is_index(value) for value in place):
            raise EpisodeError(
                f"{data.folder / 'meta/episodes'}: {self.name}: columns '{prefix}…' of camera {camera.name} lack "
                f"{' or '.join(keys)}; {_AGAIN}"
            )
        path = data.folder / data.video_path.format(video_key=feature, chunk_index=place[0], file_index=place[1])
        # Unlike Path's, it says no of a name that is too long.
        if not os.path.isfile(path):  # noqa: PTH113
            raise EpisodeError(f"{path}: no such file, with the images of {self.name}; {_AGAIN}")
        if begin + timestamps[-1] > end - _VIDEO_TOLERANCE_FRAMES / data.fps:
            raise EpisodeError(
                f"{path}: {self.name} ends at {end:.3f} s of this video, its data at {begin + timestamps[-1]:.3f} s; "
                "the dataset is damaged"
            )
        return path, float(begin)

    def _video(
        self, camera: Camera, feature: str, timestamps: NDArray[np.float64], used: NDArray[np.int64]
    ) -> UInt8[np.ndarray, "steps h w 3"]:
        """The frames of a camera's video at the ``used`` of the times (s since the episode's start), conditioned."""
        path, begin = self._place(camera, feature, timestamps)
        tolerance = _VIDEO_TOLERANCE_FRAMES / self.dataset.fps
        wanted = begin + timestamps[used]
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

    def _stills(
        self, path: Path, camera: Camera, feature: str, used: NDArray[np.int64]
    ) -> UInt8[np.ndarray, "steps h w 3"]:
        """The images that lie in the data file itself, or beside it, as PNG or JPEG, conditioned."""
        rows = read_table(path, ["frame_index", feature], [("episode_index", "=", self.row["episode_index"])])
        cells = rows.sort_by("frame_index")[feature].take(pa.array(used)).to_pylist()
        pictures = []
        for number, cell in zip(used, cells, strict=True):
            where = f"{path}: {feature}: frame {number} of {self.name}"
            content, beside = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (None, cell)
            if content is None and isinstance(beside, str):
                file = self.dataset.folder / beside
                try:
                    content, where = file.read_bytes(), f"{file} ({where})"
                except (OSError, ValueError) as error:
                    raise EpisodeError(f"{where}: {unreadable(file, error, _AGAIN)}") from error
            if not isinstance(content, bytes):
                raise EpisodeError(f"{where}: has neither bytes nor a path; {_AGAIN}")
            try:
                picture = decode_picture(np.frombuffer(content, np.uint8))
            except ImageDecodingError as error:
                raise EpisodeError(f"{where}: {error}; {_AGAIN}") from error
            pictures.append(self._condition(path, feature, picture, camera))
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


def open_lerobot(folder: Path, contract: Contract) -> tuple[list[LeRobotEpisode], list[str]]:
    """List the episodes of a LeRobotDataset v3 folder, in order; all but their pictures is checked.

    Returns
    -------
    The episodes that can be used, and for each one that is left out a line that says why.

    Raises
    ------
    EpisodeError
        It is another version, a file or key is missing, its features aren't the robot's cameras and joints, or more of
        its episodes are odd than not: then it is the dataset, or the contract.
    """
    dataset = read_dataset(folder, contract)
    rows = [row for path in sorted(folder.glob("meta/episodes/chunk-*/file-*.parquet")) for row in _episode_rows(path)]
    if not rows:
        raise EpisodeError(f"{folder / 'meta/episodes'}: lists no episode; {_AGAIN}")
    episodes: dict[int, LeRobotEpisode] = {}
    left_out = []
    for row in rows:
        problem = _problem(dataset, row)
        if not problem and row["episode_index"] in episodes:
            problem = f"{folder / 'meta/episodes'}: episode {row['episode_index']} is listed twice; {_AGAIN}"
        if problem:
            left_out.append(problem)
        else:
            episodes[row["episode_index"]] = LeRobotEpisode(dataset, row)
    if len(left_out) > len(episodes):
        raise EpisodeError(left_out[0] + (f" (and {len(left_out) - 1} more episodes)" if len(left_out) > 1 else ""))
    return [episodes[index] for index in sorted(episodes)], left_out


def _problem(dataset: Dataset, row: dict[str, Any]) -> str:
    """Why an episode can't be used; empty where it can."""
    try:
        _check_row(dataset.folder / "meta/episodes", row)
        LeRobotEpisode(dataset, row).check()
    except EpisodeError as error:
        return str(error)
    return ""


def _episode_rows(path: Path) -> Iterator[dict[str, Any]]:
    # Statistics of every feature lie beside what is needed and are much larger.
    try:
        columns = [name for name in pq.read_schema(path).names if not name.startswith(("stats/", "meta/"))]
    except (OSError, pa.ArrowException) as error:
        raise EpisodeError(unreadable(path, error, _AGAIN)) from error
    needed = {"episode_index", "length", "data/chunk_index", "data/file_index"}
    if not needed <= set(columns):
        raise EpisodeError(f"{path}: lacks {sorted(needed - set(columns))}; {_AGAIN}")
    yield from read_table(path, columns).to_pylist()


def _check_row(path: Path, row: dict[str, Any]) -> None:
    for key in ("episode_index", "length", "data/chunk_index", "data/file_index"):
        if not _is_index(row[key]):
            raise EpisodeError(
                f"{path}: episode {row['episode_index']}: {key} is {row[key]!r}, no number of it; {_AGAIN}"
            )
    if row["length"] < 1:
        raise EpisodeError(f"{path}: episode {row['episode_index']}: has no frame; delete it, or record it again")


def _is_index(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value < 1 << 40


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value < _LONGEST_S


# Episodes of one file come after each other; the file is read once for all of them.
@lru_cache(maxsize=1)
def _vectors(path: Path, features: tuple[str, str], _version: tuple[int, int]) -> pa.Table:
    """The numbers of all episodes of a data file; its version tells it from a file that replaces it."""
    table = read_table(path, [*features, *_NUMBERS])
    for name in (*features, *_NUMBERS):
        if name not in table.column_names:
            raise EpisodeError(f"{path}: lacks column '{name}'; {_AGAIN}")
    # One number may be stored as a list of one.
    for name in _NUMBERS:
        column = table[name]
        if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
            column = pc.list_flatten(column)
        fits = pa.types.is_integer(column.type) or (name == "timestamp" and pa.types.is_floating(column.type))
        if not fits or column.null_count or len(column) != table.num_rows:
            raise EpisodeError(
                f"{path}: column '{name}' is no number a frame (its type is {table[name].type}); {_AGAIN}"
            )
        table = table.set_column(table.column_names.index(name), name, column)
    return table


def _decode(path: Path, from_s: float) -> Iterator[tuple[float, av.VideoFrame]]:
    """(time in s, frame) of a video from ``from_s`` on, or a little earlier."""
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise EpisodeError(f"{path}: its codec is unknown; {_AGAIN}")
            # FFmpeg paints over what is damaged, unless it is told not to.
            stream.codec_context.options = {"err_detect": "explode"}
            # To the key frame at or before: what is wanted may need it to be decoded.
            container.seek(max(int(from_s / stream.time_base), 0), stream=stream, backward=True)
            for frame in container.decode(stream):
                if frame.is_corrupt:
                    raise EpisodeError(f"{path}: the picture at {frame.time} s is damaged; {_AGAIN}")
                yield float(frame.pts * stream.time_base), frame
    except (OSError, IndexError, TypeError, ValueError, OverflowError, av.FFmpegError) as error:
        raise EpisodeError(f"{path}: can't be decoded ({error}); {_AGAIN}") from error


def _check_positions(
    path: Path, name: str, contract: Contract, values: dict[str, Float32[np.ndarray, "frames joints"]]
) -> None:
    """Refuse numbers that no pose of the robot has: most often their unit is another one."""
    low, high = contract.limits.min_position, contract.limits.max_position
    room = high - low
    for feature, positions in values.items():
        if not np.isfinite(positions).all():
            raise EpisodeError(f"{path}: {name}: {feature} holds NaN or infinity; record the episode again")
        if feature == ACTION and contract.hand is not None:
            _check_steps(path, name, positions)
            continue
        for j, joint in enumerate(contract.joints):
            if joint.position is None:
                continue
            lowest, highest = positions[:, j].min(), positions[:, j].max()
            if lowest < low[j] - room[j] or highest > high[j] + room[j]:
                raise EpisodeError(
                    f"{path}: {name}: {feature} of {joint.name} goes from {lowest:.2f} to {highest:.2f} rad (or m), "
                    f"far outside its limits {list(joint.position)}; is its unit in the dataset right? Write it in "
                    f"{contract.path}: `lerobot: {{joints: {{{joint.name}: {{feature: …, unit: deg}}}}}}`"
                )


def _check_steps(path: Path, name: str, steps: Float32[np.ndarray, "frames numbers"]) -> None:
    """Refuse steps of a hand that no such robot takes: 1 is the longest."""
    if (largest := float(np.abs(steps).max())) > _LONGEST_STEP:
        raise EpisodeError(
            f"{path}: {name}: {ACTION} goes up to {largest:.3g}, and steps of a hand lie between -1 and 1; the dataset "
            "has another kind of action"
        )
