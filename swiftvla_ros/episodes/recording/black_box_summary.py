# SPDX-License-Identifier: Apache-2.0
"""One page about a black box: what happened, read from its bag, for whoever stands beside the arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone

import numpy as np

from swiftvla_ros.contract.executor_codes import Mode
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.recording.black_box import Trigger
from swiftvla_ros.observation.message_fields import ChunkMessage, ExecutorTick, read_chunk, read_executor_state

_MODES = {int(mode): mode.name.lower() for mode in Mode}
_MOST_LINES = 25


@dataclass
class _Story:
    """What the page tells, collected in one pass."""

    steps: list[tuple[int, str, str]] = field(default_factory=list)
    excess: dict[str, float] = field(default_factory=dict)
    clamps: dict[str, int] = field(default_factory=dict)
    refusals: list[tuple[int, str]] = field(default_factory=list)
    problems: list[tuple[int, str]] = field(default_factory=list)
    instructions: list[str] = field(default_factory=list)
    checkpoints: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    chunks: int = 0
    last_chunk: ChunkMessage | None = None
    last_mode: tuple[int, int] | None = None
    last_refusals: int | None = None
    worst_error: tuple[float, str] = (0.0, "")


def summary_of(bag: Bag, triggers: Sequence[Trigger]) -> str:
    """Return the page about a black box's bag as Markdown; ``triggers`` are why it was written."""
    story = _collect(bag)
    end_ns = bag.end_ns
    when = datetime.fromtimestamp(end_ns / 1e9, timezone.utc).isoformat(sep=" ", timespec="seconds")
    lines = [f"# Black box: {triggers[0].kind if triggers else 'saved'}", "", f"Written {when}.", ""]
    lines += [f"- **{trigger.kind}**: {trigger.text}" for trigger in triggers]
    lines += ["", "| | |", "|--|--|"]
    provenance = bag.provenance
    rows = {
        "robot": bag.contract.robot,
        "instruction": ", then ".join(dict.fromkeys(story.instructions)) or "none",
        "checkpoint": " ".join([str(provenance.get("checkpoint", "")), *(c[:12] for c in story.checkpoints)]).strip(),
        "package": str(provenance.get("package_version", "")),
        "span": f"{(end_ns - bag.start_ns) / 1e9:.1f} s, {sum(bag.counts.values())} messages",
        "chunks": _chunks(story, end_ns),
        "largest tracking error": f"{story.worst_error[0]:.4f} ({story.worst_error[1]})"
        if story.worst_error[1]
        else "–",
        "joints slowed by their limits": ", ".join(f"{n}: {k} ticks" for n, k in story.clamps.items() if k) or "none",
        "path bent by limits by at most": ", ".join(f"{n}: {x:.4f}" for n, x in story.excess.items() if x > 0)
        or "not at all",
    }
    lines += [f"| {key} | {value or '–'} |".replace("\n", " ") for key, value in rows.items()]
    lines += ["", "Seconds below count back from the end of the bag.", "", "## The executor's modes", ""]
    lines += _listed([(ns, f"{mode}: {reason}" if reason else mode) for ns, mode, reason in story.steps], end_ns)
    lines += ["", "## Refused chunks", "", *_listed(story.refusals, end_ns)]
    lines += ["", "## Warnings and errors", "", *_listed(story.problems, end_ns)]
    name = bag.folder.name
    lines += [
        "",
        "## Look closer",
        "",
        f"    swiftvla view {name}",
        f"    swiftvla replay {name}",
        f"    swiftvla check-motion {name}",
        "",
    ]
    return "\n".join(lines)


def _collect(bag: Bag) -> _Story:
    story = _Story()
    names = ["executor_state", "policy_state", "action_chunk", "diagnostics", "rosout"]
    for topic, ns, message in bag.merged(names):
        if topic == "executor_state":
            _take_tick(story, ns, read_executor_state(message))
        elif topic == "policy_state":
            if message.instruction:
                story.instructions.append(message.instruction)
            if message.checkpoint_sha256 not in ("", *story.checkpoints):
                story.checkpoints.append(message.checkpoint_sha256)
        elif topic == "action_chunk":
            story.chunks += 1
            story.last_chunk = chunk = read_chunk(message)
            story.latencies.append((chunk.end_ns - chunk.stamp_ns) / 1e9)
        elif topic == "rosout":
            if message.level >= 30:  # rcl_interfaces/msg/Log: WARN
                story.problems.append((ns, f"{message.name}: {message.msg}"))
        else:
            # byte fields come as integers; 1 is WARN.
            bad = [f"{s.name}: {s.message}" for s in message.status if int(s.level) >= 1]
            story.problems += [(ns, text) for text in bad if text not in {t for _, t in story.problems}]
    return story


def _take_tick(story: _Story, ns: int, tick: ExecutorTick) -> None:
    if (tick.mode, tick.reason) != story.last_mode:
        story.last_mode = (tick.mode, tick.reason)
        story.steps.append((ns, _MODES.get(tick.mode, str(tick.mode)), tick.reason_text))
    if story.last_refusals is not None and tick.refused > story.last_refusals:
        story.refusals.append((ns, tick.last_refusal_text))
    story.last_refusals = tick.refused
    names, errors = tick.joint_names, np.abs(tick.tracking_error)
    if len(errors) == len(names) and np.isfinite(errors).any():
        worst = int(np.nanargmax(errors))
        story.worst_error = max(story.worst_error, (float(errors[worst]), names[worst]))
    if len(tick.velocity_clamps) == len(tick.acceleration_clamps) == len(names):
        story.clamps = dict(zip(names, (tick.velocity_clamps + tick.acceleration_clamps).tolist(), strict=True))
    if len(tick.limit_excess) == len(names):
        story.excess = dict(zip(names, tick.limit_excess.tolist(), strict=True))


def _chunks(story: _Story, end_ns: int) -> str:
    if story.last_chunk is None:
        return "none"
    age = (end_ns - story.last_chunk.stamp_ns) / 1e9
    latency = np.array(story.latencies)
    return (
        f"{story.chunks}; the last, number {story.last_chunk.chunk_id}, has an observation {age:.2f} s before the end; "
        f"observation to chunk {np.median(latency):.3f} s in the median, {latency.max():.3f} s at most"
    )


def _listed(entries: Sequence[tuple[int, str]], end_ns: int) -> list[str]:
    """Return the newest entries, a line each."""
    if not entries:
        return ["none"]
    lines = [f"    {(ns - end_ns) / 1e9:8.2f} s  {' '.join(text.split())}" for ns, text in entries[-_MOST_LINES:]]
    left = len(entries) - len(lines)
    return [f"    ({left} earlier ones are in the bag)", *lines] if left else lines
