# SPDX-License-Identifier: Apache-2.0
"""The inference thread without ROS: what it tells the policy of the motion under way."""

import contextlib
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract.executor_codes import Mode
from swiftvla_ros.observation.pairing import ObservationPairing
from swiftvla_ros.policy import Observation, Policy
from swiftvla_ros.policy.continuation.committed_rows import Following
from swiftvla_ros.policy.inference_thread import InferenceThread, InferredChunk, Instruction, Probe, ProbeError

MS = 1_000_000
STEP_MS = 100
DELAY_MS = 250
ROWS = np.stack([np.arange(10.0), -np.arange(10.0)], axis=1)


class Guided(Policy):
    """A policy that predicts the same rows each time, and keeps what it was told to continue."""

    guidance, max_executed_rows, step_s = "vjp", 9, STEP_MS / 1000

    def __init__(self) -> None:
        self.seen: list[tuple[str, NDArray[np.uint8]]] = []
        self.told: list[tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]] = []

    def see(self, camera: str, image: NDArray[np.uint8]) -> None:
        self.seen.append((camera, image))

    def infer(self, _observation: Observation, **arguments: Any) -> NDArray[np.float64]:
        self.told.append((arguments.get("executed"), arguments.get("planned")))
        return ROWS


class Rig:
    """A thread, a clock in ms, and an arm that follows every chunk ``DELAY_MS`` after its observation."""

    def __init__(self, wait_until: Callable[..., None], cameras: tuple[str, ...] = ("front",)) -> None:
        self.policy, self.now_ms, self.wait_until = Guided(), 10_000, wait_until
        self.chunks: list[InferredChunk] = []
        self.thread = InferenceThread(
            self.policy,
            ObservationPairing(cameras, slop_s=0.06, max_image_age_s=0.5, max_state_age_s=0.3),
            noise=np.zeros((10, 2), np.float32),
            chunk_ids=itertools.count(1),
            min_period_s=0.0,
            now_ns=lambda: self.now_ms * MS,
            publish=self.chunks.append,
            report=print,
        )

    def chunk(self, instruction: Instruction, moving: bool = True) -> InferredChunk:
        """Observe, infer, and let the arm follow the chunk."""
        count = len(self.chunks)
        self.thread.instruct(instruction)
        self.thread.add_state(self.now_ms * MS, np.zeros(2), self.now_ms * MS)
        self.thread.add_image("front", self.now_ms * MS, np.zeros((1, 1, 3), np.uint8), self.now_ms * MS)
        self.wait_until(lambda: len(self.chunks) > count, "a chunk is published")
        chunk = self.chunks[-1]
        self.now_ms += DELAY_MS
        row = DELAY_MS / STEP_MS
        mode = Mode.FRESH if moving else Mode.HOLD
        self.thread.follow(Following(self.now_ms * MS, mode, chunk.chunk_id, row), delay_s=DELAY_MS / 1000)
        return chunk


def test_the_policy_is_told_what_will_have_been_executed(wait_until: Callable[..., None]) -> None:
    """Protects the way from executor_state to the chunk: delay and rows are measured, warm-up chunks are plain."""
    rig, pick = Rig(wait_until), Instruction("pick", 1)
    first = [rig.chunk(pick) for _ in range(3)]
    assert [(c.frozen_rows, c.guidance) for c in first] == [(0, "")] * 3
    assert rig.policy.told[2] == (None, None)
    guided = rig.chunk(pick)
    assert (guided.frozen_rows, guided.guidance) == (3, "vjp")
    executed, planned = rig.policy.told[3]
    assert executed is not None
    assert planned is not None
    # The new observation lies 250 ms after the last one.
    np.testing.assert_allclose(executed[:, 0], [2.5, 3.5, 4.5])
    np.testing.assert_allclose(planned[:, 0], [5.5, 6.5, 7.5, 8.5])
    touched = rig.chunk(Instruction("touch", 2))
    assert touched.frozen_rows == 3
    assert len(rig.policy.told[4][1]) == 0  # type: ignore[arg-type]
    rig.thread.end()


def test_an_arm_at_rest_is_not_continued(wait_until: Callable[..., None]) -> None:
    """Protects a start from rest: nothing is under way then, so a chunk is computed from its observation alone."""
    rig, pick = Rig(wait_until), Instruction("pick", 1)
    for _ in range(4):
        rig.chunk(pick, moving=False)
    assert all(told == (None, None) for told in rig.policy.told)
    rig.thread.end()


def test_a_camera_is_seen_while_the_other_is_awaited(wait_until: Callable[..., None]) -> None:
    """Protects the overlap: a lone image is begun with, once however many frames come, and never instead of a chunk."""
    rig = Rig(wait_until, ("front", "wrist"))
    images = [np.full((1, 1, 3), value, np.uint8) for value in range(3)]
    rig.thread.add_state(rig.now_ms * MS, np.zeros(2), rig.now_ms * MS)
    rig.thread.add_image("front", rig.now_ms * MS, images[0], rig.now_ms * MS)
    assert rig.policy.seen == []
    rig.thread.instruct(Instruction("pick", 1))
    rig.wait_until(lambda: len(rig.policy.seen) == 1, "the lone image is begun with")
    rig.thread.add_image("front", (rig.now_ms + 10) * MS, images[1], rig.now_ms * MS)
    rig.thread.add_image("wrist", (rig.now_ms + 1) * MS, images[2], rig.now_ms * MS)
    rig.wait_until(lambda: len(rig.chunks) == 1, "the pair is inferred from")
    # The frame that came too late for it is begun with for the next observation.
    rig.wait_until(lambda: len(rig.policy.seen) == 2, "the next lone image is begun with")
    assert [(camera, int(image[0, 0, 0])) for camera, image in rig.policy.seen] == [("front", 0), ("front", 1)]
    rig.thread.end()


def test_a_probe_is_answered_and_published_nowhere(wait_until: Callable[..., None]) -> None:
    """Protects a chunk that is only looked at: without an instruction, without an observation, and at the end."""
    rig, found = Rig(wait_until), list[InferredChunk | ProbeError]()
    rig.thread.probe(Probe("", None, found.append))
    wait_until(lambda: len(found) == 1, "it says why not")
    assert "waiting for the first image" in str(found[0])
    rig.thread.add_state(rig.now_ms * MS, np.zeros(2), rig.now_ms * MS)
    rig.thread.add_image("front", rig.now_ms * MS, np.zeros((1, 1, 3), np.uint8), rig.now_ms * MS)
    for _ in range(2):
        rig.thread.probe(Probe("", None, found.append))
    wait_until(lambda: len(found) == 3, "both are computed")
    assert [getattr(chunk, "chunk_id", str(chunk)) for chunk in found[1:]] == [0, 0]
    assert not rig.chunks
    rig.thread.end()
    with contextlib.suppress(ProbeError):
        rig.thread.probe(Probe("", None, found.append))
    assert len(found) == 3
