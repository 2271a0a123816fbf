# SPDX-License-Identifier: Apache-2.0
"""Episodes by name, in whatever process: the same ones as are listed, and no other bag is opened for them."""

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from teleoperation import ROBOT, write_teleoperation

from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.datasets.finder import EpisodeFolder
from swiftvla_ros.episodes.datasets.sources import open_episodes
from swiftvla_ros.episodes.datasets.store import Episode, EpisodeError, save_episode

RECORDED = Path(__file__).parents[2] / "replay" / "bags" / "pick_red"
TWICE = ((0.5, "pick up the red block"), (2.0, "touch the blue block"))


def test_bags_are_found_by_the_names_of_the_listing(tmp_path: Path) -> None:
    """Protects workers: names that begin alike, several episodes in a bag, and a damaged bag that nobody asked for."""
    write_teleoperation(tmp_path / "a", seconds=1.5)
    write_teleoperation(tmp_path / "a_b", seconds=4.0, texts=TWICE)
    listed = open_episodes(tmp_path, ROBOT)
    assert [handle.name for handle in listed] == ["a", "a_b_episode_000000", "a_b_episode_000001"]
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "broken.mcap").write_bytes(b"no bag")
    folder = pickle.loads(pickle.dumps(EpisodeFolder(tmp_path, ROBOT)))  # noqa: S301 - ours
    found = folder.find([handle.name for handle in listed[::-1]])
    for there, here in zip(listed[::-1], found, strict=True):
        assert there.name == here.name
        np.testing.assert_array_equal(there.load().state, here.load().state)
        assert there.steps() <= here.expected_steps() <= there.steps() + 12
    with pytest.raises(EpisodeError, match=r"episode 'a_b_episode_000002' is there no more"):
        folder.find(["a_b_episode_000002"])


def test_other_folders_are_found_in(contract: Contract, tmp_path: Path) -> None:
    """Protects workers: files of our own beside bags, and when what holds an episode was changed last."""
    shutil.copytree(RECORDED, tmp_path / "pick_red")
    images = {name: np.zeros((3, 96, 96, 3), np.uint8) for name in contract.camera_names}
    zeros, stamps = np.zeros((3, 6), np.float32), np.arange(3) * 0.1
    path = tmp_path / "episode_000007.safetensors"
    save_episode(path, Episode("pick up the red block", images, zeros, zeros, np.ones(3, bool), stamps), contract)
    folder = EpisodeFolder(tmp_path, contract)
    names = [handle.name for handle in open_episodes(tmp_path, contract)]
    found = folder.find(names)
    assert [handle.name for handle in found] == names == [path.name, "pick_red_episode_000000"]
    assert [found[0].expected_steps(), found[1].expected_steps() - found[1].steps()] == [3, 0]
    for name, changed in ((names[0], path), (names[1], tmp_path / "pick_red" / "metadata.yaml")):
        os.utime(changed, (2e9, 2e9))
        assert folder.changed_s(name) == 2e9
    path.unlink()
    with pytest.raises(EpisodeError, match=r"'episode_000007.safetensors' is there no more"):
        folder.find(names)
