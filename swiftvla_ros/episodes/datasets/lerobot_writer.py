# SPDX-License-Identifier: Apache-2.0
"""Writes episodes as a LeRobotDataset v3 folder, with the names and units that the contract's ``lerobot:`` says.

``lerobot_reader`` tells how such a folder is laid out, and reads it back. LeRobot has even frames and
no mark for frames that must not be imitated: an episode is written from the first to the last step at which a chunk was
followed, and of one with a gap only what comes after it.

Beside LeRobot's own, each frame has the stamps of what was chosen for it (``observation.stamp.`` and the camera,
``state`` or ``action``: float64, s; LeRobot takes what begins with ``action`` for an action) and, where an operator had
taken over from a policy anywhere, ``corrections``: whether at this frame. LeRobot loads them; its policies go by
``observation.state``, ``action`` and the images.

Some minutes of episodes are a part (:mod:`.lerobot_part`), made by itself in any process. Parts lie beside the dataset
until all are there; what counts over the whole dataset is put in when they are put together.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from swiftvla_ros.cluster.installation import installation
from swiftvla_ros.cluster.runner import Runner
from swiftvla_ros.cluster.settings import claim
from swiftvla_ros.cluster.work import WHOLE, Work
from swiftvla_ros.contract.hashing import sha256
from swiftvla_ros.contract.sections.lerobot import ACTION, STATE
from swiftvla_ros.contract.store import digest_of
from swiftvla_ros.episodes.datasets.lerobot_dataset import CONDITIONED
from swiftvla_ros.episodes.datasets.lerobot_part import CORRECTIONS, DATA, PART, PartWriter, WrittenPart, read_part
from swiftvla_ros.episodes.datasets.lerobot_statistics import Statistics, merge, vector_statistics
from swiftvla_ros.episodes.datasets.sources import EpisodeHandle
from swiftvla_ros.episodes.datasets.store import EpisodeError

_DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
_EPISODES_PATH = "meta/episodes/chunk-000/file-000.parquet"
_CHUNK_FILES, _DATA_MB, _VIDEO_MB = 1000, 100, 200
_COUNTERS = ("frame_index", "episode_index", "index", "task_index")
_SETTINGS = "settings.json"
# Of a part, unless one episode alone has more: some eight minutes, which a machine that is lost costs at most.
PART_STEPS = 5_000


@dataclass(frozen=True)
class Export:
    """What was written: ``episodes`` and ``frames``, and a line for each thing that was left out."""

    episodes: int
    frames: int
    left_out: tuple[str, ...]


class EpisodeSource(Protocol):
    """Where any process finds episodes; travels to other processes."""

    def find(self, names: Sequence[str]) -> list[EpisodeHandle]:
        """Return the episodes of these names, in their order."""

    def changed_s(self, name: str) -> float:
        """Return when an episode was written last, s since 1970."""


@dataclass(frozen=True)
class _DatasetPart:
    """The episodes of a part."""

    folder: Path
    names: tuple[str, ...]


def export_lerobot(
    episodes: Sequence[EpisodeHandle], source: EpisodeSource, out: Path, writer: PartWriter, runner: Runner
) -> Export | None:
    """Write episodes as a LeRobotDataset v3, in their order; the folder appears under its name only when it is whole.

    None where the runner does a part only: the dataset is put together by a run that does all, and finds most done.
    What was made until a run is interrupted lies beside ``out``, and the same call goes on with it.

    Raises
    ------
    EpisodeError
        ``out`` exists, the contract's step is no whole number of frames per second, or no episode has anything to
        imitate.
    SettingsError
        What was made before is of other episodes or settings.
    WorkError
        An episode can't be read.
    """
    if out.exists():
        raise EpisodeError(f"{out}: exists already; choose another folder, datasets are never overwritten")
    beside = out.with_name(f".{out.name}.parts")
    claim(
        beside / _SETTINGS,
        {
            "episodes_sha256": sha256([json.dumps([[e.name, e.expected_steps()] for e in episodes]).encode()]),
            "contract_sha256": digest_of(writer.contract),
            "frames_per_second": writer.fps,
            "codec": writer.codec,
            "crf": writer.crf,
            "extra_columns": None if writer.extra is None else dict(writer.extra.origin),
            "swiftvla_ros": installation()["swiftvla_ros"],
        },
    )
    parts = list(_parts(episodes, beside))
    for part in parts:
        made = part.folder / PART
        if made.exists() and made.stat().st_mtime < max(map(source.changed_s, part.names)):
            shutil.rmtree(part.folder)
    work = Work(
        "exporting",
        parts,
        partial(_make_part, source, writer),
        files=lambda part: [part.folder / PART],
        size=lambda part: len(part.names),
        unit="episodes",
    )
    runner.run(work).check()
    if runner.shard != WHOLE:
        return None
    done = _put_together([part.folder for part in parts], out, writer)
    shutil.rmtree(beside)
    return done


def _parts(episodes: Sequence[EpisodeHandle], beside: Path) -> Iterator[_DatasetPart]:
    number, names, steps = 0, list[str](), 0
    for episode in episodes:
        if names and steps + episode.expected_steps() > PART_STEPS:
            yield _DatasetPart(beside / f"part_{number:06d}", tuple(names))
            number, names, steps = number + 1, [], 0
        names.append(episode.name)
        steps += episode.expected_steps()
    if names:
        yield _DatasetPart(beside / f"part_{number:06d}", tuple(names))


def _make_part(source: EpisodeSource, writer: PartWriter, part: _DatasetPart) -> None:
    writer.write(source.find(part.names), part.folder)


def _put_together(folders: Sequence[Path], out: Path, writer: PartWriter) -> Export:
    root = out.with_name(f".{out.name}.partial{secrets.token_hex(4)}")
    parts = {folder: read_part(folder) for folder in folders}
    left_out = [line for part in parts.values() for line in part.left_out]
    if not any(part.episodes for part in parts.values()):
        raise EpisodeError(f"no episode has two steps to imitate: {'; '.join(left_out[:5])}")
    try:
        dataset = _Dataset(root, writer, corrected=any(part.corrected for part in parts.values()))
        for folder, part in parts.items():
            if part.episodes:
                dataset.add(folder, part)
        dataset.finish()
        out.parent.mkdir(parents=True, exist_ok=True)
        root.rename(out)
    except BaseException:
        shutil.rmtree(root, ignore_errors=True)
        raise
    return Export(len(dataset.rows), dataset.frames, tuple(left_out))


class _Dataset:
    """Parts become files of a dataset, one each, and what describes them at the end."""

    def __init__(self, root: Path, writer: PartWriter, *, corrected: bool) -> None:
        self._root, self._writer = root, writer
        # Only where there is any: a column that never changes is a broken sensor to those who check datasets.
        self._corrected = corrected
        self._tasks: dict[str, int] = {}
        self._statistics: list[dict[str, Statistics]] = []
        self._files = 0
        self._videos: dict[str, dict[str, Any]] = {}
        self.rows: list[dict[str, Any]] = []
        self.frames = 0

    def add(self, folder: Path, part: WrittenPart) -> None:
        """Append a part."""
        place = {"chunk_index": self._files // _CHUNK_FILES, "file_index": self._files % _CHUNK_FILES}
        self._files += 1
        self._videos = part.videos
        for feature in part.videos:
            _link(folder / f"{feature}.mp4", self._root / _VIDEO_PATH.format(video_key=feature, **place))
        lengths = np.array([episode.length for episode in part.episodes])
        for episode in part.episodes:
            self._tasks.setdefault(episode.instruction, len(self._tasks))
        counters = {
            "episode_index": np.repeat(np.arange(len(self.rows), len(self.rows) + len(lengths)), lengths),
            "index": np.arange(self.frames, self.frames + lengths.sum()),
            "task_index": np.repeat([self._tasks[episode.instruction] for episode in part.episodes], lengths),
        }
        self._add_data(folder / DATA, self._root / _DATA_PATH.format(**place), counters)
        begin = 0
        for episode in part.episodes:
            own = slice(begin, begin + episode.length)
            begin += episode.length
            statistics = episode.statistics | {key: vector_statistics(v[own]) for key, v in counters.items()}
            if not self._corrected:
                del statistics[CORRECTIONS]
            row: dict[str, Any] = {
                "episode_index": len(self.rows),
                "tasks": [episode.instruction],
                "length": episode.length,
                "dataset_from_index": self.frames,
                "dataset_to_index": self.frames + episode.length,
                "meta/episodes/chunk_index": 0,
                "meta/episodes/file_index": 0,
                **{f"data/{key}": value for key, value in place.items()},
            }
            for feature, (from_s, to_s) in episode.spans.items():
                row |= {f"videos/{feature}/{key}": value for key, value in place.items()}
                row |= {f"videos/{feature}/from_timestamp": from_s, f"videos/{feature}/to_timestamp": to_s}
            for feature, values in statistics.items():
                row |= {f"stats/{feature}/{key}": value.tolist() for key, value in values.items()}
            # Not LeRobot's: where the episode came from, and how it ended.
            row |= {"source": episode.name, "outcome": episode.outcome}
            self._statistics.append(statistics)
            self.rows.append(row)
            self.frames += episode.length

    def _add_data(self, source: Path, target: Path, counters: dict[str, NDArray[np.int64]]) -> None:
        """Copy a part's data with the counters put in, an episode in memory at a time."""
        target.parent.mkdir(parents=True, exist_ok=True)
        begin, written = 0, None
        with pq.ParquetFile(source) as data, ExitStack() as stack:
            at = data.schema_arrow.names.index("frame_index") + 1
            for group in range(data.num_row_groups):
                table = data.read_row_group(group)
                own = slice(begin, begin + len(table))
                begin += len(table)
                for number, (key, values) in enumerate(counters.items()):
                    table = table.add_column(at + number, key, pa.array(values[own]))
                if not self._corrected:
                    table = table.drop_columns([CORRECTIONS])
                written = written or stack.enter_context(pq.ParquetWriter(target, table.schema))
                written.write_table(table)

    def finish(self) -> None:
        """Write what describes the data."""
        meta = self._root / "meta"
        (self._root / _EPISODES_PATH).parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(self.rows), self._root / _EPISODES_PATH)
        pq.write_table(_task_table(self._tasks), meta / "tasks.parquet")
        merged = {key: merge([s[key] for s in self._statistics]) for key in self._statistics[0]}
        plain = {feature: {key: v.tolist() for key, v in values.items()} for feature, values in merged.items()}
        (meta / "stats.json").write_text(json.dumps(plain, indent=4), encoding="utf-8")
        (meta / "info.json").write_text(json.dumps(self._information(), indent=4), encoding="utf-8")

    def _information(self) -> dict[str, Any]:
        contract = self._writer.contract
        names = [column.names[0] for column in contract.lerobot_joints.values()]
        vector = {"dtype": "float32", "shape": [len(names)], "names": names}
        features: dict[str, Any] = {STATE: vector, ACTION: vector}
        for camera, feature in contract.lerobot_cameras.items():
            width, height = contract.camera(camera).size
            features[feature] = {
                "dtype": "video",
                "shape": [height, width, 3],
                "names": ["height", "width", "channels"],
                "info": {**self._videos[feature], CONDITIONED: True},
            }
        features["timestamp"] = {"dtype": "float32", "shape": [1], "names": None}
        features |= {key: {"dtype": "int64", "shape": [1], "names": None} for key in _COUNTERS}
        stamps = self._writer.stamp_columns().values()
        features |= {key: {"dtype": "float64", "shape": [1], "names": None} for key in stamps}
        if self._corrected:
            features[CORRECTIONS] = {"dtype": "bool", "shape": [1], "names": None}
        if self._writer.extra is not None:
            for key, (dtype, shape) in self._writer.extra.features.items():
                features[key] = {"dtype": dtype, "shape": list(shape) or [1], "names": None}
        return {
            "codebase_version": "v3.0",
            "robot_type": contract.robot,
            "total_episodes": len(self.rows),
            "total_frames": self.frames,
            "total_tasks": len(self._tasks),
            "chunks_size": _CHUNK_FILES,
            "data_files_size_in_mb": _DATA_MB,
            "video_files_size_in_mb": _VIDEO_MB,
            "fps": self._writer.fps,
            "splits": {"train": f"0:{len(self.rows)}"},
            "data_path": _DATA_PATH,
            "video_path": _VIDEO_PATH,
            "features": features,
        }


def _link(source: Path, target: Path) -> None:
    """Give a file a second name: the part stays whole if putting together is interrupted."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # not on this disk
        shutil.copyfile(source, target)


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
