# SPDX-License-Identifier: Apache-2.0
"""What differs between the simulator's scenes: a variant derives from the plain table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract.contract import Contract
from swiftvla_ros.contract.schema import CameraPose
from swiftvla_ros.sim.backend import mujoco

Array = NDArray[np.float64]

HOVER_M = (0.055, 0.095)
"""Heights above the table at which the hand is among no blocks."""


@dataclass(frozen=True)
class SceneSetup:
    """What a scene has beside its blocks."""

    # Heights [3] (0…`MAX_STAND_M`) of the grey stands that bear the blocks; None: all on the table.
    stands: Array | None = None
    halves_m: Array | None = None  # half the blocks' edges [3]; None: `BLOCK_HALF_M` each
    front_pose: CameraPose | None = None  # where the front camera stands; None: where the contract says
    # Places [F, 3] (x, y in m and yaw in rad, base frame) of `fixtures`; None: there are none.
    fixtures: Array | None = None


class Scene:
    """Three blocks on a plain table."""

    name: str = "table"  # what command lines and parameters call it
    fixtures: tuple[str, ...] = ()  # bodies that `build` adds and that every reset puts in their place
    in_bags: bool = True  # whether a bag tells all that a demonstration in it needs
    hover_m: tuple[float, float] = HOVER_M  # heights of the hand at which it hits nothing

    def build(self, spec: mujoco.MjSpec) -> None:
        """Add bodies to the model, before it is compiled."""

    def sample(self, contract: Contract, seed: int) -> SceneSetup:  # noqa: ARG002  (for variants)
        """What the scene of a seed has; random streams of its own leave the blocks in place."""
        return SceneSetup()

    def metadata(self, setup: SceneSetup) -> dict[str, Any]:  # noqa: ARG002  (for variants)
        """What a recorded episode has to tell of the scene, as it was set up."""
        return {}


TABLE = Scene()


def front_camera_astray(contract: Contract, shift_m: Array, rotation_rad: Array) -> CameraPose:
    """Where the front camera stands once it is moved and turned as :func:`moved_camera` does it.

    Raises
    ------
    ValueError
        The contract doesn't tell where it should stand.
    """
    nominal = contract.camera("front").pose
    if nominal is None:
        raise ValueError(f"{contract.path}: cameras: front: pose: missing; the scene moves the camera around it")
    return moved_camera(nominal, shift_m, rotation_rad)


def moved_camera(pose: CameraPose, shift_m: Array, rotation_rad: Array) -> CameraPose:
    """A camera moved by [3] along the axes of the base frame, and turned by the rotation vector [3] in its own."""
    x, y, z = (float(value) for value in np.array(pose.position_m) + shift_m)
    qx, qy, qz, qw = pose.quaternion_xyzw
    turn, turned = np.zeros(4), np.zeros(4)
    angle = float(np.linalg.norm(rotation_rad))
    mujoco.mju_axisAngle2Quat(turn, rotation_rad / max(angle, 1e-12), angle)
    mujoco.mju_mulQuat(turned, np.array([qw, qx, qy, qz]), turn)
    qw, qx, qy, qz = (float(value) for value in turned)
    return CameraPose(position_m=(x, y, z), quaternion_xyzw=(qx, qy, qz, qw), fovy_deg=pose.fovy_deg)
