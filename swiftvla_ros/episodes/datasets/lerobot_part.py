# SPDX-License-Identifier: Apache-2.0
"""A part of a LeRobotDataset v3: some episodes as one data file and one video a camera, numbered from nought.

A part is a folder that is whole or not there::

    part.json       what was written of each episode, and what was left out
    data.parquet    a row for each frame, without the numbers that count over the whole dataset
    <feature>.mp4   one video for each camera

It is made of its episodes alone, so it is the same whoever makes it; :mod:`.lerobot_writer` puts parts together.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.sections.lerobot import ACTION, STATE
from swiftvla_ros.episodes.datasets.lerobot_statistics import Statistics, image_statistics, vector_statistics
from swiftvla_ros.episodes.datasets.lerobot_video import Codec, Video
from swiftvla_ros.episodes.datasets.sources import EpisodeHandle
from swiftvla_ros.episodes.datasets.store import Episode, EpisodeError
from swiftvla_ros.files import read_json_object, unreadable

CORRECTIONS = "corrections"
PART, DATA = "part.json", "data.parquet"

_GAP_STEPS = 1.5


class ExtraColumns(Protocol):
    """Columns that somebody adds to each frame, under names of its own; goes to other processes."""

    @property
    def features(self) -> Mapping[str, tuple[str, tuple[int, ...]]]:
        """Each column's dtype, as NumPy and LeRobot call it, and the shape of a frame's value."""

    @property
    def origin(self) -> Mapping[str, Any]:
        """What decides their numbers beside the episodes, as JSON knows it."""

    def of(self, name: str, episode: Episode) -> dict[str, NDArray[Any]]:
        """The columns [T, …] of an episode; ``name`` is its handle's."""


@dataclass(frozen=True)
class WrittenEpisode:
    """An episode as it lies in a part."""

    name: str  # where it came from
    outcome: str  # how it ended
    instruction: str
    length: int  # frames
    # By feature, s: where in the video of its part it begins and ends.
    spans: dict[str, tuple[float, float]]
    statistics: dict[str, Statistics]  # by feature, and by column of the data


@dataclass(frozen=True)
class WrittenPart:
    """What lies in a part's folder."""

    episodes: list[WrittenEpisode] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)  # a line for each thing that was
    corrected: bool = False  # whether an operator had taken over anywhere
    videos: dict[str, dict[str, Any]] = field(default_factory=dict)  # what LeRobot is told of each feature's video


@dataclass(frozen=True)
class PartWriter:
    """Writes parts, all in the same way; plain values that go to other processes."""

    contract: Contract
    codec: Codec = "h264"
    crf: int = 18  # the lower, the nearer to the recorded images, and the larger
    extra: ExtraColumns | None = None

    @property
    def fps(self) -> int:
        """Frames per second; EpisodeError where the contract's step makes no whole number."""
        rate = 1 / self.contract.policy.step_s
        if abs(rate - round(rate)) > 1e-3:
            raise EpisodeError(
                f"{self.contract.path}: policy.step_s {self.contract.policy.step_s} s is {rate:.3f} frames/s, LeRobot "
                f"has whole numbers; name a contract with {1 / max(1, round(rate)):.6f}"
            )
        return round(rate)

    def stamp_columns(self) -> dict[str, str]:
        """Columns with the stamps of what was chosen for a frame, by what it is, as episodes call it."""
        return {name: f"observation.stamp.{name}" for name in (*self.contract.camera_names, "state", "action")}

    def write(self, handles: Sequence[EpisodeHandle], folder: Path) -> None:
        """Write the part of some episodes, one of them in memory at a time.

        Raises
        ------
        EpisodeError
            An episode can't be read.
        """
        partial = folder.with_name(f".{folder.name}.partial{secrets.token_hex(4)}")
        partial.mkdir(parents=True)
        try:
            self._write(handles, partial)
            if folder.exists():
                shutil.rmtree(partial)  # somebody else was faster; it is the same
            else:
                partial.rename(folder)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise

    def _write(self, handles: Sequence[EpisodeHandle], folder: Path) -> None:
        part = WrittenPart()
        corrected, videos = False, dict[str, Video]()
        data: pq.ParquetWriter | None = None
        with ExitStack() as stack:
            for handle in handles:
                episode, note = even_part(handle.load(), self.contract.policy.step_s)
                if note:
                    part.left_out.append(f"{handle.name}: {note}")
                if episode is None:
                    continue
                columns = self._columns(handle.name, episode)
                table = _table(columns)
                if data is None:
                    data = stack.enter_context(pq.ParquetWriter(folder / DATA, table.schema))
                    for camera, feature in self.contract.lerobot_cameras.items():
                        video = Video(
                            folder / f"{feature}.mp4", self.contract.camera(camera).size, self.fps, self.codec, self.crf
                        )
                        videos[feature] = stack.enter_context(closing(video))
                data.write_table(table)
                corrected |= bool(columns[CORRECTIONS].any())
                part.episodes.append(self._written(handle.name, episode, columns, videos))
            described = {feature: video.describe() for feature, video in videos.items()}
        part = replace(part, corrected=corrected, videos=described)
        (folder / PART).write_text(json.dumps(asdict(part), default=np.ndarray.tolist) + "\n", encoding="utf-8")

    def _columns(self, name: str, episode: Episode) -> dict[str, NDArray[Any]]:
        length = len(episode.state)
        return {
            STATE: self._units(episode.state),
            ACTION: self._units(episode.action),
            "timestamp": (np.arange(length) / self.fps).astype(np.float32),
            "frame_index": np.arange(length),
            # Of episodes that were not recorded in a bag all is of the step's own time.
            **{key: episode.chosen_s.get(chosen, episode.stamps_s) for chosen, key in self.stamp_columns().items()},
            CORRECTIONS: np.zeros(length, bool) if episode.corrections is None else episode.corrections,
            **({} if self.extra is None else self.extra.of(name, episode)),
        }

    def _written(
        self, name: str, episode: Episode, columns: dict[str, NDArray[Any]], videos: dict[str, Video]
    ) -> WrittenEpisode:
        # Of a table a frame they would be as large as the table, ten times over.
        statistics = {key: vector_statistics(values) for key, values in columns.items() if values.ndim < 3}
        spans = {}
        for camera, feature in self.contract.lerobot_cameras.items():
            video, images = videos[feature], episode.images[camera]
            begin = video.frames
            video.add(images)
            spans[feature] = (begin / self.fps, video.frames / self.fps)
            statistics[feature] = image_statistics(images)
        outcome = str(episode.metadata.get("outcome", ""))
        return WrittenEpisode(name, outcome, episode.instruction, len(episode.state), spans, statistics)

    def _units(self, si: NDArray[np.float32]) -> NDArray[np.float32]:
        scale, offset = np.array([(column.scale, column.offset) for column in self.contract.lerobot_joints.values()]).T
        return ((si - offset) / scale).astype(np.float32)


def read_part(folder: Path) -> WrittenPart:
    """Read what a part's folder says of it; raises EpisodeError."""
    try:
        data = read_json_object(folder / PART)
        episodes = [
            WrittenEpisode(
                **{
                    **episode,
                    "spans": {key: tuple(span) for key, span in episode["spans"].items()},
                    "statistics": {
                        key: {name: np.array(values) for name, values in found.items()}
                        for key, found in episode["statistics"].items()
                    },
                }
            )
            for episode in data["episodes"]
        ]
        return WrittenPart(**{**data, "episodes": episodes})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise EpisodeError(unreadable(folder / PART, error, f"delete {folder}, and it is made again")) from error


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


def _table(columns: dict[str, NDArray[Any]]) -> pa.Table:
    return pa.table({key: _column(values) for key, values in columns.items()})


def _column(values: NDArray[Any]) -> pa.Array:
    """Values [T, …], a list of lists for each further axis."""
    column = pa.array(values.ravel())
    for size in reversed(values.shape[1:]):
        column = pa.FixedSizeListArray.from_arrays(column, size)
    return column
