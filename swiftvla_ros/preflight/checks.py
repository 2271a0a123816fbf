# SPDX-License-Identifier: Apache-2.0
"""The whole pre-flight: gathered facts → rows by section."""

from __future__ import annotations

from dataclasses import replace

from swiftvla_ros.preflight.checkpoint import check_checkpoint
from swiftvla_ros.preflight.facts import PreflightFacts
from swiftvla_ros.preflight.limits import check_limits
from swiftvla_ros.preflight.machine import check_board, check_disk
from swiftvla_ros.preflight.nodes import check_graph
from swiftvla_ros.preflight.pose import check_pose
from swiftvla_ros.preflight.row import Row
from swiftvla_ros.preflight.statistics import check_statistics
from swiftvla_ros.preflight.timing import check_timing

# What may be missing on a machine that is looked at, and not where an arm is about to move.
_HAS_TO_RUN = ("graph", "nodes")


def check_everything(facts: PreflightFacts) -> dict[str, list[Row]]:
    """Judge all facts."""
    contract, found, graph = facts.contract, facts.checkpoint, facts.graph
    running = [
        replace(row, status="fail") if row.name in _HAS_TO_RUN and row.status == "skipped" else row
        for row in check_graph(graph, contract)
    ]
    loaded = graph.policy.checkpoint_sha256 if graph.policy is not None else ""
    trained = list(check_checkpoint(found, contract, loaded))
    if found is not None and found.checkpoint is not None:
        trained += check_statistics(found, contract)
    return {
        "running system": running,
        "policy": trained,
        "pose": list(check_pose(facts)),
        "limits": list(check_limits(contract, found, edited=facts.edited)),
        "time": list(check_timing(facts)),
        "machine": [
            check_disk(contract, *facts.disk),
            *check_board(facts.board, graph.policy.device if graph.policy is not None else ""),
        ],
    }
