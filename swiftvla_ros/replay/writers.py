# SPDX-License-Identifier: Apache-2.0
"""A replay's report as Markdown for people, JSON for scripts and JUnit XML for a CI server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.replay.report import Check, ReplayReport

Array = NDArray[np.float64]


def as_dict(report: ReplayReport, checks: list[Check], code: int) -> dict[str, Any]:
    """Return everything that was found, for JSON; numbers that are none become None where it is written."""
    commands = report.commands
    return {
        "bag": str(report.bag),
        "checkpoint": str(report.checkpoint),
        "exit_code": code,
        "recorded_with": report.recorded_with,
        "replayed_with": report.replayed_with,
        "joints": list(report.joint_names),
        "max_difference": _by_joint(report, report.difference),
        "checks": [{"name": c.name, "ok": c.ok, "text": c.text} for c in checks],
        "differences": [{"kind": d.kind, "text": d.text} for d in report.differences],
        "explanation": report.explanation,
        "chunks": [
            {
                "chunk_id": c.chunk.chunk_id,
                "stamp_ns": c.chunk.stamp_ns,
                "instruction": c.chunk.instruction,
                "noise_seed": c.chunk.noise_seed,
                "guidance": c.chunk.guidance,
                "max_difference": _by_joint(report, c.difference),
                "executed_measured": _by_joint(report, e.measured),
                "executed_commanded": _by_joint(report, e.commanded),
                "inference_ms": 1e3 * c.chunk.inference_s,
                "inference_now_ms": 1e3 * c.seconds,
                "missing": list(c.missing),
            }
            for c, e in zip(report.chunks, report.executed, strict=True)
        ],
        "commands": {
            "compared": len(commands.times_ns),
            "not_comparable": dict(commands.not_comparable),
            "max_difference": _by_joint(report, commands.difference),
            "mode_differences": commands.mode_differences,
            "refusals": dict(commands.refusals),
            "recorded_refusals": dict(commands.recorded_refusals),
            "limit_counts": {k: v.tolist() for k, v in commands.clamps.items()},
            "recorded_limit_counts": {k: v.tolist() for k, v in commands.recorded_clamps.items()},
            "notes": dict(commands.notes),
        },
        "latency_ms": {k: dict(zip(("p50", "p95", "max"), v, strict=True)) for k, v in report.latency_ms.items()},
        "notes": report.notes,
        "verdicts": [vars(found) for found in report.verdicts],
    }


def markdown(report: ReplayReport, checks: list[Check], code: int, advice: Sequence[str]) -> str:
    """Write the report as a page of Markdown; ``advice`` are the sentences on the recorded run's latency."""
    failed = [check for check in checks if not check.ok]
    counts = f"{len(report.computed)} of {len(report.chunks)} chunks and {len(report.commands.times_ns)} commands"
    lines = [
        f"# Replay of {report.bag}",
        "",
        f"**{'passed' if code == 0 else 'FAILED'}** (exit code {code}): {counts} were computed again.",
        "",
        f"- checkpoint: `{report.checkpoint}`",
        f"- recorded with: {'; '.join(report.recorded_with)}",
        f"- replayed with: {'; '.join(report.replayed_with) or 'nothing'}",
        "",
    ]
    if failed:
        lines += ["## What differs", "", *(f"- **{check.name}**: {check.text}" for check in failed), ""]
    worst, commands = report.executed_worst(), report.commands
    head = ("joint", "rows: now − recorded", "commands: now − recorded", "measured − rows", "commanded − rows")
    columns = (report.difference, commands.difference, worst.measured, worst.commanded)
    clamps = [
        commands.clamps.get(kind, np.zeros(len(report.joint_names)))
        for kind in ("position", "velocity", "acceleration")
    ]
    table = [
        [name, *(_number(column[j]) for column in columns), " / ".join(str(int(c[j])) for c in clamps)]
        for j, name in enumerate(report.joint_names)
    ]
    lines += ["## Per joint, at worst (rad, or m)", "", *_table([*head, "limit counts p / v / a"], table), ""]
    rows = [
        [
            str(c.chunk.chunk_id),
            c.chunk.instruction,
            str(c.chunk.noise_seed),
            "; ".join(c.missing) or _number(c.difference.max()),
            "–" if c.rows is None else report.joint_names[int(np.nan_to_num(c.difference).argmax())],
            _number(_most(e.measured)),
            f"{1e3 * c.chunk.inference_s:.1f}",
            f"{1e3 * c.seconds:.1f}",
        ]
        for c, e in zip(report.chunks, report.executed, strict=True)
    ]
    head_rows = ["chunk", "instruction", "seed", "now − recorded", "joint", "measured − rows", "ms then", "ms now"]
    lines += ["## Chunks", "", *_table(head_rows, rows), ""]
    stages = [[name, *(f"{value:.1f}" for value in values)] for name, values in report.latency_ms.items()]
    lines += ["## Latency (ms)", "", *_table(["stage", "p50", "p95", "max"], stages), ""]
    lines += [*(f"- {sentence}" for sentence in advice), ""] if advice else []
    lines += ["## Refusals", "", f"now {dict(commands.refusals)}, then {dict(commands.recorded_refusals)}", ""]
    notes = [*report.notes, *(f"{text}: {count} ×" for text, count in commands.notes.items())]
    notes += [f"not comparable: {text}: {count} ticks" for text, count in commands.not_comparable.items()]
    if notes:
        lines += ["## Notes on the recording", "", *(f"- {note}" for note in notes), ""]
    return "\n".join(lines)


def write_markdown(report: ReplayReport, checks: list[Check], code: int, advice: Sequence[str], path: Path) -> None:
    """Write the page of :func:`markdown` to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(markdown(report, checks, code, advice) + "\n", encoding="utf-8")


def write_junit(report: ReplayReport, checks: list[Check], path: Path) -> None:
    """Write one test case for each check."""
    failed = sum(not check.ok for check in checks)
    suite = ET.Element(
        "testsuite", name=f"replay of {report.bag.name}", tests=str(len(checks)), failures=str(failed), errors="0"
    )
    for check in checks:
        case = ET.SubElement(suite, "testcase", classname=f"replay.{report.bag.name}", name=check.name)
        if not check.ok:
            ET.SubElement(case, "failure", message=check.text).text = check.text
    tree = ET.ElementTree(suite)
    ET.indent(tree)
    path.parent.mkdir(parents=True, exist_ok=True)
    tree.write(path, encoding="utf-8", xml_declaration=True)


def _by_joint(report: ReplayReport, values: Array) -> dict[str, float]:
    return {name: float(value) for name, value in zip(report.joint_names, values, strict=True)}


def _most(values: Array) -> float:
    return float(np.nanmax(values)) if np.isfinite(values).any() else float("nan")


def _number(value: float) -> str:
    return "–" if not np.isfinite(value) else "0" if value == 0 else f"{value:.2g}"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return lines + [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
