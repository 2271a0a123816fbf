# SPDX-License-Identifier: Apache-2.0
"""Faults in one live graph, each found by its own row."""

import threading
from array import array
from typing import Any

import pytest

from swiftvla_ros.contract import load_contract
from swiftvla_ros.preflight.nodes import check_graph
from swiftvla_ros.preflight.row import Row

rclpy = pytest.importorskip("rclpy", reason="rclpy is not installed: pip install '.[ros]' or source a ROS setup")

CONTRACT = load_contract("so101_sim")
FRONT, WRIST = (camera.topic for camera in CONTRACT.cameras)
STATES = CONTRACT.joint_states.topic
[COMMANDS] = CONTRACT.command_topics
LISTEN_S = 2.0
BEHIND_S = 3
PERIOD_S = 0.1


class FaultyGraph:
    """Small nodes in a context of their own: drivers, and what is wrong with them."""

    def __init__(self) -> None:
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import DurabilityPolicy, QoSProfile
        from sensor_msgs.msg import CompressedImage, Image, JointState
        from std_msgs.msg import Float64MultiArray

        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self.nodes: list[Any] = []
        driver, rival = self.node("driver"), self.node("joint_state_publisher")
        executor, controller = self.node("trajectory_executor"), self.node("controller")
        # a camera whose clock is behind, and one that publishes elsewhere
        width, height = CONTRACT.cameras[0].source_size
        image = Image(
            height=height, width=width, encoding="rgb8", step=3 * width, data=array("B", bytes(3 * width * height))
        )
        self.repeat(driver, Image, FRONT, image, BEHIND_S)
        compressed = f"{WRIST}/compressed"
        self.repeat(driver, CompressedImage, compressed, CompressedImage(format="jpeg"))
        # two publishers of joint states
        zeros = JointState(name=list(CONTRACT.joint_names), position=[0.0] * len(CONTRACT.joint_names))
        for node in (driver, rival):
            self.repeat(node, JointState, STATES, zeros)
        # two commanders, and a controller that asks for more than they offer, and takes the joints in another order
        for node in (executor, rival):
            node.create_publisher(Float64MultiArray, COMMANDS, 10)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        controller.create_subscription(Float64MultiArray, COMMANDS, print, latched)
        controller.declare_parameter("joints", list(reversed(CONTRACT.joint_names)))
        # simulated time without a clock
        executor.set_parameters([rclpy.Parameter("use_sim_time", value=True)])
        self._ending = False
        self._thread = threading.Thread(target=self._spin)
        self._thread.start()

    def node(self, name: str) -> Any:
        """Create a node."""
        node = rclpy.create_node(name, context=self.context)
        self._executor.add_node(node)
        self.nodes.append(node)
        return node

    def repeat(self, node: Any, kind: type, topic: str, message: Any, behind_s: int = 0) -> None:
        """Publish a message again and again, with the present as its stamp, or with what was long ago."""
        publisher = node.create_publisher(kind, topic, 10)

        def publish() -> None:
            message.header.stamp = node.get_clock().now().to_msg()
            message.header.stamp.sec -= behind_s
            publisher.publish(message)

        node.create_timer(PERIOD_S, publish)

    def close(self) -> None:
        """End all."""
        self._ending = True
        self._thread.join()
        self._executor.shutdown()
        for node in self.nodes:
            node.destroy_node()
        rclpy.shutdown(context=self.context)

    def _spin(self) -> None:
        while not self._ending:
            self._executor.spin_once(timeout_sec=0.05)


def red(rows: list[Row], name: str) -> str:
    """What the red rows of a topic say, and their fixes."""
    found = [check for check in rows if check.name == name and check.status == "fail"]
    assert all(check.fix for check in found)
    return "\n".join(f"{check.finding} → {check.fix}" for check in found)


FAULTS = [
    (STATES, ("2 publishers", "/joint_state_publisher", "end all but the driver")),
    (FRONT, ("/driver's messages are stamped 3.", "behind this clock", "chrony")),
    (WRIST, ("nobody publishes", f"{WRIST}/compressed (from /driver)", "`transport: compressed`")),
    (COMMANDS, ("/joint_state_publisher commands the arm, too", "only one may command")),
    (COMMANDS, ("/controller hears nothing", "transient local", "let the subscriber ask for volatile")),
    (COMMANDS, ("/controller takes", "in the order ['gripper'", "write control.joints: [gripper")),
    ("clock", ("use_sim_time is true for /trajectory_executor", "nobody publishes /clock")),
    ("/policy", ("does not run", "swiftvla up")),
]


@pytest.mark.usefixtures("ros_environment")
def test_each_fault_has_its_row() -> None:
    """Protects: whoever asks what is wrong is told all of it, and what to do (reports F3, F4, F9 and F10)."""
    from swiftvla_ros.nodes.graph.listener import GraphListener

    graph = FaultyGraph()
    try:
        with GraphListener("") as listener:
            facts = listener.listen(CONTRACT, listener.find_nodes(), LISTEN_S, lambda _part: None)
    finally:
        graph.close()
    rows = check_graph(facts, CONTRACT)
    for name, words in FAULTS:
        text = red(rows, name)
        for word in words:
            assert word.lower() in text.lower(), "\n".join(map(str, rows))
