# SPDX-License-Identifier: Apache-2.0
"""Another checkpoint for a running policy node: down its life cycle, its parameter set, and up again."""

from __future__ import annotations

import time
from typing import Any

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.parameter import Parameter, parameter_value_to_python

from swiftvla_ros.contract.executor_codes import Mode
from swiftvla_ros.nodes.panel.quiet_entities import QuietClient
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode
from swiftvla_ros.panel.exchange import Answer
from swiftvla_ros.panel.sections import MOVING

# A change whose answers never come is forgotten after this.
_FORGOTTEN_S = 180.0


class CheckpointChange:
    """One change at a time, as a coroutine of the node's executor."""

    def __init__(self, node: ManagedNode[Any], policy: str = "policy") -> None:
        kinds = {
            "get_state": GetState,
            "change_state": ChangeState,
            "get_parameters": GetParameters,
            "set_parameters": SetParameters,
        }
        self._clients = {name: QuietClient(node, kind, f"{policy}/{name}") for name, kind in kinds.items()}
        self._began_s: float | None = None

    async def use(self, path: str, mode: int) -> Answer:
        """Have the policy compute another checkpoint, or the one before where that can't be loaded."""
        if mode in MOVING:
            return False, f"the arm moves ({Mode(mode).name}); stop it first"
        if self._began_s is not None and time.monotonic() - self._began_s < _FORGOTTEN_S:
            return False, "another checkpoint is being loaded; wait for it"
        missing = [client.srv_name for client in self._clients.values() if not client.is_ready()]
        if missing:
            return False, f"no service {missing[0]}: is the policy node running?"
        self._began_s = time.monotonic()
        try:
            return await self._use(path)
        finally:
            self._began_s = None

    async def _use(self, path: str) -> Answer:
        before = await self._checkpoint()
        await self._descend()
        problem = await self._ascend(path)
        if not problem:
            return True, f"the policy computes {path}"
        if not before or (again := await self._ascend(before)):
            return False, f"{problem}; and the one before ({before}) can't be loaded again: {again if before else ''}"
        return False, f"{problem}; the policy computes {before} as before"

    async def _checkpoint(self) -> str:
        answer = await self._ask("get_parameters", GetParameters.Request(names=["checkpoint"]))
        return str(parameter_value_to_python(answer.values[0]) or "") if answer.values else ""

    async def _descend(self) -> None:
        """Down to unconfigured, from wherever it is."""
        state = await self._state()
        if state == State.PRIMARY_STATE_ACTIVE:
            await self._go(Transition.TRANSITION_DEACTIVATE)
        if state in (State.PRIMARY_STATE_ACTIVE, State.PRIMARY_STATE_INACTIVE):
            await self._go(Transition.TRANSITION_CLEANUP)

    async def _ascend(self, path: str) -> str:
        """Set the parameter and go up; returns what went wrong, and leaves it unconfigured then."""
        parameter = Parameter("checkpoint", value=path).to_parameter_msg()
        answer = await self._ask("set_parameters", SetParameters.Request(parameters=[parameter]))
        if not answer.results[0].successful:
            return str(answer.results[0].reason)
        if not await self._go(Transition.TRANSITION_CONFIGURE):
            return f"{path}: the policy can't load it; its log says why"
        if not await self._go(Transition.TRANSITION_ACTIVATE):
            await self._descend()
            return f"{path}: the policy can't be activated with it; its log says why"
        return ""

    async def _state(self) -> int:
        return int((await self._ask("get_state", GetState.Request())).current_state.id)

    async def _go(self, transition: int) -> bool:
        answer = await self._ask("change_state", ChangeState.Request(transition=Transition(id=transition)))
        return bool(answer.success)

    async def _ask(self, name: str, request: Any) -> Any:
        return await self._clients[name].call(request)
