# SPDX-License-Identifier: Apache-2.0
"""Every command that reads bags takes the same bags, asks for the same namespace, and says what is missing."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin, Writer
from teleoperation import write_teleoperation
from typer.testing import CliRunner

from swiftvla_ros.bringup.processes import describe_replay
from swiftvla_ros.bringup.system_options import ReplayOptions
from swiftvla_ros.cli.main import app
from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.bags.writer import BagWriter
from swiftvla_ros.episodes.datasets.sources import open_episodes
from swiftvla_ros.episodes.datasets.store import EpisodeError

RECORDED = Path(__file__).parents[1] / "replay" / "bags" / "pick_red"
READERS = ("check-motion", "plot", "view", "replay", "export-lerobot", "teacher-targets", "train")


def run(*arguments: object) -> tuple[int, str]:
    """Run ``swiftvla``; give its exit code and what it printed, in one line."""
    result = CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "250", "TERM": "dumb"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.output.split())


@pytest.fixture
def two_arms(contract: Contract, messages: Any, tmp_path: Path) -> Path:
    """Give a bag of two arms, of which the second is told to be elsewhere, in a folder of its own."""
    with BagWriter(tmp_path / "runs" / "two", contract) as writer:
        for tick in range(50):
            ns = 10**9 + tick * 10_000_000
            for offset, arm in ((0.0, "arm1"), (3.0, "arm2")):
                position = contract.rest + offset
                writer.write_message(f"/{arm}/executor_state", messages.executor_state(ns, position), ns)
                writer.write_message(f"/{arm}/observation/state", messages.measured(ns, position), ns)
    return tmp_path / "runs" / "two"


@pytest.fixture
def teleoperation(messages: Any, tmp_path: Path) -> Path:
    """Give a bag of others: a driver's topics, and no contract."""
    with BagWriter(tmp_path / "teleop", None) as writer:
        pixels = np.zeros((4, 4, 3), np.uint8)
        for ns in (10**9, 2 * 10**9):
            writer.write_message("/camera/front/image_raw", messages.image(ns, pixels), ns)
            writer.write_message("/camera/wrist/image_raw/compressed", messages.frame(ns, b"x"), ns)
            writer.write_message("/joint_states", messages.measured(ns, np.zeros(6)), ns)
    return tmp_path / "teleop"


def test_the_namespace_is_asked_for_in_the_same_words() -> None:
    """Protects: what one command calls a bag's robot, every other calls so, too (report A1)."""
    commands: Any = typer.main.get_command(app)
    helps = set()
    for name in READERS:
        (option,) = (p for p in commands.commands[name].params if p.name == "namespace")
        assert option.default is None
        helps.add(option.help.removesuffix(" With --live and --foxglove the system's."))
    assert len(helps) == 1


@pytest.mark.parametrize("reader", ["check-motion", "plot", "replay", "export-lerobot"])
def test_two_arms_are_never_mixed(reader: str, two_arms: Path, tmp_path: Path) -> None:
    """Protects from exported, drawn or judged motion of no arm: without a namespace both are named (report A1)."""
    more = {"export-lerobot": [tmp_path / "out"], "replay": ["--live"]}
    code, text = run(reader, two_arms, *more.get(reader, []))
    assert code == 2
    assert "several namespaces: /arm1, /arm2; name one with --namespace" in text


def test_one_of_two_arms_is_judged_alone(two_arms: Path) -> None:
    """Protects the figures: the arm that is named is checked, in whatever folder its bag lies."""
    assert run("check-motion", two_arms, "--namespace", "arm1")[0] == 0
    assert run("check-motion", two_arms.parent, "--namespace", "/arm2")[0] == 1
    lone = next(two_arms.glob("*.mcap"))
    assert run("check-motion", lone, "--namespace", "arm1")[0] == 0


def test_a_bag_without_a_contract_takes_the_one_that_is_named(
    two_arms: Path, contract: Contract, tmp_path: Path
) -> None:
    """Protects others' bags: --robot is heard by every replay, and a repair needs none (report A2)."""
    source = Bag(two_arms)
    with BagWriter(tmp_path / "foreign", None) as writer:
        for raw in source.raw():
            writer.write(raw.topic.removeprefix("/arm1"), raw.msgtype, raw.received_ns, raw.data)
    foreign = tmp_path / "foreign"
    robot = ("--robot", contract.path)
    for reader in (["replay"], ["replay", "--live"], ["replay", "--excerpt", tmp_path / "small"]):
        code, text = run(*reader, foreign, *robot, "--namespace", "/", "--checkpoint", tmp_path)
        assert code == 2
        assert "--robot" not in text.replace("contract of this bag's topics with --robot", "")
        assert "holds no action_chunk" in text or "observation/front" in text
    assert run("record", tmp_path / "whole", "--repair", foreign)[0] == 0
    assert sum(Bag(tmp_path / "whole").counts.values()) == sum(source.counts.values())
    assert not (tmp_path / "whole" / "contract").exists()


def test_a_bag_is_played_by_the_node_that_launch_starts(contract: Contract, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects `swiftvla replay --live`: each option reaches the node, as `ros2 launch` would hand it on."""
    replay_node = pytest.importorskip("swiftvla_ros.nodes.replay_node", reason="rclpy is not installed")
    given: list[list[str]] = []
    monkeypatch.setattr(replay_node, "main", given.append)
    chosen = ("--rate", "2.5", "--loop", "--sensors", "conditioned", "--robot", contract.path)
    assert run("replay", "--live", RECORDED, *chosen)[0] == 0
    options = ReplayOptions(RECORDED, str(contract.path), rate=2.5, loop=True, sensors="conditioned")
    assert given == [describe_replay(options).arguments()]
    asked = ("rate:=2.5", "loop:=true", 'sensors:="conditioned"')
    for said in (*asked, f'robot:="{contract.path}"', f'bag:="{RECORDED}"'):
        assert said in given[0]


def test_a_teleoperation_bag_is_told_what_it_lacks(teleoperation: Path, tmp_path: Path) -> None:
    """Protects from a dead end: what is missing, what may be meant, and the way on (report A3)."""
    code, text = run("export-lerobot", teleoperation, tmp_path / "out")
    assert code == 2
    assert "holds no /forward_position_controller/commands (std_msgs/msg/Float64MultiArray); it has /camera/" in text
    assert "where its commands are under `demonstrations:`" in text
    code, text = run("replay", "--live", teleoperation, "--robot", "so101_sim")
    assert code == 2
    assert "/camera/wrist/image_raw (sensor_msgs/msg/Image), did you mean /camera/wrist/image_raw/compressed" in text
    code, text = run("check-motion", teleoperation)
    assert code == 2
    assert "holds no executor_state (swiftvla_ros/msg/ExecutorState)" in text
    assert "swiftvla record" in text
    code, text = run("plot", teleoperation)
    assert code == 2
    assert "holds no contract (not recorded by swiftvla); name one with --robot" in text
    code, text = run("plot", teleoperation, "--robot", "so101_sim")
    assert code == 2
    assert "and no /forward_position_controller/commands" in text


def test_what_a_person_showed_is_drawn_and_shown(tmp_path: Path) -> None:
    """Protects a first look: each episode of a bag without any node of ours is a picture, and lies in the viewer."""
    folder = write_teleoperation(tmp_path / "shown", seconds=2.0, texts=[(0.1, "wave"), (1.0, "fold")])
    code, text = run("plot", folder, tmp_path / "out.png", "--robot", "so101")
    assert code == 0, text
    assert {path.name for path in tmp_path.glob("*.png")} == {"out.png", "out_1.png"}
    code, text = run("view", folder, "--robot", "so101", "--save", tmp_path / "out.rrd")
    assert code == 0, text
    assert (tmp_path / "out.rrd").stat().st_size > 50_000


def test_a_folder_of_bags_is_exported_whole_or_ends_in_an_error(contract: Contract, tmp_path: Path) -> None:
    """Protects datasets: packed, linked and lone bags are read, and one that can't be is an error (report A4, A12)."""
    bags = tmp_path / "bags"
    bags.mkdir()
    (bags / "linked").symlink_to(RECORDED)
    shutil.copyfile(next(RECORDED.glob("*.mcap")), bags / "lone.mcap")
    writer = Writer(bags / "packed", version=9, storage_plugin=StoragePlugin.MCAP)
    writer.set_compression(CompressionMode.FILE, CompressionFormat.ZSTD)
    with Reader(RECORDED) as source, writer:
        own = {
            c.id: writer.add_connection(c.topic, c.msgtype, msgdef=c.msgdef.data, rihs01=c.digest)
            for c in source.connections
        }
        for connection, ns, data in source.messages():
            writer.write(own[connection.id], ns, data)
    assert len(open_episodes(bags, contract)) == 3
    (bags / "broken").mkdir()
    (bags / "broken" / "broken.mcap").write_bytes(b"no bag")
    code, text = run("export-lerobot", bags, tmp_path / "most")
    assert code == 1, text
    assert "3 episodes" in text
    assert f"not read: {bags}/broken" in text
    with pytest.raises(EpisodeError, match=r"broken.*\n.*move what can't be read out of"):
        open_episodes(bags, contract)
