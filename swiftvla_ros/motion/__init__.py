# SPDX-License-Identifier: Apache-2.0
"""Action chunks → joint commands: spliced by stamp, limited, watched, stopped."""

from swiftvla_ros.contract.executor_codes import Mode, Reason, Refusal
from swiftvla_ros.motion.chunk import Chunk, Command, Verdict
from swiftvla_ros.motion.config import ExecutorConfig
from swiftvla_ros.motion.executor import ChunkExecutor
from swiftvla_ros.motion.following.brake import Stop, brake_trajectory
from swiftvla_ros.motion.limit_check import LimitReport, check_limits

__all__ = [
    "Chunk",
    "ChunkExecutor",
    "Command",
    "ExecutorConfig",
    "LimitReport",
    "Mode",
    "Reason",
    "Refusal",
    "Stop",
    "Verdict",
    "brake_trajectory",
    "check_limits",
]
