# SPDX-License-Identifier: Apache-2.0
"""Bags keep what was recorded, for our reader and for everybody else's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mcap.reader import make_reader
from rosbags.rosbag2 import Reader

from swiftvla_ros.contract import Contract, load_contract
from swiftvla_ros.episodes.bag import Bag, BagError, BagWriter, message_types, recorded_topics
from swiftvla_ros.episodes.timing import latency_stages, rates

TICK_NS = 10_000_000
FRESH, HOLD, RELEASED = 1, 4, 5


@pytest.fixture(scope="module")
def contract() -> Contract:
    """Load the simulated robot's contract."""
    return load_contract("so101_sim")


class Messages:
    """Makes messages without a ROS installation."""

    def __init__(self, contract: Contract) -> None:
        self.names = list(contract.joint_names)
        self.types = message_types().types
        self.empty = np.zeros(0)

    def stamp(self, ns: int):
        return self.types["builtin_interfaces/msg/Time"](ns // 10**9, ns % 10**9)

    def header(self, ns: int):
        return self.types["std_msgs/msg/Header"](self.stamp(ns), "base")

    def executor_state(self, ns: int, position: np.ndarray, mode: int = FRESH, chunk: int = 0, first: int = 0):
        counts = np.zeros(len(self.names), np.uint64)
        kind = self.types["swiftvla_ros/msg/ExecutorState"]
        return kind(
            header=self.header(ns),
            mode=mode,
            reason=3,
            reason_text="",
            chunk_id=1,
            row=0.0,
            chunk_age_s=0.0,
            chunk_stamp=self.stamp(chunk),
            chunk_first_command=self.stamp(first),
            chunks_accepted=1,
            chunks_refused=0,
            last_refusal=0,
            last_refusal_text="",
            joint_names=self.names,
            position_clamps=counts,
            velocity_clamps=counts,
            acceleration_clamps=counts,
            speed_scale=1.0,
            commanded_position=np.asarray(position, np.float64),
            tracking_error=np.zeros(len(self.names)),
        )

    def chunk(self, camera_ns: int, ready: int, start: int, end: int):
        kind = self.types["swiftvla_ros/msg/ActionChunk"]
        return kind(
            header=self.header(camera_ns),
            step=self.types["builtin_interfaces/msg/Duration"](0, 100_000_000),
            joint_names=self.names,
            rows=1,
            positions=np.zeros(len(self.names)),
            chunk_id=1,
            instruction="pick up the red block",
            instruction_id=1,
            checkpoint_sha256="",
            noise_seed=0,
            camera_names=["front", "wrist"],
            camera_stamps=[self.stamp(camera_ns - 5_000_000), self.stamp(camera_ns)],
            state_stamp=self.stamp(camera_ns),
            observation_ready=self.stamp(ready),
            inference_start=self.stamp(start),
            inference_end=self.stamp(end),
            frozen_rows=0,
        )


@pytest.fixture
def recorded(contract: Contract, tmp_path: Path) -> Path:
    """Record a second of commands at 100 Hz in a namespace."""
    make = Messages(contract)
    with BagWriter(tmp_path / "bag", contract) as writer:
        for i in range(100):
            ns = 10**9 + i * TICK_NS
            writer.write_message("/arm/executor_state", make.executor_state(ns, np.full(6, i * 1e-3)), ns + 1000)
    return tmp_path / "bag"


def test_commands_come_back_as_they_were_recorded(recorded: Path, contract: Contract) -> None:
    """Protects: motion is checked on the very numbers that were commanded."""
    (piece,) = Bag(recorded).commands()
    assert piece.t_ns.tolist() == [10**9 + i * TICK_NS for i in range(100)]
    np.testing.assert_array_equal(piece.positions, np.arange(100)[:, None] * 1e-3 * np.ones(6))
    assert Bag(recorded).contract.joint_names == contract.joint_names


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


def test_a_new_piece_begins_where_the_arm_was_let_go(contract: Contract, tmp_path: Path) -> None:
    """Protects: moving the arm by hand between two runs is not called a jump of the executor's."""
    make = Messages(contract)
    modes = [FRESH] * 3 + [RELEASED] * 2 + [HOLD] * 4
    with BagWriter(tmp_path / "bag", contract) as writer:
        for i, mode in enumerate(modes):
            ns = 10**9 + i * TICK_NS
            writer.write_message("/executor_state", make.executor_state(ns, np.full(6, float(i)), mode), ns)
    assert [len(p.t_ns) for p in Bag(tmp_path / "bag").commands()] == [3, 4]


def test_stages_add_up_to_the_latency(contract: Contract, tmp_path: Path) -> None:
    """Protects: the latency table says where the time went, in ms."""
    make, ms = Messages(contract), 1_000_000
    with BagWriter(tmp_path / "bag", contract) as writer:
        for i in range(4):
            stamp = 10**9 + i * 200 * ms
            writer.write_message(
                "/action_chunk", make.chunk(stamp, stamp + 8 * ms, stamp + 10 * ms, stamp + 50 * ms), stamp + 52 * ms
            )
            if i:  # the first chunk is overtaken before it is followed
                state = make.executor_state(stamp + 60 * ms, np.zeros(6), chunk=stamp, first=stamp + 60 * ms)
                writer.write_message("/executor_state", state, stamp + 61 * ms)
    bag = Bag(tmp_path / "bag")
    found = {s.name: s for s in latency_stages(bag)}
    assert found["camera stamp → observation complete"].p50_ms == pytest.approx(8)
    assert found["inference"].max_ms == pytest.approx(40)
    assert found["camera stamp → chunk, without inference and waiting for it"].p95_ms == pytest.approx(10)
    assert found["camera stamp → chunk received"].p50_ms == pytest.approx(52)
    assert (found["camera stamp → first command"].count, found["camera stamp → first command"].p50_ms) == (3, 60)
    assert rates(bag)["/action_chunk"] == pytest.approx(5)


def test_refusals_say_what_to_do(recorded: Path, contract: Contract, tmp_path: Path) -> None:
    """Protects: nothing is overwritten, and a wrong folder is named."""
    with pytest.raises(BagError, match="never overwritten"):
        BagWriter(recorded, contract)
    with pytest.raises(BagError, match=r"metadata\.yaml is missing"):
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
