# SPDX-License-Identifier: Apache-2.0
"""Bags keep what was recorded, for our reader and for everybody else's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.reader import make_reader
from rosbags.rosbag2 import Reader

from swiftvla_ros.contract import Contract, load_contract
from swiftvla_ros.contract.store import digest_of, store_contract
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.bags.mcap_writer import McapWriter
from swiftvla_ros.episodes.bags.message_types import BagError
from swiftvla_ros.episodes.bags.topics import film_topic, recorded_topics
from swiftvla_ros.episodes.bags.writer import BagWriter
from swiftvla_ros.viewing.latency import latency_stages, rates

TICK_NS = 10_000_000
FRESH, HOLD, RELEASED = 1, 4, 5


@pytest.fixture
def recorded(contract: Contract, messages: Any, tmp_path: Path) -> Path:
    """Record a second of commands at 100 Hz in a namespace."""
    with BagWriter(tmp_path / "bag", contract) as writer:
        for i in range(100):
            ns = 10**9 + i * TICK_NS
            writer.write_message("/arm/executor_state", messages.executor_state(ns, np.full(6, i * 1e-3)), ns + 1000)
    return tmp_path / "bag"


def test_commands_come_back_as_they_were_recorded(recorded: Path, contract: Contract) -> None:
    """Protects: motion is checked on the very numbers that were commanded."""
    (piece,) = Bag(recorded).commands()
    assert piece.t_ns.tolist() == [10**9 + i * TICK_NS for i in range(100)]
    np.testing.assert_array_equal(piece.positions, np.arange(100)[:, None] * 1e-3 * np.ones(6))
    assert Bag(recorded).contract.joint_names == contract.joint_names


def test_the_contract_of_one_file_is_whole(recorded: Path, contract: Contract, tmp_path: Path) -> None:
    """Protects what is made from a file without its folder: its contract has the bag's hash, and can be stored."""
    lone = Bag(next(recorded.glob("*.mcap")).rename(tmp_path / "lone.mcap")).contract
    assert digest_of(lone) == digest_of(contract)
    store_contract(lone, tmp_path / "contract.yaml")
    assert load_contract(tmp_path / "contract.yaml").text == contract.text


def test_other_tools_read_it(recorded: Path) -> None:
    """Protects: a bag opens in rosbag2, Foxglove and whatever else reads MCAP."""
    with Reader(recorded) as reader:
        assert [(c.topic, c.msgtype, c.msgcount) for c in reader.connections] == [
            ("/arm/executor_state", "swiftvla_ros/msg/ExecutorState", 100)
        ]
    with next(recorded.glob("*.mcap")).open("rb") as stream:
        messages = list(make_reader(stream).iter_messages())
    assert len(messages) == 100
    schema, channel, first = messages[0]
    assert (schema.name, channel.message_encoding) == ("swiftvla_ros/msg/ExecutorState", "cdr")
    assert first.log_time == 10**9 + 1000


@pytest.mark.parametrize("early", ["topic", "type"])
def test_what_another_chunk_describes_than_its_messages_is_found(early: str, tmp_path: Path) -> None:
    """Protects the bag of a killed recorder: a topic that was quiet until the next chunk doesn't make it unreadable."""
    writer = McapWriter(tmp_path / "bag.mcap", compression="zstd", library="test")
    first = writer.channel(writer.schema("std_msgs/msg/Empty", "ros2msg", ""), "/first", {})
    writer.message(first, 1, b"\0\1\0\0\0")
    writer.flush()
    schema = writer.schema("std_msgs/msg/Bool", "ros2msg", "bool data")
    late = writer.channel(schema, "/late", {}) if early == "topic" else None
    writer.message(first, 2, b"\0\1\0\0\0")
    writer.flush()
    writer.message(late or writer.channel(schema, "/late", {}), 3, b"\0\1\0\0\1")
    writer.flush()
    writer.abandon()
    assert Bag(tmp_path / "bag.mcap").counts == {"/first": 2, "/late": 1}


def test_a_new_piece_begins_where_the_arm_was_let_go(contract: Contract, messages: Any, tmp_path: Path) -> None:
    """Protects: moving the arm by hand between two runs is not called a jump of the executor's."""
    modes = [FRESH] * 3 + [RELEASED] * 2 + [HOLD] * 4
    with BagWriter(tmp_path / "bag", contract) as writer:
        for i, mode in enumerate(modes):
            ns = 10**9 + i * TICK_NS
            writer.write_message("/executor_state", messages.executor_state(ns, np.full(6, float(i)), mode), ns)
    assert [len(p.t_ns) for p in Bag(tmp_path / "bag").commands()] == [3, 4]


def test_stages_add_up_to_the_latency(contract: Contract, messages: Any, tmp_path: Path) -> None:
    """Protects: the latency table says where the time went, in ms."""
    ms = 1_000_000
    with BagWriter(tmp_path / "bag", contract) as writer:
        for i in range(4):
            stamp = 10**9 + i * 200 * ms
            for camera, age in (("front", 5 * ms), ("wrist", 0)):
                frame = messages.frame(stamp - age)
                writer.write_message(f"/{film_topic(camera)}", frame, stamp + 3 * ms)
            chunk = messages.chunk(stamp, ready=stamp + 8 * ms, start=stamp + 10 * ms, end=stamp + 50 * ms)
            writer.write_message("/action_chunk", chunk, stamp + 52 * ms)
            if i:  # the first chunk is overtaken before it is followed
                state = messages.executor_state(stamp + 60 * ms, np.zeros(6), chunk=stamp, first=stamp + 60 * ms)
                writer.write_message("/executor_state", state, stamp + 61 * ms)
    bag = Bag(tmp_path / "bag")
    found = {s.name: s for s in latency_stages(bag)}
    assert found["camera stamp → image published (rendering)"].p50_ms == pytest.approx(3)
    assert found["image published → observation complete"].p95_ms == pytest.approx(5)
    assert found["inference"].max_ms == pytest.approx(40)
    assert found["ROS: image → observation, chunk → receiver"].p95_ms == pytest.approx(7)
    assert found["camera stamp → chunk received"].p50_ms == pytest.approx(52)
    assert (found["camera stamp → first command"].count, found["camera stamp → first command"].p50_ms) == (3, 60)
    assert rates(bag)["/action_chunk"] == pytest.approx(5)


def test_refusals_say_what_to_do(recorded: Path, contract: Contract, tmp_path: Path) -> None:
    """Protects: nothing is overwritten, and a wrong folder is named."""
    with pytest.raises(BagError, match="never overwritten"):
        BagWriter(recorded, contract)
    with pytest.raises(BagError, match="neither metadata"):
        Bag(tmp_path)
    with BagWriter(tmp_path / "empty", contract):
        pass
    with pytest.raises(BagError, match="no executor_state"):
        Bag(tmp_path / "empty").commands()


def test_everything_that_explains_a_motion_is_recorded(contract: Contract) -> None:
    """Protects: from a bag alone one can tell what the policy saw, wanted, and what the arm was told."""
    names = {t.name for t in recorded_topics(contract)}
    assert {"observation/front", "observation/wrist", "observation/state", "action_chunk", "executor_state"} <= names
    assert {contract.control.topic, contract.joint_states.topic, "policy_state", "task_verdict"} <= names


def test_what_is_commanded_is_recorded_for_every_output(contract: Contract) -> None:
    """Protects: a gripper on a topic of its own is in the bag; an action's goals are no topic to wait for."""

    def topics(output: str, gripper: str | None) -> set[str]:
        control = contract.control.model_copy(update={"output": output})
        assert contract.gripper is not None
        hand = contract.gripper.model_copy(update={"topic": gripper})
        return {t.name for t in recorded_topics(contract.with_keys(control=control, gripper=(hand,)))}

    assert {contract.control.topic, "/hand/commands"} <= topics("forward_velocity", "/hand/commands")
    assert contract.control.topic not in topics("follow_joint_trajectory", None)
