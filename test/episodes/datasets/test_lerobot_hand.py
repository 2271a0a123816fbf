# SPDX-License-Identifier: Apache-2.0
"""A dataset of exactly the form of ``lerobot/libero`` is read for the benchmark's robot: two episodes, made here."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from swiftvla_ros.contract import load_contract
from swiftvla_ros.episodes.datasets.sources import open_episodes
from swiftvla_ros.episodes.datasets.store import EpisodeError

LENGTHS, FPS, SIDE, STATES = (12, 9), 10, 256, 8
TASKS = ("put the bowl on the plate", "pick up the milk and place it in the basket")
CAMERAS = ("observation.images.image", "observation.images.image2")


def numbers(episode: int, width: int) -> np.ndarray:
    """Rows that tell episode and frame, inside -1 and 1."""
    frames = np.arange(LENGTHS[episode], dtype=np.float32)[:, None]
    rows = 0.02 * frames + 0.1 * episode + 0.01 * np.arange(width, dtype=np.float32)
    if width == STATES:
        rows[:, 6:] = [0.03, -0.03]  # fingers
    return rows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The dataset; names of its vectors say nothing, and its frames a second are half of the true ones."""
    picture = {"dtype": "video", "shape": [SIDE, SIDE, 3], "names": ["height", "width", "channel"]}
    features: dict[str, Any] = dict.fromkeys(CAMERAS, picture)
    features["observation.state"] = {"dtype": "float32", "shape": [8], "names": ["state"]}
    features["action"] = {"dtype": "float32", "shape": [7], "names": ["actions"]}
    for kind in ("timestamp", "frame_index", "episode_index", "index", "task_index"):
        features[kind] = {"dtype": "float32" if kind == "timestamp" else "int64", "shape": [1], "names": None}
    info = {
        "codebase_version": "v3.0", "robot_type": "panda", "fps": FPS, "features": features,
        "total_episodes": 2, "total_frames": sum(LENGTHS), "total_tasks": 2, "splits": {"train": "0:2"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    }  # fmt: skip
    for part in ("meta/episodes/chunk-000", "data/chunk-000"):
        (tmp_path / part).mkdir(parents=True)
    (tmp_path / "meta/info.json").write_text(json.dumps(info))
    pq.write_table(pa.table({"task_index": [0, 1], "task": list(TASKS)}), tmp_path / "meta/tasks.parquet")
    write_frames(tmp_path)
    begin = np.concatenate([[0], np.cumsum(LENGTHS)])
    rows: dict[str, Any] = {
        "episode_index": [0, 1], "tasks": [[TASKS[0]], [TASKS[1]]], "length": list(LENGTHS),
        "data/chunk_index": [0, 0], "data/file_index": [0, 0],
        "dataset_from_index": begin[:-1].tolist(), "dataset_to_index": begin[1:].tolist(),
    }  # fmt: skip
    for number, camera in enumerate(CAMERAS):
        write_video(tmp_path / f"videos/{camera}/chunk-000/file-000.mp4", number)
        rows |= {f"videos/{camera}/{key}": [0, 0] for key in ("chunk_index", "file_index")}
        rows |= {f"videos/{camera}/from_timestamp": (begin[:-1] / FPS).tolist()}
        rows |= {f"videos/{camera}/to_timestamp": (begin[1:] / FPS).tolist()}
    pq.write_table(pa.table(rows), tmp_path / "meta/episodes/chunk-000/file-000.parquet")
    return tmp_path


def write_frames(root: Path) -> None:
    """Both episodes' numbers in one file."""
    columns: dict[str, Any] = {
        "observation.state": [row.tolist() for k in (0, 1) for row in numbers(k, 8)],
        "action": [row.tolist() for k in (0, 1) for row in numbers(k, 7)],
        "timestamp": [i / FPS for n in LENGTHS for i in range(n)],
        "frame_index": [i for n in LENGTHS for i in range(n)],
        "episode_index": [k for k, n in enumerate(LENGTHS) for _ in range(n)],
        "index": list(range(sum(LENGTHS))),
        "task_index": [k for k, n in enumerate(LENGTHS) for _ in range(n)],
    }
    lists = pa.list_(pa.float32())
    types = {"observation.state": lists, "action": lists, "timestamp": pa.float32()}
    table = pa.table({name: pa.array(column, types.get(name, pa.int64())) for name, column in columns.items()})
    pq.write_table(table, root / "data/chunk-000/file-000.parquet")


def write_video(path: Path, camera: int) -> None:
    """Grey frames, brighter from frame to frame."""
    path.parent.mkdir(parents=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"g": "2", "crf": "8"})
        stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "yuv420p"
        stream.time_base = Fraction(1, FPS)
        for number in range(sum(LENGTHS)):
            grey = np.full((SIDE, SIDE, 3), 40 + 8 * number + 10 * camera, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode())


@pytest.mark.parametrize(("robot", "side"), [("libero_panda", 96), ("libero_panda_450m", 512)])
def test_every_frame_is_a_step_of_the_benchmark(folder: Path, robot: str, side: int) -> None:
    """Protects training on it: no frame is left out or shown twice, numbers and cameras are the benchmark's own."""
    contract = load_contract(robot)
    handles = open_episodes(folder, contract)
    assert [handle.steps() for handle in handles] == list(LENGTHS)
    for index, handle in enumerate(handles):
        episode = handle.load()
        assert episode.instruction == TASKS[index]
        np.testing.assert_allclose(episode.state, numbers(index, 8), atol=1e-6)
        np.testing.assert_allclose(episode.action, numbers(index, 7), atol=1e-6)
        np.testing.assert_allclose(episode.stamps_s, 0.05 * np.arange(LENGTHS[index]))
        first = 0 if index == 0 else LENGTHS[0]
        for camera, name in enumerate(("agent", "wrist")):
            assert episode.images[name].shape == (LENGTHS[index], side, side, 3)
            seen = episode.images[name].reshape(LENGTHS[index], -1).mean(axis=1)
            np.testing.assert_allclose(seen, 40 + 8 * (first + np.arange(LENGTHS[index])) + 10 * camera, atol=2.5)


def test_another_convention_is_refused_by_name(folder: Path) -> None:
    """Protects from training on joints, or on actions in metres: numbers and their size are the benchmark's."""
    contract, path = load_contract("libero_panda"), folder / "meta/info.json"
    table = pq.read_table(folder / "data/chunk-000/file-000.parquet")
    larger = pa.array([[5.0 * x for x in row] for row in table["action"].to_pylist()], pa.list_(pa.float32()))
    column = table.column_names.index("action")
    pq.write_table(table.set_column(column, "action", larger), folder / "data/chunk-000/file-000.parquet")
    with pytest.raises(EpisodeError, match="steps of a hand lie between -1 and 1"):
        open_episodes(folder, contract)
    info = json.loads(path.read_text())
    info["features"]["action"]["shape"] = [8]
    path.write_text(json.dumps(info))
    with pytest.raises(EpisodeError, match=r"features\.action\.shape is \[8\]"):
        open_episodes(folder, contract)
