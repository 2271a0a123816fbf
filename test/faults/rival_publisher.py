# SPDX-License-Identifier: Apache-2.0
"""A joint_state_publisher beside the driver: zeros for the joints that the driver publishes, too, at 100 Hz."""

from __future__ import annotations

import sys
import time

import rclpy
from rclpy.node import Node
from sensor_msgs.msg import JointState

from swiftvla_ros.contract import load_contract


def main() -> None:
    """``rival_publisher.py TOPIC``, until it is terminated."""
    names = list(load_contract("so101_sim").joint_names)
    rclpy.init()
    node = Node("joint_state_publisher")
    publisher = node.create_publisher(JointState, sys.argv[1], 10)
    message = JointState(name=names, position=[0.0] * len(names))
    print("publishing", flush=True)
    while rclpy.ok():
        message.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(message)
        time.sleep(0.01)


if __name__ == "__main__":
    main()
