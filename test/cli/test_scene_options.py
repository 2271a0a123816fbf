# SPDX-License-Identifier: Apache-2.0
"""A scene is chosen by its name, by every command that simulates one."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from swiftvla_ros.bringup.system_options import SystemOptions, options_of
from swiftvla_ros.cli.main import app
from swiftvla_ros.sim.tasks.registry import SCENES


def test_the_help_names_every_scene() -> None:
    """Protects: a new scene's file shows up where people look for its name."""
    *others, last = SCENES
    assert f"{', '.join(others)} or {last}." in options_of(SystemOptions, ["scene"])[0].help


@pytest.mark.parametrize("command", ["up", "demonstrate", "collect", "eval"])
def test_scenes_have_one_flag(command: str) -> None:
    """Protects: what `up` shows is collected and evaluated by the same name."""
    text = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "400", "TERM": "dumb"}).output
    assert "--scene" in text
    assert options_of(SystemOptions, ["scene"])[0].help.removesuffix(".") in text


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["collect", "OUT", "--scene", "beach"], "scene 'beach': there are table"),
        (["eval", "nothing", "--scene", "beach"], "scene 'beach': there are table"),
        (["collect", "OUT", "--scene", "stands", "--task", "place"], "stands and tableware"),
        (["collect", "OUT", "--scene", "stands", "--ros"], "leave --ros or --scene out"),
        (["collect", "OUT", "--scene", "stands", "--benchmark", "libero"], "has scenes and tasks of its own"),
    ],
)
def test_a_scene_that_is_not_to_be_had_is_refused(options: list[str], says: str, tmp_path: Path) -> None:
    """Protects hours of demonstrations of the wrong scene: it is told before the first episode."""
    call = [str(tmp_path / "out") if option == "OUT" else option for option in options]
    result = CliRunner().invoke(app, call, env={"COLUMNS": "250", "TERM": "dumb"})
    assert result.exit_code != 0
    assert says in result.output + str(result.exception)
    assert not (tmp_path / "out").exists()
