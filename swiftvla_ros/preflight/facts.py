# SPDX-License-Identifier: Apache-2.0
"""What is known of a system before its arm moves: the graph, the checkpoint's folder, a chunk on trial, the machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.policy.checkpoint import CONTRACT, STATS, Checkpoint, CheckpointError, open_checkpoint, read_json
from swiftvla_ros.policy.lerobot.folder import LeRobotFolder, is_lerobot, open_lerobot
from swiftvla_ros.preflight.graph import GraphFacts
from swiftvla_ros.preflight.machine import Board


@dataclass(frozen=True)
class CheckpointFolder:
    """The checkpoint's folder as it lies there now: ``problem`` says why it can't be used, empty where it can.

    ``statistics`` is ``stats.json``, ``contract`` the text of the contract that it was trained on; both empty where
    they can't be read, as LeRobot's policies have none.
    """

    folder: Path
    checkpoint: Checkpoint | None = None
    lerobot: LeRobotFolder | None = None  # in its place, where the folder is a policy of LeRobot's
    problem: str = ""
    statistics: Mapping[str, Any] = field(default_factory=dict)
    contract: str = ""


def read_checkpoint(folder: Path) -> CheckpointFolder:
    """Read a checkpoint's folder (the weights once, for their hash)."""
    try:
        if is_lerobot(folder):
            return CheckpointFolder(folder, lerobot=open_lerobot(folder))
        opened = open_checkpoint(folder)
        statistics, contract = read_json(folder / STATS), (folder / CONTRACT).read_text(encoding="utf-8")
    except (CheckpointError, OSError, UnicodeDecodeError) as error:
        return CheckpointFolder(folder, problem=str(error))
    return CheckpointFolder(folder, opened, statistics=statistics, contract=contract)


@dataclass(frozen=True)
class TrialChunk:
    """A chunk that nobody follows: rows [H, J] in contract order, rad or m, and how long its stages took, s.

    ``problem`` says why there is none; empty where there is.
    """

    rows: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    latency_s: Mapping[str, float] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class PreflightFacts:
    """All that was gathered. ``checkpoint`` is None where the policy names no folder: it plays a bag, or is not there.

    ``max_rate_hz`` is the policy node's, 0 where it isn't told; ``edited``: the contract's file is not what was loaded.
    ``disk`` is the folder that recordings would go to, the bytes free there, and whether it can be written to.
    """

    contract: Contract
    graph: GraphFacts
    checkpoint: CheckpointFolder | None
    trial: TrialChunk
    board: Board
    disk: tuple[Path, int, bool]
    max_rate_hz: float = 0.0
    edited: bool = False

    def measured(self) -> NDArray[np.float64] | None:
        """The measured pose [J] in SI; None where a joint is missing."""
        told = self.driver_positions()
        if any(name not in told for name in self.contract.joint_names):
            return None
        return self.contract.to_si(np.array([told[name] for name in self.contract.joint_names], dtype=np.float64))

    def driver_positions(self) -> dict[str, float]:
        """What drivers say of each joint, in their own unit."""
        return {
            joint: value
            for topic in self.graph.topics
            if topic.expected.role == "joint states"
            for stream in topic.streams
            for joint, value in stream.positions.items()
        }
