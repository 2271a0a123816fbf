# SPDX-License-Identifier: Apache-2.0
"""A bag played into real nodes with its own time: they say what replay without ROS says, and no driver is doubled."""

from pathlib import Path
from typing import Any

from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image

from swiftvla_ros.contract import load_contract
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.bags.writer import BagWriter
from swiftvla_ros.msg import ActionChunk, ExecutorState, PolicyState
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.replay.report import replay
from swiftvla_ros.replay.thresholds import RuntimeChoice
from swiftvla_ros.srv import SetInstruction

CONTRACT = load_contract("so101_sim")


def test_live_and_offline_agree(graph: Any, checkpoint: Path, stored: Path, tmp_path: Path) -> None:
    """Protects the gate's meaning: the nodes, fed with a bag, give bit for bit what replay gives of the same bag."""
    robot = {"robot": "so101_sim", "use_sim_time": True}
    policy = graph.start(
        "policy_node",
        checkpoint=str(checkpoint),
        threads=1,
        second_opinion=False,
        device="cpu",
        max_rate_hz=30.0,
        **robot,
    )
    executor = graph.start("trajectory_executor_node", **robot)
    states = graph.listen(PolicyState, "policy_state", qos.LATCHED)
    chunks = graph.listen(ActionChunk, "action_chunk", qos.CHUNK)
    ticks = graph.listen(ExecutorState, "executor_state", qos.EXECUTOR_STATE)
    # Before there is a clock, no tick and no report comes.
    graph.wait_until(lambda: graph.node.count_subscribers("/observation/state") == 2, "both nodes listen", 90)
    instruction = next(message.instruction for _, message in Bag(stored).messages("action_chunk"))
    assert graph.call(SetInstruction, "set_instruction", SetInstruction.Request(instruction=instruction)).success
    player = graph.start("replay_node", bag=str(stored))
    assert player.wait() == 0, player.output()
    for node in (policy, executor):
        assert node.end() == 0, node.output()
    assert len(chunks.messages) >= 5, policy.output()
    live = tmp_path / "live"
    _store(live, stored, {"action_chunk": chunks, "executor_state": ticks, "policy_state": states})
    report = replay(Bag(live), checkpoint=checkpoint)
    assert not any(chunk.missing for chunk in report.chunks)
    assert report.difference.tolist() == [0.0] * 6
    assert len(report.commands.times_ns) > 50, report.commands.not_comparable
    assert report.commands.difference.tolist() == [0.0] * 6, report.commands.first_difference(0.0)
    # Where both were computed from the same observation, the live chunk is the recorded one, in another machine's and
    # another runtime's bits.
    alike = RuntimeChoice(runtime="openvino", threads=1)
    again = replay(Bag(stored), checkpoint=checkpoint, override=alike)
    recorded = {chunk.chunk.stamp_ns: chunk for chunk in again.chunks}
    same = [c for c in report.chunks if c.chunk.image_stamps == _stamps(recorded, c.chunk.stamp_ns)]
    assert same
    for chunk in same:
        other = recorded[chunk.chunk.stamp_ns]
        if chunk.chunk.state_stamp_ns == other.chunk.state_stamp_ns:
            assert chunk.rows is not None
            assert other.rows is not None
            assert (chunk.chunk.positions == other.rows).all()


def _stamps(recorded: dict[int, Any], stamp_ns: int) -> dict[str, int] | None:
    return recorded[stamp_ns].chunk.image_stamps if stamp_ns in recorded else None


def _store(folder: Path, stored: Path, inboxes: dict[str, Any]) -> None:
    """Write a bag of what the nodes said live, beside the observations that were played."""
    entries = [
        (raw.received_ns, raw.topic, raw.msgtype, bytes(raw.data))
        for raw in Bag(stored).raw()
        if raw.topic.startswith("/observation/")
    ]
    for name, inbox in inboxes.items():
        for message in inbox.messages:
            ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
            if name == "action_chunk":
                ns = message.inference_end.sec * 10**9 + message.inference_end.nanosec
            kind = f"swiftvla_ros/msg/{type(message).__name__}"
            entries.append((ns, f"/{name}", kind, serialize_message(message)))
    with BagWriter(folder, CONTRACT) as writer:
        for ns, topic, kind, data in sorted(entries, key=lambda entry: entry[0]):
            writer.write(topic, kind, ns, data)


def test_a_driver_is_never_doubled(graph: Any, stored: Path) -> None:
    """Protects a live robot: where a driver publishes, playing does not begin, and ends when one begins to."""
    playing = graph.start("replay_node", "looping", bag=str(stored), loop=True, wait_s=0.0)
    graph.wait_until(lambda: graph.node.count_publishers("/observation/front"), "the bag is played", 60)
    driver = graph.node.create_publisher(Image, "/observation/front", qos.IMAGE)
    assert playing.wait() == 1, playing.output()
    assert "/observation/front is published by test already" in playing.output()
    refused = graph.start("replay_node", "refused", bag=str(stored))
    assert refused.wait() == 2, refused.output()
    # A node's name is known a little later than its publishers.
    assert "/observation/front is published by" in refused.output()
    graph.node.destroy_publisher(driver)
