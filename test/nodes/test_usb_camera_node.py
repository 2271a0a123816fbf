# SPDX-License-Identifier: Apache-2.0
"""usb_camera_node as a process that plays a film, with camera_node behind it."""

import signal
from pathlib import Path
from typing import Any

import films
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from swiftvla_ros.contract import load_contract
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.observation.message_fields import stamp_ns

TOPIC = "/usb_camera_test/front/compressed"


@pytest.fixture
def robot(tmp_path: Path) -> Path:
    """A contract whose front camera is a film of 64×48 px, beside it, for this package's own driver."""
    base = load_contract("so101_sim")
    text = base.text.replace(base.camera("front").topic, TOPIC)
    text = text.replace("transport: raw", "transport: compressed", 1).replace("[640, 480]", "[64, 48]", 1)
    (tmp_path / base.file.kinematics.urdf).write_text(base.urdf_path.read_text())
    path = tmp_path / "arm.yaml"
    path.write_text(f"{text}\ndrivers: {{cameras: {{front: {{film: front.mjpeg, repeat: true}}}}}}\n")
    assert load_contract(path).camera("front").transport == "compressed"
    return path


def test_jpegs_pass_through_and_a_pulled_camera_comes_back(graph: Any, robot: Path) -> None:
    """Protects the whole way: the film's own bytes on the topic, stamped now; a pulled film is named and comes back."""
    pictures = films.jpegs(20)
    film = films.write_mjpeg(robot.parent / "front.mjpeg", pictures)
    images = graph.listen(CompressedImage, TOPIC, qos.CAMERA_INPUT)
    conditioned = graph.listen(Image, "/observation/front", qos.CAMERA_INPUT)
    problems = graph.listen(String, "/observation/front_problem", qos.LATCHED)
    health = graph.listen(DiagnosticArray, "/diagnostics", 10)
    camera = graph.start("camera_node", robot=str(robot), camera="front")
    driver = graph.start("usb_camera_node", robot=str(robot), camera="front")
    graph.wait_until(lambda: len(images.messages) > 30 and conditioned.messages, "pictures come", 90)
    assert {bytes(message.data) for message in images.messages} <= set(pictures)
    newest = images.last
    assert (newest.format, newest.header.frame_id) == ("jpeg", "front_optical_frame")
    assert abs(images.times_s[-1] - stamp_ns(newest.header.stamp) / 1e9) < 1
    assert stamp_ns(conditioned.last.header.stamp) in {stamp_ns(message.header.stamp) for message in images.messages}

    def status() -> tuple[str, str]:
        found = [s for message in health.messages for s in message.status if s.name == "/usb_camera"]
        return (found[-1].level, found[-1].message) if found else (b"", "")

    graph.wait_until(lambda: status()[0] == b"\0", "it is well")
    assert "pictures a second" in status()[1]
    film.rename(film.with_suffix(".away"))
    graph.wait_until(lambda: status()[0] == b"\2" and "there is no such film" in status()[1], "its diagnostics say so")
    graph.wait_until(
        lambda: problems.messages and "there is no such film" in problems.last.data, "camera_node knows why"
    )
    film.with_suffix(".away").rename(film)
    images.clear()
    graph.wait_until(lambda: len(images.messages) > 5 and problems.last.data == "", "it comes back, and all know")
    assert "camera 'front' gives pictures" in driver.output()
    assert driver.end(signal.SIGTERM) == 0
    assert camera.end() == 0
