# SPDX-License-Identifier: Apache-2.0
"""What the recorder has from configure to cleanup, and everything that concerns bag and black box alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from swiftvla_ros.episodes.bags.bag import RawMessage
from swiftvla_ros.episodes.recording.black_box_keeper import BlackBoxKeeper
from swiftvla_ros.episodes.recording.recording import Conversion, Recording, SequenceWatch
from swiftvla_ros.nodes.recording.recorder_parameters import ParameterCollector
from swiftvla_ros.nodes.ros.diagnostics import Health, Level


@dataclass
class RecorderParts:
    """Bag, black box, and what is known of the messages that go into them.

    ``last_frame_ns`` are the stamps of each camera's newest film frame, ``provenance`` is what the bags say of
    themselves.
    """

    collector: ParameterCollector
    last_frame_ns: dict[str, int]
    sequence: SequenceWatch = field(default_factory=SequenceWatch)
    provenance: dict[str, str] = field(default_factory=dict)
    recording: Recording | None = None
    box: BlackBoxKeeper | None = None

    def store(self, message: RawMessage, conversion: Conversion | None, missing: int, *, latched: bool) -> None:
        """Put a message into the bag and the box; ``missing`` of its topic did not come before it."""
        if self.recording is not None:
            self.recording.put(message, conversion, missing)
        if self.box is not None:
            self.box.add(message, latched=latched)

    def tell(self, provenance: Mapping[str, str]) -> None:
        """Have bag and box say where they come from, where that is news."""
        if all(self.provenance.get(key) == value for key, value in provenance.items()):
            return
        self.provenance |= provenance
        if self.recording is not None:
            self.recording.tell(provenance)
        if self.box is not None:
            self.box.provenance = dict(self.provenance)

    def health(self) -> Health:
        """How the recording goes, for the diagnostics."""
        values: dict[str, Any] = {"nodes_whose_parameters_are_known": self.collector.known}
        if self.box is not None:
            values["black_box"] = self.box.problem or "ready"
        if self.recording is not None:
            counts = self.recording.counts()
            values |= {"recorded": counts.recorded, "lost": counts.lost, "most_queued_bytes": counts.most_queued_bytes}
            if counts.stopped:
                return Health(Level.ERROR, f"recording stopped: {counts.stopped}", values)
            if counts.lost:
                return Health(Level.WARN, counts.summary(), values)
        if self.box is not None and self.box.problem:
            return Health(Level.WARN, self.box.problem, values)
        return Health(Level.OK, "recording" if self.recording is not None else "black box ready", values)

    def close(self, now_ns: int) -> str:
        """Close the bag, and write the box that is pending; return what was recorded, a line of text or none."""
        self.collector.close()
        if self.box is not None:
            self.box.close(now_ns)
        return f"{self.recording.close().summary()}\n" if self.recording is not None else ""
