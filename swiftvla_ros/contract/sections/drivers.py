# SPDX-License-Identifier: Apache-2.0
"""The keys of a contract that say how this package's own drivers reach the hardware."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import Field, field_validator

from swiftvla_ros.contract.base import Name, Positive, Strict, did_you_mean
from swiftvla_ros.contract.sections.camera_driver import CameraDriver

SO101_JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
"""The joints of an SO-101 as LeRobot names them, in the order of their servos' numbers from 1 on."""

CALIBRATION_TOPICS = {"follower": "calibration/follower", "leader": "calibration/leader"}
"""Where a driver says, latched, by which calibration it tells angles: the text of LeRobot's file."""

# 254 is the bus's broadcast, 255 begins a packet.
ServoNumber = Annotated[int, Field(ge=0, le=253)]


class ServoArm(Strict):
    """An arm of bus servos: which port, which servos, and where its calibration is."""

    kind: Literal["so101"] = Field(description="SO-101 of Feetech STS3215 servos; its joints have LeRobot's names")
    port: Annotated[str, Field(min_length=1)] = Field(
        description="the serial port; `/dev/serial/by-id/…` stays the same whatever else is plugged in"
    )
    calibration: Annotated[str, Field(min_length=1)] = Field(
        description="LeRobot's id of this arm, or the path of its file (`….json`), relative to the contract"
    )
    ids: dict[Name, ServoNumber] = Field(
        default=dict(zip(SO101_JOINTS, range(1, 7), strict=True)), description="the servos' numbers, by joint"
    )

    @field_validator("ids")
    @classmethod
    def _each_joint_its_servo(cls, ids: dict[str, int]) -> dict[str, int]:
        for name in ids:
            if name not in SO101_JOINTS:
                raise ValueError(f"'{name}' is no joint of an SO-101; {did_you_mean(name, SO101_JOINTS)}")
        if missing := [name for name in SO101_JOINTS if name not in ids]:
            raise ValueError(f"{missing} missing; write each joint's number, or leave 'ids' out for 1 to 6")
        numbers = list(ids.values())
        if twice := {number for number in numbers if numbers.count(number) > 1}:
            raise ValueError(f"{sorted(twice)} stands more than once; each servo on a bus has its own number")
        return {name: ids[name] for name in SO101_JOINTS}


class FollowerArm(ServoArm):
    """The arm that follows commands, and the limits that its servos keep themselves."""

    max_temperature_c: Annotated[float, Field(ge=30, le=80)] = Field(
        65.0, description="a servo hotter than this, °C, makes the arm hold; at 5 °C more it lets go by itself"
    )
    min_voltage_v: Annotated[float, Field(ge=4, le=12)] = Field(
        6.0, description="with a supply below this, V, the arm holds"
    )
    max_current_a: Annotated[Positive, Field(le=3.3)] = Field(
        2.5, description="a servo that draws more than this, A, for longer than it bears protects itself"
    )
    gripper_max_current_a: Annotated[Positive, Field(le=3.3)] = Field(1.6, description="the same of the gripper")


class Drivers(Strict):
    """What this package's own drivers connect to; used by `swiftvla up --drivers` only."""

    arm: FollowerArm | None = Field(default=None, description="the arm that follows commands")
    leader: ServoArm | None = Field(default=None, description="the arm that a person moves, whose joints are read")
    cameras: dict[Name, CameraDriver] = Field(
        default={}, description="by camera; one that is left out has a driver of its own"
    )


def check_drivers(drivers: Drivers, joints: Collection[str], cameras: Collection[str]) -> None:
    """Raise ValueError where the robot's joints are not those of its driver, or a driver's camera is none of its."""
    for key, arm in (("arm", drivers.arm), ("leader", drivers.leader)):
        if arm is not None and set(joints) != set(arm.ids):
            raise ValueError(
                f"drivers.{key}: an SO-101 has the joints {list(arm.ids)}, the contract {list(joints)}; name them as "
                "LeRobot does, or leave the section out"
            )
    for name in drivers.cameras:
        if name not in cameras:
            raise ValueError(
                f"drivers.cameras: '{name}' is not among the robot's {list(cameras)}; {did_you_mean(name, cameras)}"
            )
