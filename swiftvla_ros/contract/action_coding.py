# SPDX-License-Identifier: Apache-2.0
"""What a policy's rows mean: positions, steps or velocities, and the way from one to the other.

On the ``action_chunk`` topic rows are always positions; what a policy predicts as steps or velocities is turned into
positions at once. Steps of a hand are rows as they are, which no robot on ROS takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract.schema import ActionKind
from swiftvla_ros.contract.sections.hand import CARTESIAN
from swiftvla_ros.contract.turns import unwrapped

if TYPE_CHECKING:
    from swiftvla_ros.contract.contract import Contract

Array = NDArray[np.float64]

ACTION_KINDS: tuple[str, ...] = get_args(ActionKind)
RELATIVE = "relative"
"""How a network learns the positions of an "absolute" policy: less the state, all joints. Around it they vary little.
"""


@dataclass(frozen=True)
class ActionCoding:
    """Turns a policy's rows, ``step_s`` apart, into positions and back; training and inference do it alike.

    ``kind`` is one of :data:`ACTION_KINDS`, or :data:`RELATIVE`; but for that, ``grippers`` are columns that hold
    positions whatever the kind. ``continuous`` columns are angles that may be given wrapped: relative to the state they
    are the shorter way round, from row to row.
    """

    kind: str
    step_s: float
    grippers: tuple[int, ...] = ()
    continuous: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in (*ACTION_KINDS, RELATIVE):
            raise ValueError(f"policy.actions: '{self.kind}' is unknown; write one of {list(ACTION_KINDS)}")

    @classmethod
    def of(cls, contract: Contract, kind: str = "") -> ActionCoding:
        """The coding of rows in contract order; without ``kind`` what a network of ours learns for this contract."""
        learned = RELATIVE if contract.policy.actions == "absolute" else contract.policy.actions
        grippers = np.flatnonzero(contract.gripper_mask)
        continuous = np.flatnonzero(contract.limits.continuous)
        return cls(kind or learned, contract.policy.step_s, tuple(grippers.tolist()), tuple(continuous.tolist()))

    @property
    def _as_they_are(self) -> bool:
        return self.kind in ("absolute", CARTESIAN)

    def decode(self, rows: NDArray[np.floating[Any]], state: NDArray[np.floating[Any]]) -> Array:
        """Rows [..., R, J] (rad or m, or per s) and the observation's state [..., J] → positions [..., R, J]."""
        given, start = np.asarray(rows, dtype=np.float64), np.asarray(state, dtype=np.float64)[..., None, :]
        if self._as_they_are:
            return given.copy()
        if self.kind in (RELATIVE, "delta_to_state"):
            positions = start + given
        else:
            positions = start + np.cumsum(given * self._per_row, axis=-2)
        return self._with_grippers(positions, given)

    def encode(self, positions: NDArray[np.floating[Any]], state: NDArray[np.floating[Any]]) -> Array:
        """Positions [..., R, J] and the observation's state [..., J] → rows; the inverse of :meth:`decode`."""
        wanted, start = np.asarray(positions, dtype=np.float64), np.asarray(state, dtype=np.float64)[..., None, :]
        if self._as_they_are:
            return wanted.copy()
        if self.continuous:
            turns = np.isin(np.arange(wanted.shape[-1]), self.continuous)
            wanted = unwrapped(np.concatenate([start, wanted], axis=-2), turns)[..., 1:, :]
        if self.kind in (RELATIVE, "delta_to_state"):
            rows = wanted - start
        else:
            rows = np.diff(wanted, axis=-2, prepend=start) / self._per_row
        return self._with_grippers(rows, wanted)

    @property
    def _per_row(self) -> float:
        return self.step_s if self.kind == "velocity" else 1.0

    def _with_grippers(self, values: Array, as_they_are: Array) -> Array:
        if self.grippers and self.kind != RELATIVE:
            values[..., self.grippers] = as_they_are[..., self.grippers]
        return np.asarray(values)
