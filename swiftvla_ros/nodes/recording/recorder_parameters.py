# SPDX-License-Identifier: Apache-2.0
"""Asks the nodes of the graph for their parameters, so that a bag says how everything was set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rcl_interfaces.srv import GetParameters, ListParameters
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python

# A graph of another's making may have hundreds of nodes; a system of ours has a dozen.
_MOST_NODES = 64
# A node that starts up loads for that long before it answers.
_PATIENCE_TICKS = 120


class ParameterCollector:
    """Collects the parameters of the nodes in the own namespace, as they come up; never waits for one.

    ``on_change`` is called with all that is known, values by node and name, when another node has answered.
    """

    def __init__(self, node: Node, on_change: Callable[[Mapping[str, Mapping[str, Any]]], None]) -> None:
        self._node = node
        self._on_change = on_change
        self._known: dict[str, dict[str, Any]] = {}
        self._asked: dict[str, int] = {}
        self._clients: dict[str, list[Any]] = {}

    @property
    def known(self) -> int:
        """How many nodes have answered."""
        return len(self._known)

    def look(self) -> None:
        """Ask nodes that were not asked yet; called about once a second."""
        own = self._node.get_namespace()
        names = {
            f"{namespace.rstrip('/')}/{name}"
            for name, namespace in self._node.get_node_names_and_namespaces()
            # What is hidden, such as the command line's own, has nothing to do with the robot.
            if namespace.startswith(own) and not name.startswith("_")
        }
        for name in sorted(names - set(self._known))[:_MOST_NODES]:
            ticks = self._asked[name] = self._asked.get(name, 0) + 1
            if name not in self._clients and ticks <= _PATIENCE_TICKS:
                self._ask(name)
            elif ticks > _PATIENCE_TICKS:
                self._leave(name)

    def close(self) -> None:
        """Give all clients back."""
        for name in list(self._clients):
            self._leave(name)

    def _ask(self, name: str) -> None:
        lister = self._node.create_client(ListParameters, f"{name}/list_parameters")
        getter = self._node.create_client(GetParameters, f"{name}/get_parameters")
        self._clients[name] = [lister, getter]
        asking: dict[str, list[str]] = {}

        def got(future: Any) -> None:
            values = future.result().values if future.exception() is None else []
            if len(values) == len(asking["names"]):
                pairs = zip(asking["names"], values, strict=True)
                self._known[name] = {key: parameter_value_to_python(value) for key, value in pairs}
                self._on_change(self._known)
            self._leave(name)

        def listed(future: Any) -> None:
            if future.exception() is not None or name not in self._clients:
                self._leave(name)
                return
            asking["names"] = list(future.result().result.names)
            getter.call_async(GetParameters.Request(names=asking["names"])).add_done_callback(got)

        lister.call_async(ListParameters.Request()).add_done_callback(listed)

    def _leave(self, name: str) -> None:
        for client in self._clients.pop(name, []):
            self._node.destroy_client(client)
