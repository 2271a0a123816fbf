# SPDX-License-Identifier: Apache-2.0
"""A checked contract, with what every room computes from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import images, schema
from swiftvla_ros.contract.control import Control, Gripper, OutputKind
from swiftvla_ros.contract.kinematics import KinematicChain
from swiftvla_ros.contract.sections.demonstrations import Demonstrations, Leader
from swiftvla_ros.contract.sections.drivers import Drivers
from swiftvla_ros.contract.sections.hand import HAND_ACTIONS, CartesianHand
from swiftvla_ros.contract.sections.lerobot import IMAGES, LeRobotColumn

Array = NDArray[np.float64]
Joints = NDArray[np.intp] | slice

_MESSAGE_TYPES = {
    "forward_position": "std_msgs/msg/Float64MultiArray",
    "forward_velocity": "std_msgs/msg/Float64MultiArray",
    "joint_trajectory": "trajectory_msgs/msg/JointTrajectory",
}


@dataclass(frozen=True)
class Limits:
    """Limits of all joints in contract order: float64 [J], rad (or m), per s, s², s³.

    A continuous joint has no position limits: they are -inf and inf.
    """

    min_position: Array
    max_position: Array
    max_velocity: Array
    max_acceleration: Array
    max_jerk: Array

    @cached_property
    def continuous(self) -> NDArray[np.bool_]:
        """Which joints [J] turn without end: angles that differ by whole turns are the same place."""
        return np.isinf(self.max_position)


@dataclass(frozen=True)
class CommandPart:
    """Joints that are commanded together: their names and indices, and the topic, or the action, that takes them.

    ``order_stated``: the contract says in which order its controller takes them.
    """

    topic: str
    kind: OutputKind
    joints: NDArray[np.intp]
    names: tuple[str, ...]
    order_stated: bool = False

    @property
    def is_array(self) -> bool:
        """Whether its messages are numbers without names."""
        return self.kind in ("forward_position", "forward_velocity")

    @property
    def message_type(self) -> str | None:
        """The type of the topic, as ``package/msg/Name``; None for goals of an action, which are no topic."""
        return _MESSAGE_TYPES.get(self.kind)


class LeaderColumn(NamedTuple):
    """Which of the leader's joints moves a joint: target = scale · its position in SI + offset."""

    name: str
    scale: float
    offset: float


@dataclass(frozen=True)
class Contract:
    """What robot and policy agree on. Made by :func:`swiftvla_ros.contract.load_contract`.

    The ``text`` of its file is stored with checkpoints and bags. Other rooms read the properties below, not the parsed
    ``file``. ``chain`` is the end effector's kinematics, where the contract names a URDF. ``urdf_text`` is given where
    that URDF's file does not stay; None: :attr:`urdf_path` is read.
    """

    path: Path
    text: str
    file: schema.ContractFile
    chain: KinematicChain | None
    urdf_text: str | None = None

    @property
    def robot(self) -> str:
        """The robot's name."""
        return self.file.robot

    @property
    def urdf_path(self) -> Path | None:
        """The URDF that it names, beside the file it was read from; None without kinematics."""
        kinematics = self.file.kinematics
        return None if kinematics is None else self.path.parent / kinematics.urdf

    @property
    def base_frame(self) -> str:
        """The frame in which camera poses and end-effector positions are given."""
        return self.file.base_frame

    @property
    def joints(self) -> tuple[schema.Joint, ...]:
        """The joints, in the order of every array of this package."""
        return self.file.joints

    @cached_property
    def joint_names(self) -> tuple[str, ...]:
        """The joints' names, in contract order."""
        return tuple(j.name for j in self.file.joints)

    @property
    def hand(self) -> CartesianHand | None:
        """How far steps of the hand go; None: the policy commands joints."""
        return self.file.hand

    @property
    def action_names(self) -> tuple[str, ...]:
        """The columns of an action: the joints, or the parts of a step of the hand."""
        return self.joint_names if self.hand is None else HAND_ACTIONS

    @property
    def cameras(self) -> tuple[schema.Camera, ...]:
        """The cameras, in the order in which the policy reads them."""
        return self.file.cameras

    @cached_property
    def camera_names(self) -> tuple[str, ...]:
        """The cameras' names, in contract order."""
        return tuple(c.name for c in self.file.cameras)

    def camera(self, name: str) -> schema.Camera:
        """The camera called ``name``; raises KeyError with the known names."""
        for camera in self.file.cameras:
            if camera.name == name:
                return camera
        raise KeyError(f"camera '{name}' is not in {self.path}; it has {list(self.camera_names)}")

    def with_camera_pose(self, name: str, pose: schema.CameraPose) -> Contract:
        """The same contract with a camera that stands elsewhere; ``text`` stays that of the file."""
        moved = self.camera(name).model_copy(update={"pose": pose})
        cameras = tuple(moved if camera.name == name else camera for camera in self.file.cameras)
        return self.with_keys(cameras=cameras)

    def with_keys(self, **values: Any) -> Contract:
        """The same contract with other values of top-level keys, unchecked; ``text`` stays that of the file."""
        return replace(self, file=self.file.model_copy(update=values))

    @property
    def joint_states(self) -> schema.JointStates:
        """The driver's joint state topic."""
        return self.file.joint_states

    @property
    def policy(self) -> schema.PolicyTiming:
        """How observations are paired, and the policy's step."""
        return self.file.policy

    @property
    def control(self) -> Control:
        """Where commands go and how often."""
        return self.file.control

    @property
    def leader(self) -> Leader:
        """The arm that a person moves by hand: its topic and joints."""
        return self.file.leader

    @cached_property
    def leader_joints(self) -> tuple[LeaderColumn, ...]:
        """The leader's joint that moves each joint, in contract order."""
        moves = {m.joint: LeaderColumn(own, m.scale, m.offset) for own, m in self.leader.joints.items()}
        return tuple(moves.get(name, LeaderColumn(name, 1.0, 0.0)) for name in self.joint_names)

    @property
    def demonstrations(self) -> Demonstrations:
        """How episodes are read from bags of a robot that a person moved."""
        return self.file.demonstrations

    @property
    def drivers(self) -> Drivers:
        """What this package's own drivers connect to."""
        return self.file.drivers

    @property
    def grippers(self) -> tuple[Gripper, ...]:
        """The grippers, in the contract's order; none, one or several."""
        return self.file.gripper

    @property
    def gripper(self) -> Gripper | None:
        """The gripper of a robot that has exactly one, as the simulated tasks ask for."""
        return self.grippers[0] if len(self.grippers) == 1 else None

    @cached_property
    def gripper_mask(self) -> NDArray[np.bool_]:
        """Which joints are grippers: [J]."""
        return np.isin(self.joint_names, [gripper.joint for gripper in self.grippers])

    @cached_property
    def command_parts(self) -> tuple[CommandPart, ...]:
        """Which joints are commanded together: what ``control.output`` names, and each gripper with its own topic."""
        index, stated = self.joint_names.index, not isinstance(self.control.output, str) or bool(self.control.joints)
        return tuple(
            CommandPart(
                part.topic, part.kind, np.array([index(n) for n in part.joints], dtype=np.intp), part.joints, stated
            )
            for part in self.file.outputs
        )

    @cached_property
    def command_topics(self) -> dict[str, str]:
        """The topics that carry commands, with their types; an action's goals are no topic."""
        return {part.topic: part.message_type for part in self.command_parts if part.message_type is not None}

    @cached_property
    def lerobot_joints(self) -> dict[str, LeRobotColumn]:
        """The joints' columns in a LeRobot dataset, in contract order; by default in the driver's unit."""
        columns = {j.name: LeRobotColumn((f"{j.name}.pos", j.name), *j.scale_and_offset) for j in self.joints}
        mapped = self.file.lerobot.joints.items()
        return columns | {name: LeRobotColumn((m.feature,), *m.scale_and_offset) for name, m in mapped}

    @cached_property
    def lerobot_cameras(self) -> dict[str, str]:
        """The cameras' features in a LeRobot dataset, in contract order."""
        named = self.file.lerobot.cameras
        return {name: named.get(name, f"{IMAGES}{name}") for name in self.camera_names}

    @property
    def lerobot_step_s(self) -> float | None:
        """Time between two frames of a LeRobot dataset, s, where its own figure is not the true one."""
        return self.file.lerobot.step_s

    @cached_property
    def limits(self) -> Limits:
        """All limits as arrays [J]."""
        joints = self.file.joints
        return Limits(
            min_position=np.array([j.lowest for j in joints]),
            max_position=np.array([j.highest for j in joints]),
            max_velocity=np.array([j.velocity for j in joints]),
            max_acceleration=np.array([j.acceleration for j in joints]),
            max_jerk=np.array([j.jerk for j in joints]),
        )

    @cached_property
    def rest(self) -> Array:
        """The rest pose [J]."""
        return np.array([j.rest for j in self.file.joints])

    @cached_property
    def _scale_and_offset(self) -> Array:
        return np.array([j.scale_and_offset for j in self.file.joints])

    def to_si(self, values: Array) -> Array:
        """Driver units [..., J] → rad and m."""
        return np.asarray(values) * self._scale_and_offset[:, 0] + self._scale_and_offset[:, 1]

    def from_si(self, values: Array, joints: Joints = slice(None)) -> Array:
        """Rad and m [..., J] → driver units; ``joints`` says of which joints."""
        return (np.asarray(values) - self._scale_and_offset[joints, 1]) / self._scale_and_offset[joints, 0]

    def velocity_from_si(self, values: Array, joints: Joints = slice(None)) -> Array:
        """Rad/s and m/s [..., J] → driver units per second; ``joints`` says of which joints."""
        return np.asarray(values) / self._scale_and_offset[joints, 0]

    def end_effector_position(self, q: Array) -> Array:
        """Tool centre point for joint positions ``q`` [..., J]: [..., 3], m, base frame; ValueError without a URDF."""
        if self.chain is None:
            raise ValueError(f"{self.path}: kinematics: missing; name a URDF and its end effector link")
        return self.chain.pose(q)[..., :3, 3]

    def project(self, camera_name: str, xyz: Array) -> Array:
        """Points [..., 3] of the base frame → (u, v) [..., 2] in the policy's image of a camera."""
        return images.project(self.camera(camera_name), xyz)
