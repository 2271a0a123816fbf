# SPDX-License-Identifier: Apache-2.0
"""``--env.type=swiftvla``: the simulated SO-101 for LeRobot's commands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.envs.configs import EnvConfig
from lerobot.utils.constants import ACTION, OBS_STATE

from swiftvla_ros.contract import load_contract
from swiftvla_ros.contract.sections.lerobot import IMAGES
from swiftvla_ros.resources import DEFAULT_ROBOT

NAMESPACE = "swiftvla_ros"
GYM_ID = f"{NAMESPACE}/SO101-v0"


@EnvConfig.register_subclass("swiftvla")
@dataclass
class SwiftVLAEnv(EnvConfig):
    """What :class:`lerobot_env_swiftvla.so101_env.SO101Env` takes; ``features`` follow from the robot's contract."""

    task: str | None = GYM_ID.removeprefix(f"{NAMESPACE}/")
    fps: int = 10
    tasks: list[str] = field(default_factory=lambda: ["pick", "touch"])
    scene: str | None = None
    robot: str = DEFAULT_ROBOT
    timeout_s: float = 12.0
    render_mode: str = "rgb_array"

    def __post_init__(self) -> None:
        """Tell cameras and joints."""
        contract = load_contract(self.robot)
        self.fps = round(1 / contract.policy.step_s)
        joints = (len(contract.joint_names),)
        self.features = {
            ACTION: PolicyFeature(type=FeatureType.ACTION, shape=joints),
            "agent_pos": PolicyFeature(type=FeatureType.STATE, shape=joints),
        }
        self.features_map = {ACTION: ACTION, "agent_pos": OBS_STATE}
        for camera in contract.cameras:
            feature = contract.lerobot_cameras[camera.name]
            key = f"pixels/{feature.removeprefix(IMAGES)}"
            width, height = camera.size
            self.features[key] = PolicyFeature(type=FeatureType.VISUAL, shape=(height, width, 3))
            self.features_map[key] = feature

    @property
    def package_name(self) -> str:
        """What LeRobot imports for it."""
        return "lerobot_env_swiftvla"

    @property
    def gym_id(self) -> str:
        """What LeRobot makes."""
        return f"{NAMESPACE}/{self.task}"

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        """The environment's arguments."""
        return {
            "tasks": tuple(self.tasks),
            "scene": self.scene,
            "robot": self.robot,
            "timeout_s": self.timeout_s,
            "render_mode": self.render_mode,
        }
