# SPDX-License-Identifier: Apache-2.0
"""What is said of a path that names nothing."""

from pathlib import Path

import pytest

from swiftvla_ros.contract import load_contract
from swiftvla_ros.episodes.datasets.bag_listing import open_bags
from swiftvla_ros.episodes.datasets.sources import open_episodes
from swiftvla_ros.episodes.datasets.store import EpisodeError


def test_a_path_of_nothing_is_told_as_that(tmp_path: Path) -> None:
    """Protects whoever mistypes a path from advice about what is in it; an id of the hub is known as one."""
    contract = load_contract("so101_sim")
    for read in (open_episodes, open_bags):
        with pytest.raises(EpisodeError, match="there is no such file or folder"):
            read(tmp_path / "nothing", contract)
    with pytest.raises(EpisodeError, match="hf download lerobot/pusht"):
        open_episodes(Path("lerobot/pusht"), contract)
