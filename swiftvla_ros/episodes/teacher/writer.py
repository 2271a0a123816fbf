# SPDX-License-Identifier: Apache-2.0
"""Teacher targets written step by step, while they are made: the folder that ``swiftvla teacher-targets`` writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from swiftvla_ros.episodes.teacher.targets import (
    EpisodeTargets,
    TargetsConfig,
    prepare,
    write_index,
    write_shard,
)


class TargetsWriter:
    """Collects one episode's features after the other and writes each as a shard, whole or not at all.

    The folder is made where it is missing; TargetsError where it holds targets that were computed otherwise.
    """

    def __init__(self, folder: Path, config: TargetsConfig) -> None:
        self.folder = folder
        self._config = config
        self._finished = set(prepare(folder, config))
        self.begin()

    def begin(self) -> None:
        """Begin an episode; what was collected and not finished is forgotten."""
        self._stamps_s: list[float] = []
        self._rows: list[np.ndarray] = []

    def add(self, stamp_s: float, features: Float32[np.ndarray, "windows tokens dim"]) -> None:
        """Take the next step's features, one [tokens, dim] for every K of the configuration; more are ignored."""
        self._stamps_s.append(stamp_s)
        self._rows.append(features[: len(self._config.cache_steps)].astype(np.float16))

    def finish(self, name: str) -> str:
        """Write the episode, and list it in the index.

        Returns
        -------
        str
            Why nothing was written; empty when the shard is there.

        Raises
        ------
        OSError
            The disk is full, or the folder is gone; nothing half-written is left under a shard's name.
        """
        stamps_s, rows = np.array(self._stamps_s, np.float64), self._rows
        self.begin()
        if not rows:
            return "it has no steps"
        if name in self._finished:
            return f"{self.folder} has targets of that name already"
        windows: Sequence[int] = self._config.cache_steps
        features = {k: np.stack([row[i] for row in rows]) for i, k in enumerate(windows)}
        write_shard(self.folder, self._config, [EpisodeTargets(name, stamps_s, features)])
        write_index(self.folder)
        self._finished.add(name)
        return ""
