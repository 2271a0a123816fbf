# SPDX-License-Identifier: Apache-2.0
"""The simulated SO-101 as ``gymnasium.make("swiftvla_ros/SO101-v0")`` and as ``lerobot-eval --env.type=swiftvla``."""

from gymnasium.envs.registration import register

from lerobot_env_swiftvla.configuration_env import GYM_ID, SwiftVLAEnv

# Without wrappers: LeRobot 0.4 asks the environment itself for its words, and wrappers don't answer for it. It ends an
# episode that lasts too long by itself.
register(id=GYM_ID, entry_point="lerobot_env_swiftvla.so101_env:SO101Env", order_enforce=False)

__all__ = ["GYM_ID", "SwiftVLAEnv"]
