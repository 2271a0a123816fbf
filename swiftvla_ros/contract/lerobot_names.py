# SPDX-License-Identifier: Apache-2.0
"""What a robot's cameras and joints are called in a LeRobot dataset or checkpoint, and their units there."""

from __future__ import annotations

from dataclasses import dataclass

from swiftvla_ros.contract import schema


@dataclass(frozen=True)
class LeRobotColumn:
    """A joint's column in a dataset's vectors.

    Attributes
    ----------
    names
        What it may be called when it is read; it is written as the first.
    scale, offset
        SI = scale · dataset + offset.
    """

    names: tuple[str, ...]
    scale: float
    offset: float


def lerobot_column(lerobot: schema.LeRobot, joint: schema.Joint) -> LeRobotColumn:
    """Return a joint's column: what the contract names, else ``<joint>.pos`` or ``<joint>`` in the driver's unit."""
    mapped = lerobot.joints.get(joint.name)
    if mapped is not None:
        return LeRobotColumn((mapped.feature,), *mapped.scale_and_offset)
    return LeRobotColumn((f"{joint.name}.pos", joint.name), *joint.scale_and_offset)


def lerobot_camera(lerobot: schema.LeRobot, camera: str) -> str:
    """Return a camera's feature: what the contract names, else ``observation.images.<camera>``."""
    return lerobot.cameras.get(camera, f"observation.images.{camera}")
