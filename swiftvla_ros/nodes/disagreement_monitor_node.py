# SPDX-License-Identifier: Apache-2.0
"""Measures how far the policy's chunks contradict each other, and slows the arm where it is asked to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from swiftvla_ros.monitoring.disagreement import HOLD_AT, SLOW_AT, SLOW_PERCENT, DisagreementMeter, Rows
from swiftvla_ros.msg import ActionChunk
from swiftvla_ros.nodes.parts.verdicts import VerdictSpeaker
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode, script_of
from swiftvla_ros.nodes.ros.parameters import Allowed
from swiftvla_ros.observation.message_fields import read_chunk


@dataclass
class DisagreementParts:
    """The meter, and where it speaks."""

    meter: DisagreementMeter
    speaker: VerdictSpeaker


class DisagreementMonitorNode(ManagedNode[DisagreementParts]):
    """Compares each chunk with the one before, and with another sample where the policy makes one; one thread."""

    def __init__(self) -> None:
        super().__init__("disagreement_monitor")
        self.describe("limits_speed", False, "slow and hold the arm, not only tell")
        both = "of successive chunks, and of two samples of one observation, rad"
        self.describe("slow_at", list(SLOW_AT), f"distance from which on it slows: {both}", Allowed(above=0))
        self.describe("hold_at", list(HOLD_AT), f"distance from which on it holds: {both}", Allowed(above=0))
        self.describe("slow_percent", SLOW_PERCENT, "speed between the two, %", Allowed(above=0, most=100))

    def setup(self) -> DisagreementParts:
        """Open the topics."""
        slow_at, hold_at = (np.array(self.value(name), dtype=np.float64) for name in ("slow_at", "hold_at"))
        if not (slow_at.shape == hold_at.shape == (2,) and (slow_at > 0).all() and (hold_at >= slow_at).all()):
            raise ValueError(
                "parameters slow_at and hold_at: write two numbers above 0 each, those of hold_at no lower"
            )
        self.subscribe(ActionChunk, "action_chunk", self._take_chunk, qos.MONITORED)
        self.subscribe(ActionChunk, "action_chunk_sample", self._take_sample, qos.MONITORED)
        meter = DisagreementMeter(slow_at, hold_at, float(self.value("slow_percent")))
        return DisagreementParts(meter, VerdictSpeaker(self, limits_speed=bool(self.value("limits_speed"))))

    def _take_chunk(self, message: ActionChunk) -> None:
        chunk = read_chunk(message)
        if self.active and chunk.positions.ndim == 2:
            verdict = self.parts.meter.take(chunk.chunk_id, Rows.of(chunk), chunk.checkpoint_sha256)
            if verdict is not None:
                self.parts.speaker.say(verdict)

    def _take_sample(self, message: ActionChunk) -> None:
        chunk = read_chunk(message)
        if self.active and chunk.positions.ndim == 2:
            self.parts.meter.take_sample(chunk.chunk_id, Rows.of(chunk))


main = script_of(DisagreementMonitorNode)

if __name__ == "__main__":
    main()
