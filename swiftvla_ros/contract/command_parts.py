# SPDX-License-Identifier: Apache-2.0
"""How a robot's joints are shared out among command topics: outputs, drivers, recordings and tests read it alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract.control import OutputKind
from swiftvla_ros.contract.schema import ContractFile

_MESSAGE_TYPES = {
    "forward_position": "std_msgs/msg/Float64MultiArray",
    "forward_velocity": "std_msgs/msg/Float64MultiArray",
    "joint_trajectory": "trajectory_msgs/msg/JointTrajectory",
}


@dataclass(frozen=True)
class CommandPart:
    """Joints that are commanded together.

    Attributes
    ----------
    topic
        Where: a topic, or the action's name.
    kind
        How, as in the contract's ``control.output``.
    joints
        Indices into the contract's joints.
    names
        Their names.
    """

    topic: str
    kind: OutputKind
    joints: NDArray[np.intp]
    names: tuple[str, ...]

    @property
    def message_type(self) -> str | None:
        """The type of the topic, as ``package/msg/Name``; None for goals of an action, which are no topic."""
        return _MESSAGE_TYPES.get(self.kind)


def command_parts(file: ContractFile) -> tuple[CommandPart, ...]:
    """Return what ``control.output`` names, and each gripper that has a topic of its own."""
    names = [joint.name for joint in file.joints]
    return tuple(
        CommandPart(part.topic, part.kind, np.array([names.index(n) for n in part.joints], dtype=np.intp), part.joints)
        for part in file.outputs
    )
