# SPDX-License-Identifier: Apache-2.0
"""Plays a bag into the live graph, as ``ros2 bag play`` does: every message as recorded, at the recorded pace."""

from __future__ import annotations

import importlib
import sys
import threading
import time
from pathlib import Path

import rclpy
from rclpy.node import Node
from rosbags.highlevel import AnyReader

from swiftvla_ros.episodes.bags.message_types import message_types
from swiftvla_ros.nodes.ros import qos


def main() -> None:
    """``replay_bag.py FOLDER LEFT_OUT…``: play all topics but those left out, again and again, until killed."""
    folder, left_out = Path(sys.argv[1]), set(sys.argv[2:])
    rclpy.init()
    node = Node("replay")
    with AnyReader([folder], default_typestore=message_types()) as reader:
        wanted = [c for c in reader.connections if c.topic not in left_out]
        messages = [(ns, connection.topic, bytes(data)) for connection, ns, data in reader.messages(wanted)]
        publishers = {}
        for connection in wanted:
            package, kind = connection.msgtype.split("/msg/")
            message_class = getattr(importlib.import_module(f"{package}.msg"), kind)
            publishers[connection.topic] = node.create_publisher(message_class, connection.topic, qos.EXECUTOR_STATE)
    print(f"playing {len(messages)} messages of {sorted(publishers)}", flush=True)
    pace = threading.Event()
    while True:
        begin_s = time.monotonic()
        for ns, topic, data in messages:
            pace.wait(max(0.0, begin_s + (ns - messages[0][0]) / 1e9 - time.monotonic()))
            publishers[topic].publish(data)


if __name__ == "__main__":
    main()
