# SPDX-License-Identifier: Apache-2.0
"""Messages that come when they come → the policy's even steps, live and from a bag by the same rule.

Step k of an episode is at ``begin + k · policy.step_s``. It sees what had been stamped by then and nothing later, and
pairs it as the policy does: ``ObservationPairing``. So a live node and a reader of the
bag, whatever the order in which messages of different topics reach them, come to the very same steps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.observation.pairing import STATE, ObservationPairing, PairedObservation

Decode = Callable[[str, Any], NDArray[np.uint8] | None]
"""What was added for a camera → its image; None where it can't be used."""

_NS = 1_000_000_000


@dataclass(frozen=True)
class GridStep:
    """One step of the grid, and what it sees, or the ``reason`` why that is nothing.

    A camera stopped, say, or stamps lie too far apart; ``source`` is that camera, or ``pairing.STATE``.
    """

    index: int
    time_ns: int
    observation: PairedObservation | None
    reason: str = ""
    source: str = ""


class StepGrid:
    """Steps of one episode. Messages go in by stamp, steps come out as soon as nothing can change them any more.

    Memory is bounded as long as :meth:`settled` is called beside the ``add_`` methods.

    Step 0 is at ``begin_ns`` on the clock of the stamps; it waits for ``camera_names``, or for all of the contract.
    With ``decode``, pictures are added as they came and decoded only where a step sees them: of one that can't be, the
    one before is seen on.
    """

    def __init__(
        self,
        contract: Contract,
        begin_ns: int,
        camera_names: Sequence[str] | None = None,
        decode: Decode | None = None,
    ) -> None:
        timing = contract.policy
        cameras = contract.camera_names if camera_names is None else tuple(camera_names)
        self.begin_ns = begin_ns
        self.step_ns = round(timing.step_s * _NS)
        # What is older than this can't change a step any more: the policy would have refused it as stale.
        self._patience_ns = round(max(timing.max_image_age_s, timing.max_state_age_s) * _NS)
        self._pairing = ObservationPairing(
            cameras,
            slop_s=timing.pair_slop_s,
            max_image_age_s=timing.max_image_age_s,
            max_state_age_s=timing.max_state_age_s,
        )
        # Messages after the step that is next, per source.
        self._ahead: dict[str, deque[tuple[int, Any]]] = {name: deque() for name in (*cameras, STATE)}
        self._newest_ns: dict[str, int] = dict.fromkeys(self._ahead, -1)
        self._index = 0
        self._decode = decode
        # Of each camera, the picture that was decoded last: a slow camera's is seen in several steps.
        self._decoded: dict[str, tuple[int, NDArray[np.uint8]]] = {}

    @property
    def next_ns(self) -> int:
        """Time of the step that comes out next."""
        return self.begin_ns + self._index * self.step_ns

    def add_image(self, camera: str, stamp_ns: int, image: Any) -> bool:
        """Take a conditioned image, or what ``decode`` makes of one; False when it is not newer than the last one."""
        return self._add(camera, stamp_ns, image)

    def add_state(self, stamp_ns: int, state: NDArray[np.float64]) -> bool:
        """Take joint positions [J]; False when they are not newer than the last ones."""
        return self._add(STATE, stamp_ns, state)

    def settled(self, now_ns: int | None = None) -> Iterator[GridStep]:
        """Yield the steps that nothing can change any more, in order, each once.

        A step is settled when every camera and the joint states have got as far or further, or, with ``now_ns``, when
        it is so long ago that what is missing would be refused as stale.
        """
        seen_ns = min(self._newest_ns.values())
        if now_ns is not None:
            seen_ns = max(seen_ns, now_ns - self._patience_ns)
        yield from self._until(seen_ns)

    def finish(self, end_ns: int) -> Iterator[GridStep]:
        """Yield the steps that are left, up to and including ``end_ns``."""
        yield from self._until(end_ns)

    def _add(self, source: str, stamp_ns: int, value: Any) -> bool:
        if stamp_ns <= self._newest_ns[source]:
            return False
        self._newest_ns[source] = stamp_ns
        self._ahead[source].append((stamp_ns, value))
        return True

    def _until(self, end_ns: int) -> Iterator[GridStep]:
        while (time_ns := self.next_ns) <= end_ns:
            for source, messages in self._ahead.items():
                while messages and messages[0][0] <= time_ns:
                    stamp_ns, value = messages.popleft()
                    if source == STATE:
                        self._pairing.add_state(stamp_ns, value, stamp_ns)
                    else:
                        self._pairing.add_image(source, stamp_ns, value, stamp_ns)
            pairing = self._pairing.pair(time_ns)
            while (observation := pairing.observation) is not None and not self._show(observation):
                pairing = self._pairing.pair(time_ns)
            if observation is not None and self._decode is not None:
                images = {name: self._decoded[name][1] for name in observation.images}
                observation = replace(observation, images=images)
            yield GridStep(self._index, time_ns, observation, pairing.reason, pairing.source)
            self._index += 1

    def _show(self, observation: PairedObservation) -> bool:
        """Decode what a step sees; False where something of it can't be, and is forgotten."""
        if self._decode is None:
            return True
        for camera, stamp_ns in observation.image_stamps_ns.items():
            known_ns, _ = self._decoded.get(camera, (None, None))
            if known_ns == stamp_ns:
                continue
            image = self._decode(camera, observation.images[camera])
            if image is None:
                self._pairing.forget_image(camera, stamp_ns)
                return False
            self._decoded[camera] = stamp_ns, image
        return True
