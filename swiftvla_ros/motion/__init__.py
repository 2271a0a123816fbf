# SPDX-License-Identifier: Apache-2.0
"""Action chunks → joint commands: spliced by stamp, limited, watched, stopped."""

from swiftvla_ros.motion.brake import Stop, brake_trajectory
from swiftvla_ros.motion.chunk import Chunk, Verdict
from swiftvla_ros.motion.codes import Mode, Reason, Refusal
from swiftvla_ros.motion.executor import ChunkExecutor, Command, ExecutorConfig

__all__ = [
    "Chunk",
    "ChunkExecutor",
    "Command",
    "ExecutorConfig",
    "Mode",
    "Reason",
    "Refusal",
    "Stop",
    "Verdict",
    "brake_trajectory",
]
