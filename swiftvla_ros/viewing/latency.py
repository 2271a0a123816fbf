# SPDX-License-Identifier: Apache-2.0
"""How long a recorded system took from a camera's stamp to the arm's first command, and how often things came."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.episodes.bags.bag import Bag, film_topic, stamp_ns


@dataclass(frozen=True)
class Stage:
    """Durations of one stage over all chunks: ms; ``count`` chunks were measured."""

    name: str
    count: int
    p50_ms: float
    p95_ms: float
    max_ms: float


def latency_stages(bag: Bag) -> list[Stage]:
    """Measure each stage between the cameras' stamps and the first command of the chunk computed from them.

    The newest camera stamp of a chunk's observation counts. Chunks that were overtaken before a command followed them
    are missing from the stages that end at a command, those of unrecorded images from the stages that begin with one.
    """
    first_command: dict[int, int] = {}
    for _, state in bag.messages("executor_state"):
        if ns := stamp_ns(state.chunk_first_command):
            first_command.setdefault(stamp_ns(state.chunk_stamp), ns)
    published = {
        (camera, stamp_ns(frame.header.stamp)): at_ns
        for camera in bag.contract.camera_names
        for at_ns, frame in bag.messages(film_topic(camera))
    }
    rows = []
    for received_ns, chunk in bag.messages("action_chunk"):
        stamps = [stamp_ns(s) for s in chunk.camera_stamps]
        frames = [published.get(key, 0) for key in zip(chunk.camera_names, stamps, strict=True)]
        rows.append(
            (
                max(stamps, default=stamp_ns(chunk.header.stamp)),
                max(frames, default=0) if all(frames) else 0,
                stamp_ns(chunk.observation_ready),
                stamp_ns(chunk.inference_start),
                stamp_ns(chunk.inference_end),
                received_ns,
                first_command.get(stamp_ns(chunk.header.stamp), 0),
            )
        )
    if not rows:
        return []
    camera, image, ready, start, end, received, command = np.array(rows, dtype=np.int64).T
    filmed, followed = image > 0, command > 0
    return [
        _stage("camera stamp → image published (rendering)", (image - camera)[filmed]),
        _stage("image published → observation complete", (ready - image)[filmed]),
        _stage("observation complete → inference starts", start - ready),
        _stage("inference", end - start),
        _stage("inference ends → chunk received", received - end),
        _stage("inference ends → first command", (command - end)[followed]),
        _stage("ROS: image → observation, chunk → receiver", (ready - image + received - end)[filmed]),
        _stage("camera stamp → chunk received", received - camera),
        _stage("camera stamp → first command", (command - camera)[followed]),
    ]


def rates(bag: Bag) -> dict[str, float]:
    """Messages per second of each recorded topic, between its first and its last."""
    found = {}
    for topic, times in bag.received_ns().items():
        if len(times) > 1 and times[-1] > times[0]:
            found[topic] = (len(times) - 1) / ((times[-1] - times[0]) * 1e-9)
    return found


def _stage(name: str, durations_ns: NDArray[np.int64]) -> Stage:
    if not len(durations_ns):
        return Stage(name, 0, float("nan"), float("nan"), float("nan"))
    p50, p95, most = np.percentile(durations_ns * 1e-6, [50, 95, 100])
    return Stage(name, len(durations_ns), float(p50), float(p95), float(most))
