# SPDX-License-Identifier: Apache-2.0
"""A Foxglove layout for a robot: its cameras and joints, the executor's modes, latencies, what was refused."""

from __future__ import annotations

from typing import Any

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.checks.ros_names import plain_namespace
from swiftvla_ros.contract.latency_stages import POLICY, STAGES

Json = dict[str, Any]

_BLUE, _ORANGE, _GREY = "#4e98e2", "#f5774d", "#9aa7b4"
_COLORS = ("#4e98e2", "#f5774d", "#f7df71", "#5cd6a9", "#a395e2", "#c98bbd", "#9aa7b4", "#e0504d")


def layout(contract: Contract, namespace: str = "") -> Json:
    """Make a robot's layout, as Foxglove imports it from a file, for a system in a ROS namespace."""
    inside = plain_namespace(namespace)
    prefix = f"/{inside}" if inside else ""

    def of(path: str) -> str:
        return f"{prefix}/{path}"

    panels: Json = {}
    cameras = []
    for camera in contract.camera_names:
        panel = f"Image!{camera}"
        panels[panel] = {"foxglovePanelTitle": camera, "imageMode": {"imageTopic": of(f"observation/{camera}")}}
        cameras.append(panel)
    panels["StateTransitions!modes"] = {
        "foxglovePanelTitle": "Told, verdict, the executor's mode and its reasons",
        "isSynced": True,
        "paths": [
            {"value": of(path), "label": label, "timestampMethod": "headerStamp"}
            for path, label in (
                ("policy_state.instruction", "instruction"),
                ("policy_state.ready", "policy ready"),
                ("task_verdict.verdict", "verdict"),
                ("executor_state.mode", "mode"),
                ("executor_state.reason", "reason"),
            )
        ],
    }
    joints = []
    for j, name in enumerate(contract.joint_names):
        panel = f"Plot!joint_{name}"
        panels[panel] = _plot(
            f"{name}: commanded, measured, first rows of chunks",
            (of(f"executor_state.commanded_position[{j}]"), "commanded", _BLUE),
            (of(f"observation/state.position[{j}]"), "measured", _ORANGE),
            (of(f"action_chunk.positions[{j}]"), "row 0 of each chunk", _GREY),
        )
        joints.append(panel)
    names = list(enumerate(contract.joint_names))
    panels["Plot!latency"] = _plot(
        "Latency of the newest chunk, s",
        *(
            (of(f"policy_state.latency_s[{i}]"), str(STAGES[name]), _COLORS[i])
            for i, name in enumerate(POLICY)  # as inference_thread gives them
        ),
        (of("executor_state.chunk_age_s"), "age of the chunk followed", _COLORS[3]),
    )
    panels["Plot!speed"] = _plot("Speed scale, 1: as planned", (of("executor_state.speed_scale"), "speed", _BLUE))
    panels["Plot!refused"] = _plot(
        "Refused chunks and dropped observations, counts",
        (of("executor_state.chunks_refused"), "chunks refused", _COLORS[7]),
        (of("policy_state.dropped_stale"), "too old", _COLORS[1]),
        (of("policy_state.dropped_unpaired"), "not of one moment", _COLORS[2]),
        (of("policy_state.dropped_invalid"), "unusable", _COLORS[4]),
    )
    for panel, title, field in (
        ("Plot!velocity_clamps", "Ticks at the velocity limit, counts", "velocity_clamps"),
        ("Plot!acceleration_clamps", "Ticks at the acceleration limit, counts", "acceleration_clamps"),
        ("Plot!limit_excess", "How far limits bent the path at most, rad or m", "limit_excess"),
        ("Plot!tracking_error", "Commanded minus measured, rad or m", "tracking_error"),
    ):
        curves = ((of(f"executor_state.{field}[{j}]"), name, _COLORS[j % len(_COLORS)]) for j, name in names)
        panels[panel] = _plot(title, *curves)
    panels["Tab!curves"] = {
        "activeTabIdx": 0,
        "tabs": [
            {"title": "Joints", "layout": _grid(joints)},
            {"title": "Latency", "layout": "Plot!latency"},
            {
                "title": "Speed, limits, refusals",
                "layout": _grid(["Plot!speed", "Plot!refused", "Plot!velocity_clamps", "Plot!acceleration_clamps"]),
            },
            {"title": "Tracking", "layout": _column(["Plot!tracking_error", "Plot!limit_excess"])},
        ],
    }
    for panel, topic in (("RawMessages!executor", "executor_state"), ("RawMessages!policy", "policy_state")):
        panels[panel] = {
            "foxglovePanelTitle": topic, "topicPath": of(topic), "diffEnabled": False, "diffMethod": "custom",
            "diffTopicPath": "", "showFullMessageForDiff": False,
        }  # fmt: skip
    panels["DiagnosticSummary!health"] = {
        "minLevel": 0, "pinnedIds": [], "hardwareIdFilter": "", "topicToRender": "/diagnostics", "sortByLevel": True,
    }  # fmt: skip
    panels["Tab!words"] = {
        "activeTabIdx": 0,
        "tabs": [
            {"title": "Executor", "layout": "RawMessages!executor"},
            {"title": "Policy", "layout": "RawMessages!policy"},
            {"title": "Diagnostics", "layout": "DiagnosticSummary!health"},
        ],
    }
    return {
        "configById": panels,
        "globalVariables": {},
        "userNodes": {},
        "playbackConfig": {"speed": 1},
        "layout": _split(
            "row", _column([*cameras, "Tab!words"]), _split("column", "StateTransitions!modes", "Tab!curves", 28), 30
        ),
    }


def _plot(title: str, *curves: tuple[str, str, str]) -> Json:
    """Make a plot of (message path, label, colour)."""
    return {
        "foxglovePanelTitle": title,
        "isSynced": True,
        "showLegend": True,
        "legendDisplay": "floating",
        "showPlotValuesInLegend": True,
        "showXAxisLabels": True,
        "showYAxisLabels": True,
        "xAxisVal": "timestamp",
        "paths": [
            {"value": path, "label": label, "color": color, "enabled": True, "timestampMethod": "headerStamp"}
            for path, label, color in curves
        ],
    }


def _split(direction: str, first: Any, second: Any, percentage: float) -> Json:
    return {"direction": direction, "first": first, "second": second, "splitPercentage": percentage}


def _column(parts: list[Any]) -> Any:
    """Stack parts of one height."""
    if len(parts) == 1:
        return parts[0]
    return _split("column", parts[0], _column(parts[1:]), 100 / len(parts))


def _grid(parts: list[Any]) -> Any:
    """Put parts in rows of two."""
    pairs = [parts[i : i + 2] for i in range(0, len(parts), 2)]
    return _column([_split("row", pair[0], pair[1], 50) if len(pair) == 2 else pair[0] for pair in pairs])
