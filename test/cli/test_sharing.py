# SPDX-License-Identifier: Apache-2.0
"""How commands share work out: what doesn't go together is refused before anything begins."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from swiftvla_ros.cli.main import app


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["collect", "OUT", "--shard", "0/4"], "--shard 0/4: write k/n with 1 ≤ k ≤ n"),
        (["collect", "OUT", "--shard", "5/4"], "--shard 5/4"),
        (["collect", "OUT", "--shard", "1/2", "--cluster", "auto"], "leave --shard out"),
        (["collect", "OUT", "--shard", "1/2", "--ros"], "leave --ros out"),
        (["eval", "nothing", "--shard", "1/2"], "write --out FOLDER"),
        (["eval", "nothing", "--cluster", "auto"], "write --out FOLDER"),
        (["eval", "nothing", "--ros", "--latency", "0.1"], "leave --ros out"),
    ],
)
def test_options_that_do_not_go_together(options: list[str], says: str, tmp_path: Path) -> None:
    """Protects hours on many machines: a typing error is told before the first item."""
    call = [str(tmp_path / "out") if option == "OUT" else option for option in options]
    result = CliRunner().invoke(app, call, env={"COLUMNS": "250", "TERM": "dumb"})
    assert result.exit_code == 2, result.output
    assert says in result.output
    assert not (tmp_path / "out").exists()
