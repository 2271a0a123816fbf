# SPDX-License-Identifier: Apache-2.0
"""Gathers what a pre-flight judges, from the running graph, the checkpoint's folder and this machine.

It has a context of its own, so that a node's thread and a command do it alike, and takes part in nothing: it listens,
asks for parameters, and has the policy compute one chunk that nobody follows.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.latency_stages import POLICY, durations_s
from swiftvla_ros.nodes.graph.listener import GraphListener
from swiftvla_ros.observation.message_fields import read_chunk
from swiftvla_ros.preflight.facts import PreflightFacts, TrialChunk, read_checkpoint
from swiftvla_ros.preflight.graph import GraphFacts, full_name, own_nodes
from swiftvla_ros.preflight.machine import read_board
from swiftvla_ros.srv import ProbePolicy

PROBE = "policy/probe"
# A chunk of a large network on a small machine.
_TRIAL_S = 20.0


def gather(
    contract: Contract, namespace: str, seconds: float, tell: Callable[[float], object] = lambda _part: None
) -> PreflightFacts:
    """Listen to a robot's graph for so long; ``tell`` is told which part of it is over, and may raise to end it."""
    with GraphListener(namespace) as listener:
        nodes = listener.find_nodes(own_nodes(contract, namespace))
        graph = listener.listen(contract, nodes, seconds, tell)
        trial = _trial(listener, graph, contract)
    policy = nodes.get(full_name("policy", namespace))
    told = policy.parameters if policy is not None else {}
    folder = str(told.get("checkpoint") or "") if not told.get("policy_from") else ""
    here = Path.cwd()
    return PreflightFacts(
        contract,
        graph,
        read_checkpoint(Path(folder)) if folder else None,
        trial,
        read_board(),
        (here, shutil.disk_usage(here).free, os.access(here, os.W_OK)),
        max_rate_hz=float(told.get("max_rate_hz") or 0.0),
        edited=_edited(contract),
    )


def _trial(listener: GraphListener, graph: GraphFacts, contract: Contract) -> TrialChunk:
    if full_name(PROBE, graph.namespace) not in graph.services:
        return TrialChunk(problem=f"nobody offers {PROBE}")
    instruction = graph.policy.instruction if graph.policy is not None else ""
    answer = listener.call(ProbePolicy, PROBE, ProbePolicy.Request(instruction=instruction), _TRIAL_S)
    if answer is None:
        return TrialChunk(problem=f"{PROBE} did not answer within {_TRIAL_S:g} s; look at the policy's log")
    if not answer.success:
        return TrialChunk(problem=str(answer.message))
    chunk = read_chunk(answer.chunk)
    if set(chunk.joint_names) != set(contract.joint_names) or not len(chunk.positions):
        return TrialChunk(problem=f"the chunk is of joints {list(chunk.joint_names)}; start the policy with this robot")
    order = [chunk.joint_names.index(name) for name in contract.joint_names]
    return TrialChunk(chunk.positions[:, order], durations_s(POLICY, chunk.stamps_ns()))


def _edited(contract: Contract) -> bool:
    try:
        return contract.path.read_text(encoding="utf-8") != contract.text
    except (OSError, UnicodeDecodeError):
        return False  # it was somewhere else, as in a checkpoint
