# SPDX-License-Identifier: Apache-2.0
"""Joint states that end, lie, or come from two nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install '.[ros]' or source a ROS setup")

from fault_bounds import CONTRACT, HOLD, STATE_END_S, beside

from swiftvla_ros.msg import ExecutorState

pytestmark = [pytest.mark.ros, pytest.mark.timeout(180)]


@pytest.mark.parametrize(
    ("kind", "name", "injected"),
    [
        ("dead", "joint states dead", "the driver publishes no more joint states"),
        ("nan", "joint states NaN", "one position of each joint state is NaN"),
    ],
)
def test_joint_states_fail(system: Any, fault: Any, kind: str, name: str, injected: str) -> None:
    """Without a measured pose the arm does not run on: it slows down at once and holds."""
    row = fault(name, injected)
    system.driver.joints = kind
    row.ends_in(HOLD, STATE_END_S, ExecutorState.REASON_STATE_STALE, policy="the joint state stopped")
    if kind == "nan":
        assert f"{CONTRACT.joint_names[1]} = nan" in system.nodes["joint_state"].output()
    system.driver.heal()
    row.recovers("joint states are back")


@pytest.mark.parametrize(
    ("kind", "name", "injected"),
    [
        ("permuted", "joint states permuted", "names and positions in reverse order"),
        ("disorder", "joint states out of order", "each second joint state after its successor"),
    ],
)
def test_joint_states_in_another_order(system: Any, fault: Any, kind: str, name: str, injected: str) -> None:
    """Joints are taken by name and states by stamp: the arm goes on, and never sees itself elsewhere."""
    row = fault(name, injected)
    system.driver.joints = kind
    chunk = system.states.last.chunk_id
    row.goes_on(lambda: system.states.last.chunk_id > chunk + 8, "chunks are followed")
    errors = np.array([state.tracking_error for _, state in row.states()])
    assert np.abs(errors).max() < 0.3
    system.driver.heal()
    row.recovers()


def test_a_second_joint_state_publisher(system: Any, fault: Any) -> None:
    """Zeros from a joint_state_publisher beside the driver (report F3): nothing moves, and both nodes are named."""
    system.ready()
    topic = CONTRACT.joint_states.topic
    with beside("rival_publisher.py", topic) as printed:
        row = fault("second joint-state publisher", "a joint_state_publisher of zeros beside the driver")
        system.wait(lambda: "publishing" in printed(), "the rival is there", 60)
        system.wait(lambda: system.graph.node.count_publishers(topic) > 1, "it is discovered")
        row.begins()
        row.ends_in(HOLD, 0.5 + STATE_END_S, ExecutorState.REASON_STATE_STALE, policy="the joint state stopped")
        text = system.states.last.reason_text
        assert "/joint_state_publisher" in text, text
        assert "/test" in text, text
        errors = np.array([state.tracking_error for _, state in row.states()])
        assert np.abs(errors).max() < 0.3
    row.recovers("it is ended", within_s=6.0)


def test_joint_states_glitch_to_zero(system: Any, fault: Any) -> None:
    """One message of zeros now and then, as after a failed read (report F3): it reaches nobody, and is named."""
    row = fault("joint states glitch to zero", "one joint state in 60 is all zeros")
    system.driver.joints = "glitch"
    chunk = system.states.last.chunk_id
    row.goes_on(
        lambda: (
            system.states.last.chunk_id > chunk + 8 and "a state was refused" in system.nodes["joint_state"].output()
        ),
        "chunks are followed, and a state is refused",
        "the log names joint, from and to",
    )
    errors = np.array([state.tracking_error for _, state in row.states()])
    assert np.abs(errors).max() < 0.3
    system.driver.heal()
    row.recovers()
