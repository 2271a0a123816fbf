# SPDX-License-Identifier: Apache-2.0
"""A policy gone wild: chunks as fast as the processor allows, each as if it were the next one of the real policy."""

from __future__ import annotations

import signal
import sys

import numpy as np
import rclpy
from rclpy.node import Node

from swiftvla_ros.msg import ActionChunk, ExecutorState
from swiftvla_ros.nodes.ros import qos


def main() -> None:
    """``flooding_policy.py SWING_RAD CHECKPOINT``: swing about the last chunk; CHECKPOINT is a name, or ``same``."""
    swing, checkpoint = float(sys.argv[1]), sys.argv[2]
    rclpy.init()
    node = Node("flooding_policy")
    chunks: list[ActionChunk] = []
    states: list[ExecutorState] = []
    listening = [
        node.create_subscription(ActionChunk, "action_chunk", chunks.append, qos.CHUNK),
        node.create_subscription(ExecutorState, "executor_state", states.append, qos.STATE_INPUT),
    ]
    while not chunks or not states:
        rclpy.spin_once(node, timeout_sec=0.1)
    publisher = node.create_publisher(ActionChunk, "action_chunk", qos.CHUNK)
    for subscription in listening:
        node.destroy_subscription(subscription)
    chunk = chunks[-1]
    if checkpoint != "same":
        chunk.checkpoint_sha256 = checkpoint
    pose = np.array(states[-1].commanded_position)
    ending: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: ending.append(number))
    begin_ns, sent = node.get_clock().now().nanoseconds, 0
    print("flooding", flush=True)
    while not ending:
        now = node.get_clock().now()
        times_s = (now.nanoseconds - begin_ns) / 1e9 + 0.1 * np.arange(chunk.rows)
        rows = np.tile(pose, (chunk.rows, 1))
        rows[:, 0] += swing * np.sin(2.0 * times_s)
        chunk.header.stamp = now.to_msg()
        chunk.chunk_id += 1
        chunk.positions = rows.ravel().tolist()
        publisher.publish(chunk)
        sent += 1
    seconds = (node.get_clock().now().nanoseconds - begin_ns) / 1e9
    print(f"{sent / seconds:.0f} chunks a second", flush=True)
    node.destroy_node()
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
