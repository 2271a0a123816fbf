# SPDX-License-Identifier: Apache-2.0
"""The Foxglove layout names topics and fields that exist."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.bags.message_types import message_types
from swiftvla_ros.episodes.bags.topics import recorded_topics
from swiftvla_ros.viewing.foxglove import layout

# Base types that Foxglove can plot or show as a state.
_DRAWN = re.compile(r"(bool|u?int\d+|float\d+|string)$")


@cache
def definitions() -> Any:
    """Give the fields of all message types."""
    return message_types().fielddefs


def message_paths(panels: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (panel, message path) of everything that a layout shows."""
    for name, panel in panels.items():
        for curve in panel.get("paths", []):
            yield name, curve["value"]
        for key in ("topicPath", "topicToRender"):
            if key in panel:
                yield name, panel[key]
        if "imageMode" in panel:
            yield name, panel["imageMode"]["imageTopic"]


def panels_in(part: Any, panels: dict[str, Any]) -> Iterator[str]:
    """Yield the panels that a part of the screen shows, those in tabs included."""
    if isinstance(part, str):
        yield part
        for tab in panels[part].get("tabs", []):
            yield from panels_in(tab["layout"], panels)
        return
    assert part["direction"] in ("row", "column")
    assert 0 < part["splitPercentage"] < 100
    yield from panels_in(part["first"], panels)
    yield from panels_in(part["second"], panels)


def problem(path: str, topics: dict[str, str], joints: int) -> str:
    """Say what is wrong with a message path, if anything."""
    topic = max((t for t in topics if path == t or path.startswith(f"{t}.")), key=len, default="")
    if not topic:
        return f"{path}: no such topic"
    kind = topics[topic]
    fields = definitions()
    for step in path[len(topic) :].split(".")[1:]:
        name, index = re.fullmatch(r"(\w+)(?:\[(\d+)\])?", step).groups()
        definition = dict(fields[kind][1]).get(name)
        if definition is None:
            return f"{path}: {kind} has no field {name}"
        # (1: base, 2: message, 3: array, 4: sequence), then the type; that of sequences is nested.
        node, inner = definition
        if (int(node) in (3, 4)) != (index is not None):
            return f"{path}: {name} is {'a list' if index is None else 'no list'}"
        if index is not None and int(index) >= joints:
            return f"{path}: the robot has {joints} joints"
        if int(node) in (3, 4):
            node, inner = inner[0]
        kind = inner if int(node) == 2 else inner[0]
    if path != topic and not _DRAWN.match(kind):
        return f"{path}: {kind} can't be drawn"
    return ""


@pytest.fixture(scope="module")
def topics(contract: Contract) -> dict[str, str]:
    """Absolute topics of a system without a namespace, and their types."""
    known = {f"/{t.name.lstrip('/')}": t.msgtype for t in recorded_topics(contract)}
    return {**known, "/diagnostics": "diagnostic_msgs/msg/DiagnosticArray"}


def test_every_path_exists(contract: Contract, topics: dict[str, str]) -> None:
    """Protects: no panel stays empty because a topic or a field was renamed."""
    made = layout(contract)
    paths = list(message_paths(made["configById"]))
    assert len(paths) > 40
    assert [p for _, path in paths if (p := problem(path, topics, len(contract.joint_names)))] == []


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/executor_stat.mode", "no such topic"),
        ("/executor_state.mod", "has no field"),
        ("/executor_state.commanded_position", "is a list"),
        ("/executor_state.mode[0]", "is no list"),
        ("/executor_state.commanded_position[6]", "6 joints"),
        ("/executor_state.header", "can't be drawn"),
    ],
)
def test_the_check_sees_what_is_wrong(path: str, why: str, contract: Contract, topics: dict[str, str]) -> None:
    """Protects: the test above can fail."""
    assert why in problem(path, topics, len(contract.joint_names))


def test_every_panel_is_shown_once(contract: Contract) -> None:
    """Protects: Foxglove refuses a layout with panels that are missing or nowhere."""
    made = layout(contract)
    shown = list(panels_in(made["layout"], made["configById"]))
    assert sorted(shown) == sorted(made["configById"])


def test_the_shipped_layout_is_the_robots(contract: Contract, repository: Path) -> None:
    """Protects: config/foxglove/swiftvla.json is made anew when the layout changes (swiftvla view --foxglove)."""
    shipped = json.loads((repository / "config" / "foxglove" / "swiftvla.json").read_text())
    assert shipped == layout(contract)


def test_a_namespace_is_before_every_topic_but_diagnostics(contract: Contract) -> None:
    """Protects: the layout of a system that is not alone."""
    paths = [path for _, path in message_paths(layout(contract, "left")["configById"])]
    assert all(path.startswith("/left/") or path == "/diagnostics" for path in paths)
