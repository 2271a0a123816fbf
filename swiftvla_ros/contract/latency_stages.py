# SPDX-License-Identifier: Apache-2.0
"""Every stage of the way from a camera to the arm's command: its name, and the two stamps that it lies between.

Messages, plots, the viewer, replay and its thresholds all read this one table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CAMERA, IMAGE = "camera stamp", "image published"
"""The newest stamp of the images that a chunk was computed from, and when the last of them was published."""
OBSERVATION, COMPLETE = "observation stamp", "observation complete"
"""The stamp that a chunk bears, and when the last part of its observation had reached the policy."""
STARTS, ENDS = "inference starts", "inference ends"
RECEIVED, COMMAND = "chunk received", "first command"
"""When a receiver had the chunk, and when the first command that followed it was sent."""


@dataclass(frozen=True)
class LatencyStage:
    """What lies between the stamps ``since`` and ``until``; ``title`` is for people."""

    name: str
    since: str
    until: str
    title: str = ""

    def __str__(self) -> str:
        return self.title or f"{self.since} → {self.until}"


STAGES = {
    stage.name: stage
    for stage in (
        LatencyStage("rendering", CAMERA, IMAGE, "camera stamp → image published (rendering)"),
        LatencyStage("image_transport", IMAGE, COMPLETE),
        LatencyStage("camera", CAMERA, COMPLETE),
        LatencyStage("observation", OBSERVATION, COMPLETE),
        LatencyStage("wait", COMPLETE, STARTS),
        LatencyStage("inference", STARTS, ENDS, "inference"),
        LatencyStage("chunk_transport", ENDS, RECEIVED),
        LatencyStage("take_over", RECEIVED, COMMAND),
        LatencyStage("first_command", ENDS, COMMAND),
        LatencyStage("camera_to_chunk", CAMERA, RECEIVED),
        LatencyStage("camera_to_command", CAMERA, COMMAND),
    )
}
"""By name; each name is one everywhere."""

POLICY = ("observation", "wait", "inference")
"""What a policy knows of its own chunks, in the order of time."""
REPLAYED = (*POLICY, "first_command")
"""What a replay tells of the recorded chunks, and its thresholds name."""
CHAIN = ("camera", "wait", "inference", "chunk_transport", "take_over")
"""What lies between a camera's stamp and the arm without a gap, in the order of time."""


def durations_s(names: Iterable[str], at_ns: Mapping[str, int]) -> dict[str, float]:
    """Return how long stages took, s; without those one of whose stamps is not there, or zero."""
    stages = (STAGES[name] for name in names)
    return {
        stage.name: (at_ns[stage.until] - at_ns[stage.since]) / 1e9
        for stage in stages
        if at_ns.get(stage.since) and at_ns.get(stage.until)
    }


def percentiles(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """The median, the 95th percentile and the largest of some values; NaN of none."""
    if not len(values):
        return (np.nan, np.nan, np.nan)
    p50, p95, most = np.percentile(values, [50, 95, 100])
    return float(p50), float(p95), float(most)
