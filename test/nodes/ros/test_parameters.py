# SPDX-License-Identifier: Apache-2.0
"""Parameters that are read at configure can't be changed afterwards, in no node (report F2)."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import rclpy
from rclpy.parameter import Parameter

import swiftvla_ros.nodes
from swiftvla_ros.drivers.feetech.emulated_arm import BusFaults
from swiftvla_ros.nodes.emulated_bus_node import ROLES
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode
from swiftvla_ros.nodes.ros.parameters import Allowed

NODES = sorted(path.stem for path in Path(swiftvla_ros.nodes.__file__).parent.glob("*_node.py"))
# What a node applies in a callback of its own, or rclpy does; all others must be refused.
LIVE = {"use_sim_time", "delay_s", "noise_rad", "dropout", "deaf"} | {
    f"{role}.{fault}" for role in ROLES for fault in (*(each.name for each in fields(BusFaults)), "restart")
}


@pytest.fixture(scope="module", autouse=True)
def context() -> Iterator[Any]:
    """rclpy, for nodes that are made and never spun."""
    rclpy.init(domain_id=199)
    yield
    rclpy.try_shutdown()


@pytest.fixture(params=NODES)
def node(request: pytest.FixtureRequest) -> Iterator[ManagedNode[Any]]:
    """Each node of the package, not configured."""
    module = importlib.import_module(f"swiftvla_ros.nodes.{request.param}")
    classes = [c for c in vars(module).values() if isinstance(c, type) and issubclass(c, ManagedNode)]
    node = next(c for c in classes if c.__module__ == module.__name__)()
    yield node
    node.destroy_node()


def other(value: Any) -> Any:
    """Another value of the same type, as good as the first."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return value + "x"
    return value + 1 if isinstance(value, (int, float)) else [*value, type(value[0])(7) if value else 7]


def own_parameters(node: ManagedNode[Any]) -> dict[str, Any]:
    """Values by name, without those with which rclpy itself starts a node."""
    names = [name for name in node._parameters if not name.startswith(("qos_overrides", "start_type_description"))]
    return {name: node.value(name) for name in names}


def test_no_parameter_changes_in_a_configured_node(node: ManagedNode[Any]) -> None:
    """`param set … shadow true` must not say "successful" while the arm goes on being commanded (report F2)."""
    node._configured = True
    for name, value in own_parameters(node).items():
        if name in LIVE:
            continue
        result = node.set_parameters([Parameter(name, value=other(value))])[0]
        assert not result.successful, name
        assert name in result.reason
        if not node._rules.allowed[name].one_of:
            assert "deactivate and clean up first" in result.reason
        assert node.value(name) == value
        assert node.set_parameters([Parameter(name, value=value)])[0].successful, "the value that it has"


def test_an_unconfigured_node_takes_what_it_can_use(node: ManagedNode[Any]) -> None:
    """Before configure everything may be set, but no number that configure would refuse (max_rate_hz -1.0)."""
    for name, value in own_parameters(node).items():
        allowed = node._rules.allowed.get(name, Allowed())
        if not allowed.one_of and name not in LIVE:
            assert node.set_parameters([Parameter(name, value=other(value))])[0].successful, name
        if isinstance(value, float):
            result = node.set_parameters([Parameter(name, value=math.nan)])[0]
            assert not result.successful
            assert name in result.reason
        if math.isfinite(bound := max(allowed.least, allowed.above)) and isinstance(value, (int, float)):
            result = node.set_parameters([Parameter(name, value=type(value)(bound - 1))])[0]
            assert not result.successful
            assert f"parameter {name} is" in result.reason
            assert "write " in result.reason
    node._rules.check()


def test_cleanup_lets_parameters_change_again() -> None:
    """The way out that the refusal names is one."""
    from swiftvla_ros.nodes.joint_state_node import JointStateNode

    node = JointStateNode()
    node.set_parameters([Parameter("robot", value="so101_sim")])
    node.trigger_configure()
    assert not node.set_parameters([Parameter("robot", value="so101")])[0].successful
    node.trigger_cleanup()
    assert node.set_parameters([Parameter("robot", value="so101")])[0].successful
    node.destroy_node()
