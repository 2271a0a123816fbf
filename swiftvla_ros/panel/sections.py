# SPDX-License-Identifier: Apache-2.0
"""What each section of the page shows of a message: plain objects for JSON, every text as it came.

Messages are read by their fields, so this needs no ROS. The page puts texts in as text, never as HTML.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.executor_codes import ChunkSource, Mode
from swiftvla_ros.contract.images import foreseen_path
from swiftvla_ros.contract.latency_stages import CHAIN, STAGES
from swiftvla_ros.monitoring.latency_advice import LatencyAdvice, RunTiming
from swiftvla_ros.observation.message_fields import ChunkMessage, ExecutorTick, stamp_ns

Json = dict[str, Any]

MOVING = (Mode.FRESH, Mode.TAIL, Mode.DECELERATING)
"""Modes in which the arm may move."""
# Rows of a chunk that are drawn: more would not be seen.
_MOST_ROWS = 64
_LEVELS = ("usual", "slow", "hold", "blind")
_STATUSES = ("green", "yellow", "red")
_PHASES = ("ready", "recording", "resetting", "ended")
_HAND_PHASES = ("released", "stopping", "approaching", "following", "held")


def robot_section(contract: Contract, namespace: str) -> Json:
    """What does not change while the node runs: joints with their limits, cameras."""
    limits = contract.limits
    return {
        "robot": contract.robot,
        "contract": str(contract.path),
        "namespace": namespace,
        "joints": [
            {
                "name": joint.name,
                "lowest": lowest,
                "highest": highest,
                "velocity": joint.velocity,
                "gripper": bool(gripper),
            }
            for joint, lowest, highest, gripper in zip(
                contract.joints, limits.min_position, limits.max_position, contract.gripper_mask, strict=True
            )
        ],
        "cameras": [
            {"name": camera.name, "topic": camera.topic, "rotate": camera.rotate_deg, "size": camera.source_size}
            for camera in contract.cameras
        ],
    }


def executor_section(tick: ExecutorTick, message: Any, asked_percent: float | None) -> Json:
    """The ladder, why, and how fast; ``message`` is the ``ExecutorState`` that ``tick`` was read of.

    ``asked_percent`` is the speed that operators ask for; None where nobody knows.
    """
    chunk_age_s = float(message.chunk_age_s)
    return {
        "stamp": tick.stamp_ns / 1e9,
        "mode": Mode(tick.mode).name if tick.mode in list(Mode) else str(tick.mode),
        "moving": tick.mode in MOVING,
        "reason": tick.reason_text,
        "shadow": tick.shadow,
        "source": ChunkSource(tick.chunk_source).name.lower() if tick.chunk_source in list(ChunkSource) else "",
        "operator_holds": tick.operator_holds,
        "chunk": tick.chunk_id,
        "row": tick.row,
        "chunk_age_s": chunk_age_s if chunk_age_s >= 0 else None,
        "accepted": tick.accepted,
        "refused": tick.refused,
        "last_refusal": tick.last_refusal_text,
        "speed": tick.speed_scale,
        "speed_asked": asked_percent,
        "speed_source": str(message.speed_limit_source),
        "speed_reason": str(message.speed_limit_reason),
    }


def joints_section(contract: Contract, measured: NDArray[np.float64] | None, tick: ExecutorTick | None) -> list[Json]:
    """Each joint: where it is, what is commanded, how often its limits were met."""
    count = len(contract.joints)

    def of(values: Any) -> list[Any]:
        return np.asarray(values).tolist() if values is not None and len(values) == count else [None] * count

    told = tick is not None and tick.joint_names == contract.joint_names
    commanded, error, clamps, slowed = (
        of(getattr(tick, name) if told else None)
        for name in ("commanded", "tracking_error", "position_clamps", "velocity_clamps")
    )
    return [
        {"measured": m, "commanded": c, "error": e, "clamps": p, "slowed": v}
        for m, c, e, p, v in zip(of(measured), commanded, error, clamps, slowed, strict=True)
    ]


def chunk_section(contract: Contract, chunk: ChunkMessage) -> Json:
    """A chunk's rows for the plot, and where they lead the hand in each camera's upright, uncut picture."""
    shaped = chunk.positions.ndim == 2 and chunk.joint_names == contract.joint_names and len(chunk.positions) > 0
    rows = chunk.positions[:_MOST_ROWS] if shaped else np.zeros((0, len(contract.joints)))
    paths = {}
    for camera in contract.cameras:
        whole = camera.model_copy(update={"crop": None, "fit": "stretch"})
        path = foreseen_path(contract.chain, whole, rows) if len(rows) else None
        if path is not None and len(path) > 1:
            paths[camera.name] = np.round(path, 4).tolist()
    return {
        "id": chunk.chunk_id,
        "stamp": chunk.stamp_ns / 1e9,
        "step": chunk.step_ns / 1e9,
        "rows": np.round(rows, 4).tolist(),
        "instruction": chunk.instruction,
        "paths": paths,
    }


def policy_section(message: Any) -> Json:
    """What the policy does, and for which instruction."""
    return {
        "ready": bool(message.ready),
        "reason": message.reason,
        "instruction": message.instruction,
        "instruction_id": int(message.instruction_id),
        "checkpoint_sha256": message.checkpoint_sha256,
        "computed_by": " ".join(filter(None, (message.runtime, message.precision, message.device))),
        "guidance": message.guidance,
        "chunks": int(message.chunks),
        "dropped": {
            "too old": int(message.dropped_stale),
            "not paired": int(message.dropped_unpaired),
            "invalid": int(message.dropped_invalid),
        },
    }


def latency_section(timing: RunTiming, advice: LatencyAdvice) -> Json:
    """How long the stages of the newest chunks took, s, and what limits them, in sentences."""
    stages = []
    for name in [*CHAIN, "camera_to_command"]:
        p50, p95, _ = timing.stages_s.get(name, (None, None, None))
        if name not in CHAIN or p50 is not None:
            whole, limits = name not in CHAIN, name == advice.limits
            stages.append({"name": str(STAGES[name]), "p50": p50, "p95": p95, "whole": whole, "limits": limits})
    p50, p95, _ = timing.period_s
    period = {"p50": p50, "p95": p95}
    return {"chunks": timing.chunks, "stages": stages, "period": period, "advice": list(advice.sentences)}


def monitor_section(message: Any) -> Json:
    """A monitor's verdict."""
    parts = zip(message.parts, message.values, message.slow_at, message.hold_at, strict=False)
    return {
        "monitor": message.monitor,
        "level": _of(_LEVELS, message.level),
        "percent": float(message.percent),
        "text": message.text,
        "parts": [{"name": n, "value": v, "slow_at": s, "hold_at": h} for n, v, s, h in parts],
        "stamp": stamp_ns(message.header.stamp) / 1e9,
    }


def preflight_section(message: Any) -> Json:
    """The pre-flight table."""
    rows = zip(message.rows, message.statuses, message.findings, message.fixes, strict=False)
    return {
        "status": _of(_STATUSES, message.status),
        "text": message.text,
        "stamp": stamp_ns(message.header.stamp) / 1e9,
        "rows": [{"name": n, "status": _of(_STATUSES, s), "finding": f, "fix": x} for n, s, f, x in rows],
    }


def demonstration_section(message: Any) -> Json:
    """A session of demonstrations."""
    topics = zip(message.topics, message.rates_hz, message.expected_hz, message.lost, strict=False)
    counts = ("succeeded", "wanted", "failed", "discarded", "unjudged")
    return {
        "phase": _of(_PHASES, message.phase),
        "blocked": message.blocked,
        "warnings": list(message.warnings),
        "instruction": message.instruction,
        "episode": message.episode,
        **{name: int(getattr(message, name)) for name in counts},
        "last": f"{message.last_episode}: {message.last_outcome} {message.last_note}" if message.last_episode else "",
        "elapsed_s": round(float(message.elapsed_s), 1),
        "reset_left_s": round(float(message.reset_left_s), 1),
        "topics": [{"name": n, "rate": r, "expected": e, "lost": int(lost)} for n, r, e, lost in topics],
        "disk_free_bytes": int(message.disk_free_bytes),
    }


def teleop_section(message: Any) -> Json:
    """A person's hand on the arm."""
    return {
        "engaged": bool(message.engaged),
        "source": message.source,
        "phase": _of(_HAND_PHASES, message.phase),
        "reason": message.reason,
    }


def _of(names: tuple[str, ...], number: int) -> str:
    return names[int(number)] if int(number) < len(names) else str(int(number))
