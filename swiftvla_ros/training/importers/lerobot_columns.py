# SPDX-License-Identifier: Apache-2.0
"""What only our network's training reads, as columns of a LeRobotDataset v3.

Their names begin with ``swiftvla.`` and not with ``observation.``, which LeRobot takes for what a policy sees:

=========================  ====================  ======================================================================
``swiftvla.valid_rows``    int64 [1]             how many rows from this frame on are to be imitated (4096: all)
``swiftvla.keypoints``     float32 [f, 3]        u, v (0…1) of the end effector's keypoints in the front image, and
                                                 whether each is known (1 or 0)
``swiftvla.geometry.k<K>`` float16 [tokens, dim] the teacher's 4D features of the front view, temporal cache of K steps
=========================  ====================  ======================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.datasets.store import Episode
from swiftvla_ros.episodes.teacher.targets import TeacherTargets
from swiftvla_ros.model.config import SwiftVLAConfig
from swiftvla_ros.training.samples import Labels, label_episode, rows_to_imitate

PREFIX = "swiftvla."
VALID_ROWS, KEYPOINTS = PREFIX + "valid_rows", PREFIX + "keypoints"
_GEOMETRY = PREFIX + "geometry.k"


def geometry_column(cache_steps: int) -> str:
    """The name of the column with the 4D features of a temporal cache."""
    return f"{_GEOMETRY}{cache_steps}"


def geometry_columns(names: Mapping[str, Any]) -> dict[int, str]:
    """The columns of 4D features among some names, by their temporal cache K."""
    suffixes = {name: name.removeprefix(_GEOMETRY) for name in names if name.startswith(_GEOMETRY)}
    return {int(suffix): name for name, suffix in suffixes.items() if suffix.isdecimal()}


class TrainingColumns:
    """The columns of episodes for one network, as the LeRobot writer asks for them.

    ``targets`` are the teacher's 4D features of the same episodes; None: such columns are left out.
    """

    def __init__(self, contract: Contract, config: SwiftVLAConfig, targets: TeacherTargets | None = None) -> None:
        self._contract, self._config, self._targets = contract, config, targets

    @property
    def features(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Each column's dtype and the shape of a frame's value."""
        columns: dict[str, tuple[str, tuple[int, ...]]] = {VALID_ROWS: ("int64", ())}
        if self._config.fusion is not None:
            columns[KEYPOINTS] = ("float32", (self._config.fusion.num_tokens, 3))
        if self._targets is not None:
            shape = (self._targets.tokens, self._targets.dim)
            columns |= {geometry_column(k): ("float16", shape) for k in self._targets.cache_steps}
        return columns

    @property
    def origin(self) -> dict[str, Any]:
        """The network and the teacher that decide the numbers."""
        return {
            "network": asdict(self._config),
            "teacher": None if self._targets is None else asdict(self._targets.config),
        }

    def of(self, name: str, episode: Episode) -> dict[str, NDArray[Any]]:
        """The columns [T, …] of an episode; raises TargetsError where the teacher has not seen it."""
        labels, _ = label_episode(episode, self._contract, self._config)
        columns: dict[str, NDArray[Any]] = {VALID_ROWS: rows_to_imitate(episode)}
        if self._config.fusion is not None:
            known = labels.keypoint_valid[..., None].astype(np.float32)
            columns[KEYPOINTS] = np.concatenate([np.where(known > 0, labels.keypoint_uv, 0.0), known], axis=-1)
        if self._targets is not None:
            for k in self._targets.cache_steps:
                columns[geometry_column(k)] = self._targets.read(name, episode.stamps_s, k)
        return columns


def labels_of_columns(
    actions: NDArray[np.float32], valid_rows: NDArray[np.int64], keypoints: NDArray[np.float32]
) -> Labels:
    """Labels of b frames from the encoded actions [b, H, J] and their columns [b] and [b, f, 3]."""
    rows = np.arange(actions.shape[1])
    return Labels(actions, rows < valid_rows[:, None], keypoints[..., :2], keypoints[..., 2] > 0)
