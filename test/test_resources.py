# SPDX-License-Identifier: Apache-2.0
"""What is shipped is found by its name from every folder, by every command that takes it (report F11)."""

from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from swiftvla_ros.bringup.processes import describe
from swiftvla_ros.bringup.system_options import SystemOptions
from swiftvla_ros.cli.main import app
from swiftvla_ros.contract import load_contract
from swiftvla_ros.resources import model_path, share_folder, shipped_robots


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in a folder that has nothing of ours."""
    monkeypatch.chdir(tmp_path)


def defaults() -> list[str]:
    """The shipped files that commands take where nothing is named."""
    commands: Any = typer.main.get_command(app)
    found = {str(p.default) for c in commands.commands.values() for p in c.params}
    return sorted(name for name in found if name.startswith("models/"))


def test_every_default_is_found() -> None:
    """Protects the first command that a newcomer types, wherever they stand: models, tokenizer and robots."""
    assert len(defaults()) >= 4
    for name in defaults():
        assert model_path(name).exists(), name
    for name in shipped_robots():
        assert load_contract(name).path.is_file()


def test_a_shipped_name_is_enough_and_ones_own_comes_first(tmp_path: Path) -> None:
    """Protects from taking another model than the one that lies here; the plain name of a shipped one will do."""
    name = "swiftvla-nano-so101"
    assert model_path(name) == share_folder() / "models" / name
    (tmp_path / name).mkdir()
    assert model_path(name) == tmp_path / name
    assert model_path("no-such-model") == tmp_path / "no-such-model"


def test_a_running_system_takes_absolute_paths(tmp_path: Path) -> None:
    """Protects `up`, `demo` and the launch files: nodes may run in another folder."""
    options = SystemOptions(checkpoint="swiftvla-nano-so101", record=tmp_path / "bag", geometry=True)
    paths = [p.parameters[key] for p in describe(options) for key in ("checkpoint", "geometry") if key in p.parameters]
    assert len(paths) == 3
    assert all(Path(str(path)).is_absolute() and Path(str(path)).is_dir() for path in paths)


@pytest.mark.parametrize(
    "call",
    [
        ["check-contract", "so101"],
        ["import-smolvla", "source", "out", "--robot", "so101"],
        ["collect", "out", "--pilot", "swiftvla-nano-so101", "--robot", "so101_two_arms"],
        ["eval", "swiftvla-nano-so101", "--robot", "so101_two_arms", "--workers", "1"],
        ["teacher-targets", "nothing", "--geometry", "geometry-nano"],
        ["train", "nothing", "out", "--scenes", "0"],
    ],
    ids=lambda call: call[0],
)
def test_commands_find_what_is_shipped(call: list[str], tmp_path: Path) -> None:
    """Protects: what a command then refuses is what was not given, never a shipped file."""
    result = CliRunner().invoke(app, call, env={"COLUMNS": "250"})
    assert result.exit_code in (0, 2), result.output
    assert str(tmp_path / "models") not in result.output
    refused = {"import-smolvla": "source", "collect": "two_arms", "eval": "two_arms"}
    assert call[0] == "check-contract" or refused.get(call[0], "nothing") in result.output.replace("\n", "")
