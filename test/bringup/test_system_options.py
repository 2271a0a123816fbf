# SPDX-License-Identifier: Apache-2.0
"""One description of the system, and everything that is made from it."""

from dataclasses import MISSING
from pathlib import Path

import pytest
from typer.testing import CliRunner

from swiftvla_ros.bringup.system_options import ReplayOptions, SystemOptions, options_of, options_table
from swiftvla_ros.cli.main import app


def test_the_page_has_the_table_of_the_options(repository: Path) -> None:
    """Protects: docs/system.md tells every option; `python -m swiftvla_ros.bringup.system_options` prints the table."""
    assert options_table(SystemOptions) in (repository / "docs" / "system.md").read_text(encoding="utf-8")


def test_every_option_is_a_flag() -> None:
    """Protects: an option of the system is one of `swiftvla up`, with its name and its words."""
    text = CliRunner().invoke(app, ["up", "--help"], env={"COLUMNS": "400", "TERM": "dumb"}).output
    assert [o.name for o in options_of(SystemOptions) if f"{o.flag} " not in text or o.help not in text] == []


@pytest.mark.parametrize("name", ["demo", "record"])
def test_commands_share_the_flags_of_the_system(name: str) -> None:
    """Protects: a robot is chosen with the same flag, and the same words, everywhere."""
    text = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "400", "TERM": "dumb"}).output
    assert options_of(SystemOptions, ["robot"])[0].help in text
    assert "--system" not in text


def test_what_people_write_becomes_the_options_values() -> None:
    """Protects: launch arguments, which are texts, and defaults mean the same as flags."""
    for option in options_of(SystemOptions):
        assert option.parse(str(option.default_text)) == option.default
    by_name = {o.name: o for o in [*options_of(SystemOptions), *options_of(ReplayOptions)]}
    assert by_name["sim"].parse("True") is True
    assert by_name["record"].parse("runs/a") == Path("runs/a")
    assert by_name["rate"].parse("0.5") == 0.5
    assert (by_name["bag"].default, by_name["bag"].default_text) == (MISSING, None)
    with pytest.raises(ValueError, match="seed: 'one' is no int"):
        by_name["seed"].parse("one")


def test_a_choice_is_one_of_the_known() -> None:
    """Protects: a device that no policy has is refused before anything starts."""
    result = CliRunner().invoke(app, ["up", "--device", "tpu"])
    assert result.exit_code == 2
