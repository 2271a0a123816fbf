# SPDX-License-Identifier: Apache-2.0
"""Keeps a policy's chunks from a standing arm until a pre-flight has no red row, where the contract asks for one."""

from __future__ import annotations

from typing import Any

from swiftvla_ros.contract.executor_codes import ChunkSource
from swiftvla_ros.contract.store import digest_of
from swiftvla_ros.motion import JointChunk
from swiftvla_ros.msg import PreflightReport
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode
from swiftvla_ros.preflight.arming import ArmingReport, refusal


class PreflightGate:
    """Remembers the newest report; asked by the control thread."""

    def __init__(self, node: ManagedNode[Any]) -> None:
        self._required = node.contract.control.require_preflight
        self._contract_sha256 = digest_of(node.contract) if self._required else ""
        self._report: ArmingReport | None = None
        if self._required:
            node.subscribe(PreflightReport, "preflight", self._hear, qos.LATCHED, always=True)

    def doubt(self, chunk: JointChunk) -> str:
        """Why this chunk may not begin to move the arm; empty where it may. A person's always may."""
        if not self._required or chunk.source is not ChunkSource.POLICY:
            return ""
        return refusal(self._report, self._contract_sha256, chunk.checkpoint)

    def _hear(self, message: PreflightReport) -> None:
        self._report = ArmingReport(
            message.contract_sha256, message.checkpoint_sha256, message.status == PreflightReport.RED, message.text
        )
