# SPDX-License-Identifier: Apache-2.0
"""How a robot's joints are shared out among command topics; outputs, drivers and their tests read it alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract


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


def command_parts(contract: Contract) -> tuple[CommandPart, ...]:
    """Return the arm's part, or every joint's, and the gripper's where it has a topic of its own."""
    control, gripper = contract.control, contract.gripper
    apart = None if gripper is None or gripper.topic is None else contract.gripper_index
    arm = [j for j in range(len(contract.joints)) if j != apart]
    parts = [_part(contract, control.topic, control.output, arm)] if arm else []
    if gripper is not None and gripper.topic is not None and apart is not None:
        parts.append(_part(contract, gripper.topic, "forward_position", [apart]))
    return tuple(parts)


def _part(contract: Contract, topic: str, output: str, joints: list[int]) -> CommandPart:
    return CommandPart(topic, output, np.array(joints, dtype=np.intp), tuple(contract.joint_names[j] for j in joints))
