# SPDX-License-Identifier: Apache-2.0
"""camera_node and joint_state_node as processes: what drivers send, and what the policy gets."""

import array
import math
import signal
from typing import Any

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image, JointState

from swiftvla_ros.contract import load_contract
from swiftvla_ros.contract.images import condition_image
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.messages import rgb_message
from swiftvla_ros.observation.image_decoding import rgb_of
from swiftvla_ros.observation.message_fields import stamp_ns

CONTRACT = load_contract("so101_sim")
FRONT = CONTRACT.camera("front")
PICTURE = np.random.default_rng(1).integers(0, 255, (480, 640, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def camera(graph: Any) -> Any:
    """A raw camera's node with a publisher as its driver and the policy's end of it."""
    process = graph.start("camera_node", "camera_front", robot="so101_sim", camera="front")
    driver = graph.node.create_publisher(Image, FRONT.topic, qos.IMAGE)
    output = graph.listen(Image, "observation/front", qos.STATE_INPUT)
    graph.wait_until(lambda: driver.get_subscription_count() > 0 and graph.node.count_publishers("observation/front"),
                     "camera_node is there", 90)  # fmt: skip
    return process, driver, output


def send_until_received(graph: Any, driver: Any, message: Any, output: Any, fill: Any = None) -> Any:
    """Publish now and again (images are best effort) until something comes out; return it."""
    before = len(output.messages)

    def received() -> bool:
        if fill is not None:
            fill(message)
        driver.publish(message)
        return len(output.messages) > before

    graph.wait_until(received, "a message comes out")
    return output.last


def test_an_image_is_conditioned_as_everywhere_else(graph: Any, camera: Any) -> None:
    """The policy sees exactly what training saw, with the sensor's own stamp and frame."""
    _, driver, output = camera
    ns = graph.node.get_clock().now().nanoseconds - 50_000_000
    got = send_until_received(graph, driver, rgb_message(PICTURE, ns, "front_optical_frame"), output)
    assert stamp_ns(got.header.stamp) == ns
    assert got.header.frame_id == "front_optical_frame"
    np.testing.assert_array_equal(rgb_of(got), condition_image(PICTURE, FRONT))


def test_an_image_of_another_size_is_refused_with_topic_got_and_expected(graph: Any, camera: Any) -> None:
    """A driver at another resolution stops the policy loudly; it does not feed it a distorted view."""
    process, driver, output = camera
    now_ns = graph.node.get_clock().now().nanoseconds
    wrong = rgb_message(PICTURE[:240, :320], now_ns, "front_optical_frame")

    def refused() -> bool:
        driver.publish(wrong)
        return "got 320×240 px, expected 640×480" in process.output()

    graph.wait_until(refused, "camera_node refuses the image")
    assert FRONT.topic in process.output()
    assert all(stamp_ns(image.header.stamp) != now_ns for image in output.messages)
    assert process.output().count("got 320×240") < 5


def test_an_unstamped_camera_gets_the_time_of_receipt_and_one_warning(graph: Any) -> None:
    """A zero stamp is replaced, and said once by topic."""
    process = graph.start("camera_node", "camera_wrist", robot="so101_sim", camera="wrist")
    topic = CONTRACT.camera("wrist").topic
    driver = graph.node.create_publisher(Image, topic, qos.IMAGE)
    output = graph.listen(Image, "observation/wrist", qos.STATE_INPUT)
    graph.wait_until(lambda: driver.get_subscription_count() > 0, "camera_node is there", 90)
    for _ in range(3):
        send_until_received(graph, driver, rgb_message(PICTURE, 0, ""), output)
    age_ns = graph.node.get_clock().now().nanoseconds - stamp_ns(output.last.header.stamp)
    assert 0 <= age_ns < 2_000_000_000
    assert process.output().count(f"topic {topic} is not stamped") == 1
    assert process.end() == 0


def test_a_compressed_camera(graph: Any, tmp_path: Any) -> None:
    """A contract with transport: compressed works, colours in order, and SIGTERM ends the node cleanly."""
    text = CONTRACT.text.replace("topic: /camera/front/image_raw\n    transport: raw",
                                 "topic: /camera/front/compressed\n    transport: compressed")  # fmt: skip
    assert "compressed" in text
    contract = tmp_path / "compressed.yaml"
    contract.write_text(text)
    (tmp_path / "so101.urdf").write_text((CONTRACT.path.parent / "so101.urdf").read_text())
    process = graph.start("camera_node", "camera_jpeg", robot=str(contract), camera="front")
    driver = graph.node.create_publisher(CompressedImage, "/camera/front/compressed", qos.IMAGE)
    graph.wait_until(lambda: driver.get_subscription_count() > 0, "camera_node is there", 90)
    output = graph.listen(Image, "observation/front", qos.STATE_INPUT)
    plain = np.full((480, 640, 3), (200, 40, 10), np.uint8)
    message = CompressedImage(format="jpeg")
    message.header.stamp = graph.node.get_clock().now().to_msg()
    message.data = array.array("B", cv2.imencode(".jpg", plain[..., ::-1])[1].tobytes())
    got = send_until_received(graph, driver, message, output)
    assert np.abs(rgb_of(got).astype(int) - (200, 40, 10)).max() < 8
    assert process.end(signal.SIGTERM) == 0


def test_joint_states_by_name_in_any_order_whole_or_in_parts_and_never_nan(graph: Any) -> None:
    """Permuted names give the same state; parts are merged; a NaN drops its message with an error naming the joint."""
    process = graph.start("joint_state_node", robot="so101_sim")
    topic = CONTRACT.joint_states.topic
    driver = graph.node.create_publisher(JointState, topic, qos.STATE)
    output = graph.listen(JointState, "observation/state", qos.STATE_INPUT)
    graph.wait_until(lambda: driver.get_subscription_count() > 0 and graph.node.count_publishers("observation/state"),
                     "joint_state_node is there", 90)  # fmt: skip
    names = list(CONTRACT.joint_names)
    values = dict(zip(names, (0.1, -0.2, 0.3, -0.4, 0.5, 0.6), strict=True))

    def stamp(message: JointState) -> None:
        message.header.stamp = graph.node.get_clock().now().to_msg()

    for order in (names, names[::-1], ["caster", *names[3:], *names[:3]]):
        message = JointState(name=order, position=[values.get(name, 9.0) for name in order])
        got = send_until_received(graph, driver, message, output, stamp)
        assert list(got.name) == names
        assert list(got.position) == pytest.approx(list(values.values()))

    broken = JointState(name=names, position=[0.9, math.nan, 0.3, 0.4, 0.5, 0.6])

    def dropped() -> bool:
        stamp(broken)
        driver.publish(broken)
        return f"{names[1]} = nan" in process.output()

    graph.wait_until(dropped, "joint_state_node drops the NaN")
    assert topic in process.output()

    values[names[-1]] = 0.7
    parts = [JointState(name=names[:5], position=[values[n] for n in names[:5]]),
             JointState(name=names[5:], position=[values[names[5]]])]  # fmt: skip

    def merged() -> bool:
        for part in parts:
            stamp(part)
            driver.publish(part)
        return output.last.position[5] == pytest.approx(0.7)

    graph.wait_until(merged, "the parts are merged")
    assert list(output.last.position)[:5] == pytest.approx([values[n] for n in names[:5]])
    assert all(state.position[0] != 0.9 for state in output.messages)
    assert process.end() == 0


def test_a_managed_node_follows_its_manager(graph: Any) -> None:
    """Without autostart the node waits; configure, activate, deactivate, clean up work, and it can start again."""
    from lifecycle_msgs.msg import State, Transition
    from lifecycle_msgs.srv import ChangeState, GetState

    process = graph.start("joint_state_node", "managed", robot="so101_sim", autostart=False)

    def change(transition: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return graph.call(ChangeState, "managed/change_state", request).success

    def state() -> int:
        return graph.call(GetState, "managed/get_state", GetState.Request()).current_state.id

    assert state() == State.PRIMARY_STATE_UNCONFIGURED
    for _ in range(2):
        assert change(Transition.TRANSITION_CONFIGURE)
        assert change(Transition.TRANSITION_ACTIVATE)
        assert state() == State.PRIMARY_STATE_ACTIVE
        assert change(Transition.TRANSITION_DEACTIVATE)
        assert change(Transition.TRANSITION_CLEANUP)
        assert state() == State.PRIMARY_STATE_UNCONFIGURED
    assert process.end() == 0


def test_a_driver_that_repeats_its_last_picture_is_refused(graph: Any) -> None:
    """A hung camera with fresh stamps does not keep a moving arm going blind; the next true picture goes on."""
    driver = graph.node.create_publisher(Image, FRONT.topic, qos.IMAGE)
    output = graph.listen(Image, "/hung/observation/front", qos.STATE_INPUT)
    process = graph.start(
        "camera_node", "camera_hung", namespace="hung", robot="so101_sim", camera="front", repeated_for_s=0.3
    )

    arm = graph.node.create_publisher(JointState, "/hung/observation/state", qos.STATE)
    pose = CONTRACT.rest.copy()

    def show(picture: Any) -> None:
        pose[0] += 0.01
        arm.publish(JointState(name=list(CONTRACT.joint_names), position=pose.tolist()))
        driver.publish(rgb_message(picture, graph.node.get_clock().now().nanoseconds, "front_optical_frame"))

    def refused() -> bool:
        show(PICTURE)
        return "the driver repeats it" in process.output()

    graph.wait_until(refused, "the picture is refused", 90)
    assert output.messages
    # Only what was under way when the third of a second had passed may still come out.
    first_ns = stamp_ns(output.messages[0].header.stamp)
    assert stamp_ns(output.last.header.stamp) - first_ns < 600_000_000
    noise = PICTURE.copy()
    noise[0, 0] ^= 1
    send_until_received(graph, driver, rgb_message(noise, graph.node.get_clock().now().nanoseconds, ""), output)
    assert process.end() == 0, process.output()
