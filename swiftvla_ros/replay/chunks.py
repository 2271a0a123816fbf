# SPDX-License-Identifier: Apache-2.0
"""Infers every recorded chunk again, from what the policy saw then, and compares it with what it said then."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.policy import Observation, Policy, load_policy
from swiftvla_ros.policy.runtime import RuntimeOptions
from swiftvla_ros.replay.recorded import RecordedChunk, RecordedObservation, RecordedRun, observations
from swiftvla_ros.replay.thresholds import RuntimeChoice

Array = NDArray[np.float64]

# An explanation must bring a chunk this much nearer to the recorded one before it is told.
_EXPLAINS = 0.1


@dataclass(frozen=True)
class ChunkComparison:
    """A recorded chunk and the same computed again."""

    chunk: RecordedChunk  # as recorded
    # Computed again [H, J], rad or m; None where the observation is not complete or the policy refused it.
    rows: Array | None
    missing: tuple[str, ...] = ()  # what the recording lacks of the observation, or why it was refused
    seconds: float = 0.0  # how long the inference took now

    @property
    def difference(self) -> Array:
        """Largest absolute difference [J] of any row, recomputed from recorded; NaN where nothing was computed."""
        recorded = self.chunk.positions
        if self.rows is None or self.rows.shape != recorded.shape:
            return np.full(recorded.shape[1], np.nan)
        return np.asarray(np.abs(self.rows - recorded).max(axis=0))


class Policies:
    """Loads the checkpoint for each way of computing that a bag has chunks of; the newest one is kept.

    ``override`` is what shall be otherwise than recorded.
    """

    def __init__(self, checkpoint: Path, contract: Contract, override: RuntimeChoice | None = None) -> None:
        self._checkpoint = checkpoint
        self._contract = contract
        self._override = override or RuntimeChoice()
        self._loaded: tuple[RuntimeOptions, Policy] | None = None

    def of(self, runtime: RuntimeOptions) -> Policy:
        """The policy that computes as ``runtime`` says, but for the override; raises CheckpointError."""
        override = self._override
        wanted = replace(
            runtime,
            runtime=override.runtime or runtime.runtime or "auto",
            device=override.device or runtime.device or "auto",
            precision=override.precision or runtime.precision or "auto",
            threads=override.threads or runtime.threads,
        )
        if self._loaded is None or self._loaded[0] != wanted:
            self._loaded = wanted, load_policy(self._checkpoint, contract=self._contract, **vars(wanted))
        return self._loaded[1]

    def used(self, runtime: RuntimeOptions) -> RuntimeOptions:
        """How chunks of ``runtime`` are computed here."""
        policy = self.of(runtime)
        return RuntimeOptions(policy.runtime, policy.device, policy.precision, policy.threads, policy.guidance)


def infer_again(policy: Policy, observation: RecordedObservation) -> Array:
    """Compute a chunk [H, J] from a complete observation, with the noise and the rows ahead of the recorded one.

    Raises ValueError where the policy refuses the observation, the instruction or the rows.
    """
    chunk = observation.chunk
    assert observation.state is not None
    executed = planned = None
    if len(chunk.rows_ahead):
        executed, planned = chunk.rows_ahead[: chunk.frozen_rows], chunk.rows_ahead[chunk.frozen_rows :]
    return policy.infer(
        Observation(observation.images, observation.state, chunk.instruction),
        noise=policy.sample_noise(chunk.noise_seed),
        executed=executed,
        planned=planned,
    )


def compare_chunks(run: RecordedRun, policies: Policies) -> Iterator[tuple[ChunkComparison, RecordedObservation]]:
    """Compute every chunk of a run again; each comes with its observation, which is dropped by the next.

    Raises CheckpointError where the checkpoint can't be loaded as it was for the recording.
    """
    for observation in observations(run):
        chunk = observation.chunk
        if observation.missing:
            yield ChunkComparison(chunk, None, observation.missing), observation
            continue
        policy = policies.of(chunk.runtime)
        began = time.perf_counter()
        try:
            rows = infer_again(policy, observation)
        except ValueError as error:
            yield ChunkComparison(chunk, None, (str(error),)), observation
            continue
        yield ChunkComparison(chunk, rows, seconds=time.perf_counter() - began), observation


def explain(policy: Policy, observation: RecordedObservation) -> str:
    """Say what about the images would make the policy compute the recorded chunk; empty where nothing known does.

    What goes wrong between a camera and a network is tried out: red and blue exchanged, cameras exchanged, pictures
    upside down or mirrored. Whatever brings the recorded rows back is the explanation.
    """
    recorded, cameras = observation.chunk.positions, sorted(observation.images)

    def distance(images: dict[str, NDArray[np.uint8]]) -> float:
        rows = infer_again(policy, replace(observation, images=images))
        return float(np.abs(rows - recorded).max()) if rows.shape == recorded.shape else np.inf

    plain = distance(observation.images)
    if plain == 0.0:
        return ""
    found: list[tuple[float, str]] = []
    for what, change in _CHANGES.items():
        for count in range(1, len(cameras) + 1):
            for some in itertools.combinations(cameras, count):
                images = {k: change(v) if k in some else v for k, v in observation.images.items()}
                names = " and ".join(f"'{name}'" for name in some)
                found.append((distance(images), f"camera {names}: {what}"))
    for one, other in itertools.combinations(cameras, 2):
        if observation.images[one].shape == observation.images[other].shape:
            images = {**observation.images, one: observation.images[other], other: observation.images[one]}
            found.append((distance(images), f"cameras '{one}' and '{other}' are exchanged"))
    nearest, text = min(found, default=(np.inf, ""))
    if nearest > _EXPLAINS * plain:
        return ""
    return f"{text}: so changed, the recorded chunk comes out to {nearest:.2g} instead of {plain:.2g}"


_CHANGES: dict[str, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    "image channel order is changed (red and blue exchanged)": lambda x: np.ascontiguousarray(x[..., ::-1]),
    "the image is turned by 180°": lambda x: np.ascontiguousarray(x[::-1, ::-1]),
    "the image is mirrored": lambda x: np.ascontiguousarray(x[:, ::-1]),
}
