# SPDX-License-Identifier: Apache-2.0
"""The order of joints in messages that have no names (report F4)."""

from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from rcl_interfaces.msg import ParameterType

from swiftvla_ros.contract import Contract, contract_from_text, load_contract
from swiftvla_ros.motion import Command
from swiftvla_ros.nodes.commands.controller_order import ControllerOrders, order_of, order_problem, orders_of
from swiftvla_ros.nodes.commands.outputs import ForwardPositions, ForwardVelocities

BASE = load_contract("so101_sim")
NAMES = BASE.joint_names
ELBOW_FIRST = (NAMES[2], NAMES[1], NAMES[0], *NAMES[3:])


def with_order(order: tuple[str, ...]) -> Contract:
    """The simulated arm's contract, with the order in which its controller takes the joints."""
    line = "output: forward_position"
    assert line in BASE.text
    text = BASE.text.replace(line, f"{line}\n  joints: [{', '.join(order)}]")
    return contract_from_text(text, Path(BASE.path))


@pytest.mark.parametrize("output", [ForwardPositions, ForwardVelocities])
def test_arrays_go_out_in_the_controllers_order(output: Any) -> None:
    """control.joints is the order of the messages, and of nothing else."""
    robot, sent = with_order(ELBOW_FIRST), []
    assert robot.joint_names == NAMES
    values = np.arange(len(NAMES), dtype=float)
    (part,) = robot.command_parts
    output(robot, part, lambda message: sent.append(list(message.data))).send(Command(1, values, values, values), 1)
    expected = [values[NAMES.index(name)] for name in ELBOW_FIRST]
    scale = np.rad2deg(1.0) if robot.joints[0].unit == "deg" else 1.0
    np.testing.assert_allclose(sent[0], np.array(expected) * scale)
    assert part.order_stated
    assert not BASE.command_parts[0].order_stated


def test_an_order_with_a_joint_missing_or_twice_is_refused() -> None:
    """The key is named, with what to do."""
    with pytest.raises(ValueError, match=r"control.joints: nothing commands joint 'gripper'; add it"):
        with_order(ELBOW_FIRST[:-1])
    with pytest.raises(ValueError, match=r"control.joints: 'elbow_flex' is in two parts .* remove it"):
        with_order((*ELBOW_FIRST, "elbow_flex"))
    with pytest.raises(ValueError, match=r"control.joints: 'elbow' is not a joint"):
        with_order((*ELBOW_FIRST, "elbow"))


def test_what_differs_is_said_with_the_fix() -> None:
    """Another order, a joint that the controller lacks, and one that nobody commands."""
    (part,) = BASE.command_parts
    assert "write control.joints: [elbow_flex, shoulder_lift," in order_problem(part, "/c", ELBOW_FIRST)
    assert "the controller has no ['gripper']; add them" in order_problem(part, "/c", NAMES[:-1])
    assert "['lift'] are not commanded by the contract" in order_problem(part, "/c", (*NAMES, "lift"))


def test_our_own_robots_tell_their_order_by_topic() -> None:
    """The simulated and the loop-back robot take several parts; each topic has its own order."""
    two = load_contract("so101_two_arms")
    for part in two.command_parts:
        assert order_of(orders_of(two.command_parts), part.topic) == part.names
    assert order_of([], "/elsewhere") is None


class Graph:
    """A node's view of a graph in which one controller tells an order, and is seen or not."""

    def __init__(self) -> None:
        self.contract, self.seen, self.look = BASE, True, lambda: None
        self.count_subscribers = lambda _topic: int(self.seen)
        self.own = self.destroy_client = lambda *_: None

    def timer(self, _period_s: float, look: Any) -> None:
        """Keep what is to be called."""
        self.look = look

    def get_subscriptions_info_by_topic(self, _topic: str) -> list[Any]:
        """Who takes the commands."""
        return [SimpleNamespace(node_namespace="/", node_name="controller")] if self.seen else []

    def create_client(self, *_: Any) -> Any:
        """A client that is answered at once."""
        value = SimpleNamespace(type=ParameterType.PARAMETER_STRING_ARRAY, string_array_value=list(ELBOW_FIRST))
        future: Future[Any] = Future()
        future.set_result(SimpleNamespace(values=[value]))
        return SimpleNamespace(service_is_ready=lambda: True, call_async=lambda _request: future)


def test_a_refusal_outlasts_a_moment_out_of_sight() -> None:
    """Discovery may lose a controller for some looks: activation must not slip through then; gone for good, it may."""
    graph, refused = Graph(), []
    orders = ControllerOrders(cast(Any, graph), lambda: refused.append(orders.problem))
    graph.look()
    assert "write control.joints" in orders.problem
    graph.seen = False
    for _ in range(5):
        graph.look()
        assert orders.problem
    graph.seen = True
    graph.look()
    graph.seen = False
    for _ in range(11):
        assert orders.problem
        graph.look()
    assert not orders.problem
    assert len(refused) == 1
