# SPDX-License-Identifier: Apache-2.0
"""What LeRobot calls a robot's state, actions and cameras, in datasets and in policies.

Which of a dataset's columns are whose is for a contract's ``lerobot:`` section to say where the names tell nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

STATE, ACTION = "observation.state", "action"
IMAGES = "observation.images."
"""What the features of cameras begin with."""


@dataclass(frozen=True)
class LeRobotColumn:
    """A joint's column in a LeRobot dataset's vectors: SI = scale · dataset + offset.

    It is read by any of its names, and written as the first.
    """

    names: tuple[str, ...]
    scale: float
    offset: float
