# SPDX-License-Identifier: Apache-2.0
"""Two Ray nodes on this machine, one of which is killed at work."""

import importlib.util
import os
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from squares import file_of, square_when_released

from _local_cluster import LocalCluster
from swiftvla_ros.cluster.installation import installation
from swiftvla_ros.cluster.runner import Runner, WorkError
from swiftvla_ros.cluster.work import Work

pytestmark = pytest.mark.skipif(
    not importlib.util.find_spec("ray"), reason="Ray is not installed: pip install '.[cluster]'"
)
SECOND = "127.0.0.3"


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Start two nodes."""
    with LocalCluster() as cluster, pytest.MonkeyPatch.context() as monkeypatch:
        for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_USAGE_STATS_ENABLED"):
            monkeypatch.setitem(os.environ, name, cluster.environment[name])
        cluster.ensure(SECOND)
        yield cluster


def kill_when_both_work(cluster: LocalCluster, folder: Path) -> None:
    """Kill the second node when two items are being made, then let all be made."""
    deadline = time.monotonic() + 100
    while len(list(folder.glob("begun_*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    cluster.kill(SECOND)
    (folder / "released").touch()


@pytest.mark.timeout(300)
def test_a_lost_node_costs_its_running_item_alone(cluster: LocalCluster, tmp_path: Path) -> None:
    """Protects long runs: nothing is lost or doubled, and what the lost node was at is begun once more."""
    from swiftvla_ros.cluster.ray_engine import over_ray

    killer = threading.Thread(target=kill_when_both_work, args=(cluster, tmp_path))
    killer.start()
    work = Work(
        "squares", range(7), partial(square_when_released, tmp_path), files=lambda item: [file_of(tmp_path, item)]
    )
    done = Runner(over_ray(cluster.address, tmp_path, 0), progress=False).run(work)
    killer.join()
    assert (done.results, done.failed, done.again) == ([item * item for item in range(7)], [], 1)
    assert len(done.hosts) == 1
    assert len(list(tmp_path.glob("begun_*"))) == 8
    assert sorted(tmp_path.glob("item_*")) == [file_of(tmp_path, item) for item in range(7)]
    assert not list(tmp_path.glob(".cluster-*"))


@pytest.mark.timeout(300)
def test_a_machine_that_would_give_other_results_is_told(
    cluster: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects equal results: other versions on a machine end it with their names, before anything is made."""
    from swiftvla_ros.cluster import ray_engine

    monkeypatch.setattr(ray_engine, "installation", lambda: installation() | {"mujoco": "1.0"})
    work = Work("squares", range(7), partial(square_when_released, tmp_path))
    with pytest.raises(WorkError, match=r"has other versions, .*: mujoco 1\.0 \(it has "):
        Runner(ray_engine.over_ray(cluster.address, tmp_path, 0), progress=False).run(work)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("address", ["127.0.0.9:6390", "local", ""])
def test_a_cluster_that_is_not_there_is_told(address: str, tmp_path: Path) -> None:
    """Protects the first try: nothing is started or awaited for minutes, the sentence says how to start one."""
    from swiftvla_ros.cluster.ray_engine import ClusterError, over_ray

    with pytest.raises(ClusterError, match=f"--cluster {address}: no Ray cluster answers .*ray start --head"):
        Runner(over_ray(address, tmp_path, 0), progress=False).run(Work("squares", range(2), int))
