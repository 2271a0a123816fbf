# SPDX-License-Identifier: Apache-2.0
"""Whether a policy's chunk may begin to move the arm, where the contract asks for a pre-flight first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from swiftvla_ros.preflight.row import Row, worst

_ASK = "swiftvla preflight, or the service preflight/check, makes one"
_DIGITS = 12
_SHOWN = 2


@dataclass(frozen=True)
class ArmingReport:
    """What arming reads of a pre-flight: what it was made for, and its worst rows in a sentence where one is red."""

    contract_sha256: str
    checkpoint_sha256: str
    red: bool
    text: str


def report_of(sections: Mapping[str, Sequence[Row]], contract_sha256: str, checkpoint_sha256: str) -> ArmingReport:
    """Sum up a pre-flight."""
    rows = list(chain.from_iterable(sections.values()))
    return ArmingReport(contract_sha256, checkpoint_sha256, worst(rows) == "fail", _text(rows))


def _text(rows: Iterable[Row]) -> str:
    rows = list(rows)
    red = [row for row in rows if row.status == "fail"]
    if red:
        more = f"; and {len(red) - _SHOWN} more" if len(red) > _SHOWN else ""
        return "; ".join(f"{row.name}: {row.finding} ({row.fix})" for row in red[:_SHOWN]) + more
    yellow = sum(row.status == "warning" for row in rows)
    return f"no red row of {len(rows)}, {yellow} yellow"


def refusal(report: ArmingReport | None, contract_sha256: str, checkpoint_sha256: str) -> str:
    """Why this policy may not begin to move this arm; empty where it may."""
    if report is None:
        return f"control.require_preflight: there was no pre-flight yet; {_ASK}"
    if report.contract_sha256 != contract_sha256:
        return f"control.require_preflight: the pre-flight was made with another contract; {_ASK} with this one"
    if report.checkpoint_sha256 != checkpoint_sha256:
        was, now = report.checkpoint_sha256[:_DIGITS] or "none", checkpoint_sha256[:_DIGITS]
        return f"control.require_preflight: the pre-flight was made with checkpoint {was}, this is {now}'s; {_ASK}"
    return f"control.require_preflight: the pre-flight is red: {report.text}" if report.red else ""
