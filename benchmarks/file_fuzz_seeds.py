# SPDX-License-Identifier: Apache-2.0
"""Small whole files of every kind, for ``file_fuzz.py`` to damage."""

import dataclasses
import json
import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from safetensors.torch import save_file

from swiftvla_ros.contract import Contract, contract_from_text, load_contract
from swiftvla_ros.episodes.datasets.store import Episode, save_episode
from swiftvla_ros.geometry.checkpoint import save_geometry
from swiftvla_ros.geometry.config import geometry_nano
from swiftvla_ros.geometry.transformer import GeometryTransformer
from swiftvla_ros.model.config import ExpertConfig, SwiftVLAConfig, TextConfig, VisionConfig
from swiftvla_ros.model.swiftvla import SwiftVLA
from swiftvla_ros.policy.tokenizer import trim_tokenizer
from swiftvla_ros.training.checkpoint_writer import write_policy

_REPOSITORY = Path(__file__).parents[1]
_VOCABULARY = 320
_LENGTH = 20


def make_seeds(folder: Path) -> list[str]:
    """Write a folder of each kind; return the kinds."""
    contract = load_contract("so101_sim")
    full = (_REPOSITORY / "models/smollm2-tokenizer/tokenizer.json").read_text(encoding="utf-8")
    (folder / "contract").mkdir(parents=True)
    for name in ("so101_sim.yaml", "so101.urdf"):
        for path in (_REPOSITORY / "config/robots").rglob(name):
            (folder / "contract" / name).write_bytes(path.read_bytes())
    # Its URDF is found by an absolute path, so that a damaged contract still finds it.
    text = contract.text
    if contract.urdf_path is not None:
        data = yaml.safe_load(text)
        text = text.replace(str(data["kinematics"]["urdf"]), str(contract.urdf_path))
    (folder / "contract" / "robot.yaml").write_text(text, encoding="utf-8")
    (folder / "contract" / "so101_sim.yaml").unlink(missing_ok=True)
    _checkpoint(folder / "checkpoint", contract, trim_tokenizer(full, _VOCABULARY))
    tiny = dataclasses.replace(
        geometry_nano(), dim=16, num_heads=2, num_pairs=1, image_size=(24, 24),
        encoder=dataclasses.replace(geometry_nano().encoder, num_layers=1, num_heads=2),
        camera=dataclasses.replace(geometry_nano().camera, num_layers=1, num_heads=2),
    )  # fmt: skip
    save_geometry(GeometryTransformer(tiny), folder / "geometry", "# tiny\n")
    _smolvla(folder, contract, full)
    for kind in ("dataset", "videos"):
        _dataset(folder / kind, contract, videos=kind == "videos")
    rng = np.random.default_rng(0)
    size = contract.cameras[0].size
    images = {c: rng.integers(0, 255, (3, size[1], size[0], 3), np.uint8) for c in contract.camera_names}
    state = np.tile(contract.rest, (3, 1)).astype(np.float32)
    for number in range(2):
        episode = Episode("pick up the red block", images, state, state, np.ones(3, bool), np.arange(3.0))
        save_episode(folder / "stored" / f"episode_{number:06d}.safetensors", episode, contract)
    return ["contract", "checkpoint", "geometry", "smolvla", "statistics", "dataset", "videos", "stored"]


def _checkpoint(folder: Path, contract: Contract, tokenizer: str) -> None:
    config = SwiftVLAConfig(
        vision=VisionConfig(96, 24, 16, 16, num_layers=1, num_heads=2, scale_factor=2),
        text=TextConfig(_VOCABULARY, 16, 16, 2, num_heads=2, num_kv_heads=1, head_dim=8, rope_theta=1e4, max_tokens=96),
        expert=ExpertConfig(hidden_size=16, intermediate_size=16),
        fusion=None, num_cameras=2, front_camera=0, state_dim=6, action_dim=6, horizon=4,
    )  # fmt: skip
    row = {"mean": 0.1, "std": 0.5, "min": -1.0, "max": 1.0, "q01": -0.9, "q99": 0.9}
    statistics = {what: {name: dict(row) for name in contract.joint_names} for what in ("state", "action")}
    write_policy(folder, SwiftVLA(config), statistics, tokenizer, contract, "# random\n")


def _smolvla(folder: Path, contract: Contract, full: str) -> None:
    """Write what lerobot wrote of a tiny policy, and its contract and tokenizer beside it."""
    golden = json.loads((_REPOSITORY / "test/training/importers/smolvla_lerobot.json").read_text(encoding="utf-8"))
    data = yaml.safe_load(contract.text)
    for joint in data["joints"]:
        joint["unit"] = "deg"
    for camera, size in zip(data["cameras"], ([64, 48], [40, 64]), strict=True):
        camera["size"] = size
    data["lerobot"] = {"cameras": {"wrist": "observation.images.hand"}}
    data.pop("kinematics", None)
    for camera in data["cameras"]:
        camera.pop("pose", None)
    robot = folder / "smolvla.yaml"
    robot.write_text(yaml.safe_dump(data), encoding="utf-8")
    contract_from_text(robot.read_text(encoding="utf-8"), robot)
    (folder / "tokenizer.json").write_text(trim_tokenizer(full, 6144), encoding="utf-8")
    tensors = {}
    for name, shape in golden["tensors"].items():
        values = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
        tensors[name] = torch.from_numpy(values)
    statistics = {
        f"{f}.{key}": torch.tensor(v) for f, table in golden["statistics"].items() for key, v in table.items()
    }
    for kind in ("smolvla", "statistics"):
        (folder / kind).mkdir()
        for name in ("config", "policy_preprocessor", "policy_postprocessor"):
            (folder / kind / f"{name}.json").write_text(json.dumps(golden[name]), encoding="utf-8")
            for step in golden[name].get("steps", []):
                if "state_file" in step:
                    save_file(statistics, folder / kind / step["state_file"])
        save_file(tensors, folder / kind / "model.safetensors")
    (folder / "statistics/meta").mkdir()
    (folder / "statistics/meta/stats.json").write_text(json.dumps(golden["statistics"]), encoding="utf-8")
    (folder / "statistics/meta/info.json").write_text(json.dumps({"fps": 10}), encoding="utf-8")


def _dataset(root: Path, contract: Contract, *, videos: bool) -> None:
    """Write a LeRobotDataset v3 of three episodes."""
    columns = [contract.lerobot_joints[name] for name in contract.joint_names]
    cameras = list(contract.lerobot_cameras.values())
    names = [column.names[0] for column in columns]
    vector = {"dtype": "float32", "shape": [len(names)], "names": {"motors": names}}
    image = {"dtype": "video" if videos else "image", "shape": [48, 64, 3], "names": ["height", "width", "channels"]}
    info = {
        "codebase_version": "v3.0", "fps": 10, "total_episodes": 3, "total_frames": 3 * _LENGTH,
        "features": {"action": vector, "observation.state": vector, **dict.fromkeys(cameras, image)},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4" if videos else None,
    }  # fmt: skip
    for part in ("meta/episodes/chunk-000", "data/chunk-000"):
        (root / part).mkdir(parents=True)
    (root / "meta/info.json").write_text(json.dumps(info), encoding="utf-8")
    tasks = {"task_index": [0, 1], "__index_level_0__": ["pick up the red block", "touch the blue block"]}
    pq.write_table(pa.table(tasks), root / "meta/tasks.parquet")
    rest = [(value - c.offset) / c.scale for value, c in zip(contract.rest, columns, strict=True)]
    frames = list(range(_LENGTH))
    table: dict[str, Any] = {
        "observation.state": [rest] * (3 * _LENGTH), "action": [rest] * (3 * _LENGTH),
        "timestamp": [i / 10 for i in frames] * 3, "frame_index": frames * 3,
        "episode_index": [e for e in range(3) for _ in frames], "task_index": [e % 2 for e in range(3) for _ in frames],
    }  # fmt: skip
    picture = cv2.resize(np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8), (64, 48))
    rows: dict[str, Any] = {
        "episode_index": [0, 1, 2], "length": [_LENGTH] * 3, "data/chunk_index": [0] * 3, "data/file_index": [0] * 3,
        "tasks": [["pick up the red block"]] * 3,
    }  # fmt: skip
    for number, camera in enumerate(cameras):
        if videos:
            _video(root / f"videos/{camera}/chunk-000/file-000.mp4", picture)
            rows |= {f"videos/{camera}/chunk_index": [0] * 3, f"videos/{camera}/file_index": [0] * 3}
            rows[f"videos/{camera}/from_timestamp"] = [e * _LENGTH / 10 for e in range(3)]
            rows[f"videos/{camera}/to_timestamp"] = [(e + 1) * _LENGTH / 10 for e in range(3)]
        else:
            encoded = cv2.imencode((".jpg", ".png")[number % 2], picture)[1].tobytes()
            table[camera] = [{"bytes": encoded, "path": "frame.png"}] * (3 * _LENGTH)
    pq.write_table(pa.table(table), root / "data/chunk-000/file-000.parquet")
    pq.write_table(pa.table(rows), root / "meta/episodes/chunk-000/file-000.parquet")


def _video(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.time_base = 64, 48, "yuv420p", Fraction(1, 10)
        for _ in range(3 * _LENGTH):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
