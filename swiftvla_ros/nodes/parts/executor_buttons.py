# SPDX-License-Identifier: Apache-2.0
"""The executor's services for people: stop and start, the latched stop and its reset, taking over and giving back."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any

from swiftvla_ros.motion import ChunkExecutor
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode


class ExecutorButtons:
    """Offers the services, each under the core's lock.

    ``catch_up`` tells of the last tick, for a replay has to know between which two an operator took the arm.
    """

    def __init__(self, node: ManagedNode[Any], core: ChunkExecutor, lock: Lock, catch_up: Callable[[], None]) -> None:
        self._node, self._core, self._lock, self._catch_up = node, core, lock, catch_up
        for name in ("start", "stop", "emergency_stop", "reset", "take_over", "give_back"):
            node.button(f"~/{name}", getattr(self, f"_{name}"))

    def _start(self) -> tuple[bool, str]:
        with self._lock:
            self._core.start()
        return True, "chunks are accepted"

    def _stop(self) -> tuple[bool, str]:
        with self._lock:
            self._core.stop()
        return True, "slowing down to rest; ~/start accepts chunks again"

    def _emergency_stop(self) -> tuple[bool, str]:
        with self._lock:
            self._core.emergency_stop()
        return True, "braking; ~/reset leads out once the arm rests"

    def _reset(self) -> tuple[bool, str]:
        with self._lock:
            done = self._core.reset()
        if done:
            return True, "nothing is commanded; the next chunk starts from the measured pose"
        return False, "the arm still moves; call ~/stop and wait for HOLD first"

    def _take_over(self) -> tuple[bool, str]:
        with self._lock:
            self._catch_up()
            self._core.take_over()
        return True, "the policy's chunks are refused; ~/give_back lets them in again"

    def _give_back(self) -> tuple[bool, str]:
        with self._lock:
            self._catch_up()
            self._core.give_back(self._node.now_ns())
        return True, "the policy's chunks are accepted"
