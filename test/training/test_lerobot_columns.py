# SPDX-License-Identifier: Apache-2.0
"""What our training reads beside a LeRobotDataset's own columns, written and read again."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from swiftvla_ros.cli.main import app
from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.datasets.lerobot_part import even_part
from swiftvla_ros.episodes.datasets.sources import open_episodes
from swiftvla_ros.episodes.teacher.targets import TeacherTargets
from swiftvla_ros.model.config import SwiftVLAConfig
from swiftvla_ros.training.importers.lerobot_columns import KEYPOINTS, VALID_ROWS, geometry_columns, labels_of_columns
from swiftvla_ros.training.samples import EpisodeSamples


@pytest.fixture(scope="module")
def exported(recorded: Path, start: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export the recorded demonstrations with labels for the tiny network, and with its teacher's features."""
    out = tmp_path_factory.mktemp("exported") / "dataset"
    words = ["export-lerobot", recorded / "episodes", out, "--labels-for", start]
    result = CliRunner().invoke(app, [*map(str, words), "--teacher-targets", str(recorded / "targets")])
    assert result.exit_code == 0, result.output
    return out


def test_the_labels_are_the_trainings_own(
    exported: Path, recorded: Path, contract: Contract, tiny: SwiftVLAConfig
) -> None:
    """Protects whoever trains from the dataset: rows to imitate and keypoints are those of `swiftvla train`."""
    table = pq.read_table(exported / "data/chunk-000/file-000.parquet")
    valid_rows = table[VALID_ROWS].to_numpy()
    keypoints = np.array(table[KEYPOINTS].to_pylist(), np.float32)
    begin = 0
    for handle in open_episodes(recorded / "episodes", contract):
        part, _ = even_part(handle.load(), contract.policy.step_s)
        assert part is not None
        samples = EpisodeSamples([handle], contract, tiny, lambda _: np.zeros(1, np.int64))
        first = int(np.argmin(np.abs(samples.stamps_s - part.stamps_s[0])))
        wanted = samples.labels(np.arange(first, first + len(part.state)))
        rows = slice(begin, begin + len(part.state))
        found = labels_of_columns(wanted.actions, valid_rows[rows], keypoints[rows])
        np.testing.assert_array_equal(found.row_valid[part.expert], wanted.row_valid[part.expert])
        np.testing.assert_array_equal(found.keypoint_valid, wanted.keypoint_valid)
        known = wanted.keypoint_valid
        np.testing.assert_array_equal(found.keypoint_uv[known], wanted.keypoint_uv[known])
        begin += len(part.state)
    assert begin == table.num_rows
    assert (valid_rows == 0).any()


def test_the_teachers_features_lie_with_their_frames(exported: Path, recorded: Path, contract: Contract) -> None:
    """Protects stage 2: each frame has the features of its own episode and stamp, of every temporal cache."""
    table = pq.read_table(exported / "data/chunk-000/file-000.parquet")
    columns = geometry_columns(dict.fromkeys(table.column_names))
    assert set(columns) == {3, 6}
    targets = TeacherTargets.open(recorded / "targets")
    handle = open_episodes(recorded / "episodes", contract)[1]
    part, _ = even_part(handle.load(), contract.policy.step_s)
    assert part is not None
    own = table.filter(np.array(table["episode_index"].to_pylist()) == 1)
    for k, column in columns.items():
        found = np.array(own[column].to_pylist(), np.float16)
        np.testing.assert_array_equal(found, targets.read(handle.name, part.stamps_s, k))


def test_targets_without_a_network_are_refused(recorded: Path, tmp_path: Path) -> None:
    """Protects from a dataset that no training can read: 4D features come with the labels of a network."""
    words = ["export-lerobot", recorded / "episodes", tmp_path / "out", "--teacher-targets", recorded / "targets"]
    result = CliRunner().invoke(app, list(map(str, words)))
    assert result.exit_code == 2
    assert "--labels-for" in result.output
