# SPDX-License-Identifier: Apache-2.0
"""How a robot's joints are shared out among command topics: outputs, drivers, recordings and tests read it alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    output
        How, as in the contract's ``control.output``.
    joints
        Indices into the contract's joints.
    names
        Their names.
    """

    topic: str
    output: str
    joints: NDArray[np.intp]
    names: tuple[str, ...]

    @property
    def message_type(self) -> str | None:
        """The type of the topic, as ``package/msg/Name``; None for goals of an action, which are no topic."""
        return _MESSAGE_TYPES.get(self.output)


def command_parts(file: ContractFile) -> tuple[CommandPart, ...]:
    """Return the arm's part, or every joint's, and the gripper's where it has a topic of its own."""
    names, gripper = [joint.name for joint in file.joints], file.gripper
    apart = None if gripper is None or gripper.topic is None else names.index(gripper.joint)
    arm = [j for j in range(len(names)) if j != apart]
    parts = [_part(names, file.control.topic, file.control.output, arm)] if arm else []
    if gripper is not None and gripper.topic is not None and apart is not None:
        parts.append(_part(names, gripper.topic, "forward_position", [apart]))
    return tuple(parts)


def _part(names: list[str], topic: str, output: str, joints: list[int]) -> CommandPart:
    return CommandPart(topic, output, np.array(joints, dtype=np.intp), tuple(names[j] for j in joints))
