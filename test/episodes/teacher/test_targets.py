# SPDX-License-Identifier: Apache-2.0
"""Teacher targets: computed once, they are what a live stream gives, and nothing else passes for them."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from swiftvla_ros.cli.main import app
from swiftvla_ros.cluster.runner import Runner
from swiftvla_ros.cluster.work import Shard
from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.datasets.finder import EpisodeFolder
from swiftvla_ros.episodes.datasets.sources import open_episodes
from swiftvla_ros.episodes.datasets.store import Episode, EpisodeError, load_episode, save_episode
from swiftvla_ros.episodes.teacher import targets as teacher_targets
from swiftvla_ros.episodes.teacher.run import TeacherRun, compute_batch, even_runs, plan, stream_episodes
from swiftvla_ros.episodes.teacher.stream import GeometryStream, ViewError, view_order
from swiftvla_ros.episodes.teacher.targets import TargetsError, TeacherTargets, check_room, write_index
from swiftvla_ros.geometry import PRESETS, GeometryTransformer, load_geometry, pool_tokens, save_geometry
from swiftvla_ros.geometry.feature_stream import FeatureStream

LENGTHS = (5, 9, 6, 7)


@pytest.fixture(scope="module")
def geometry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a random geometry transformer, smaller still than nano."""
    torch.manual_seed(0)
    nano = PRESETS["geometry-nano"]()
    config = dataclasses.replace(
        nano, dim=32, num_heads=2, num_pairs=2, encoder=dataclasses.replace(nano.encoder, num_layers=1, num_heads=2)
    )
    folder = tmp_path_factory.mktemp("geometry")
    save_geometry(GeometryTransformer(config), folder, "random weights")
    return folder


@pytest.fixture(scope="module")
def episodes(tmp_path_factory: pytest.TempPathFactory, contract: Contract) -> Path:
    """Store a few short episodes of noise."""
    folder = tmp_path_factory.mktemp("episodes")
    rng = np.random.default_rng(0)
    for i, length in enumerate(LENGTHS):
        images = {n: rng.integers(0, 256, (length, 96, 96, 3), dtype=np.uint8) for n in contract.camera_names}
        zeros = np.zeros((length, 6), np.float32)
        stamps = np.arange(length) * contract.policy.step_s
        episode = Episode("pick up the red block", images, zeros, zeros, np.ones(length, bool), stamps)
        save_episode(folder / f"episode_{i:06d}.safetensors", episode, contract)
    return folder


def make_run(episodes: Path, out: Path, geometry: Path, contract: Contract) -> TeacherRun:
    """Describe a run over all episodes, three side by side."""
    folder = EpisodeFolder(episodes, contract)
    return TeacherRun(folder, out, geometry, "front", (2, 3), batch=3, device="cpu", precision="float32")


@pytest.fixture(scope="module")
def computed(
    tmp_path_factory: pytest.TempPathFactory, episodes: Path, geometry: Path, contract: Contract
) -> TeacherTargets:
    """Compute the targets of all episodes."""
    run = make_run(episodes, tmp_path_factory.mktemp("targets"), geometry, contract)
    Runner(progress=False).run(plan(run).work).check()
    write_index(run.out)
    return TeacherTargets.open(run.out)


def test_a_live_stream_gives_the_stored_features(
    computed: TeacherTargets, episodes: Path, geometry: Path, contract: Contract
) -> None:
    """Protects training on what inference sees: stream, stored targets and one causal pass agree, after a reset too."""
    net = load_geometry(geometry)
    views = ("wrist", "front")
    assert computed.config.views == views
    streams = {k: GeometryStream(geometry, contract, cache_steps=k) for k in computed.cache_steps}
    for handle in open_episodes(episodes, contract)[:2]:
        episode = handle.load()
        pixels = torch.from_numpy(np.stack([episode.images[v] for v in views], axis=1)).movedim(-1, -3) / 255
        for k, stream in streams.items():
            stream.reset()
            live = np.stack(
                [stream.observe({v: episode.images[v][t] for v in views}) for t in range(len(episode.stamps_s))]
            )
            with torch.no_grad():
                whole = net(pixels[None], window=k, heads=()).features[0, :, -1]
            np.testing.assert_allclose(live, pool_tokens(whole, net.config.grid).numpy(), atol=1e-5)
            stored = computed.read(handle.name, episode.stamps_s, k)
            assert (stored.dtype, stored.shape) == (np.float16, (len(live), computed.tokens, computed.dim))
            np.testing.assert_allclose(stored, live, atol=1e-5 + np.abs(live).max() * 2**-11)


def test_the_cache_begins_anew_after_a_gap(episodes: Path, geometry: Path, contract: Contract) -> None:
    """Protects the even steps that the 4D cache was trained with: steps that were left out never become neighbours."""
    whole = open_episodes(episodes, contract)[1].load()
    kept = [0, 1, 2, 3, 6, 7, 8]
    images = {name: stack[kept] for name, stack in whole.images.items()}
    holed = dataclasses.replace(whole, images=images, stamps_s=whole.stamps_s[kept])
    assert even_runs(holed.stamps_s) == [(0, 4), (4, 7)]
    assert even_runs(holed.stamps_s[:1]) == [(0, 1)]
    views = view_order(contract)
    tail = dataclasses.replace(whole, images={n: s[6:] for n, s in whole.images.items()}, stamps_s=whole.stamps_s[6:])
    out, alone = stream_episodes(FeatureStream(geometry), [holed, tail], views, contract, (3,))
    np.testing.assert_allclose(out[3][4:], alone[3], atol=1e-3)


def test_window_length_matters(computed: TeacherTargets, episodes: Path, contract: Contract) -> None:
    """Protects the meaning of K: windows agree until the shorter one forgets."""
    handle = open_episodes(episodes, contract)[1]
    stamps = handle.load().stamps_s
    two, three = (computed.read(handle.name, stamps, k).astype(np.float32) for k in (2, 3))
    differs = np.abs(two - three).reshape(len(stamps), -1).max(axis=1) > 1e-2
    assert differs.tolist() == [False, False] + [True] * (len(stamps) - 2)


def test_single_steps_are_read_alone(computed: TeacherTargets, episodes: Path, contract: Contract) -> None:
    """Protects the training loop's way of reading: any steps, in any order."""
    handle = open_episodes(episodes, contract)[1]
    stamps = handle.load().stamps_s
    whole = computed.read(handle.name, stamps, 3)
    order = [4, 5, 0, 8, 8]
    np.testing.assert_array_equal(computed.read(handle.name, stamps[order], 3), whole[order])


@pytest.mark.parametrize(
    ("name", "shift", "cache_steps", "says"),
    [
        ("episode_9.safetensors", 0.0, 3, "episode_9.safetensors"),
        ("episode_000001.safetensors", 0.02, 3, r"0\.8\d* s.*episode_000001|episode_000001.*recorded again"),
        ("episode_000001.safetensors", 0.0, 4, "K = 4"),
    ],
)
def test_other_targets_are_refused(
    computed: TeacherTargets, contract: Contract, name: str, shift: float, cache_steps: int, says: str
) -> None:
    """Protects against training on another episode's geometry: unknown names, stamps and windows are refused."""
    with pytest.raises(TargetsError, match=says):
        computed.read(name, np.arange(9) * contract.policy.step_s + shift, cache_steps)


def files(folder: Path) -> dict[str, bytes]:
    """Read what lies in a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_killed_run_goes_on(
    computed: TeacherTargets, episodes: Path, geometry: Path, contract: Contract, tmp_path: Path
) -> None:
    """Protects hours of work: what is stored is not computed again, and parts of a run make the one folder."""
    run = make_run(episodes, tmp_path / "targets", geometry, contract)
    first = plan(run, Shard(1, 2))
    assert (first.episodes, first.steps, first.finished) == (3, LENGTHS[0] + LENGTHS[2] + LENGTHS[3], 0)
    assert first.needed_bytes == first.steps * 2 * 64 * 64 * 2
    Runner(shard=Shard(1, 2), progress=False).run(first.work)
    # Killed here: before the index, with half a file of the other part on the disk.
    second = plan(run, Shard(2, 2))
    assert (second.episodes, second.finished) == (1, 0)
    (run.out / "shard_episode_000001.safetensors.partial7").write_bytes(b"half")
    done = Runner(shard=Shard(2, 2), progress=False).run(second.work)
    assert (done.there, [made.steps for made in done.results]) == (0, [LENGTHS[1]])
    assert write_index(run.out) == len(LENGTHS)
    whole = plan(run)
    assert (whole.episodes, whole.finished) == (0, len(LENGTHS))
    assert Runner(progress=False).run(whole.work).there == 2
    assert files(run.out) == files(computed.folder)


def test_what_was_computed_live_is_not_computed_again(
    computed: TeacherTargets, episodes: Path, geometry: Path, contract: Contract, tmp_path: Path
) -> None:
    """Protects: of a batch only what is missing is computed, and shards of one episode each count as finished."""
    run = make_run(episodes, tmp_path / "targets", geometry, contract)
    alone = dataclasses.replace(run, batch=1)
    compute_batch(alone, plan(alone).work.items[0])
    rest = plan(run)
    assert (rest.episodes, rest.finished) == (3, 1)
    Runner(progress=False).run(rest.work).check()
    assert (write_index(run.out), plan(run).episodes) == (4, 0)
    assert TeacherTargets.open(run.out).episode_names == computed.episode_names


def test_one_episode_that_is_odd_costs_no_other(
    episodes: Path, geometry: Path, contract: Contract, tmp_path: Path
) -> None:
    """Protects: a damaged file is named, the others of its batch are computed, and it is tried again when mended."""
    folder = tmp_path / "episodes"
    shutil.copytree(episodes, folder)
    spoiled = folder / "episode_000000.safetensors"
    spoiled.write_bytes(spoiled.read_bytes()[:-100])
    run = make_run(folder, tmp_path / "targets", geometry, contract)
    done = Runner(progress=False).run(plan(run).work).check()
    assert [line.split(":")[0] for made in done.results for line in made.left_out] == [str(spoiled)]
    assert write_index(run.out) == 3
    shutil.copy(episodes / spoiled.name, spoiled)
    assert sum(made.steps for made in Runner(progress=False).run(plan(run).work).results) == LENGTHS[0]
    assert write_index(run.out) == 4


def test_bfloat16_is_close_and_said(
    computed: TeacherTargets, episodes: Path, geometry: Path, contract: Contract, tmp_path: Path
) -> None:
    """Protects what --bf16 promises: features off by about 0.5 % of their spread, in a folder that says so."""
    run = dataclasses.replace(make_run(episodes, tmp_path, geometry, contract), precision="bfloat16")
    compute_batch(run, plan(run).work.items[0])
    write_index(run.out)
    faster = TeacherTargets.open(run.out)
    assert faster.config == dataclasses.replace(computed.config, precision="bfloat16")
    stamps = np.arange(5) * contract.policy.step_s
    exact, close = (t.read("episode_000000.safetensors", stamps, 3).astype(np.float32) for t in (computed, faster))
    assert 0 < np.sqrt(((exact - close) ** 2).mean()) < 0.01 * exact.std()


def test_other_settings_need_another_folder(
    computed: TeacherTargets, episodes: Path, geometry: Path, contract: Contract
) -> None:
    """Protects a folder from two kinds of features: what decides the numbers is compared before anything is written."""
    run = dataclasses.replace(make_run(episodes, computed.folder, geometry, contract), cache_steps=(2, 4))
    with pytest.raises(TargetsError, match=r"cache_steps is \(2, 3\), now it would be \(2, 4\)"):
        plan(run)


def test_a_folder_of_an_older_version_is_read(tmp_path: Path) -> None:
    """Protects: targets that took hours to compute are still good; they name a stride that nobody ever set."""
    config = teacher_targets.TargetsConfig("a" * 64, (4,), ("front",), 2, 8, "float32")
    teacher_targets.prepare(tmp_path / "targets", config)
    file = tmp_path / "targets" / teacher_targets.CONFIG
    file.write_text(json.dumps({**json.loads(file.read_text()), "stride_steps": 1}))
    assert teacher_targets.read_config(tmp_path / "targets") == config


def test_a_full_disk_is_said_before_it_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects against a run that dies after hours: the disk is asked first."""
    usage = shutil.disk_usage(tmp_path)._replace(free=10**9)
    monkeypatch.setattr(teacher_targets.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(TargetsError, match=r"need 2\.0 GB, the disk has 1\.0 GB free"):
        check_room(tmp_path / "not" / "there", 2 * 10**9)


def test_cameras_are_checked(geometry: Path, contract: Contract) -> None:
    """Protects the order of views: the front camera comes last whatever the contract's order, and must be there."""
    assert view_order(contract, "wrist") == ("front", "wrist")
    with pytest.raises(ViewError, match=r"camera 'top': not in .*front.*wrist"):
        view_order(contract, "top")
    stream = GeometryStream(geometry, contract, cache_steps=3)
    with pytest.raises(ViewError, match="camera wrist: has no image"):
        stream.observe({"front": np.zeros((96, 96, 3), np.uint8)})
    with pytest.raises(ViewError, match=r"camera front: expected conditioned uint8 \[96, 96, 3\]"):
        stream.observe({"wrist": np.zeros((96, 96, 3), np.uint8), "front": np.zeros((480, 640, 3), np.uint8)})


def test_command(episodes: Path, geometry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the command: says what it needs, writes, tells a second run that nothing is left, refuses nonsense."""
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "1")
    call = ["teacher-targets", str(episodes), str(tmp_path / "out"), "--geometry", str(geometry), "--workers", "1"]
    result = CliRunner().invoke(app, [*call, "--cache-steps", "3,6", "--json", str(tmp_path / "figures.json")])
    assert result.exit_code == 0, result.output
    assert f"4 episodes, {sum(LENGTHS)} steps, K = 3,6: 0.00 GB to write" in result.output
    assert json.loads((tmp_path / "figures.json").read_text())["episodes"] == 4
    assert TeacherTargets.open(tmp_path / "out").cache_steps == (3, 6)
    again = CliRunner().invoke(app, [*call, "--cache-steps", "3,6"])
    assert "0 episodes, 0 steps" in again.output
    assert "4 episodes are there already" in again.output
    assert CliRunner().invoke(app, [*call, "--cache-steps", "3,x"]).exit_code == 2
    assert CliRunner().invoke(app, [*call, "--shard", "0/4"]).exit_code == 2


def test_what_could_not_be_computed_ends_with_one(
    episodes: Path, geometry: Path, contract: Contract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects scripts: a batch that failed is named, the others are there and listed, and the exit code says it."""
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "1")
    folder = tmp_path / "episodes"
    shutil.copytree(episodes, folder)
    odd = load_episode(folder / "episode_000003.safetensors", contract)
    save_episode(folder / "episode_000003.safetensors", dataclasses.replace(odd, stamps_s=odd.stamps_s * 0), contract)
    call = ["teacher-targets", str(folder), str(tmp_path / "out"), "--geometry", str(geometry), "--batch", "2"]
    result = CliRunner().invoke(app, [*call, "--workers", "1"])
    assert result.exit_code == 1
    assert "'episode_000003.safetensors' has stamps that don't grow" in result.output
    assert "2 episodes listed" in result.output


def test_a_folder_without_episodes_says_what_is_read(tmp_path: Path, contract: Contract) -> None:
    """Protects the first try: the error names both kinds of folders."""
    with pytest.raises(EpisodeError, match=r"swiftvla collect.*LeRobotDataset v3"):
        open_episodes(tmp_path, contract)
