# SPDX-License-Identifier: Apache-2.0
"""What the tests of the servos' driver share."""

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import load_contract

SO101 = load_contract("so101")
GRIPPER = (float(SO101.limits.min_position[-1]), float(SO101.limits.max_position[-1]))
REST = dict(zip(SO101.joint_names, SO101.rest.tolist(), strict=True))


class Orders:
    """What commands the arm: ``target``, rad."""

    def __init__(self) -> None:
        self.target = SO101.rest.copy()
        self.held: list[NDArray[np.float64]] = []

    def goal(self, _now_ns: int) -> NDArray[np.float64]:
        """The target."""
        return self.target

    def hold(self, _now_ns: int, position: NDArray[np.float64]) -> None:
        """Begin again from here."""
        self.held.append(position)
        self.target = position.copy()
