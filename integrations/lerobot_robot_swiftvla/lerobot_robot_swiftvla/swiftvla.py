# SPDX-License-Identifier: Apache-2.0
"""A contract's robot as LeRobot's ``Robot``: actions are a leader's poses, which the executor follows in its limits."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from lerobot.robots.robot import Robot

from lerobot_robot_swiftvla.config_swiftvla import SwiftVLARobotConfig
from lerobot_robot_swiftvla.graph_link import GraphLink, RobotLinkError
from swiftvla_ros.contract import load_contract
from swiftvla_ros.contract.sections.lerobot import IMAGES


class SwiftVLARobot(Robot):
    """A robot of a running swiftvla_ros system, whose teleop_node takes this for a leader arm.

    Names and units are those of the contract's ``lerobot:`` section, as in datasets that ``swiftvla export-lerobot``
    writes. Nothing moves before the first action, and a first action that is far from the arm is approached slowly.
    """

    config_class = SwiftVLARobotConfig
    name = "swiftvla"

    def __init__(self, config: SwiftVLARobotConfig) -> None:
        super().__init__(config)
        self.config, self._contract = config, load_contract(config.robot)
        self._link: GraphLink | None = None
        columns = [self._contract.lerobot_joints[name] for name in self._contract.joint_names]
        self._columns = tuple(column.names[0] for column in columns)
        # SI = scale · LeRobot's + offset.
        self._scale = np.array([column.scale for column in columns])
        self._offset = np.array([column.offset for column in columns])

    @cached_property
    def cameras(self) -> dict[str, str]:
        """The contract's cameras → what LeRobot calls each; its commands count them."""
        features = self._contract.lerobot_cameras
        if other := [feature for feature in features.values() if not feature.startswith(IMAGES)]:
            raise RobotLinkError(
                f"{self._contract.path}: lerobot.cameras: {other} don't begin with '{IMAGES}', as a robot's have to"
            )
        return {name: feature.removeprefix(IMAGES) for name, feature in features.items()}

    @property
    def observation_features(self) -> dict[str, Any]:
        """Joints as numbers, cameras by their shape (height, width, 3)."""
        sizes = {key: self._contract.camera(name).size for name, key in self.cameras.items()}
        return {**self.action_features, **{key: (height, width, 3) for key, (width, height) in sizes.items()}}

    @property
    def action_features(self) -> dict[str, Any]:
        """Joints as numbers."""
        return dict.fromkeys(self._columns, float)

    @property
    def is_connected(self) -> bool:
        """Whether the system is heard."""
        return self._link is not None

    def connect(self, calibrate: bool = True) -> None:  # noqa: ARG002  (the system's own affair)
        """Join the running system; RobotLinkError where it isn't there."""
        if self._link is None:
            config = self.config
            self._link = GraphLink(self._contract, config.namespace, config.connect_s, config.hold_s)

    @property
    def is_calibrated(self) -> bool:
        """The drivers of the system are."""
        return True

    def calibrate(self) -> None:
        """Nothing is to be done here: see ``swiftvla calibrate``."""

    def configure(self) -> None:
        """Nothing is to be done here: the contract says all."""

    def get_observation(self) -> dict[str, Any]:
        """The newest conditioned picture of each camera, uint8 RGB, and the measured joints."""
        seen = self._connected().seen()
        values = (seen.pose - self._offset) / self._scale
        return {
            **dict(zip(self._columns, values.tolist(), strict=True)),
            **{key: seen.images[name].copy() for name, key in self.cameras.items()},
        }

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        """Lead the arm to a pose; what is given back lies inside the joints' position limits.

        Raises RobotLinkError where a joint is missing or not finite, or the arm holds.
        """
        link = self._connected()
        if missing := [name for name in self._columns if name not in action]:
            raise RobotLinkError(f"the action has {sorted(action)}, but not {missing}")
        wanted = np.array([float(action[name]) for name in self._columns])
        if not np.isfinite(wanted).all():
            raise RobotLinkError(f"the action is not finite: {dict(zip(self._columns, wanted.tolist(), strict=True))}")
        limits = self._contract.limits
        target = np.clip(self._offset + self._scale * wanted, limits.min_position, limits.max_position)
        link.lead(target)
        return dict(zip(self._columns, ((target - self._offset) / self._scale).tolist(), strict=True))

    def disconnect(self) -> None:
        """Leave the system; the arm holds, or is the policy's again."""
        if self._link is not None:
            link, self._link = self._link, None
            link.close()

    def _connected(self) -> GraphLink:
        if self._link is None:
            raise RobotLinkError("the robot is not connected; call connect()")
        return self._link
