# SPDX-License-Identifier: Apache-2.0
"""LeRobotDataset v3 folders become the project's episodes; they are written here by LeRobot's documented layout."""

import json
import math
import re
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from spoiled import pointer

from swiftvla_ros.contract import Contract, ContractError, contract_from_text, load_contract
from swiftvla_ros.episodes.datasets.sources import open_episodes
from swiftvla_ros.episodes.datasets.store import Episode, EpisodeError, load_episode, save_episode

FPS = 30
LENGTHS = (31, 20)
INSTRUCTIONS = ("touch the green block", "pick up the red block")
# The dataset's own names, order and units; the contract's joint order is another one.
NAMES = ["gripper.pos", "pan", "shoulder_lift.pos", "elbow_flex.pos", "wrist_flex.pos", "wrist_roll.pos"]
CAMERAS = {"front": "observation.images.table", "wrist": "observation.images.wrist"}


def make_contract(**changes: Any) -> Contract:
    """Map the dataset's names and units to the simulated robot."""
    shipped = load_contract("so101_sim")
    data = yaml.safe_load(shipped.text)
    joints = {j["name"]: {"feature": f"{j['name']}.pos", "unit": "deg"} for j in data["joints"]}
    joints["shoulder_pan"]["feature"] = "pan"
    joints["gripper"] = {"feature": "gripper.pos", "unit": "percent", "percent_of": [-0.1, 1.7]}
    data["lerobot"] = {"cameras": {"front": "observation.images.table"}, "joints": joints}
    for key, value in changes.items():
        data[key] = {**data[key], **value}
    return contract_from_text(yaml.safe_dump(data), shipped.path)


def positions(episode: int, frames: np.ndarray) -> np.ndarray:
    """Make positions in SI and in the contract's order, [frames, 6], that tell the frame."""
    return 0.02 * frames[:, None] * np.array([1, -1, 0.5, 1, -0.5, 0.7]) + 0.1 * episode


def to_dataset(si: np.ndarray) -> np.ndarray:
    """Write SI positions in the dataset's order and units."""
    degrees = np.degrees(si)
    percent = (si[:, 5] + 0.1) / 1.8 * 100
    return np.stack([percent, *degrees[:, :5].T], axis=1)


def brightness(episode: int, frame: int, camera: int) -> int:
    """Make a brightness that tells episode, frame and camera, in steps that a codec keeps apart."""
    return 40 + 4 * frame + 60 * episode + 20 * camera


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write two episodes with two tasks; both in one parquet file and, for each camera, in one MP4."""
    root = tmp_path_factory.mktemp("dataset")
    features = {
        name: {"dtype": "float32", "shape": [6], "names": {"motors": NAMES}} for name in ("action", "observation.state")
    }
    features |= {
        key: {"dtype": "video", "shape": [72, 96, 3], "names": ["height", "width", "channels"]}
        for key in CAMERAS.values()
    }
    for kind in ("timestamp", "frame_index", "episode_index", "index", "task_index"):
        features[kind] = {"dtype": "float32" if kind == "timestamp" else "int64", "shape": [1], "names": None}
    info = {
        "codebase_version": "v3.0", "fps": FPS, "features": features, "total_episodes": 2, "total_frames": sum(LENGTHS),
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    }  # fmt: skip
    for part in ("meta/episodes/chunk-000", "data/chunk-000"):
        (root / part).mkdir(parents=True)
    (root / "meta/info.json").write_text(json.dumps(info))
    # As pandas writes a frame whose index is the text. Rows needn't be in the order of task_index.
    tasks = pa.table({"task_index": [1, 0], "__index_level_0__": [INSTRUCTIONS[0], INSTRUCTIONS[1]]})
    pq.write_table(tasks, root / "meta/tasks.parquet")
    write_frames(root)
    begin = np.concatenate([[0], np.cumsum(LENGTHS)])
    rows: dict[str, Any] = {
        "episode_index": [0, 1], "tasks": [[INSTRUCTIONS[0]], [INSTRUCTIONS[1]]], "length": list(LENGTHS),
        "data/chunk_index": [0, 0], "data/file_index": [0, 0],
        "dataset_from_index": begin[:-1].tolist(), "dataset_to_index": begin[1:].tolist(),
        "stats/action/min": [[0.0], [0.0]],
    }  # fmt: skip
    for camera, key in enumerate(CAMERAS.values()):
        write_video(root / f"videos/{key}/chunk-000/file-000.mp4", camera)
        rows |= {f"videos/{key}/chunk_index": [0, 0], f"videos/{key}/file_index": [0, 0]}
        rows |= {
            f"videos/{key}/from_timestamp": (begin[:-1] / FPS).tolist(),
            f"videos/{key}/to_timestamp": (begin[1:] / FPS).tolist(),
        }
    pq.write_table(pa.table(rows), root / "meta/episodes/chunk-000/file-000.parquet")
    return root


def write_frames(root: Path) -> None:
    """Write the frames of both episodes; the command is where the arm is a frame later."""
    columns: dict[str, list[Any]] = {
        k: [] for k in ("observation.state", "action", "timestamp", "frame_index", "episode_index", "task_index")
    }
    for episode, length in enumerate(LENGTHS):
        frames = np.arange(length)
        columns["observation.state"] += to_dataset(positions(episode, frames)).tolist()
        columns["action"] += to_dataset(positions(episode, frames + 1)).tolist()
        columns["timestamp"] += (frames / FPS).tolist()
        columns["frame_index"] += frames.tolist()
        columns["episode_index"] += [episode] * length
        columns["task_index"] += [1 - episode] * length
    types = {"observation.state": pa.list_(pa.float32()), "action": pa.list_(pa.float32()), "timestamp": pa.float32()}
    table = pa.table({k: pa.array(v, types.get(k, pa.int64())) for k, v in columns.items()})
    pq.write_table(table, root / "data/chunk-000/file-000.parquet")


def write_video(path: Path, camera: int) -> None:
    """Write both episodes' grey frames one after the other."""
    path.parent.mkdir(parents=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"g": "8", "crf": "4"})
        stream.width, stream.height, stream.pix_fmt = 96, 72, "yuv420p"
        stream.time_base = Fraction(1, FPS)
        for episode, length in enumerate(LENGTHS):
            for i in range(length):
                grey = np.full((72, 96, 3), brightness(episode, i, camera), np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode())


def test_episodes_are_the_recorded_ones(folder: Path) -> None:
    """Protects training on LeRobot data: joints by name, SI units, image, state and command paired, the words."""
    contract = make_contract()
    handles = open_episodes(folder, contract)
    assert [handle.name for handle in handles] == ["episode_000000", "episode_000001"]
    assert [handle.steps() for handle in handles] == [11, 7]
    for index, handle in enumerate(handles):
        episode = handle.load()
        steps = handle.steps()
        used = np.arange(steps) * 3
        assert episode.instruction == INSTRUCTIONS[index]
        np.testing.assert_allclose(episode.state, positions(index, used), atol=1e-5)
        np.testing.assert_allclose(episode.action, positions(index, used + 1), atol=1e-5)
        assert (episode.state.dtype, episode.stamps_s.dtype) == (np.float32, np.float64)
        np.testing.assert_allclose(episode.stamps_s, np.arange(steps) * contract.policy.step_s)
        assert episode.expert.all()
        for camera, name in enumerate(CAMERAS):
            assert episode.images[name].shape == (steps, 96, 96, 3)
            seen = episode.images[name].reshape(steps, -1).mean(axis=1)
            np.testing.assert_allclose(seen, [brightness(index, f, camera) for f in used], atol=1.9)


@pytest.mark.parametrize(("step_s", "frames"), [(1 / 30, [0, 1, 2, 3]), (0.05, [0, 1, 3, 4]), (0.08, [0, 2, 4, 7])])
def test_no_step_sees_its_future(folder: Path, step_s: float, frames: list[int]) -> None:
    """Protects against training on what the live robot can't know: each step has the newest frame before it."""
    contract = make_contract(policy={"step_s": step_s})
    episode = open_episodes(folder, contract)[0].load()
    np.testing.assert_allclose(episode.state[:4], positions(0, np.array(frames)), atol=1e-5)
    seen = episode.images["front"][:4].reshape(4, -1).mean(axis=1)
    np.testing.assert_allclose(seen, [brightness(0, f, 0) for f in frames], atol=1.9)


def test_they_are_stored_like_our_own(folder: Path, tmp_path: Path) -> None:
    """Protects that nothing downstream tells the sources apart: an episode is written and read back unchanged."""
    contract = make_contract()
    episode = open_episodes(folder, contract)[1].load()
    save_episode(tmp_path / "episode_000000.safetensors", episode, contract)
    again: Episode = load_episode(tmp_path / "episode_000000.safetensors", contract)
    assert (again.instruction, again.metadata) == (episode.instruction, episode.metadata)
    np.testing.assert_array_equal(again.images["wrist"], episode.images["wrist"])
    np.testing.assert_array_equal(again.state, episode.state)


def test_images_in_the_parquet_file(folder: Path, tmp_path: Path) -> None:
    """Protects datasets without videos: PNGs that lie in the data file are read, in RGB."""
    root = copy(folder, tmp_path)
    table = pq.read_table(root / "data/chunk-000/file-000.parquet")
    red = np.zeros((72, 96, 3), np.uint8)
    red[:, :, 0] = 255
    png = cv2.imencode(".png", red[:, :, ::-1])[1].tobytes()
    cells = pa.array([{"bytes": png, "path": "frame-000000.png"}] * table.num_rows)
    pq.write_table(table.append_column(CAMERAS["wrist"], cells), root / "data/chunk-000/file-000.parquet")
    edit_info(root, lambda info: info["features"][CAMERAS["wrist"]].update(dtype="image"))
    image = open_episodes(root, make_contract())[0].load().images["wrist"][3]
    assert (image == (255, 0, 0)).all()


def copy(folder: Path, to: Path) -> Path:
    """Copy the dataset, to break it."""
    return Path(shutil.copytree(folder, to / "dataset"))


def edit_info(root: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change ``meta/info.json``."""
    info = json.loads((root / "meta/info.json").read_text())
    change(info)
    (root / "meta/info.json").write_text(json.dumps(info))


def short_video(root: Path) -> None:
    """Cut a video short, by exchanging it for one of another length."""
    path = root / f"videos/{CAMERAS['front']}/chunk-000/file-000.mp4"
    with av.open(str(path)) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)][:40]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 96, 72, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def edit_table(root: Path, path: str, change: Callable[[dict[str, list[Any]]], Any]) -> None:
    """Change the columns of a parquet file."""
    table = pq.read_table(root / path)
    columns = table.to_pydict()
    change(columns)
    kinds = {field.name: field.type for field in table.schema}
    pq.write_table(pa.table({k: pa.array(v, kinds.get(k)) for k, v in columns.items()}), root / path)


def edits(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Any]:
    """Make a way to break a dataset: change its ``meta/info.json``."""
    return lambda root: edit_info(root, change)


def spoils(path: str) -> Callable[[Path], Any]:
    """Make a way to break a dataset: write nonsense over a file."""
    return lambda root: (root / path).write_bytes(b"nonsense")


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (edits(lambda i: i.update(codebase_version="v2.1")), r"info.json: codebase_version is 'v2.1'.*convert"),
        (edits(lambda i: i.update(fps=5)), r"info.json: fps 5 is slower.*at least 0.2000"),
        (edits(lambda i: i["features"].pop("action")), r"info.json: features: lacks 'action'"),
        (edits(lambda i: i["features"]["action"].update(names=None)), r"action.names: \[\] has no 'pan'.*lerobot"),
        (
            edits(lambda i: i["features"].pop(CAMERAS["front"])),
            r"'observation.images.table' is no camera; the dataset has \['observation.images.wrist'\]",
        ),
        (spoils("meta/tasks.parquet"), r"tasks\.parquet: corrupt"),
        (spoils("data/chunk-000/file-000.parquet"), r"file-000.parquet: corrupt"),
        (spoils(f"videos/{CAMERAS['wrist']}/chunk-000/file-000.mp4"), r"wrist.*file-000.mp4: can't be decoded"),
        # E: each was a traceback.
        (edits(lambda i: i.update(fps=0)), r"info.json: fps: Input should be greater than 0 \(got 0\)"),
        (edits(lambda i: i.update(fps="30")), r"info.json: fps: .* number \(got '30'\)"),
        (
            edits(lambda i: i.update(data_path="data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet")),
            r"info.json: data_path 'data/chunk-\{episode_chunk.* is no path of v3.*converted",
        ),
        (edits(lambda i: i.pop("video_path")), r"info.json: video_path is missing"),
        (edits(lambda i: i["features"]["action"].update(names=5)), r"action.names: \[\] has no 'pan'"),
        (edits(lambda i: i["features"]["action"].pop("dtype")), r"info.json: features.action.dtype is missing"),
        (pointer("data/chunk-000/file-000.parquet"), r"file-000.parquet: is a Git LFS pointer.*git lfs pull"),
        (pointer("meta/info.json"), r"info.json: is a Git LFS pointer.*git lfs pull"),
        (lambda root: (root / f"videos/{CAMERAS['wrist']}/chunk-000/file-000.mp4").unlink(), r"mp4: no such file"),
        (lambda root: (root / "data/chunk-000/file-000.parquet").unlink(), r"file-000.parquet: no such file"),
        (short_video, r"file-000.mp4: has no frame within 0.0083 s of 1.333\d s \(episode_000001, camera front\)"),
    ],
)
def test_broken_datasets_say_what_to_do(
    folder: Path, tmp_path: Path, break_it: Callable[[Path], Any], says: str
) -> None:
    """Protects the user's time: the error names the file, the key and the fix."""
    root = copy(folder, tmp_path)
    break_it(root)
    with pytest.raises(EpisodeError, match=says):
        open_episodes(root, make_contract())[1].load()


def test_a_wrong_unit_is_noticed(folder: Path) -> None:
    """Protects against degrees that are taken for radians: no pose of the robot is that far outside its limits."""
    shipped = make_contract()
    data = yaml.safe_load(shipped.text)
    data["lerobot"]["joints"]["shoulder_pan"]["unit"] = "rad"
    contract = contract_from_text(yaml.safe_dump(data), shipped.path)
    with pytest.raises(EpisodeError, match=r"shoulder_pan goes from .* far outside its limits.*unit: deg"):
        open_episodes(folder, contract)[0].load()


def test_contract_names_only_its_own_joints_and_cameras() -> None:
    """Protects the mapping: a misspelt joint would otherwise be read by its default name and unit."""
    gripper, pan = (make_contract().lerobot_joints[name] for name in ("gripper", "shoulder_pan"))
    assert (gripper.scale, gripper.offset) == pytest.approx((0.018, -0.1))
    assert (pan.scale, pan.offset) == pytest.approx((math.pi / 180, 0))
    with pytest.raises(ContractError, match=r"lerobot.cameras: 'top' is not among the robot's \['front', 'wrist'\]"):
        make_contract(lerobot={"cameras": {"top": "observation.images.top"}})
    with pytest.raises(ContractError, match=r"lerobot.joints.gripper.limits: unknown key; did you mean|known keys"):
        make_contract(lerobot={"joints": {"gripper": {"feature": "g", "unit": "rad", "limits": 1}}})


DATA, ROWS, TASKS = "data/chunk-000/file-000.parquet", "meta/episodes/chunk-000/file-000.parquet", "meta/tasks.parquet"


@pytest.mark.parametrize("name", ["__index_level_0__", "task"])
def test_the_instruction_is_the_standards_column(folder: Path, tmp_path: Path, name: str) -> None:
    """Protects what is learnt (report F13): another text column, and be it the first, is not what the arm is told."""
    root = copy(folder, tmp_path)
    columns = {"category": ["blocks", "blocks"], "task_index": [1, 0], name: list(INSTRUCTIONS)}
    pq.write_table(pa.table(columns), root / TASKS)
    assert [e.load().instruction for e in open_episodes(root, make_contract())] == list(INSTRUCTIONS)
    pq.write_table(pa.table({"category": ["a", "b"], "task_index": [1, 0]}), root / TASKS)
    with pytest.raises(EpisodeError, match=r"tasks.parquet: lacks the instructions.*'category'"):
        open_episodes(root, make_contract())


ODD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "too short": (
        lambda r: edit_table(r, ROWS, lambda c: c["length"].__setitem__(1, 25)),
        "20 frames of .*says 25",
    ),
    "no frame": (lambda r: edit_table(r, ROWS, lambda c: c["length"].__setitem__(1, 0)), "episode 1: has no frame"),
    "NaN": (
        lambda r: edit_table(r, DATA, lambda c: c["action"].__setitem__(40, [math.nan] * 6)),
        "episode_000001: action holds NaN",
    ),
    "another rate": (
        lambda r: edit_table(r, DATA, lambda c: c["timestamp"].__setitem__(50, 2.0)),
        "episode_000001's timestamps leave the 30 fps",
    ),
    "another task": (lambda r: edit_table(r, DATA, lambda c: c["task_index"].__setitem__(50, 1)), "changes its task"),
    "no video": (
        lambda r: edit_table(r, ROWS, lambda c: c[f"videos/{CAMERAS['wrist']}/file_index"].__setitem__(1, 7)),
        "file-007.mp4: no such file, with the images of episode_000001",
    ),
    "past its video": (
        lambda r: edit_table(r, ROWS, lambda c: c[f"videos/{CAMERAS['wrist']}/to_timestamp"].__setitem__(1, 1.2)),
        "episode_000001 ends at 1.200 s of this video",
    ),
    "listed twice": (
        lambda r: edit_table(r, ROWS, lambda c: [v.append(v[1]) for v in c.values()]),
        "episode 1 is listed twice",
    ),
}


@pytest.mark.parametrize("case", ODD)
def test_one_odd_episode_is_left_out_by_name(folder: Path, tmp_path: Path, case: str) -> None:
    """Protects the others (report F13): one that can't be used is named, and does not stop a whole dataset."""
    spoil, says = ODD[case]
    root = copy(folder, tmp_path)
    spoil(root)
    left_out: list[str] = []
    names = [handle.name for handle in open_episodes(root, make_contract(), left_out)]
    assert names == ["episode_000000", *(["episode_000001"] if case == "listed twice" else [])]
    assert len(left_out) == 1
    assert re.search(says, left_out[0]), left_out


def test_a_missing_image_file_is_named(folder: Path, tmp_path: Path) -> None:
    """Protects the user's time (report E): images that lie beside the data and aren't there were a traceback."""
    root = copy(folder, tmp_path)
    table = pq.read_table(root / DATA)
    cells = pa.array([{"bytes": None, "path": "images/frame-000000.png"}] * table.num_rows)
    pq.write_table(table.append_column(CAMERAS["wrist"], cells), root / DATA)
    edit_info(root, lambda info: info["features"][CAMERAS["wrist"]].update(dtype="image"))
    with pytest.raises(EpisodeError, match=r"images.wrist: frame 0 of episode_000000: .*frame-000000.png: no such"):
        open_episodes(root, make_contract())[0].load()
