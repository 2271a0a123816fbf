# SPDX-License-Identifier: Apache-2.0
"""The check of demonstrations as one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path

from swiftvla_ros.episodes.quality.examination import Examination, episode_rows
from swiftvla_ros.episodes.quality.findings import Finding

_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:1100px;padding:0 1em;color:#222}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.25em .6em;border-bottom:1px solid #ddd}
.error{color:#c0392b}.warning{color:#b9770e}.good{color:#2e7d32}img{max-width:100%}li{margin:.2em 0}
"""


def write_report(done: Examination, pictures: dict[str, Path], left_out: list[str], title: str, path: Path) -> None:
    """Write the report; ``pictures`` are PNGs by episode, the one of all of them under the empty name."""
    columns, rows = episode_rows(done)
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        f'<tr><td><a href="#{escape(row[0], quote=True)}">{escape(row[0])}</a></td>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    unread = [f for f in done.findings if f.episode and f.episode not in {d.name for d in done.digests}]
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title><style>{_STYLE}</style>",
        f"<h1>{escape(title)}</h1>",
        f"<p>{len(done.digests)} episodes: {done.errors} errors, {len(done.findings) - done.errors} warnings</p>",
        f"<table><tr>{head}</tr>{body}</table>",
        "<h2>All episodes</h2>",
        _list([*done.of(""), *unread]),
        _picture(pictures.get("")),
        "".join(f"<p>left out: {escape(line)}</p>" for line in left_out),
    ]
    for digest in done.digests:
        parts += [f'<h2 id="{escape(digest.name, quote=True)}">{escape(digest.name)}</h2>']
        parts += [_list(done.of(digest.name)), _picture(pictures.get(digest.name))]
    path.write_text("\n".join(parts) + "\n", encoding="utf-8")


def _list(findings: list[Finding]) -> str:
    lines = "".join(f"<li class={finding.level}>{escape(finding.line())}</li>" for finding in findings)
    return f"<ul>{lines}</ul>" if lines else "<p class=good>nothing is wrong</p>"


def _picture(path: Path | None) -> str:
    if path is None:
        return ""
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{escape(path.stem, quote=True)}" src="data:image/png;base64,{data}">'
