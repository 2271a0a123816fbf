# SPDX-License-Identifier: Apache-2.0
"""Action chunks → joint commands: joined by stamp, limited, watched, stopped."""

from swiftvla_ros.contract.executor_codes import Mode, Reason, Refusal
from swiftvla_ros.motion.chunk import Command, JointChunk, OfferResult
from swiftvla_ros.motion.config import ExecutorConfig
from swiftvla_ros.motion.executor import ChunkExecutor
from swiftvla_ros.motion.following.brake import Stop, brake_trajectory
from swiftvla_ros.motion.limit_check import LimitReport, check_limits
from swiftvla_ros.motion.speed_limits import SourceLimit, SpeedLimits

__all__ = [
    "ChunkExecutor",
    "Command",
    "ExecutorConfig",
    "JointChunk",
    "LimitReport",
    "Mode",
    "OfferResult",
    "Reason",
    "Refusal",
    "SourceLimit",
    "SpeedLimits",
    "Stop",
    "brake_trajectory",
    "check_limits",
]
