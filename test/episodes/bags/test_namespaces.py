# SPDX-License-Identifier: Apache-2.0
"""A bag of several robots is read as one of them, whole: never a topic of one beside a topic of another (report A1)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.bags.message_types import BagError
from swiftvla_ros.episodes.bags.namespaces import describe_missing, find_namespaces
from swiftvla_ros.episodes.bags.writer import BagWriter

IMAGE, STATE = "sensor_msgs/msg/Image", "sensor_msgs/msg/JointState"
EXECUTOR, CHUNK = "swiftvla_ros/msg/ExecutorState", "swiftvla_ros/msg/ActionChunk"


def write(folder: Path, contract: Contract, messages: Any, topics: Sequence[str]) -> Path:
    """Write a bag with one joint state of ``[n, n, …]`` on the n-th topic."""
    with BagWriter(folder, contract) as writer:
        for number, topic in enumerate(topics):
            ns = (number + 1) * 10**9
            own = topic.endswith("executor_state")
            value = np.full(6, float(number))
            writer.write_message(topic, (messages.executor_state if own else messages.measured)(ns, value), ns)
    return folder


@pytest.mark.parametrize(
    ("namespaces", "wanted"),
    [(("/arm", "/arm/left"), "arm"), (("/arm1", "/arm10"), "/arm1/"), (("", "/arm"), "/"), (("/a", "/b"), "a")],
)
def test_each_topic_is_of_the_one_namespace(
    namespaces: tuple[str, str], wanted: str, contract: Contract, messages: Any, tmp_path: Path
) -> None:
    """Protects from mixed arms: also where one namespace begins as the other, or is the root."""
    one, other = namespaces
    order = [
        f"{other}/observation/state",
        f"{one}/executor_state",
        f"{one}/observation/state",
        f"{other}/executor_state",
    ]
    folder = write(tmp_path / "bag", contract, messages, order)
    bag = Bag(folder, namespace=wanted)
    assert bag.topic("executor_state") == f"{one}/executor_state"
    ((_, message),) = bag.messages("observation/state")
    assert message.position[0] == 2.0
    with pytest.raises(BagError, match=r"holds the topics of several namespaces: .*; name one with --namespace"):
        Bag(folder).topic("executor_state")
    with pytest.raises(BagError, match=r"holds no namespace /third; it has .*--namespace"):
        list(Bag(folder, namespace="third").messages("executor_state"))


def test_a_topic_that_only_the_other_has_is_missing(contract: Contract, messages: Any, tmp_path: Path) -> None:
    """Protects from filling a gap with another arm's data, and shares what is global."""
    topics = ["/a/executor_state", "/b/observation/state", "/joint_states", "/tf"]
    bag = Bag(write(tmp_path / "bag", contract, messages, topics), namespace="a")
    assert bag.topic("observation/state") is None
    assert bag.topic("/joint_states") == "/joint_states"
    assert "did you mean /b/observation/state, /joint_states" in bag.lacks({"observation/state": STATE})


def test_one_robot_needs_no_namespace(contract: Contract, messages: Any, tmp_path: Path) -> None:
    """Protects old bags: a single robot is found whatever its namespace, its contract's full names, too."""
    bag = Bag(write(tmp_path / "bag", contract, messages, ["/cell/arm/executor_state", "/cell/arm/joint_states"]))
    assert bag.namespace == "/cell/arm"
    assert bag.topic("/joint_states") == "/cell/arm/joint_states"
    assert [tick.received_ns for tick in bag.merged(["executor_state"])] == [10**9]


def test_others_namespaces_are_told_by_the_contracts_topics(contract: Contract) -> None:
    """Protects bags without this package's topics: a leader without cameras is no robot, a second arm is one."""
    arm = {"/camera/front/image_raw": IMAGE, "/camera/wrist/image_raw": IMAGE, "/joint_states": STATE}
    both = {f"/{name}{topic}": kind for name in ("left", "right") for topic, kind in arm.items()}
    assert find_namespaces(both, contract) == ["/left", "/right"]
    assert find_namespaces({**arm, "/leader/joint_states": STATE}, contract) == []
    leader = {f"/left{topic}": kind for topic, kind in arm.items()} | {"/leader/joint_states": STATE}
    assert find_namespaces(leader, contract) == ["/left"]
    assert find_namespaces({"/x/executor_state": "std_msgs/msg/String", "/y/executor_state": EXECUTOR}, None) == ["/y"]


def test_what_is_missing_is_named_with_what_may_be_meant() -> None:
    """Protects from a dead end with others' bags: the likest topic of the same kind comes first (report A3)."""
    there = {"/camera/front/image_raw": IMAGE, "/camera/wrist/image_raw/compressed": "sensor_msgs/msg/CompressedImage"}
    text = describe_missing({"observation/wrist": IMAGE, "action_chunk": CHUNK}, there)
    assert "observation/wrist (sensor_msgs/msg/Image), did you mean /camera/wrist/image_raw/compressed, /cam" in text
    assert text.endswith("action_chunk (swiftvla_ros/msg/ActionChunk)")
    assert describe_missing({"action_chunk": CHUNK}, there).endswith("it has " + ", ".join(there))
