# SPDX-License-Identifier: Apache-2.0
"""Recorded episodes as a LeRobotDataset v3, read back by the project's own reader."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from swiftvla_ros.cluster.runner import Runner, WorkError
from swiftvla_ros.cluster.settings import SettingsError
from swiftvla_ros.cluster.work import Shard
from swiftvla_ros.contract import Contract, contract_from_text
from swiftvla_ros.episodes.datasets import lerobot_writer
from swiftvla_ros.episodes.datasets.bag_listing import open_bags
from swiftvla_ros.episodes.datasets.lerobot_part import PartWriter, even_part
from swiftvla_ros.episodes.datasets.lerobot_statistics import merge, vector_statistics
from swiftvla_ros.episodes.datasets.lerobot_writer import Export, export_lerobot
from swiftvla_ros.episodes.datasets.sources import EpisodeHandle, open_episodes
from swiftvla_ros.episodes.datasets.store import Episode, EpisodeError

RECORDED = Path(__file__).parents[2] / "replay" / "bags" / "pick_red"
# Of H.264 with chroma of 2 by 2 pixels, on the simulator's images of 96 by 96: mean and 99 % of the pixels.
MEAN_BOUND, MOST_BOUND = 2.5, 24


QUIET = Runner(progress=False)


@dataclass(frozen=True)
class Handle:
    """An episode in memory."""

    name: str
    episode: Episode

    def steps(self) -> int:
        """Count its steps."""
        return len(self.episode.state)

    def expected_steps(self) -> int:
        """Count them."""
        return self.steps()

    def load(self) -> Episode:
        """Give it."""
        return self.episode


@dataclass(frozen=True)
class InMemory:
    """Where episodes in memory are found."""

    handles: Sequence[Handle]

    def find(self, names: Sequence[str]) -> list[EpisodeHandle]:
        """Find them."""
        return [next(handle for handle in self.handles if handle.name == name) for name in names]

    def changed_s(self, name: str) -> float:
        """They never change."""
        assert name in {handle.name for handle in self.handles}
        return 0.0


def export(handles: Sequence[Handle], out: Path, contract: Contract, runner: Runner = QUIET) -> Export | None:
    """Write episodes in memory."""
    return export_lerobot(handles, InMemory(handles), out, PartWriter(contract), runner)


@pytest.fixture(scope="module")
def recorded(contract: Contract) -> Episode:
    """Load the episode of a bag that the simulated arm recorded."""
    return open_bags(RECORDED, contract).episodes[0].load()


def test_the_dataset_is_the_bag(recorded: Episode, contract: Contract, tmp_path: Path) -> None:
    """Protects the export: numbers exact, images within a bound, the instruction, and only steps at which it acted."""
    handles = [Handle("a", recorded), Handle("b", recorded)]
    done = export(handles, tmp_path / "out", contract)
    part, note = even_part(recorded, contract.policy.step_s)
    assert part is not None
    assert done is not None
    assert (done.episodes, done.frames, note) == (2, 2 * len(part.state), "")
    for handle in open_episodes(tmp_path / "out", contract):
        again = handle.load()
        assert again.instruction == recorded.instruction
        np.testing.assert_allclose(again.state, part.state, atol=1e-6)
        np.testing.assert_allclose(again.action, part.action, atol=1e-6)
        np.testing.assert_allclose(np.diff(again.stamps_s), 0.1)
        for camera in contract.camera_names:
            off = np.abs(again.images[camera].astype(int) - part.images[camera])
            # A frame too early or too late is much further off where the arm moves.
            assert off.mean() < MEAN_BOUND
            assert np.quantile(off, 0.99) < MOST_BOUND


def test_names_and_units_are_the_contracts(recorded: Episode, contract: Contract, tmp_path: Path) -> None:
    """Protects other people's tools: joints and cameras are called, and measured, as the contract's `lerobot:` says."""
    data = yaml.safe_load(contract.text)
    data["lerobot"] = {
        "cameras": {"front": "observation.images.table"},
        "joints": {"shoulder_pan": {"feature": "pan", "unit": "deg"}},
    }
    mapped = contract_from_text(yaml.safe_dump(data), contract.path)
    export([Handle("a", recorded)], tmp_path / "out", mapped)
    info = json.loads((tmp_path / "out/meta/info.json").read_text())
    assert info["features"]["action"]["names"] == ["pan", *(f"{n}.pos" for n in contract.joint_names[1:])]
    assert {"observation.images.table", "observation.images.wrist"} <= set(info["features"])
    table = pq.read_table(tmp_path / "out/data/chunk-000/file-000.parquet")
    part, _ = even_part(recorded, 0.1)
    assert part is not None
    np.testing.assert_allclose([v[0] for v in table["action"].to_pylist()], np.degrees(part.action[:, 0]), atol=1e-4)
    np.testing.assert_allclose(open_episodes(tmp_path / "out", mapped)[0].load().action, part.action, atol=1e-5)


def test_each_frame_tells_the_stamps_that_it_was_made_of(recorded: Episode, contract: Contract, tmp_path: Path) -> None:
    """Protects whoever asks where a frame came from: the stamps are exact, and LeRobot knows the columns."""
    corrections = np.arange(len(recorded.state)) % 2 == 0
    export([Handle("a", replace(recorded, corrections=corrections))], tmp_path / "out", contract)
    part, _ = even_part(replace(recorded, corrections=corrections), 0.1)
    assert part is not None
    assert part.corrections is not None
    table = pq.read_table(tmp_path / "out/data/chunk-000/file-000.parquet")
    chosen = {f"observation.stamp.{n}": part.chosen_s[n] for n in (*contract.camera_names, "state", "action")}
    features = json.loads((tmp_path / "out/meta/info.json").read_text())["features"]
    for key, stamps in chosen.items():
        np.testing.assert_array_equal(table[key].to_numpy(), stamps)
        assert features[key]["dtype"] == "float64"
        assert (stamps <= part.stamps_s).all()
    np.testing.assert_array_equal(table["corrections"].to_numpy(), part.corrections)
    export([Handle("a", recorded)], tmp_path / "none", contract)
    assert "corrections" not in pq.read_table(tmp_path / "none/data/chunk-000/file-000.parquet").column_names
    assert "corrections" not in (tmp_path / "none/meta/info.json").read_text()


def files(folder: Path) -> dict[str, bytes]:
    """Read what lies in a folder, however deep."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_parts_make_the_dataset_that_one_run_makes(
    recorded: Episode, contract: Contract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects --shard: file by file the same dataset, numbered through, whichever machine made what first."""
    monkeypatch.setattr(lerobot_writer, "PART_STEPS", 2 * len(recorded.state))
    other = replace(recorded, instruction="touch the blue block")
    handles = [Handle(name, other if name == "d" else recorded) for name in "abcde"]
    whole = export(handles, tmp_path / "one", contract)
    for number in (2, 1):
        assert export(handles, tmp_path / "parts", contract, Runner(shard=Shard(number, 2), progress=False)) is None
    made = {path.stat().st_mtime_ns for path in tmp_path.glob(".parts.parts/part_*/part.json")}
    assert len(made) == 3
    assert not (tmp_path / "parts").exists()
    assert export(handles, tmp_path / "parts", contract) == whole
    assert files(tmp_path / "parts") == files(tmp_path / "one")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "parts"]
    told = [handle.load().instruction for handle in open_episodes(tmp_path / "one", contract)]
    assert told == [handle.episode.instruction for handle in handles]
    tables = [pq.read_table(path) for path in sorted((tmp_path / "one" / "data").rglob("*.parquet"))]
    frames = sum(map(len, tables))
    assert [index for table in tables for index in table["index"].to_pylist()] == list(range(frames))
    numbers = [number for table in tables for number in table["episode_index"].to_pylist()]
    assert numbers == np.repeat(np.arange(5), frames // 5).tolist()


def test_nothing_half_written_and_nothing_overwritten(recorded: Episode, contract: Contract, tmp_path: Path) -> None:
    """Protects data: an export that fails leaves no dataset and goes on; a folder that is there stays as it is."""
    broken = replace(recorded, images={})
    with pytest.raises(WorkError, match="KeyError: 'front'"):
        export([Handle("a", broken)], tmp_path / "out", contract)
    assert [path.name for path in tmp_path.iterdir()] == [".out.parts"]
    assert [path.name for path in (tmp_path / ".out.parts").iterdir()] == ["settings.json"]
    with pytest.raises(SettingsError, match="episodes_sha256"):
        export([Handle("b", recorded)], tmp_path / "out", contract)
    with pytest.raises(SettingsError, match="contract_sha256"):
        export([Handle("a", broken)], tmp_path / "out", replace(contract, urdf_text="another arm"))
    (tmp_path / "out").mkdir()
    with pytest.raises(EpisodeError, match="exists already; choose another folder"):
        export([Handle("a", recorded)], tmp_path / "out", contract)
    assert not list((tmp_path / "out").iterdir())


def test_only_what_comes_after_a_gap_is_exported(recorded: Episode) -> None:
    """Protects even frames: LeRobot counts time by frames, so nothing is written across a gap, and it is told."""
    keep = np.r_[0:10, 15 : len(recorded.state)]
    cut = Episode(
        recorded.instruction,
        {name: images[keep] for name, images in recorded.images.items()},
        recorded.state[keep],
        recorded.action[keep],
        recorded.expert[keep],
        recorded.stamps_s[keep],
    )
    part, note = even_part(cut, 0.1)
    assert part is not None
    np.testing.assert_array_equal(part.stamps_s, recorded.stamps_s[15 : 15 + len(part.stamps_s)])
    assert "before a gap" in note


def test_statistics_of_parts_make_those_of_the_whole() -> None:
    """Protects normalisation by LeRobot: merged means, spreads and ranges are those of all frames together."""
    values = np.random.default_rng(0).normal(3, 2, (100, 4))
    merged, whole = merge([vector_statistics(values[:30]), vector_statistics(values[30:])]), vector_statistics(values)
    for key in ("min", "max", "mean", "std", "count"):
        np.testing.assert_allclose(merged[key], whole[key])
