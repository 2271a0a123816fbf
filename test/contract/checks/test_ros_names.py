# SPDX-License-Identifier: Apache-2.0
"""Names that ROS 2 accepts, without ROS."""

import itertools

import pytest

from swiftvla_ros.contract.checks.ros_names import RosNameError, accepted_name, plain_namespace, topic_fault

TOPICS = ["".join(word) for n in range(1, 5) for word in itertools.product("a0_/~ é", repeat=n)]
TOPICS += ["", "/{node}/x", "/a{b}", "{node", "/" + "a" * 246, "/" + "a" * 247, "a-b", "/a.b"]


def accepted(*checks: object) -> bool:
    """Whether none of ROS's checks (function, name …) raises."""
    try:
        for check, *arguments in checks:
            check(*arguments)
    except Exception:  # noqa: BLE001 - each check has exceptions of its own
        return False
    return True


def test_topics_are_judged_as_rclpy_does() -> None:
    """Topics that ROS refuses passed check-contract, and `up` ended in a traceback (report D)."""
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    from rclpy.expand_topic_name import expand_topic_name
    from rclpy.validate_full_topic_name import validate_full_topic_name
    from rclpy.validate_topic_name import validate_topic_name

    def by_ros(name: str) -> bool:
        return accepted(
            (validate_topic_name, name), (lambda n: validate_full_topic_name(expand_topic_name(n, "n", "/")), name)
        )

    # ROS takes `~a` for `/nodea`, which nobody means.
    told = [name for name in TOPICS if not (name[:1] == "~" and name[1:2] not in ("", "/"))]
    assert [name for name in told if (topic_fault(name) is None) != by_ros(name)] == []
    assert all(topic_fault(accepted_name(name)) is None for name in TOPICS)


def test_namespaces_are_judged_as_rclpy_does() -> None:
    """`--namespace "left arm"` ended in RCLError in every process (report E)."""
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    from rclpy.validate_namespace import validate_namespace

    names = [*TOPICS, "a" * 243, "a" * 245]
    told = {name: accepted((plain_namespace, name)) for name in names}
    assert [n for n, ours in told.items() if ours != accepted((validate_namespace, f"/{n.strip('/')}"))] == []


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("/camera/wrist image", "/camera/wrist_image"),
        ("/camera/0/image_raw", "/camera0/image_raw"),
        ("//camera//image_raw/", "/camera/image_raw"),
        ("joint-states", "joint_states"),
        ("/3d", "/_3d"),
    ],
)
def test_a_refused_name_suggests_the_nearest(name: str, suggested: str) -> None:
    """Protects: whoever wrote a name that ROS refuses reads one that it accepts."""
    assert topic_fault(name) is not None
    assert accepted_name(name) == suggested


def test_a_namespace_is_refused_in_a_sentence() -> None:
    """Protects: the sentence says what is wrong with the name, and shows nothing that a terminal can't print."""
    with pytest.raises(RosNameError, match=r"'left arm' .* it holds ' '.* 'left_arm'"):
        plain_namespace("left arm")
    with pytest.raises(RosNameError) as caught:
        plain_namespace("a\udcff")
    assert str(caught.value).encode()
    assert plain_namespace("/left/arm/") == "left/arm"
