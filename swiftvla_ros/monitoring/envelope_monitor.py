# SPDX-License-Identifier: Apache-2.0
"""Looks at each chunk with its observation, and says whether they are like what was trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.action_coding import RELATIVE, ActionCoding
from swiftvla_ros.monitoring.envelope import Envelope, Looks, describe
from swiftvla_ros.monitoring.verdict import Latch, Verdict, VerdictLevel, worst_first
from swiftvla_ros.observation.message_fields import ChunkMessage, VisionMessage

Array = NDArray[np.float64]

NAME = "envelope"
SLOW_PERCENT = 30.0
# At most so many parts are named in a sentence.
_NAMED = 2


@dataclass(frozen=True)
class Look:
    """One chunk [H, J] (rad or m, contract order) and what it was computed from.

    ``state`` [J] is None where nobody saw it; ``features`` [cams, D] of ``camera_names``, None where the policy can't
    tell.
    """

    stamp_ns: int
    chunk_id: int
    checkpoint_sha256: str
    rows: Array
    state: Array | None
    camera_names: tuple[str, ...] = ()
    features: NDArray[np.floating[Any]] | None = None

    @classmethod
    def of(cls, chunk: ChunkMessage, state: Array | None, seen: VisionMessage) -> Look:
        """The look that the messages of one chunk make; both have the same ``chunk_id``."""
        features = seen.features if len(seen.features) else None
        return cls(
            chunk.stamp_ns, chunk.chunk_id, chunk.checkpoint_sha256, chunk.positions, state, seen.camera_names, features
        )


class EnvelopeMonitor:
    """The same looks give the same verdicts, live and from a bag.

    Parameters
    ----------
    envelope
        The checkpoint's; a text says why there is none.
    contract
        The robot's: order of the looks' joints.
    slow_percent
        The speed at which the arm goes on where something is beyond ``slow_at``.
    """

    def __init__(self, envelope: Envelope | str, contract: Contract, slow_percent: float = SLOW_PERCENT) -> None:
        self._envelope, self._percent = envelope, {VerdictLevel.SLOW: slow_percent, VerdictLevel.HOLD: 0.0}
        self._coding = ActionCoding.of(contract, RELATIVE)
        names = contract.joint_names
        self._columns = [] if isinstance(envelope, str) else [names.index(name) for name in envelope.joint_names]
        self._latch = Latch()
        self._reason = ""

    def look(self, look: Look) -> Verdict:
        """Judge one chunk."""
        envelope = self._envelope
        if isinstance(envelope, str):
            return self._blind(look, envelope)
        if look.checkpoint_sha256.rpartition(":")[2] != envelope.checkpoint_sha256:
            return self._blind(
                look,
                f"the chunks are of checkpoint {look.checkpoint_sha256[:12]}, the envelope of "
                f"{envelope.checkpoint_sha256[:12]}; give both nodes the same checkpoint",
            )
        if look.state is None:
            # One message that got lost must not set an arm free that was held.
            return self._blind(look, "the joint state that the chunk was computed from was not seen", stays=True)
        if look.rows.shape != (len(envelope.motions.low), len(look.state)):
            return self._blind(look, f"the chunk has {list(look.rows.shape)} rows and joints, training's had others")
        features, blind = self._features(envelope, look)
        motion = self._coding.encode(look.rows, look.state)[:, self._columns]
        values = envelope.distances(Looks(look.state[None, self._columns], motion[None], features))[0]
        known = np.isfinite(values)
        parts = tuple(part for part, seen in zip(envelope.parts, known, strict=True) if seen)
        slow_at, hold_at = envelope.bounds.slow_at[known], envelope.bounds.hold_at[known]
        values = values[known]
        level = self._latch.judge(look.stamp_ns, values, slow_at, hold_at)
        if reasons := [describe(parts[i], values[i], slow_at[i]) for i in worst_first(values, slow_at)[:_NAMED]]:
            self._reason = "; ".join(reasons)
        text = "as trained" if level is VerdictLevel.USUAL else self._reason
        if level is VerdictLevel.USUAL and blind:
            level = VerdictLevel.BLIND
        percent = self._percent.get(level, 100.0)
        return Verdict(
            NAME,
            look.stamp_ns,
            look.chunk_id,
            level,
            percent,
            f"{text}; {blind}" if blind else text,
            envelope.checkpoint_sha256,
            parts,
            values,
            slow_at,
            hold_at,
        )

    def _features(self, envelope: Envelope, look: Look) -> tuple[NDArray[np.floating[Any]] | None, str]:
        """Features [1, cams, D] in the envelope's order, or None and why."""
        if not envelope.cameras:
            return None, "cameras are not judged: the envelope was made without their features"
        if look.features is None:
            return None, "cameras are not judged: this policy can't tell what its vision encoder sees"
        absent = [name for name in envelope.camera_names if name not in look.camera_names]
        width = len(envelope.cameras[0].centre)
        if absent or look.features.shape != (len(look.camera_names), width) or not np.isfinite(look.features).all():
            return None, f"cameras are not judged: their features are not those of {list(envelope.camera_names)}"
        return look.features[None, [look.camera_names.index(name) for name in envelope.camera_names]], ""

    def _blind(self, look: Look, why: str, *, stays: bool = False) -> Verdict:
        """Nothing can be told of this look; what slowed the arm before it ``stays``, or is forgotten."""
        if not stays:
            self._latch.forget()
        level = self._latch.level
        text = why if level is VerdictLevel.USUAL else f"{why}; before that: {self._reason}"
        percent = self._percent.get(level, 100.0)
        return Verdict(NAME, look.stamp_ns, look.chunk_id, VerdictLevel.BLIND, percent, text)
