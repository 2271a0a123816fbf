# SPDX-License-Identifier: Apache-2.0
"""Ways out of the executor's process that no other process can hold up.

Fast DDS sends all messages of a participant under one lock. Over shared memory it also locks the reader's port, and
where the reader's process was stopped or killed with that lock in its hands, waits a second before it gives up. A
policy that hangs would so stop the arm's commands in motion: about one SIGSTOP in fifteen did, with ``executor_state``
going to the policy at 100 Hz.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from rclpy.context import Context
from rclpy.node import Node


class CommandChannel:
    """Publishers of commands, with a participant of their own: its only readers are the robot's drivers.

    Parameters
    ----------
    node
        Its domain is joined, and its names hold: remapped, and in its namespace.
    """

    def __init__(self, node: Node) -> None:
        self._names = node
        self._context = Context()
        self._context.init(initialize_logging=False, domain_id=node.context.get_domain_id())
        self._node = Node(
            f"{node.get_name()}_commands",
            namespace=node.get_namespace(),
            context=self._context,
            use_global_arguments=False,
            start_parameter_services=False,
            enable_rosout=False,
        )

    def publisher(self, kind: type, topic: str, qos: Any) -> Any:
        """Create a publisher; any thread may use it."""
        return self._node.create_publisher(kind, self._names.resolve_topic_name(topic), qos)

    def close(self) -> None:
        """Leave the graph."""
        self._node.destroy_node()
        self._context.try_shutdown()


class Outbox:
    """Publishes from a thread of its own what a thread that may not wait puts in; in order, and nothing twice.

    Attributes
    ----------
    lost
        How many messages were not taken in, since ``most`` others waited.

    Parameters
    ----------
    publish
        Takes a serialized message; may block.
    most
        How many messages may wait.
    """

    def __init__(self, publish: Callable[[bytes], object], most: int) -> None:
        self._publish = publish
        self._most = most
        self.lost = 0
        self._queue: SimpleQueue[bytes | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    def put(self, message: bytes) -> None:
        """Have a serialized message published soon; never waits."""
        if self._queue.qsize() < self._most:
            self._queue.put(message)
        else:
            self.lost += 1

    def end(self) -> None:
        """Publish what waits, and end."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (message := self._queue.get()) is not None:
            self._publish(message)
