# SPDX-License-Identifier: Apache-2.0
"""The geometry network's ground truth: depth, poses and fields of view of rendered sequences agree with each other."""

from pathlib import Path

import numpy as np
import pytest
from ruckig import RuckigError

from swiftvla_ros.cluster.runner import Runner
from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.datasets.store import GeometrySequences, list_files, load_sequences
from swiftvla_ros.sim.data.geometry_sequences import STEPS, render_sequences
from swiftvla_ros.sim.inverse_kinematics import OutOfReachError
from swiftvla_ros.training.geometry.samples import SequenceSamples, quaternions, rays

COUNT = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, contract: Contract) -> Path:
    """Return a folder with a few rendered sequences."""
    out = tmp_path_factory.mktemp("sequences")
    render_sequences(out, COUNT, runner=Runner(progress=False), seed=11, contract=contract)
    return out


@pytest.fixture(scope="module")
def sequences(folder: Path, contract: Contract) -> GeometrySequences:
    """Return these sequences."""
    return load_sequences(list_files(folder, "sequences")[0], contract)


def test_shapes_and_view_order(sequences: GeometrySequences) -> None:
    """Protect the order of views that the network and the policy's stream rely on: the front camera is last."""
    assert sequences.views == ("wrist", "front")
    assert sequences.images.shape == (COUNT, STEPS, 2, 96, 96, 3)
    assert sequences.depth.shape == (COUNT, STEPS, 2, 96, 96)
    assert np.isfinite(sequences.depth).all()
    assert sequences.depth.min() > 0


def test_depth_and_poses_agree_between_cameras(sequences: GeometrySequences) -> None:
    """Protect the truth itself: what the wrist camera sees, projected into the front image, is there at that depth."""
    agree, seen = 0, 0
    for n in range(COUNT):
        for step in (0, STEPS - 1):
            off = _depth_mismatch(sequences, (n, step, 0), (n, step, 1))
            # What is hidden from the front camera lies behind what it shows; the rest has to be where it is seen.
            visible = off < 0.02
            seen += int(visible.sum())
            agree += int((np.abs(off[visible]) < 0.006).sum())
    assert seen > 2000
    assert agree / seen > 0.9


def test_wrong_poses_would_be_noticed(sequences: GeometrySequences) -> None:
    """Protect the test above from passing whatever the poses are: a camera turned by 3° fails it."""
    c, s = np.cos(np.radians(3)), np.sin(np.radians(3))
    turned = sequences.base_from_camera.copy()
    turned[:, :, 1, :3, :3] = turned[:, :, 1, :3, :3] @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]], np.float32)
    wrong = GeometrySequences(sequences.views, sequences.images, sequences.depth, turned, sequences.fov)
    off = np.concatenate([_depth_mismatch(wrong, (n, 0, 0), (n, 0, 1)) for n in range(COUNT)])
    visible = off < 0.02
    assert (np.abs(off[visible]) < 0.006).mean() < 0.5


def test_scenes_move_and_differ(sequences: GeometrySequences) -> None:
    """Protect the variety that training needs: the arm moves, every front camera and every scene is another."""
    wrist = sequences.base_from_camera[:, :, 0, :3, 3]
    assert (np.linalg.norm(wrist[:, -1] - wrist[:, 0], axis=-1) > 0.002).sum() >= COUNT - 1
    front = sequences.base_from_camera[:, 0, 1, :3, 3]
    assert len(np.unique(front.round(4), axis=0)) == COUNT
    assert (sequences.base_from_camera[:, 0, 1] == sequences.base_from_camera[:, -1, 1]).all()
    assert len(np.unique(sequences.fov[:, 0, 1, 0])) == COUNT


def test_same_seed_gives_the_same_and_kept_shards_are_not_rendered_again(
    tmp_path: Path, folder: Path, contract: Contract, sequences: GeometrySequences
) -> None:
    """Protect reproducibility, and that a killed rendering goes on."""
    render_sequences(tmp_path, 1, runner=Runner(progress=False), seed=11, contract=contract)
    again = load_sequences(list_files(tmp_path, "sequences")[0], contract)
    np.testing.assert_array_equal(again.images[0], sequences.images[0])
    np.testing.assert_array_equal(again.depth[0], sequences.depth[0])
    before = list_files(folder, "sequences")[0].stat().st_mtime_ns
    render_sequences(folder, COUNT, runner=Runner(progress=False), seed=12, contract=contract)
    assert list_files(folder, "sequences")[0].stat().st_mtime_ns == before


def test_a_block_out_of_reach_ends_no_rendering(
    tmp_path: Path, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protect long renderings from the one scene in which the arm pushes a block away."""

    def fail(*_: object) -> None:
        raise OutOfReachError("far away")

    monkeypatch.setattr("swiftvla_ros.sim.data.geometry_sequences.Expert.tick", fail)
    monkeypatch.setattr("swiftvla_ros.sim.data.geometry_sequences._EXPERT", 1.0)
    render_sequences(tmp_path, 1, runner=Runner(progress=False), seed=0, contract=contract)
    assert list_files(tmp_path, "sequences")


def test_a_scene_without_a_trajectory_is_replaced(
    tmp_path: Path, contract: Contract, monkeypatch: pytest.MonkeyPatch, sequences: GeometrySequences
) -> None:
    """Protect long renderings from the one motion that the demonstrator's generator can't compute."""
    seeds: list[int] = []

    def film(_world: object, _contract: object, _views: object, scene_seed: int) -> tuple[np.ndarray, ...]:
        seeds.append(scene_seed)
        if len(seeds) == 1:
            raise RuckigError("no way")
        parts = (sequences.images, sequences.depth, sequences.base_from_camera, sequences.fov)
        return tuple(part[0] for part in parts)

    monkeypatch.setattr("swiftvla_ros.sim.data.geometry_sequences._film", film)
    render_sequences(tmp_path, 1, runner=Runner(progress=False), seed=0, contract=contract)
    assert len(set(seeds)) == 2
    assert list_files(tmp_path, "sequences")


def test_samples_say_the_same_as_the_files(folder: Path, contract: Contract, sequences: GeometrySequences) -> None:
    """Protect the training targets: points through the pose are the depth again, from any step on."""
    samples = SequenceSamples(list_files(folder, "sequences"), contract)
    sample = samples.take(np.array([1, 2]), np.array([0, 3]), 4)
    np.testing.assert_array_equal(sample.depth[1].numpy(), sequences.depth[2, 3:7].astype(np.float32))
    identity = sample.pose[:, 0, 0, :7].numpy()
    np.testing.assert_allclose(identity, np.tile([0, 0, 0, 0, 0, 0, 1], (2, 1)), atol=1e-6)
    t, quaternion = sample.pose[..., :3].numpy(), sample.pose[..., 3:7].numpy()
    points = sample.points.numpy().reshape(2, 4, 2, -1, 3)
    in_camera = points @ _matrices(quaternion).swapaxes(-1, -2) + t[..., None, :]
    np.testing.assert_allclose(in_camera[..., 2], sample.depth.flatten(3).numpy(), atol=1e-4)


def test_quaternions_are_the_rotations() -> None:
    """Protect the pose encoding in all four quadrants of the formula, half turns too."""
    rng = np.random.default_rng(0)
    unit = rng.standard_normal((200, 4))
    unit[:4] = np.eye(4)
    unit /= np.linalg.norm(unit, axis=-1, keepdims=True)
    found = quaternions(_matrices(unit))
    assert (found[:, 3] >= 0).all()
    np.testing.assert_allclose(np.abs((found * unit).sum(-1)), 1, atol=1e-12)


def _matrices(quaternion: np.ndarray) -> np.ndarray:
    x, y, z, w = np.moveaxis(quaternion, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def _depth_mismatch(s: GeometrySequences, source: tuple[int, int, int], target: tuple[int, int, int]) -> np.ndarray:
    """How much deeper the source's pixels lie in the target's camera than the target's image says, m."""
    h, w = s.depth.shape[-2:]
    points = s.depth[source].astype(np.float64)[..., None] * rays(s.fov[source], (h, w))
    points = points.reshape(-1, 3)
    move = np.linalg.inv(s.base_from_camera[target].astype(np.float64)) @ s.base_from_camera[source]
    points = points @ move[:3, :3].T + move[:3, 3]
    half = np.tan(s.fov[target] / 2)
    column = np.floor((points[:, 0] / points[:, 2] / half[1] + 1) * w / 2).astype(int)
    row = np.floor((points[:, 1] / points[:, 2] / half[0] + 1) * h / 2).astype(int)
    inside = (points[:, 2] > 0) & (column >= 0) & (column < w) & (row >= 0) & (row < h)
    return points[inside, 2] - s.depth[target].astype(np.float64)[row[inside], column[inside]]
