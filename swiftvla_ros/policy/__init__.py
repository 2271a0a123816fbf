# SPDX-License-Identifier: Apache-2.0
"""A checkpoint folder and an observation → an action chunk."""

from swiftvla_ros.observation.observation import InstructionError, Observation, validate_instruction
from swiftvla_ros.policy.checkpoint import CheckpointError
from swiftvla_ros.policy.checkpoint_policy import CheckpointPolicy, load_checkpoint
from swiftvla_ros.policy.loading import load_policy
from swiftvla_ros.policy.policy import Policy

__all__ = [
    "CheckpointError",
    "CheckpointPolicy",
    "InstructionError",
    "Observation",
    "Policy",
    "load_checkpoint",
    "load_policy",
    "validate_instruction",
]
