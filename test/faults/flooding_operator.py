# SPDX-License-Identifier: Apache-2.0
"""An operator's program gone wild: instructions as fast as they are answered, 20 calls at a time, until killed."""

from __future__ import annotations

import itertools

import rclpy
from rclpy.node import Node

from swiftvla_ros.srv import SetInstruction


def main() -> None:
    """Never ends by itself."""
    rclpy.init()
    node = Node("flooding_operator")
    client = node.create_client(SetInstruction, "set_instruction")
    client.wait_for_service()
    texts = itertools.cycle(f"touch the {colour} block" for colour in ("red", "blue", "green"))

    def ask(_answer: object = None) -> None:
        client.call_async(SetInstruction.Request(instruction=next(texts))).add_done_callback(ask)

    for _ in range(20):
        ask()
    print("flooding", flush=True)
    rclpy.spin(node)


if __name__ == "__main__":
    main()
