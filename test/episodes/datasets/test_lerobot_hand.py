# SPDX-License-Identifier: Apache-2.0
"""A dataset of exactly the form of ``lerobot/libero`` is read for the benchmark's robot."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from libero_dataset import LENGTHS, TASKS, numbers, write_dataset

from swiftvla_ros.contract import load_contract
from swiftvla_ros.episodes.datasets.sources import open_episodes
from swiftvla_ros.episodes.datasets.store import EpisodeError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the dataset."""
    return write_dataset(tmp_path)


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
