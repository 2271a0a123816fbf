# SPDX-License-Identifier: Apache-2.0
"""What a bag says of one run: chunks with all that went into them, joint states, control ticks."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract, ContractError
from swiftvla_ros.contract.executor_codes import ChunkSource
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.bags.message_types import BagError
from swiftvla_ros.episodes.datasets.bag_folders import the_bag
from swiftvla_ros.motion.speed_limits import OPERATOR, SourceLimit
from swiftvla_ros.observation.image_decoding import ImageDecodingError, conditioned_image
from swiftvla_ros.observation.joint_state import JointStateError
from swiftvla_ros.observation.message_fields import (
    ChunkMessage,
    ExecutorTick,
    measured_positions,
    read_chunk,
    read_executor_state,
    read_policy_state,
    read_speed_limit,
    stamp_ns,
)
from swiftvla_ros.observation.observation import NO_GUIDANCE
from swiftvla_ros.policy.runtime import RuntimeOptions

Array = NDArray[np.float64]

_NS = 1_000_000_000
# An image that the recorder received this much later than the chunk computed from it will not come any more.
_PATIENCE_NS = 5 * _NS


@dataclass(frozen=True)
class RecordedChunk(ChunkMessage):
    """One chunk, in the contract's order of joints.

    ``runtime`` is how the policy that made it computed, what decides its last bits; empty or None: the bag doesn't say.
    """

    runtime: RuntimeOptions
    source: ChunkSource = ChunkSource.POLICY


@dataclass(frozen=True)
class RecordedRun:
    """All of a bag that replay needs, images aside."""

    bag: Bag
    # In the order of recording.
    chunks: list[RecordedChunk]
    ticks: list[ExecutorTick]
    # Joint states: int64 [N] ns, in order, and float64 [N, J].
    state_stamps: NDArray[np.int64]
    states: Array
    # (received, limit) of every `speed_scale` and `speed_limit` message, in the order of reception.
    speed_limits: list[tuple[int, SourceLimit]]
    # Of people, in the order of recording; nothing is inferred for these.
    operator_chunks: list[RecordedChunk] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what of the recording could not be used, named

    def state_at(self, stamp: int) -> Array | None:
        """The joint state [J] of exactly this stamp; None where it was not recorded."""
        i = int(np.searchsorted(self.state_stamps, stamp))
        return self.states[i] if i < len(self.state_stamps) and self.state_stamps[i] == stamp else None


def open_recording(path: Path, contract: Contract | None = None, namespace: str | None = None) -> Bag:
    """Open the bag that a path names for a replay.

    ``contract`` is the one that was named for the replay: it is the recording's, too, where the bag has none that can
    be used. ``namespace`` is the robot's, in a bag of several. Raises BagError.
    """
    bag = Bag(the_bag(path), namespace=namespace)
    if contract is None:
        return bag
    try:
        _ = bag.contract
    except (BagError, ContractError):
        return Bag(bag.path, contract, namespace=namespace)
    return bag


def read_run(bag: Bag) -> RecordedRun:
    """Read a bag's chunks, states and ticks.

    Raises
    ------
    BagError
        There are no chunks, or they or the joint states are of other joints than the contract's.
    """
    notes: list[str] = []
    bag.need("action_chunk")
    names = bag.contract.joint_names
    if bag.damage:
        notes.append(f"the bag is damaged: {bag.damage}")
    notes += [
        f"observation/{camera} was recorded as JPEG: the policy read other pixels, so chunks will differ"
        for camera in bag.contract.camera_names
        if bag.topic(f"observation/{camera}") is None and bag.image_topic(camera) is not None
    ]
    chunks = _chunks(bag, names, notes)
    if not chunks:
        raise BagError(f"{bag.folder}: holds no action_chunk, so there is nothing to replay; was an instruction given?")
    stamps, states = [], []
    cameras = {camera for chunk in chunks for camera in chunk.image_stamps}
    if unknown := sorted(cameras - set(bag.contract.camera_names)):
        raise BagError(f"{bag.folder}: chunks were read from cameras {unknown}, which the contract doesn't have")
    for _, message in bag.messages("observation/state"):
        try:
            # A number that is not finite had its part in what the executor did.
            states.append(measured_positions(message, names, finite=False))
        except JointStateError as error:
            raise BagError(f"{bag.folder}: {error}") from error
        stamps.append(stamp_ns(message.header.stamp))
    order = np.argsort(np.array(stamps, dtype=np.int64), kind="stable")
    return RecordedRun(
        bag,
        chunks,
        _ticks(bag, names, notes),
        np.array(stamps, dtype=np.int64)[order],
        np.array(states, dtype=np.float64).reshape(len(stamps), len(names))[order],
        _speed_limits(bag, notes),
        _operator_chunks(bag, names),
        notes,
    )


def _chunks(bag: Bag, names: tuple[str, ...], notes: list[str]) -> list[RecordedChunk]:
    runtimes = []
    for received, message in bag.messages("policy_state"):
        p = read_policy_state(message)
        if p.checkpoint_sha256:
            options = RuntimeOptions(p.runtime, p.device.split(":")[0], p.precision, p.threads or None, p.guidance)
            runtimes.append((received, p.checkpoint_sha256, options))
    if not runtimes:
        notes.append("policy_state was not recorded: the policy's runtime, precision, threads and guidance are unknown")
    chunks = []
    for chunk in _chunks_of(bag, "action_chunk", names):
        received = chunk.received_ns
        of_its_own = [(at, runtime) for at, sha256, runtime in runtimes if sha256 == chunk.checkpoint_sha256]
        # The state is latched and repeated, so the newest one before the chunk is the same policy process's.
        before = [runtime for at, runtime in of_its_own if at <= received]
        guidance = chunk.guidance or NO_GUIDANCE
        runtime = (
            before[-1] if before else of_its_own[0][1] if of_its_own else RuntimeOptions("", "", "", None, guidance)
        )
        chunks.append(RecordedChunk(**vars(chunk), runtime=runtime))
    return chunks


def _operator_chunks(bag: Bag, names: tuple[str, ...]) -> list[RecordedChunk]:
    nothing = RuntimeOptions("", "", "", None, NO_GUIDANCE)
    chunks = _chunks_of(bag, "operator_chunk", names) if bag.topic("operator_chunk") is not None else ()
    return [RecordedChunk(**vars(chunk), runtime=nothing, source=ChunkSource.OPERATOR) for chunk in chunks]


def _chunks_of(bag: Bag, topic: str, names: tuple[str, ...]) -> Iterator[ChunkMessage]:
    for received, message in bag.messages(topic):
        chunk = read_chunk(message, received)
        if chunk.joint_names != names or chunk.positions.ndim != 2:
            raise BagError(
                f"{bag.folder}: {topic} {chunk.chunk_id} has joints {list(chunk.joint_names)}, the contract "
                f"{list(names)}"
            )
        yield chunk


def _speed_limits(bag: Bag, notes: list[str]) -> list[tuple[int, SourceLimit]]:
    limits = [(at, SourceLimit.of_percent(OPERATOR, float(m.data))) for at, m in bag.messages("speed_scale")]
    # Those on the operator's presence, too: the executor took them from itself and published them for the recording.
    told = [(at, read_speed_limit(message, at)) for at, message in bag.messages("speed_limit")]
    limits += [(at, SourceLimit.of_percent(**vars(limit))) for at, limit in told if limit.source != OPERATOR]
    if refused := [limit.problem for _, limit in limits if limit.problem]:
        notes.append(f"{len(refused)} speed limits were none, and left out as the executor did: {refused[0]}")
    return sorted((entry for entry in limits if not entry[1].problem), key=lambda entry: entry[0])


def _ticks(bag: Bag, names: tuple[str, ...], notes: list[str]) -> list[ExecutorTick]:
    ticks = [read_executor_state(message) for _, message in bag.messages("executor_state")]
    if foreign := sum(tick.joint_names != names for tick in ticks):
        notes.append(f"{foreign} executor_state messages have other joints than the contract's and were left out")
    return [tick for tick in ticks if tick.joint_names == names]


@dataclass(frozen=True)
class RecordedObservation:
    """The observation of one chunk: images by camera, the state [J], and what the recording lacks of it, named."""

    chunk: RecordedChunk
    images: dict[str, NDArray[np.uint8]]
    state: Array | None
    missing: tuple[str, ...] = ()


def observations(run: RecordedRun) -> Iterator[RecordedObservation]:
    """Put every chunk's observation together again, from the conditioned topics by their stamps.

    The images are read once from beginning to end, and only those that a chunk needs and still waits for are held.
    Every chunk is yielded exactly once: what was not recorded of its observation stands in ``missing``.
    """
    cameras = sorted({camera for chunk in run.chunks for camera in chunk.image_stamps})
    waiting = dict(enumerate(run.chunks))
    wanted: dict[tuple[str, int], set[int]] = {}
    for i, chunk in waiting.items():
        for key in chunk.image_stamps.items():
            wanted.setdefault(key, set()).add(i)
    held: dict[tuple[str, int], NDArray[np.uint8] | str] = {}
    oldest = 0

    def give(i: int) -> RecordedObservation:
        chunk = waiting.pop(i)
        parts = {camera: held.get((camera, ns)) for camera, ns in chunk.image_stamps.items()}
        for key in chunk.image_stamps.items():
            wanted[key].discard(i)
            if not wanted[key]:
                held.pop(key, None)
        return _observation(run, chunk, parts)

    streams = (_images(run.bag, camera) for camera in cameras)
    for received, camera, ns, image in heapq.merge(*streams, key=lambda item: item[0]):
        key = (camera, ns)
        if wanted.get(key) and key not in held:
            held[key] = image
            for i in sorted(wanted[key]):
                if all(part in held for part in run.chunks[i].image_stamps.items()):
                    yield give(i)
        while oldest < len(run.chunks) and (
            oldest not in waiting or run.chunks[oldest].received_ns + _PATIENCE_NS < received
        ):
            if oldest in waiting:
                yield give(oldest)
            oldest += 1
    for i in sorted(waiting):
        yield give(i)


def _observation(
    run: RecordedRun, chunk: RecordedChunk, parts: dict[str, NDArray[np.uint8] | str | None]
) -> RecordedObservation:
    missing = []
    for camera, part in parts.items():
        if part is None:
            missing.append(f"observation/{camera} of {chunk.image_stamps[camera] / _NS:.3f} s")
        elif isinstance(part, str):
            missing.append(f"observation/{camera}: {part}")
    state = run.state_at(chunk.state_stamp_ns)
    if state is None:
        missing.append(f"observation/state of {chunk.state_stamp_ns / _NS:.3f} s")
    images = {camera: part for camera, part in parts.items() if isinstance(part, np.ndarray)}
    return RecordedObservation(chunk, images, state, tuple(missing))


def _images(bag: Bag, camera: str) -> Iterator[tuple[int, str, int, NDArray[np.uint8] | str]]:
    """(received, camera, stamp, RGB uint8 [h, w, 3] or why there is none) of a camera's conditioned images."""
    topic, size = bag.image_topic(camera), bag.contract.camera(camera).size
    for received, message in bag.messages(topic) if topic is not None else ():
        image: NDArray[np.uint8] | str
        try:
            image = conditioned_image(message, size)
        except ImageDecodingError as error:
            image = str(error)
        yield received, camera, stamp_ns(message.header.stamp), image
