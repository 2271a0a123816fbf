# SPDX-License-Identifier: Apache-2.0
"""The table of a contract's keys."""

from pathlib import Path

from swiftvla_ros.contract.key_table import key_table


def test_the_page_has_every_key_as_the_schema_says_it(repository: Path) -> None:
    """Protects docs/own_arm.md from going stale: after a change, put in ``swiftvla check-contract --keys``."""
    assert key_table() in (repository / "docs" / "own_arm.md").read_text(encoding="utf-8")


def test_every_key_is_explained() -> None:
    """Protects people who write a contract: no key without its meaning, and the nested ones are there too."""
    rows = [line.split(" | ") for line in key_table().splitlines()[2:]]
    assert [row[0] for row in rows if len(row) != 3 or len(row[2]) < 12] == []
    keys = {row[0].strip("|` ") for row in rows}
    assert {"gripper[].binary.open_above", "control.output[].joints", "lerobot.joints.<name>.unit"} <= keys
