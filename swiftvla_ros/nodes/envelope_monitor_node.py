# SPDX-License-Identifier: Apache-2.0
"""Compares what the policy sees and wants with its training, and slows or holds the arm where it is unlike."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swiftvla_ros.monitoring.envelope import Envelope, EnvelopeError
from swiftvla_ros.monitoring.envelope_file import read_envelope
from swiftvla_ros.monitoring.envelope_monitor import SLOW_PERCENT, EnvelopeMonitor, Look
from swiftvla_ros.msg import ActionChunk, VisionFeatures
from swiftvla_ros.nodes.parts.observation_topics import KeptStates
from swiftvla_ros.nodes.parts.verdicts import VerdictSpeaker
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.executor import Unattended
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode, script_of
from swiftvla_ros.nodes.ros.parameters import Allowed
from swiftvla_ros.observation.message_fields import ChunkMessage, VisionMessage, read_chunk, read_vision_features
from swiftvla_ros.policy.checkpoint import open_checkpoint
from swiftvla_ros.policy.lerobot.folder import is_lerobot

# Chunks whose features have not come yet, and the reverse.
_CHUNKS = 8


@dataclass
class EnvelopeParts:
    """The monitor, what it has been told and not judged yet, and where it speaks."""

    monitor: EnvelopeMonitor
    speaker: VerdictSpeaker
    states: KeptStates
    new_chunks: Unattended
    chunks: OrderedDict[int, ChunkMessage] = field(default_factory=OrderedDict)
    features: OrderedDict[int, VisionMessage] = field(default_factory=OrderedDict)


class EnvelopeMonitorNode(ManagedNode[EnvelopeParts]):
    """Judges each chunk when its features come, which the policy publishes after it; all in one thread."""

    def __init__(self) -> None:
        super().__init__("envelope_monitor")
        self.describe("checkpoint", "", "folder of the policy's checkpoint, where its envelope lies")
        self.describe("limits_speed", True, "slow and hold the arm, not only tell")
        self.describe(
            "slow_percent", SLOW_PERCENT, "speed where something is unlike training, %", Allowed(above=0, most=100)
        )

    def setup(self) -> EnvelopeParts:
        """Read the envelope and open the topics; without one the verdict is that nothing can be told."""
        envelope = self._envelope()
        if isinstance(envelope, str):
            self.get_logger().warning(envelope)
        self.subscribe(VisionFeatures, "vision_features", self._take_features, qos.MONITORED)
        monitor = EnvelopeMonitor(envelope, self.contract, float(self.value("slow_percent")))
        speaker = VerdictSpeaker(self, limits_speed=bool(self.value("limits_speed")))
        chunks = self.own(Unattended(self, ActionChunk, "action_chunk", qos.MONITORED), Unattended.close)
        return EnvelopeParts(monitor, speaker, KeptStates(self), chunks)

    def _envelope(self) -> Envelope | str:
        if not (folder := str(self.value("checkpoint"))):
            return "parameter checkpoint is empty; write the folder of the policy's checkpoint"
        if is_lerobot(folder):
            return f"{folder}: is a policy of LeRobot's, which tells no vision features to judge by"
        checkpoint = open_checkpoint(Path(folder))
        try:
            return read_envelope(checkpoint.folder, checkpoint.sha256, self.contract)
        except EnvelopeError as error:
            return str(error)

    def _take_features(self, message: VisionFeatures) -> None:
        parts = self.parts
        _keep(parts.features, read_vision_features(message))
        for chunk, _ in parts.new_chunks.take():
            if tuple(chunk.joint_names) == self.contract.joint_names:
                _keep(parts.chunks, read_chunk(chunk))
            else:
                text = f"action_chunk: left out, of joints {list(chunk.joint_names)}"
                self.get_logger().warning(text, throttle_duration_sec=5.0)
        # A chunk that its features overtook is judged when the next ones come.
        for number in [number for number in parts.features if number in parts.chunks]:
            self._judge(parts.chunks.pop(number), parts.features.pop(number))

    def _judge(self, chunk: ChunkMessage, seen: VisionMessage) -> None:
        state = self.parts.states.at(chunk.state_stamp_ns)
        self.parts.speaker.say(self.parts.monitor.look(Look.of(chunk, state, seen)))


def _keep(told: OrderedDict[int, Any], of_a_chunk: Any) -> None:
    told[of_a_chunk.chunk_id] = of_a_chunk
    while len(told) > _CHUNKS:
        told.popitem(last=False)


main = script_of(EnvelopeMonitorNode)

if __name__ == "__main__":
    main()
