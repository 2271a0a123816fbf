# SPDX-License-Identifier: Apache-2.0
"""A forward_command_controller that takes the contract's joints in another order, and is told so by its parameter."""

from __future__ import annotations

import contextlib
import sys

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray

from swiftvla_ros.contract import load_contract


def main() -> None:
    """``wrong_controller.py TOPIC``, until it is terminated."""
    names = list(load_contract("so101_sim").joint_names)
    rclpy.init()
    node = Node("forward_position_controller")
    node.declare_parameter("joints", [names[2], *names[:2], *names[3:]])
    node.create_subscription(Float64MultiArray, sys.argv[1], lambda _message: None, 10)
    print("listening", flush=True)
    with contextlib.suppress(ExternalShutdownException):
        rclpy.spin(node)


if __name__ == "__main__":
    main()
