# SPDX-License-Identifier: Apache-2.0
"""The thread that infers: the newest paired observation in, a chunk with its provenance out. No ROS in here."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract.latency_stages import COMPLETE, ENDS, OBSERVATION, POLICY, STARTS, durations_s
from swiftvla_ros.errors import UserError
from swiftvla_ros.observation.observation import Observation
from swiftvla_ros.observation.pairing import ObservationPairing, PairedObservation, Pairing, PairingStatus
from swiftvla_ros.policy.continuation.chunk_delay import MeasuredDelay
from swiftvla_ros.policy.continuation.committed_rows import CommittedRows, Following
from swiftvla_ros.policy.policy import Policy

_NS = 1_000_000_000
# Without any message the reason for silence is looked at again this often.
_WAIT_S = 0.1
# A camera at just the wanted rate jitters: its images may come this much sooner without every other one being skipped.
_PERIOD_SHARE = 0.9
_MOST_PROBES = 4


@dataclass(frozen=True)
class Instruction:
    """What to do; ``id`` counts from 1."""

    text: str
    id: int


@dataclass(frozen=True)
class InferredChunk:
    """Rows [H, J] (SI, contract order) and where they come from; times in ns on the caller's clock.

    ``rows_ahead`` [n, J] are what ``guidance`` was given to continue: the first ``frozen_rows`` as executed, the others
    as planned. All three are empty where no guidance was at work.
    """

    positions: NDArray[np.float64]
    chunk_id: int
    instruction: Instruction
    observation: PairedObservation
    inference_start_ns: int
    inference_end_ns: int
    frozen_rows: int = 0
    guidance: str = ""
    rows_ahead: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))


@dataclass(frozen=True)
class InferenceStatus:
    """A snapshot for reports: ``reason`` is empty while chunks are being computed."""

    reason: str = "no instruction"
    chunks: int = 0
    dropped_stale: int = 0
    dropped_unpaired: int = 0
    dropped_invalid: int = 0
    latency_s: dict[str, float] = field(default_factory=dict)


class ProbeError(UserError, RuntimeError):
    """A chunk that was only to be looked at can't be computed; the message says why."""


@dataclass(frozen=True)
class Probe:
    """A chunk that is computed to be looked at: published nowhere, followed by nobody.

    ``answer`` is called once by the inference thread, with the chunk (its number is 0) or with why there is none.
    """

    instruction: str  # may be empty: what the policy does without words
    noise: NDArray[np.float32] | None
    answer: Callable[[InferredChunk | ProbeError], None]
    observation: PairedObservation | None = None  # None: the newest
    # The rows ahead that guidance is given [n, J], the first so many as executed.
    rows_ahead: NDArray[np.float64] | None = None
    executed: int = 0
    patient: bool = False  # waits until there is nothing newer to infer from


@dataclass(frozen=True)
class _LoneImage:
    """An image whose observation is not complete yet."""

    camera: str
    image: NDArray[np.uint8]


@dataclass(frozen=True)
class _Work:
    """An observation to infer from."""

    observation: PairedObservation
    instruction: Instruction
    epoch: int
    executed: NDArray[np.float64] | None
    planned: NDArray[np.float64] | None


class InferenceThread:
    """Owns the pairing and the policy's thread, which starts at once and runs until :meth:`end`.

    ``add_image``, ``add_state``, ``instruct``, ``follow``, ``clear``, ``status`` and ``drop_invalid`` are called by the
    node's executor thread, ``probe`` by either; ``now_ns`` and ``publish`` are called by the inference thread. One
    condition guards all shared fields; it is never held during inference.

    Parameters
    ----------
    policy
        A loaded policy.
    pairing
        Empty histories; owned by this object from now on.
    noise
        Noise that every chunk starts from, as the policy samples it.
    chunk_ids
        Numbers of the chunks.
    min_period_s
        Shortest time between the observations of two inferences; 0 takes every new one.
    now_ns
        Present time.
    publish
        Takes every chunk.
    report
        Takes texts of errors.
    """

    def __init__(
        self,
        policy: Policy,
        pairing: ObservationPairing,
        *,
        noise: NDArray[np.float32] | None,
        chunk_ids: Iterator[int],
        min_period_s: float,
        now_ns: Callable[[], int],
        publish: Callable[[InferredChunk], None],
        report: Callable[[str], None],
    ) -> None:
        self._policy = policy
        self._pairing = pairing
        self._noise = noise
        self._chunk_ids = chunk_ids
        self._min_step_ns = round(min_period_s * _NS * _PERIOD_SHARE)
        self._now_ns = now_ns
        self._publish = publish
        self._report = report
        self._condition = threading.Condition()
        self._ending = False
        self._instruction: Instruction | None = None
        # Grows when what is being inferred has become worthless: other words, another time.
        self._epoch = 0
        self._used_ns: int | None = None
        self._dropped_ns: int | None = None
        # Cameras that were seen ahead of the next observation.
        self._seen: set[str] = set()
        self._status = InferenceStatus()
        self._probes: deque[Probe] = deque()
        self._after_probe = False
        self._committed = CommittedRows(policy.step_s, policy.max_executed_rows, MeasuredDelay())
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """End the thread and wait for it; a running inference is finished first, and not published."""
        with self._condition:
            self._ending = True
            self._condition.notify()
        self._thread.join()
        for probe in self._probes:
            probe.answer(ProbeError("the policy node was deactivated"))

    def add_image(self, camera: str, stamp_ns: int, image: NDArray[np.uint8], received_ns: int) -> None:
        """Take a conditioned image."""
        with self._condition:
            if self._pairing.add_image(camera, stamp_ns, image, received_ns):
                self._condition.notify()

    def add_state(self, stamp_ns: int, state: NDArray[np.float64], received_ns: int) -> None:
        """Take a joint state."""
        with self._condition:
            if self._pairing.add_state(stamp_ns, state, received_ns):
                self._condition.notify()

    def instruct(self, instruction: Instruction | None) -> None:
        """Follow another instruction from the next chunk on; None: infer no more."""
        with self._condition:
            self._instruction = instruction
            self._epoch += 1
            self._condition.notify()

    def probe(self, probe: Probe) -> None:
        """Compute a chunk to be looked at when the thread is free next; ProbeError where too many wait already.

        Of two probes in a row one waits for a chunk that is followed, so that they never starve the arm.
        """
        with self._condition:
            if self._ending or len(self._probes) >= _MOST_PROBES:
                raise ProbeError("the policy node is not active" if self._ending else "too many probes are waiting")
            self._probes.append(probe)
            self._condition.notify()

    def follow(self, following: Following, delay_s: float | None) -> None:
        """Take note of what the executor does, and how long the chunk that it follows took to get there."""
        with self._condition:
            self._committed.following(following, delay_s)

    def drop_invalid(self) -> None:
        """Count a message that could not be used."""
        with self._condition:
            self._status = replace(self._status, dropped_invalid=self._status.dropped_invalid + 1)

    def clear(self) -> None:
        """Forget all observations, as after a clock jump."""
        with self._condition:
            self._pairing.clear()
            self._committed.clear()
            self._used_ns = self._dropped_ns = None
            self._seen.clear()
            self._epoch += 1

    def status(self) -> InferenceStatus:
        """What is going on."""
        with self._condition:
            return self._status

    def _run(self) -> None:
        while (work := self._next()) is not None:
            try:
                if isinstance(work, _LoneImage):
                    self._policy.see(work.camera, work.image)
                elif isinstance(work, Probe):
                    self._look(work)
                else:
                    self._infer(work)
            # A failing policy must not end the thread that reports it.
            except Exception as error:  # noqa: BLE001, PERF203
                self._fail(f"inference failed: {error}")

    def _infer(self, work: _Work) -> None:
        observation, instruction, executed, planned = work.observation, work.instruction, work.executed, work.planned
        start_ns = self._now_ns()
        positions = self._policy.infer(
            Observation(observation.images, observation.state, instruction.text),
            noise=self._noise,
            executed=executed,
            planned=planned,
        )
        if not np.isfinite(positions).all():
            self._fail("the policy computed positions that are not finite; the chunk is not published")
            return
        end_ns = self._now_ns()
        chunk = InferredChunk(positions, next(self._chunk_ids), instruction, observation, start_ns, end_ns)
        if executed is not None and planned is not None:
            chunk = replace(
                chunk,
                frozen_rows=len(executed),
                guidance=self._policy.guidance,
                rows_ahead=np.concatenate([executed, planned]),
            )
        with self._condition:
            current = self._epoch == work.epoch and not self._ending
            if current:
                self._committed.published(chunk.chunk_id, observation.stamp_ns, positions, instruction.id, end_ns)
                chunks = self._status.chunks + 1
                self._status = replace(self._status, reason="", chunks=chunks, latency_s=_stages(chunk))
        if current:
            self._publish(chunk)

    def _look(self, probe: Probe) -> None:
        observation = probe.observation
        if observation is None:
            with self._condition:
                pairing = self._pairing.pair(self._now_ns())
            observation = pairing.observation
            if observation is None:
                probe.answer(ProbeError(pairing.reason))
                return
        start_ns = self._now_ns()
        seen = Observation(observation.images, observation.state, probe.instruction)
        ahead = probe.rows_ahead
        executed, planned = (None, None) if ahead is None else (ahead[: probe.executed], ahead[probe.executed :])
        try:
            positions = self._policy.infer(seen, noise=probe.noise, executed=executed, planned=planned)
        except Exception as error:  # noqa: BLE001  (whatever it is, whoever asked waits for an answer)
            probe.answer(ProbeError(f"inference failed: {error}"))
            return
        instruction = Instruction(probe.instruction, 0)
        probe.answer(InferredChunk(positions, 0, instruction, observation, start_ns, self._now_ns()))

    def _next(self) -> _Work | _LoneImage | Probe | None:
        """What to do next; None when the thread shall end."""
        with self._condition:
            while not self._ending:
                if self._probes and not self._probes[0].patient and not self._after_probe:
                    self._after_probe = True
                    return self._probes.popleft()
                if self._instruction is None:
                    self._status = replace(self._status, reason="no instruction")
                else:
                    # Images that come too soon after the last used ones are skipped, not kept until it is time: so an
                    # inference begins with a fresh image.
                    newer_than_ns = None if self._used_ns is None else self._used_ns + self._min_step_ns
                    pairing = self._pairing.pair(self._now_ns(), newer_than_ns)
                    if (observation := pairing.observation) is not None:
                        self._used_ns = observation.stamp_ns
                        self._seen.clear()
                        self._after_probe = False
                        rows = self._committed.ahead(observation.stamp_ns, self._instruction.id)
                        return _Work(observation, self._instruction, self._epoch, *rows)
                    self._note(pairing)
                    # While other cameras are still to come: once per camera, so that a fast one is not seen for nothing
                    # again and again.
                    for camera, image in self._pairing.lone_images(newer_than_ns).items():
                        if camera not in self._seen:
                            self._seen.add(camera)
                            return _LoneImage(camera, image)
                    if self._probes and self._probes[0].patient:
                        return self._probes.popleft()
                if not (self._probes and self._after_probe):
                    self._condition.wait(_WAIT_S)
                self._after_probe = False
        return None

    def _note(self, pairing: Pairing) -> None:
        """Remember why there is no observation; every anchor counts as dropped once at most."""
        if pairing.status is PairingStatus.NOTHING_NEW:
            return
        status = replace(self._status, reason=pairing.reason)
        if pairing.anchor_ns is not None and pairing.anchor_ns != self._dropped_ns:
            if pairing.status is PairingStatus.STALE:
                self._dropped_ns = pairing.anchor_ns
                status = replace(status, dropped_stale=status.dropped_stale + 1)
            elif pairing.status is PairingStatus.UNPAIRED:
                self._dropped_ns = pairing.anchor_ns
                status = replace(status, dropped_unpaired=status.dropped_unpaired + 1)
        self._status = status

    def _fail(self, text: str) -> None:
        self._report(text)
        with self._condition:
            self._status = replace(self._status, reason=text, dropped_invalid=self._status.dropped_invalid + 1)


def _stages(chunk: InferredChunk) -> dict[str, float]:
    """Latency stages of a chunk in the order of time, s."""
    observation = chunk.observation
    stamps = {
        OBSERVATION: observation.stamp_ns,
        COMPLETE: observation.ready_ns,
        STARTS: chunk.inference_start_ns,
        ENDS: chunk.inference_end_ns,
    }
    return durations_s(POLICY, stamps)
