# SPDX-License-Identifier: Apache-2.0
"""A dataset of exactly the form of ``lerobot/libero``: two episodes, made here."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

LENGTHS, FPS, SIDE, STATES = (12, 9), 10, 256, 8
TASKS = ("put the bowl on the plate", "pick up the milk and place it in the basket")
CAMERAS = ("observation.images.image", "observation.images.image2")


def numbers(episode: int, width: int) -> np.ndarray:
    """Rows that tell episode and frame, inside -1 and 1."""
    frames = np.arange(LENGTHS[episode], dtype=np.float32)[:, None]
    rows = 0.02 * frames + 0.1 * episode + 0.01 * np.arange(width, dtype=np.float32)
    if width == STATES:
        rows[:, 6:] = 0.001 * frames + [0.03, -0.03]  # fingers
    return rows


def write_dataset(folder: Path) -> Path:
    """Write it; names of its vectors say nothing, and its frames a second are half of the true ones."""
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
        (folder / part).mkdir(parents=True)
    (folder / "meta/info.json").write_text(json.dumps(info))
    pq.write_table(pa.table({"task_index": [0, 1], "task": list(TASKS)}), folder / "meta/tasks.parquet")
    write_frames(folder)
    begin = np.concatenate([[0], np.cumsum(LENGTHS)])
    rows: dict[str, Any] = {
        "episode_index": [0, 1], "tasks": [[TASKS[0]], [TASKS[1]]], "length": list(LENGTHS),
        "data/chunk_index": [0, 0], "data/file_index": [0, 0],
        "dataset_from_index": begin[:-1].tolist(), "dataset_to_index": begin[1:].tolist(),
    }  # fmt: skip
    for number, camera in enumerate(CAMERAS):
        write_video(folder / f"videos/{camera}/chunk-000/file-000.mp4", number)
        rows |= {f"videos/{camera}/{key}": [0, 0] for key in ("chunk_index", "file_index")}
        rows |= {f"videos/{camera}/from_timestamp": (begin[:-1] / FPS).tolist()}
        rows |= {f"videos/{camera}/to_timestamp": (begin[1:] / FPS).tolist()}
    pq.write_table(pa.table(rows), folder / "meta/episodes/chunk-000/file-000.parquet")
    return folder


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
