# SPDX-License-Identifier: Apache-2.0
"""Fields of messages: the same from one that just arrived as from one of a bag."""

import dataclasses
from functools import partial
from typing import Any

import numpy as np
import pytest

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.latency_stages import CHAIN, STAGES, durations_s
from swiftvla_ros.episodes.bags.message_types import known_types
from swiftvla_ros.observation.joint_state import JointStateError
from swiftvla_ros.observation.message_fields import (
    header_stamp_ns,
    measured_positions,
    read_chunk,
    read_executor_state,
    read_policy_state,
    read_speed_limit,
    read_task_verdict,
)

MS = 1_000_000


def stored(messages: Any) -> dict[str, Any]:
    """Return messages of a bag, by type."""
    return {
        "ActionChunk": messages.chunk(1000 * MS, 1020 * MS, 1021 * MS, 1081 * MS),
        "ExecutorState": messages.executor_state(2000 * MS, np.arange(len(messages.names)), chunk=9, first=10),
        "PolicyState": messages.make(
            "swiftvla_ros/msg/PolicyState",
            3000 * MS,
            reason="dark",
            latency_stages=["wait"],
            latency_s=np.full(1, 0.5, "f"),
        ),
        "SpeedLimit": messages.make("swiftvla_ros/msg/SpeedLimit", 7 * MS, source="hands", percent=30.0, valid_for=0.5),
        "TaskVerdict": messages.verdict(4000 * MS, 2),
    }


@pytest.mark.parametrize(
    ("kind", "read"),
    [
        ("ActionChunk", read_chunk),
        ("ExecutorState", read_executor_state),
        ("PolicyState", read_policy_state),
        ("SpeedLimit", partial(read_speed_limit, received_ns=3)),
        ("TaskVerdict", read_task_verdict),
    ],
)
def test_a_message_and_its_recording_say_the_same(messages: Any, kind: str, read: Any) -> None:
    """Protects: what the executor followed is what a replay gives it, field by field."""
    pytest.importorskip("rclpy", reason="rclpy is not installed: pip install '.[ros]' or source a ROS setup")
    from rclpy.serialization import deserialize_message

    import swiftvla_ros.msg

    name = f"swiftvla_ros/msg/{kind}"
    cdr = bytes(known_types().serialize_cdr(stored(messages)[kind], name))
    live = read(deserialize_message(cdr, getattr(swiftvla_ros.msg, kind)))
    offline = read(known_types().deserialize_cdr(cdr, name))
    for field in dataclasses.fields(live):
        np.testing.assert_equal(getattr(live, field.name), getattr(offline, field.name), field.name)
    assert header_stamp_ns(cdr) == live.stamp_ns


def test_a_speed_limit_without_a_stamp_is_of_its_arrival(messages: Any) -> None:
    """Protects a monitor that sets no stamp: its limit counts from when it came, live and in a replay."""
    limit = read_speed_limit(messages.make("swiftvla_ros/msg/SpeedLimit", source="hands", percent=30.0), 5 * MS)
    assert (limit.source, limit.percent, limit.stamp_ns, limit.valid_for_s) == ("hands", 30.0, 5 * MS, 0.0)


def test_commands_are_taken_by_name_and_number(contract: Contract, messages: Any) -> None:
    """Protects whoever goes on from where the arm was told to be: other joints or no number are no place."""
    names = contract.joint_names
    message = messages.executor_state(1, np.arange(len(names)))
    np.testing.assert_array_equal(read_executor_state(message).commanded_of(names), np.arange(len(names)))
    for changes in (
        {"joint_names": list(names[::-1])},
        {"commanded_position": np.zeros(0)},
        {"commanded_position": np.full(len(names), np.nan)},
    ):
        other = messages.make(
            "swiftvla_ros/msg/ExecutorState", 1, **{**vars(message), **changes, "header": message.header}
        )
        assert read_executor_state(other).commanded_of(names) is None, changes


def test_a_chunk_of_another_shape_is_read_too(messages: Any) -> None:
    """Protects: a malformed chunk reaches who refuses it with a reason, and ends no callback."""
    chunk = messages.chunk(1000 * MS, 0, 0, 0)
    chunk.rows = 2
    assert read_chunk(chunk).positions.shape == (len(messages.names),)
    chunk.rows, chunk.positions = 0, np.zeros(0)
    assert read_chunk(chunk).positions.shape == (0, len(messages.names))


def test_joint_states_are_refused_by_name_and_number(contract: Contract, messages: Any) -> None:
    """Protects: no node takes other joints, or a number that is none, for the arm's."""
    names = contract.joint_names
    good = messages.measured(1, np.arange(len(names), dtype=np.float64))
    np.testing.assert_array_equal(measured_positions(good, names), np.arange(len(names)))
    good.position = np.full(len(names), np.nan)
    with pytest.raises(JointStateError, match="not finite"):
        measured_positions(good, names)
    assert np.isnan(measured_positions(good, names, finite=False)).all()
    good.name = good.name[::-1]
    with pytest.raises(JointStateError, match="expected"):
        measured_positions(good, names, finite=False)


def test_stages_fit_together_and_unknown_stamps_give_none(messages: Any) -> None:
    """Protects: the chain has no gap, and nothing is measured from a stamp that nobody set."""
    assert [STAGES[a].until for a in CHAIN[:-1]] == [STAGES[b].since for b in CHAIN[1:]]
    chunk = read_chunk(messages.chunk(1000 * MS, 1020 * MS, 1021 * MS, 1081 * MS))
    assert durations_s(CHAIN, chunk.stamps_ns()) == pytest.approx({"camera": 0.02, "wait": 0.001, "inference": 0.06})
    assert chunk.inference_s == durations_s(["inference"], chunk.stamps_ns())["inference"]
