# SPDX-License-Identifier: Apache-2.0
"""A folder as a policy, whoever computes it: a checkpoint of ours, or a policy of LeRobot's."""

from __future__ import annotations

from pathlib import Path

from swiftvla_ros.contract import Contract
from swiftvla_ros.observation.observation import NO_GUIDANCE
from swiftvla_ros.policy.checkpoint import open_checkpoint
from swiftvla_ros.policy.checkpoint_policy import load_checkpoint
from swiftvla_ros.policy.lerobot.folder import is_lerobot, open_lerobot
from swiftvla_ros.policy.lerobot.lerobot_policy import load_lerobot
from swiftvla_ros.policy.policy import Policy
from swiftvla_ros.policy.runtime import RuntimeOptions


def load_policy(
    folder: Path | str,
    *,
    contract: Contract,
    runtime: str = "auto",
    device: str = "auto",
    threads: int | None = None,
    precision: str = "auto",
    with_4d: bool = False,
    guidance: str = NO_GUIDANCE,
) -> Policy:
    """Load a policy's folder for the robot of ``contract``.

    Parameters
    ----------
    folder
        A checkpoint, or what ``lerobot-train`` wrote.
    contract
        The robot's contract.
    runtime, device, threads, precision, with_4d, guidance
        As :class:`~swiftvla_ros.policy.runtime.RuntimeOptions` explains them.

    Raises
    ------
    CheckpointError
        Names what of the folder doesn't fit, or the runtime, device, precision or guidance that isn't there.
    """
    options = RuntimeOptions(runtime, device, precision, threads, guidance, with_4d)
    if is_lerobot(folder):
        return load_lerobot(folder, contract, options)
    return load_checkpoint(folder, contract, options)


def policy_sha256(folder: Path | str) -> str:
    """The hash that chunks name the folder's policy by; raises CheckpointError where it is none."""
    return open_lerobot(folder).sha256 if is_lerobot(folder) else open_checkpoint(folder).sha256
