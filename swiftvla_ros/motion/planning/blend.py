# SPDX-License-Identifier: Apache-2.0
"""Rows of one chunk and the next, where both have something to say.

``smooth`` leaves the rows alone: the two paths fade into each other afterwards. ``replace`` leaves them alone, too, and
the motion takes the shortest way over that the limits allow. ``linear`` and ``cosine`` go from the old rows to the new
ones over a time. ``ensemble`` takes, at each time, a weighted mean of all chunks that reach it; the oldest counts most,
each later one less by the factor exp(-decay), as in ACT's temporal ensembling.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract.control import BlendConfig
from swiftvla_ros.motion.chunk import NS, JointChunk
from swiftvla_ros.motion.planning.rows import PlannedRows, same_source

Array = NDArray[np.float64]
Times = NDArray[np.int64]

Reaching = tuple[tuple[JointChunk, Times, Array], ...]
"""Chunks that an ensemble's mean may still be of, each with its rows [K, J] at times [K]; the oldest first."""

MOST_CHUNKS = 64
"""Chunks that an ensemble remembers: more than reach one time at any usual rate."""


class ChunkBlend:
    """How rows join the ones before; ``kept`` columns never do: grippers that are either open or closed."""

    def __init__(self, config: BlendConfig, kept: Sequence[int] = ()) -> None:
        self._config, self._kept = config, list(kept)

    def blended(
        self,
        chunk: JointChunk,
        times_ns: Times,
        positions: Array,
        older: PlannedRows | None,
        reaching: Reaching,
        now_ns: int,
    ) -> tuple[Array, Reaching]:
        """What is to be followed [K, J] of rows [K, J] at times [K] of ``chunk``, and what the next one is given.

        ``older`` are the rows that were followed up to now; None for a motion that begins from rest.
        """
        kind, rows = self._config.kind, (chunk, times_ns, positions)
        remembered: Reaching = ()
        if kind == "ensemble":
            still = [past for past in reaching if past[1][-1] > now_ns and same_source(past[0], chunk)]
            remembered = (*still[-MOST_CHUNKS + 1 :], rows)
        if older is None or not same_source(older.chunk, chunk):
            return positions, remembered
        if kind == "ensemble":
            blended = self._mean(times_ns, (*reaching, rows), now_ns)
        elif kind in ("linear", "cosine"):
            blended = self._over_time(times_ns, positions, older, now_ns)
        else:
            return positions, remembered
        blended[:, self._kept] = positions[:, self._kept]
        return blended, remembered

    def _over_time(self, times_ns: Times, positions: Array, older: PlannedRows, now_ns: int) -> Array:
        over_s = min(self._config.over_s, (older.end_ns - now_ns) / NS)
        if over_s <= 0.0:
            return positions.copy()
        share = np.clip((times_ns - now_ns) / NS / over_s, 0.0, 1.0)
        if self._config.kind == "cosine":
            share = 0.5 - 0.5 * np.cos(np.pi * share)
        before = _at(times_ns, older.times_ns, older.positions, now_ns)
        return np.asarray(before + share[:, None] * (positions - before))

    def _mean(self, times_ns: Times, reaching: Reaching, now_ns: int) -> Array:
        chunk, _, positions = reaching[-1]
        total, weights = np.zeros_like(positions), np.zeros((len(times_ns), 1))
        oldest = np.zeros(len(times_ns))
        for source, times, rows in reaching:
            if not same_source(source, chunk):
                continue
            reaches = (times_ns >= times[0]) & (times_ns <= times[-1])
            weight = np.where(reaches, np.exp(-self._config.decay * oldest), 0.0)[:, None]
            total += weight * _at(times_ns, times, rows, now_ns)
            weights += weight
            oldest += reaches
        return total / weights


def _at(t_ns: Times, times_ns: Times, rows: Array, now_ns: int) -> Array:
    """Rows [K, J] between their times, at times [N]."""
    t, times = (t_ns - now_ns) / NS, (times_ns - now_ns) / NS
    return np.stack([np.interp(t, times, column) for column in rows.T], axis=1)
