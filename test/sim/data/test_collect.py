# SPDX-License-Identifier: Apache-2.0
"""Recorded demonstrations and rendered scenes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from swiftvla_ros.cluster.runner import Runner
from swiftvla_ros.cluster.settings import SettingsError
from swiftvla_ros.cluster.work import Shard
from swiftvla_ros.contract.contract import Contract
from swiftvla_ros.episodes.datasets.store import list_files, load_episode, load_scenes
from swiftvla_ros.policy import Observation, Policy
from swiftvla_ros.sim.data.collect import Recorder, collect
from swiftvla_ros.sim.data.grounding_scenes import render_scenes
from swiftvla_ros.sim.language import Task
from swiftvla_ros.sim.tasks.registry import STANDARD_TASKS, parse

_COLLECT = """
import sys
from pathlib import Path
from swiftvla_ros.cluster.runner import Runner
from swiftvla_ros.contract import load_contract
from swiftvla_ros.sim.data.collect import collect
collect(Path(sys.argv[1]), 7, runner=Runner(progress=False), seed=4, contract=load_contract("so101_sim"))
"""


def test_collecting_goes_on_after_a_kill(tmp_path: Path, contract: Contract) -> None:
    """A killed collection loses nothing that it wrote; run again it is, file by file, what parts elsewhere record."""
    parts, tmp_path = tmp_path / "parts", tmp_path / "killed"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    process = subprocess.Popen([sys.executable, "-c", _COLLECT, str(tmp_path)], env=environment)
    deadline = time.monotonic() + 240
    while len(list(tmp_path.glob("episode_*.safetensors"))) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in list_files(tmp_path, "episode")}
    assert len(before) < len(STANDARD_TASKS)

    report = collect(tmp_path, 7, runner=Runner(progress=False), seed=4, contract=contract)

    assert report.episodes == 7
    assert report.recorded == 7 - len(before)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())
    told = collect(parts, 7, runner=Runner(shard=Shard(2, 2), progress=False), seed=4, contract=contract)
    assert (told.recorded, told.problem) == (1, "")
    assert [path.name for path in list_files(parts, "episode")] == ["episode_000006.safetensors"]
    for path in parts.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()
    with pytest.raises(SettingsError, match=r"collection.json: seed is 4, now it would be 5"):
        collect(parts, 7, runner=Runner(progress=False), seed=5, contract=contract)

    episodes = [load_episode(path, contract) for path in list_files(tmp_path, "episode")[:6]]
    assert {(e.metadata["verb"], e.metadata["color"]) for e in episodes} == {(t.verb, t.color) for t in STANDARD_TASKS}
    layouts = np.array([episode.metadata["block_positions"] for episode in episodes])
    assert np.ptp(layouts, axis=0).max() < 0.001, "one layout is shown for every task"
    for episode in episodes:
        task = parse(episode.instruction)
        assert task is not None
        assert (task.verb, task.color) == (episode.metadata["verb"], episode.metadata["color"])
        steps = len(episode.stamps_s)
        np.testing.assert_allclose(np.diff(episode.stamps_s), contract.policy.step_s, atol=1e-6)
        assert episode.state.shape == episode.action.shape == (steps, len(contract.joints))
        assert episode.expert.any()
        assert episode.expert.all() != bool(episode.metadata["bump"])
        # Measured joints follow what was commanded, so rows of both belong to the same time.
        assert np.abs(episode.state - episode.action)[:, :5].max() < 0.1


class Drifting(Policy):
    """A policy that turns aside, wherever it is."""

    step_s = 0.1

    def infer(self, observation: Observation, **_: object) -> NDArray[np.float64]:
        return observation.state + np.linspace(0, 0.4, 10)[:, None] * np.array([1, 0, 0, 0, 0, 0])


def test_the_expert_takes_over_from_a_policy(contract: Contract) -> None:
    """With a pilot, recording starts where the policy has led the arm, and the expert still succeeds from there."""
    recorder = Recorder(contract, Drifting())
    try:
        episode = recorder.record(Task("pick", "red"), 3, np.random.default_rng(4))
    finally:
        recorder.close()
    assert episode is not None
    assert episode.metadata["start"] == "policy"
    assert abs(episode.action[0, 0] - contract.rest[0]) > 0.1


def test_scenes_name_the_block_that_is_meant(tmp_path: Path, contract: Contract) -> None:
    """A scene's labels are those of its sentences, and differ between colours."""
    (path,) = render_scenes(tmp_path, 5, runner=Runner(progress=False), seed=9, contract=contract)
    scenes = load_scenes(path, contract)
    assert scenes.target_uv.shape == (5, len(STANDARD_TASKS), 2)
    assert ((scenes.target_uv > 0) & (scenes.target_uv < 1)).all()
    for scene, sentences in enumerate(scenes.instructions):
        assert [parse(sentence) for sentence in sentences] == list(STANDARD_TASKS)
        red, green, blue = scenes.target_uv[scene, :3]
        np.testing.assert_array_equal(scenes.target_uv[scene, 3:], scenes.target_uv[scene, :3])
        assert min(np.linalg.norm(red - green), np.linalg.norm(red - blue), np.linalg.norm(green - blue)) > 0.05
    written = path.stat().st_mtime_ns
    render_scenes(tmp_path, 5, runner=Runner(progress=False), seed=9, contract=contract)
    assert path.stat().st_mtime_ns == written
