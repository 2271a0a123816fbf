# SPDX-License-Identifier: Apache-2.0
"""How long a recorded system took from a camera's stamp to the arm's first command, and how often things came."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from swiftvla_ros.contract.latency_stages import IMAGE, STAGES, durations_s, percentiles
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.bags.topics import film_topic
from swiftvla_ros.monitoring.latency_advice import ComputedBy, LatencyAdvice, RunTiming, advise
from swiftvla_ros.observation.message_fields import (
    ChunkMessage,
    PolicyReport,
    read_chunk,
    read_executor_state,
    read_policy_state,
    stamp_ns,
)
from swiftvla_ros.policy.checkpoint import CheckpointError
from swiftvla_ros.policy.checkpoint_fingerprint import read_fingerprint
from swiftvla_ros.replay.differences import FINGERPRINT

_MEASURED = (
    "rendering", "image_transport", "wait", "inference", "chunk_transport", "first_command", "camera_to_chunk",
    "camera_to_command",
)  # fmt: skip


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
    published = {
        (camera, stamp_ns(frame.header.stamp)): at_ns
        for camera in bag.contract.camera_names
        for at_ns, frame in bag.messages(film_topic(camera))
    }
    found = []
    for chunk, stamps in _chunks(bag):
        frames = [published.get(key, 0) for key in chunk.image_stamps.items()]
        stamps[IMAGE] = max(frames, default=0) if all(frames) else 0
        found.append(durations_s(_MEASURED, stamps))
    if not found:
        return []
    durations = {str(STAGES[name]): [d[name] for d in found if name in d] for name in _MEASURED}
    both = [d["image_transport"] + d["chunk_transport"] for d in found if "image_transport" in d]
    durations["ROS: image → observation, chunk → receiver"] = both
    return [Stage(name, len(s), *percentiles(1e3 * np.array(s))) for name, s in durations.items()]


def _chunks(bag: Bag) -> list[tuple[ChunkMessage, dict[str, int]]]:
    """Every chunk with its stamps, that of the first command that followed it among them."""
    first_command: dict[int, int] = {}
    for _, message in bag.messages("executor_state"):
        tick = read_executor_state(message)
        if tick.first_command_ns:
            first_command.setdefault(tick.chunk_stamp_ns, tick.first_command_ns)
    chunks = [read_chunk(message, received_ns) for received_ns, message in bag.messages("action_chunk")]
    return [(chunk, chunk.stamps_ns(first_command.get(chunk.stamp_ns, 0))) for chunk in chunks]


def recorded_advice(bag: Bag, cores: int = 0) -> LatencyAdvice:
    """What limited a recorded run, and which knob to turn; ``cores`` are those of its machine, 0: nobody knows."""
    chunks = _chunks(bag)
    if not chunks:
        return LatencyAdvice()
    stale, state = 0, None
    for _, message in bag.messages("policy_state"):
        stale, state = int(message.dropped_stale), read_policy_state(message)
    # Chunks of two instructions are apart as long as nobody asked for anything.
    newest = chunks[-1][0].instruction_id
    stamps = [chunk.stamp_ns for chunk, _ in chunks if chunk.instruction_id == newest]
    timing = RunTiming.of([durations_s(STAGES, at_ns) for _, at_ns in chunks], stamps, stale)
    return advise(timing, bag.contract, _computed_by(bag, len(chunks[0][0].positions), state, cores))


def _computed_by(bag: Bag, rows: int, state: PolicyReport | None, cores: int) -> ComputedBy:
    told = bag.provenance.get("parameters", {}).get("policy", {})
    try:
        network = read_fingerprint(bag.folder / FINGERPRINT).config.get("model", {})
    except (CheckpointError, OSError):
        network = {}  # of a bag without one, only what the messages say is known
    return ComputedBy(
        rows,
        runtime=state.runtime if state else "",
        device=state.device if state else "",
        precision=state.precision if state else "",
        guidance=state.guidance if state else "",
        threads=state.threads if state else 0,
        cores=cores,
        flow_steps=int(network.get("denoise_steps", 0)),
        max_rate_hz=float(told.get("max_rate_hz", 0.0)),
        max_delay_rows=int(network.get("max_delay_steps", 0)),
    )


def rates(bag: Bag) -> dict[str, float]:
    """Messages per second of each recorded topic, between its first and its last."""
    found = {}
    for topic, times in bag.received_ns().items():
        if len(times) > 1 and times[-1] > times[0]:
            found[topic] = (len(times) - 1) / ((times[-1] - times[0]) * 1e-9)
    return found
