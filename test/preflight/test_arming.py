# SPDX-License-Identifier: Apache-2.0
"""A policy's chunks begin to move an arm only after a pre-flight of this very robot and checkpoint, without red."""

import pytest

from swiftvla_ros.preflight.arming import ArmingReport, refusal, report_of
from swiftvla_ros.preflight.row import Row

GOOD = report_of({"a": [Row("x", "ok", ""), Row("y", "warning", "slow", "hurry")]}, "robot", "weights")
RED = report_of({"a": [Row("units", "fail", "degrees", "write deg"), Row("y", "ok", "")]}, "robot", "weights")


def test_a_report_without_red_lets_it_begin() -> None:
    """Protects: yellow is told, and stops nobody."""
    assert refusal(GOOD, "robot", "weights") == ""
    assert GOOD.text == "no red row of 2, 1 yellow"


@pytest.mark.parametrize(
    ("report", "says"),
    [
        (None, "no pre-flight yet; swiftvla preflight"),
        (RED, "is red: units: degrees (write deg)"),
        (ArmingReport("another", "weights", red=False, text=""), "another contract"),
        (ArmingReport("robot", "others", red=False, text=""), "checkpoint others, this is weights's"),
        (ArmingReport("robot", "", red=False, text=""), "checkpoint none"),
    ],
)
def test_everything_else_is_refused_with_a_sentence(report: ArmingReport | None, says: str) -> None:
    """Protects: an old report, another's or a red one arms nothing, and whoever waits is told why."""
    assert says in refusal(report, "robot", "weights")
