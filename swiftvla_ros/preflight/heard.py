# SPDX-License-Identifier: Apache-2.0
"""What came from one publisher of a topic, summed up."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from swiftvla_ros.observation.image_decoding import ImageDecodingError, rgb_of
from swiftvla_ros.preflight.graph import TopicStream

NS = 1_000_000_000


@dataclass
class Heard:
    """What came from one publisher; times in ns."""

    arrivals: list[int] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    joints: set[str] = field(default_factory=set)
    image_size: tuple[int, int] | None = None
    image_problem: str = ""
    positions: dict[str, float] = field(default_factory=dict)

    def see(self, message: Any) -> None:
        """Take what a joint state or a picture tells of itself."""
        if hasattr(message, "position"):
            self.joints.update(message.name)
            told = dict(zip(message.name, message.position, strict=False))
            self.positions.update({name: float(value) for name, value in told.items() if math.isfinite(value)})
            return
        if hasattr(message, "width"):
            self.image_size = int(message.width), int(message.height)
        self.image_problem = _image_problem(message)

    def stream(self, node: str, pace: float, end_ns: int) -> TopicStream:
        """Sum it up; ``pace`` is that of simulated time."""
        arrivals = self.arrivals
        span_s = (self.sent[-1] - self.sent[0]) / NS * pace
        # Numbers count what was published, whether or not it came; not every middleware has them.
        published = max(len(arrivals), self.numbers[-1] - self.numbers[0] + 1 if self.numbers else 0)
        offsets = sorted(offset / NS for offset in self.offsets)
        ends = [*arrivals[1:], end_ns]
        return TopicStream(
            node=node,
            received=len(arrivals),
            lost=published - len(arrivals),
            rate_hz=(published - 1) / span_s if span_s > 0 else 0.0,
            longest_gap_s=max(b - a for a, b in zip(arrivals, ends, strict=True)) / NS * pace,
            stamp_offsets_s=(offsets[0], median(offsets), offsets[-1]) if offsets else None,
            sending_offset_s=median(s - a for s, a in zip(self.sent, arrivals, strict=True)) / NS,
            joints=frozenset(self.joints),
            image_size=self.image_size,
            image_problem=self.image_problem,
            positions=self.positions,
        )


def _image_problem(image: Any) -> str:
    try:
        rgb_of(image)
    except ImageDecodingError as error:
        return str(error)
    return ""
