# SPDX-License-Identifier: Apache-2.0
"""Writes episodes as a LeRobotDataset v3 folder, with the names and units that the contract's ``lerobot:`` says.

``lerobot_reader`` tells how such a folder is laid out, and reads it back. LeRobot has even frames and
no mark for frames that must not be imitated: an episode is written from the first to the last step at which a chunk was
followed, and of one with a gap only what comes after it.

Beside LeRobot's own, each frame has the stamps of what was chosen for it (``observation.stamp.`` and the camera,
``state`` or ``action``: float64, s; LeRobot takes what begins with ``action`` for an action) and, where an operator had
taken over from a policy anywhere, ``corrections``: whether at this frame. LeRobot loads them; its policies go by
``observation.state``, ``action`` and the images.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.datasets.lerobot_dataset import CONDITIONED
from swiftvla_ros.episodes.datasets.lerobot_statistics import Statistics, image_statistics, merge, vector_statistics
from swiftvla_ros.episodes.datasets.lerobot_video import Codec, Video
from swiftvla_ros.episodes.datasets.sources import EpisodeHandle
from swiftvla_ros.episodes.datasets.store import Episode, EpisodeError

_STATE, _ACTION = "observation.state", "action"
_DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
_EPISODES_PATH = "meta/episodes/chunk-000/file-000.parquet"
_CHUNK_FILES, _DATA_MB, _VIDEO_MB = 1000, 100, 200
_MAX_FILE_FRAMES = 100_000
_GAP_STEPS = 1.5
_COUNTERS = ("frame_index", "episode_index", "index", "task_index")
_CORRECTIONS = "corrections"


class ExtraColumns(Protocol):
    """Columns that somebody adds to each frame, under names of its own."""

    @property
    def features(self) -> Mapping[str, tuple[str, tuple[int, ...]]]:
        """Each column's dtype, as NumPy and LeRobot call it, and the shape of a frame's value."""

    def of(self, name: str, episode: Episode) -> dict[str, NDArray[Any]]:
        """The columns [T, …] of an episode; ``name`` is its handle's."""


@dataclass(frozen=True)
class Export:
    """What was written: ``episodes`` and ``frames``, and a line for each thing that was left out."""

    episodes: int
    frames: int
    left_out: tuple[str, ...]


def export_lerobot(
    episodes: Sequence[EpisodeHandle],
    out: Path,
    contract: Contract,
    *,
    codec: Codec = "h264",
    crf: int = 18,
    extra: ExtraColumns | None = None,
    progress: Callable[[], object] = lambda: None,
) -> Export:
    """Write episodes as a LeRobotDataset v3; the folder appears under its name only when it is whole.

    They are written in their order, one in memory at a time; a lower ``crf`` is nearer to the recorded images, and
    larger. ``extra`` adds columns. ``progress`` is called after each.

    Raises
    ------
    EpisodeError
        ``out`` exists, the contract's step is no whole number of frames per second, an episode can't be read, or none
        has anything to imitate.
    """
    if out.exists():
        raise EpisodeError(f"{out}: exists already; choose another folder, datasets are never overwritten")
    rate = 1 / contract.policy.step_s
    if abs(rate - round(rate)) > 1e-3:
        raise EpisodeError(
            f"{contract.path}: policy.step_s {contract.policy.step_s} s is {rate:.3f} frames/s, LeRobot has whole "
            f"numbers; name a contract with {1 / max(1, round(rate)):.6f}"
        )
    partial = out.with_name(f".{out.name}.partial{os.getpid()}")
    left_out: list[str] = []
    try:
        with _Writer(partial, contract, round(rate), codec, crf, extra) as writer:
            for handle in episodes:
                episode, note = even_part(handle.load(), contract.policy.step_s)
                if note:
                    left_out.append(f"{handle.name}: {note}")
                if episode is not None:
                    writer.add(handle.name, episode)
                progress()
            if not writer.rows:
                raise EpisodeError(f"no episode has two steps to imitate: {'; '.join(left_out[:5])}")
            writer.finish()
        out.parent.mkdir(parents=True, exist_ok=True)
        partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return Export(len(writer.rows), writer.frames, tuple(left_out))


def even_part(episode: Episode, step_s: float) -> tuple[Episode | None, str]:
    """Cut an episode to even steps that are to be imitated; None where these are fewer than two, and what was cut.

    What is cut before the first and after the last step to be imitated is not told: nobody acted there.
    """
    acted = np.flatnonzero(episode.expert)
    first, last = (int(acted[0]), int(acted[-1])) if len(acted) else (0, -1)
    gaps = np.flatnonzero(np.diff(episode.stamps_s) > _GAP_STEPS * step_s) + 1
    inside = gaps[(gaps > first) & (gaps <= last)]
    note = ""
    if len(inside):
        at_s = episode.stamps_s[inside[-1]] - episode.stamps_s[0]
        note = f"{inside[-1] - first} steps before a gap that ends {at_s:.1f} s after its begin are left out"
        first = int(inside[-1])
        # The first steps after a gap need not be ones to be imitated.
        first = int(acted[acted >= first][0])
    if last - first < 1:
        return None, note or "fewer than two steps to imitate"
    part = slice(first, last + 1)
    images = {name: images[part] for name, images in episode.images.items()}
    kept = {key: getattr(episode, key)[part] for key in ("state", "action", "expert", "stamps_s")}
    chosen_s = {name: stamps[part] for name, stamps in episode.chosen_s.items()}
    corrections = None if episode.corrections is None else episode.corrections[part]
    return replace(episode, images=images, chosen_s=chosen_s, corrections=corrections, **kept), note


class _Writer:
    """Writes data and videos episode by episode, and what describes them at the end."""

    def __init__(
        self, root: Path, contract: Contract, fps: int, codec: Codec, crf: int, extra: ExtraColumns | None
    ) -> None:
        self._root, self._contract, self._fps, self._codec, self._crf = root, contract, fps, codec, crf
        self._extra = extra
        self._cameras = contract.lerobot_cameras
        columns = contract.lerobot_joints.values()
        self._names = [column.names[0] for column in columns]
        self._scale, self._offset = np.array([(column.scale, column.offset) for column in columns]).T
        # By what was chosen, as episodes call it.
        self._stamps = {name: f"observation.stamp.{name}" for name in (*contract.camera_names, "state", "action")}
        # Only where there is any: a column that never changes is a broken sensor to those who check datasets.
        self._corrected = False
        self._tasks: dict[str, int] = {}
        self._statistics: list[dict[str, Statistics]] = []
        self._file = -1
        self._data: pq.ParquetWriter | None = None
        self._videos: dict[str, Video] = {}
        self._video_information: dict[str, dict[str, Any]] = {}
        self.rows: list[dict[str, Any]] = []
        self.frames = 0

    def __enter__(self) -> _Writer:
        self._root.mkdir(parents=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def add(self, name: str, episode: Episode) -> None:
        """Append one episode."""
        if self._data is None or self._is_full():
            self._next_file()
        assert self._data is not None
        number, length = len(self.rows), len(episode.state)
        task = self._tasks.setdefault(episode.instruction, len(self._tasks))
        columns: dict[str, NDArray[Any]] = {
            _STATE: self._units(episode.state),
            _ACTION: self._units(episode.action),
            "timestamp": (np.arange(length) / self._fps).astype(np.float32),
            "frame_index": np.arange(length),
            "episode_index": np.full(length, number),
            "index": np.arange(self.frames, self.frames + length),
            "task_index": np.full(length, task),
            # Of episodes that were not recorded in a bag all is of the step's own time.
            **{key: episode.chosen_s.get(name, episode.stamps_s) for name, key in self._stamps.items()},
            _CORRECTIONS: np.zeros(length, bool) if episode.corrections is None else episode.corrections,
            **({} if self._extra is None else self._extra.of(name, episode)),
        }
        self._corrected |= bool(columns[_CORRECTIONS].any())
        self._data.write_table(_table(columns))
        place = self._place()
        row: dict[str, Any] = {
            "episode_index": number,
            "tasks": [episode.instruction],
            "length": length,
            "dataset_from_index": self.frames,
            "dataset_to_index": self.frames + length,
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
            **{f"data/{key}": value for key, value in place.items()},
        }
        # Of a table a frame they would be as large as the table, ten times over.
        statistics = {key: vector_statistics(values) for key, values in columns.items() if values.ndim < 3}
        for camera, feature in self._cameras.items():
            video, images = self._videos[feature], episode.images[camera]
            begin = video.frames
            video.add(images)
            row |= {f"videos/{feature}/{key}": value for key, value in place.items()}
            row |= {
                f"videos/{feature}/from_timestamp": begin / self._fps,
                f"videos/{feature}/to_timestamp": video.frames / self._fps,
            }
            statistics[feature] = image_statistics(images)
        for feature, values in statistics.items():
            row |= {f"stats/{feature}/{key}": value.tolist() for key, value in values.items()}
        # Not LeRobot's: where the episode came from, and how it ended.
        row |= {"source": name, "outcome": str(episode.metadata.get("outcome", ""))}
        self._statistics.append(statistics)
        self.rows.append(row)
        self.frames += length

    def finish(self) -> None:
        """Write what describes the data."""
        self._close()
        if not self._corrected:
            self._leave_out_corrections()
        meta = self._root / "meta"
        (self._root / _EPISODES_PATH).parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(self.rows), self._root / _EPISODES_PATH)
        pq.write_table(_task_table(self._tasks), meta / "tasks.parquet")
        merged = {key: merge([s[key] for s in self._statistics]) for key in self._statistics[0]}
        plain = {feature: {key: v.tolist() for key, v in values.items()} for feature, values in merged.items()}
        (meta / "stats.json").write_text(json.dumps(plain, indent=4), encoding="utf-8")
        (meta / "info.json").write_text(json.dumps(self._information(), indent=4), encoding="utf-8")

    def _leave_out_corrections(self) -> None:
        for path in (self._root / "data").rglob("*.parquet"):
            pq.write_table(pq.read_table(path).drop_columns([_CORRECTIONS]), path)
        for row in self.rows:
            for key in [key for key in row if key.startswith(f"stats/{_CORRECTIONS}/")]:
                del row[key]
        for statistics in self._statistics:
            del statistics[_CORRECTIONS]

    def _information(self) -> dict[str, Any]:
        vector = {"dtype": "float32", "shape": [len(self._names)], "names": self._names}
        features: dict[str, Any] = {_STATE: vector, _ACTION: vector}
        for camera, feature in self._cameras.items():
            width, height = self._contract.camera(camera).size
            features[feature] = {
                "dtype": "video",
                "shape": [height, width, 3],
                "names": ["height", "width", "channels"],
                "info": {**self._video_information[feature], CONDITIONED: True},
            }
        features["timestamp"] = {"dtype": "float32", "shape": [1], "names": None}
        features |= {key: {"dtype": "int64", "shape": [1], "names": None} for key in _COUNTERS}
        features |= {key: {"dtype": "float64", "shape": [1], "names": None} for key in self._stamps.values()}
        if self._corrected:
            features[_CORRECTIONS] = {"dtype": "bool", "shape": [1], "names": None}
        if self._extra is not None:
            for key, (dtype, shape) in self._extra.features.items():
                features[key] = {"dtype": dtype, "shape": list(shape) or [1], "names": None}
        return {
            "codebase_version": "v3.0",
            "robot_type": self._contract.robot,
            "total_episodes": len(self.rows),
            "total_frames": self.frames,
            "total_tasks": len(self._tasks),
            "chunks_size": _CHUNK_FILES,
            "data_files_size_in_mb": _DATA_MB,
            "video_files_size_in_mb": _VIDEO_MB,
            "fps": self._fps,
            "splits": {"train": f"0:{len(self.rows)}"},
            "data_path": _DATA_PATH,
            "video_path": _VIDEO_PATH,
            "features": features,
        }

    def _place(self) -> dict[str, int]:
        return {"chunk_index": self._file // _CHUNK_FILES, "file_index": self._file % _CHUNK_FILES}

    def _units(self, si: NDArray[np.float32]) -> NDArray[np.float32]:
        return ((si - self._offset) / self._scale).astype(np.float32)

    def _is_full(self) -> bool:
        videos = self._videos.values()
        # An encoder that looks ahead has not begun its file yet.
        largest = max((v.path.stat().st_size for v in videos if v.path.exists()), default=0)
        return largest > _VIDEO_MB << 20 or max((v.frames for v in videos), default=0) > _MAX_FILE_FRAMES

    def _next_file(self) -> None:
        self._close()
        self._file += 1
        place = self._place()
        path = self._root / _DATA_PATH.format(**place)
        path.parent.mkdir(parents=True, exist_ok=True)
        empty = np.zeros((0, len(self._names)), np.float32)
        columns: dict[str, NDArray[Any]] = {_STATE: empty, _ACTION: empty, "timestamp": np.zeros(0, np.float32)}
        columns |= {key: np.zeros(0, np.int64) for key in _COUNTERS}
        columns |= {key: np.zeros(0, np.float64) for key in self._stamps.values()}
        columns[_CORRECTIONS] = np.zeros(0, bool)
        if self._extra is not None:
            columns |= {key: np.zeros((0, *shape), dtype) for key, (dtype, shape) in self._extra.features.items()}
        self._data = pq.ParquetWriter(path, _table(columns).schema)
        self._videos = {
            feature: Video(
                self._root / _VIDEO_PATH.format(video_key=feature, **place),
                self._contract.camera(camera).size,
                self._fps,
                self._codec,
                self._crf,
            )
            for camera, feature in self._cameras.items()
        }

    def _close(self) -> None:
        if self._data is not None:
            self._data.close()
            self._data = None
        for feature, video in self._videos.items():
            self._video_information[feature] = video.describe()
            video.close()
        self._videos = {}


def _table(columns: dict[str, NDArray[Any]]) -> pa.Table:
    return pa.table({key: _column(values) for key, values in columns.items()})


def _column(values: NDArray[Any]) -> pa.Array:
    """Values [T, …], a list of lists for each further axis."""
    column = pa.array(values.ravel())
    for size in reversed(values.shape[1:]):
        column = pa.FixedSizeListArray.from_arrays(column, size)
    return column


def _task_table(tasks: dict[str, int]) -> pa.Table:
    """The instructions as pandas would store them: the text is the table's index, and LeRobot looks for it there."""
    table = pa.table({"task_index": list(tasks.values()), "task": list(tasks)})
    described = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [
            {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64",
             "metadata": None},
            {"name": "task", "field_name": "task", "pandas_type": "unicode", "numpy_type": "object", "metadata": None},
        ],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.0.0",
    }  # fmt: skip
    return table.replace_schema_metadata({"pandas": json.dumps(described)})
