# SPDX-License-Identifier: Apache-2.0
"""The monitors as processes; the test is the policy whose chunks they judge."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sensor_msgs.msg import JointState

from swiftvla_ros.contract import load_contract
from swiftvla_ros.msg import ActionChunk, MonitorVerdict, SpeedLimit, VisionFeatures
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.messages import header, to_duration, to_time
from swiftvla_ros.policy.checkpoint import open_checkpoint
from swiftvla_ros.resources import DEFAULT_CHECKPOINT, model_path

CONTRACT = load_contract("so101_sim")
SHA256 = open_checkpoint(model_path(DEFAULT_CHECKPOINT)).sha256
ROWS = 10


class Rig:
    """Both monitors, the second with ``more`` parameters, and what they hear."""

    def __init__(self, graph: Any, **more: Any) -> None:
        self.graph = graph
        checkpoint = str(model_path(DEFAULT_CHECKPOINT))
        graph.start("envelope_monitor_node", robot="so101_sim", checkpoint=checkpoint)
        graph.start("disagreement_monitor_node", robot="so101_sim", **more)
        self.verdicts = graph.listen(MonitorVerdict, "monitor_verdicts", qos.VERDICTS)
        self.limits = graph.listen(SpeedLimit, "speed_limit", qos.SPEED_LIMIT)
        node = graph.node
        self._chunks = node.create_publisher(ActionChunk, "action_chunk", qos.MONITORED)
        self._features = node.create_publisher(VisionFeatures, "vision_features", qos.MONITORED)
        self._states = node.create_publisher(JointState, "observation/state", qos.STATE)
        self.count = self._seen_ns = 0
        self.words = 1

    def look(self, pose: Any, offset: float = 0.0) -> None:
        """Have the arm stand at a pose, and the policy want it ``offset`` away from there."""
        self.count += 1
        ns = int(self.graph.node.get_clock().now().nanoseconds)
        names = list(CONTRACT.joint_names)
        # A policy takes its time: the state is there before the chunk that was computed from it.
        seen_ns, self._seen_ns = self._seen_ns, ns
        self._states.publish(JointState(header=header(ns), name=names, position=list(pose)))
        chunk = ActionChunk(header=header(ns), step=to_duration(100_000_000), rows=ROWS, chunk_id=self.count)
        chunk.instruction_id = self.words
        chunk.joint_names, chunk.checkpoint_sha256, chunk.state_stamp = names, SHA256, to_time(seen_ns)
        chunk.positions = (np.tile(pose, (ROWS, 1)) + offset).ravel().tolist()
        self._chunks.publish(chunk)
        self._features.publish(VisionFeatures(header=header(ns), chunk_id=self.count, checkpoint_sha256=SHA256))

    def until(self, condition: Callable[[], Any], what: str, pose: Any, offsets: tuple[float, ...]) -> None:
        """Have the arm stand and the policy want each of the offsets in turn until something is so."""

        def done() -> bool:
            self.look(pose, offsets[self.count % len(offsets)])
            return bool(condition())

        self.graph.wait_until(done, what, 60)

    def told(self, monitor: str, level: int, text: str) -> bool:
        """Whether a monitor has said so."""
        return any(v.monitor == monitor and v.level == level and text in v.text for v in self.verdicts.messages)


def test_monitors_judge_and_limit_what_they_hear(graph: Any) -> None:
    """Protects the way from a chunk to a verdict and a speed limit, of a pose that was never trained and of doubt."""
    rig = Rig(graph)
    away = np.array([j.position[1] for j in CONTRACT.joints])
    rest = CONTRACT.rest
    rig.until(lambda: rig.told("envelope", MonitorVerdict.BLIND, "cameras are not judged"), "usual", rest, (0.0,))
    rig.until(lambda: rig.told("disagreement", MonitorVerdict.USUAL, "successive chunks"), "they agree", rest, (0.0,))
    assert not rig.limits.messages
    rig.until(lambda: rig.told("envelope", MonitorVerdict.HOLD, "never was in training"), "a pose", away, (0.0,))
    graph.wait_until(lambda: rig.limits.messages and rig.limits.last.percent == 0.0, "the arm is held")
    assert rig.limits.last.source == "envelope"
    rig.until(lambda: rig.told("disagreement", MonitorVerdict.HOLD, "contradicted itself"), "doubt", rest, (0.0, 0.5))
    # This one only tells, unless it is asked to limit.
    assert not [limit for limit in rig.limits.messages if limit.source == "disagreement"]


def test_disagreement_holds_the_arm_where_it_is_asked_to(graph: Any) -> None:
    """Protects: with limits_speed the meter is a source of speed limits, and lets go when there are other words."""
    rig = Rig(graph, limits_speed=True)

    def limit() -> Any:
        return next((m.percent for m in reversed(rig.limits.messages) if m.source == "disagreement"), None)

    rig.until(lambda: limit() == 0.0, "the arm is held", CONTRACT.rest, (0.0, 0.5))
    rig.words += 1
    rig.until(lambda: limit() == 100.0, "the arm is free", CONTRACT.rest, (0.0,))
