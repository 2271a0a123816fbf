# SPDX-License-Identifier: Apache-2.0
"""What the operator of a session of demonstrations sees in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from swiftvla_ros.episodes.session.topic_rates import ENOUGH

if TYPE_CHECKING:
    from swiftvla_ros.msg import DemonstrationState

KEYS = {
    "e": "engage, or release the leader",
    "space": "begin, or end as succeeded",
    "f": "failed",
    "d": "discard",
    "r": "again",
    "n": "note",
    "i": "next instruction",
    "q": "quit",
}
_GB = 1 << 30


def session_view(state: DemonstrationState, message: str) -> RenderableType:
    """Draw the session's newest state; ``message`` is what the last key did."""
    parts: list[RenderableType] = [_headline(state), _topics(state)]
    if state.blocked and state.phase != state.RECORDING:
        parts.append(Text(f"can't begin: {state.blocked}", style="red"))
    else:
        parts += [Text(warning, style="yellow") for warning in state.warnings]
    if state.last_episode:
        note = f" ({state.last_note})" if state.last_note else ""
        parts.append(Text(f"last: {state.last_episode}: {state.last_outcome}{note}"))
    if message:
        parts.append(Text(message, style="bold"))
    parts.append(Text("  ".join(f"[{key}] {what}" for key, what in KEYS.items()), style="dim"))
    return Group(*parts)


def phase_line(state: DemonstrationState) -> str:
    """Tell in a line what is going on."""
    if state.phase == state.RECORDING:
        return f"RECORDING {state.episode}: '{state.instruction}', {state.elapsed_s:.1f} s"
    if state.phase == state.ENDED:
        return f"ended: {state.succeeded} of {state.wanted}"
    if state.reset_left_s > 0:
        return f"put the scene back: {state.episode} begins in {state.reset_left_s:.0f} s"
    return f"ready for {state.episode}: '{state.instruction}'"


def counts_line(state: DemonstrationState) -> str:
    """Tell how far the session is."""
    more = {"failed": state.failed, "discarded": state.discarded, "unjudged": state.unjudged}
    told = "".join(f", {count} {what}" for what, count in more.items() if count)
    return f"{state.succeeded} of {state.wanted} succeeded{told}"


def _headline(state: DemonstrationState) -> Text:
    style = "bold white on red" if state.phase == state.RECORDING else "bold green"
    free = f"{state.disk_free_bytes / _GB:.1f} GB free"
    return Text.assemble((f" {phase_line(state)} ", style), f"  {counts_line(state)}  {free}")


def _topics(state: DemonstrationState) -> Table:
    table = Table("topic", "Hz", "of", "lost", box=SIMPLE)
    for topic, rate, expected, lost in zip(state.topics, state.rates_hz, state.expected_hz, state.lost, strict=True):
        style = "red" if expected and not rate else "yellow" if rate < ENOUGH * expected or lost else ""
        table.add_row(escape(topic), f"{rate:.1f}", f"{expected:g}" if expected else "", str(lost or ""), style=style)
    return table
