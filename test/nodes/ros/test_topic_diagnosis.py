# SPDX-License-Identifier: Apache-2.0
"""A silent topic is explained: who publishes, what, and what to do (report F10: silence is not explained)."""

import itertools
from dataclasses import replace

import pytest
from rclpy.duration import Duration
from rclpy.qos import (
    DurabilityPolicy,
    LivelinessPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from sensor_msgs.msg import CompressedImage, Image

from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.topic_diagnosis import (
    Expected,
    Publisher,
    TopicDiagnosis,
    diagnose,
    expected_of,
    qos_problems,
    small_shared_memory,
)
from swiftvla_ros.nodes.ros.topic_diagnosis import _qos_of as fields_of
from swiftvla_ros.preflight.transport import Profile, Transport

IMAGE, COMPRESSED, STATE = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/JointState"
MB = 1 << 20
WELL = Transport("7", "SUBNET", Profile(segment_bytes=32 * MB), 8000 * MB, 7000 * MB, ("127.0.0.1", "10.0.0.2"))
WRIST = Expected("/camera/wrist/image_raw", COMPRESSED, message_bytes=MB)


def codes(diagnosis: TopicDiagnosis) -> list[str]:
    """Codes of what was found."""
    return [cause.code for cause in diagnosis.causes]


def test_the_neighbour_of_the_right_type_is_named() -> None:
    """The shipped contract said image_raw where image_transport publishes image_raw/compressed (report F10)."""
    raw = [Publisher("/usb_cam", IMAGE)]
    compressed = {"/camera/wrist/image_raw/compressed": [Publisher("/usb_cam", COMPRESSED)]}
    silent = diagnose(WRIST, [], compressed, WELL)
    assert codes(silent) == ["no_publisher"]
    assert "comes on /camera/wrist/image_raw/compressed (from /usb_cam)" in silent.text
    other = diagnose(WRIST, raw, compressed, WELL)
    assert codes(other) == ["other_type"]
    assert "/usb_cam publishes sensor_msgs/msg/Image" in other.text
    assert "comes on /camera/wrist/image_raw/compressed" in other.text


def test_a_camera_that_publishes_in_the_other_transport_only_is_not_mistaken_for_its_neighbour() -> None:
    """Another camera's topic of the right type is like it by name, and wrong; the contract's transport is the fix."""
    others = {
        "/camera/front/image_raw": [Publisher("/usb_cam", IMAGE)],
        "/camera/wrist/image_raw/compressed": [Publisher("/usb_cam", COMPRESSED)],
    }
    [cause] = diagnose(replace(WRIST, type=IMAGE), [], others, WELL).causes
    assert "comes on /camera/wrist/image_raw/compressed (from /usb_cam)" in cause.fix
    assert "`transport: compressed`" in cause.fix
    assert "front" not in cause.fix


@pytest.mark.parametrize(
    ("expected", "name"),
    [
        ("/joint_states", "/left/joint_states"),
        ("/left/joint_states", "/joint_states"),
        ("/camera/image_raw", "/camera/image_rect"),
        ("/camera/front/image_raw", "/camera_front/image_raw"),
    ],
)
def test_another_namespace_and_a_slip_of_the_pen_are_found(expected: str, name: str) -> None:
    """What is probably meant is suggested, only of the expected type, and never something quite different."""
    others = {
        name: [Publisher("/driver", STATE)],
        f"{name}x": [Publisher("/driver", IMAGE)],
        "/tf_other": [Publisher("/somebody", STATE)],
    }
    text = diagnose(Expected(expected, STATE), [], others, WELL).text
    assert f"{STATE} comes on {name} (from /driver); write" in text


def test_without_any_publisher_the_domain_is_told() -> None:
    """Two machines with different domains or ranges never see each other, and nothing says so."""
    text = diagnose(WRIST, [], {}, WELL).text
    assert "nobody publishes on /camera/wrist/image_raw" in text
    assert "ROS_DOMAIN_ID is 7" in text
    assert "ROS_AUTOMATIC_DISCOVERY_RANGE is SUBNET" in text
    assert "only this machine" in diagnose(WRIST, [], {}, replace(WELL, discovery_range="LOCALHOST")).text
    assert "no IPv4" in diagnose(WRIST, [], {}, replace(WELL, ipv4=("127.0.0.1",))).text


def test_transport_of_the_contract_is_the_fix_where_the_topic_carries_the_other_one() -> None:
    """Raw on a topic from which compressed pictures are expected, and the other way round."""
    assert "`transport: raw`" in diagnose(WRIST, [Publisher("/cam", IMAGE)], {}, WELL).text
    raw = replace(WRIST, type=IMAGE)
    assert "`transport: compressed`" in diagnose(raw, [Publisher("/cam", COMPRESSED)], {}, WELL).text


def test_all_that_qos_forbids_is_found() -> None:
    """Each pair of profiles is judged as the middleware judges it, and each refusal has its reason."""
    profiles = [
        QoSProfile(depth=1, reliability=r, durability=d, deadline=Duration(seconds=dl), liveliness=lv,
                   liveliness_lease_duration=Duration(seconds=lease))
        for r, d, dl, lv, lease in itertools.product(
            (ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT),
            (DurabilityPolicy.TRANSIENT_LOCAL, DurabilityPolicy.VOLATILE),
            (0, 1, 2),
            (LivelinessPolicy.AUTOMATIC, LivelinessPolicy.MANUAL_BY_TOPIC),
            (0, 1),
        )
    ]  # fmt: skip
    for offered, asked in itertools.product(profiles, profiles):
        compatibility, _ = qos_check_compatible(offered, asked)
        found = qos_problems(Publisher("/p", IMAGE, **fields_of(offered)), Expected("/t", IMAGE, **fields_of(asked)))
        assert (compatibility == QoSCompatibility.ERROR) == bool(found), (offered, asked, found)


def test_qos_names_publisher_and_fix() -> None:
    """A reliable subscription and a best-effort driver: the sentence says which of them offers what."""
    asked = Expected("/joint_states", STATE, reliable=True)
    text = diagnose(asked, [Publisher("/driver", STATE, reliable=False)], {}, WELL).text
    assert "/driver" in text
    assert "best effort" in text
    assert "reliably" in text


def test_what_matches_and_does_not_arrive_is_looked_for_in_the_transport() -> None:
    """Lost for want of the profile, a /dev/shm of 64 MB, no IPv4: each is named; a small message needs none of it."""
    there = [Publisher("/cam", COMPRESSED, reliable=False)]
    assert codes(diagnose(WRIST, there, {}, WELL)) == ["sender"]
    poor = Transport("0", "SUBNET", Profile(), 64 * MB, MB, ())
    assert codes(diagnose(WRIST, there, {}, poor)) == ["shared_memory", "ipv4", "sender"]
    assert "config/fastdds_shm.xml" in diagnose(WRIST, there, {}, poor).text
    docker = replace(WELL, shm_bytes=64 * MB, shm_free=30 * MB)
    assert "64 MiB" in diagnose(WRIST, there, {}, docker).text
    assert "--shm-size" in diagnose(WRIST, there, {}, docker).text
    assert codes(diagnose(replace(WRIST, message_bytes=0), there, {}, docker)) == ["sender"]
    assert small_shared_memory(WELL) is None
    assert small_shared_memory(replace(WELL, shm_free=MB)) is not None, "full of what killed processes left"
    assert small_shared_memory(replace(docker, profile=Profile(segment_bytes=None))) is None


def test_a_subscription_says_what_it_expects() -> None:
    """The profiles of this package, as the graph would describe them."""
    assert expected_of("/a", Image, qos.CAMERA_INPUT) == Expected("/a", IMAGE)
    assert expected_of("/a", CompressedImage, qos.LATCHED) == Expected("/a", COMPRESSED, reliable=True, latched=True)
