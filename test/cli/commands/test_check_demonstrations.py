# SPDX-License-Identifier: Apache-2.0
"""``swiftvla check-demonstrations``: one table, a picture of each episode, a report, an exit code."""

import json
import os
import shutil
from pathlib import Path

import pytest
from teleoperation import WRIST, write_teleoperation
from typer.testing import CliRunner

from swiftvla_ros.cli.main import app


def run(*arguments: object) -> tuple[int, str]:
    """Run it with the real arm's contract; give its exit code and what it printed, in one line."""
    call = ["check-demonstrations", *map(str, arguments), "--robot", "so101"]
    result = CliRunner().invoke(app, call, env={"COLUMNS": "250", "TERM": "dumb"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.output.split())


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good episode, one with a gap, and one in another unit than the contract's."""
    folder = tmp_path_factory.mktemp("demonstrations") / "shown"
    write_teleoperation(folder / "good", seconds=1.5, image_hz=30)
    write_teleoperation(folder / "gap", seconds=2.5, image_hz=30, without={WRIST: (0.8, 1.8)})
    write_teleoperation(folder / "degrees", seconds=0.5, unit=57.3)
    return folder


def test_a_folder_is_judged_drawn_and_told(shown: Path, tmp_path: Path) -> None:
    """Protects whoever trains next: a bad bag and a gap are errors, each episode has its picture."""
    code, text = run(shown, "--json", tmp_path / "found.json")
    assert code == 1
    assert "good pick up the red block 1.4 15 0" in text
    assert f"error: gap: {WRIST}: 7 of 25 steps are missing" in text
    assert "error: bag: " in text
    assert "write `unit: deg`" in text
    report = (shown.parent / "shown.check" / "report.html").read_text()
    assert report.count("data:image/png;base64,") == 3, text
    assert "http" not in report
    assert {p.name for p in (shown.parent / "shown.check").glob("*.png")} == {"good.png", "gap.png", "coverage.png"}
    found = json.loads((tmp_path / "found.json").read_text())
    assert [episode["name"] for episode in found["episodes"]] == ["gap", "good"]
    assert {"gaps", "unreadable"} <= {finding["check"] for finding in found["findings"]}


def test_a_good_folder_passes_also_strictly(shown: Path, tmp_path: Path) -> None:
    """Protects CI: no finding, exit code 0, and nothing is written where no picture is wanted."""
    shutil.copytree(shown / "good", tmp_path / "shown" / "good")
    code, text = run(tmp_path / "shown", "--strict", "--no-pictures")
    assert (code, text[-32:]) == (0, "1 episodes: 0 errors, 0 warnings")
    assert not (tmp_path / "shown.check").exists()


def files(folder: Path) -> dict[str, bytes]:
    """Read what lies in a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_parts_make_the_report_that_one_run_makes(shown: Path, tmp_path: Path) -> None:
    """Protects --shard: pictures and report are one run's, byte for byte; what was mended meanwhile is read again."""
    folder, whole, parts = tmp_path / "shown", tmp_path / "whole", tmp_path / "parts"
    shutil.copytree(shown / "gap", folder / "gap")
    write_teleoperation(folder / "other", seconds=0.5, image_hz=30, texts=((0.1, "touch the blue block"),))
    code, text = run(folder, "--out", whole, "--workers", 1)
    assert code == 1
    assert "examined" not in text
    for shard in ("1/2", "2/2"):
        code, text = run(folder, "--out", parts, "--workers", 1, "--shard", shard)
        assert (code, "without --shard writes the report" in text) == (0, True), text
    assert not (parts / "report.html").exists()
    kept = parts / "parts" / "gap.safetensors"
    kept.write_bytes(b"of an episode that was mended since")
    os.utime(kept, (1e9, 1e9))
    assert run(folder, "--out", parts, "--workers", 1)[0] == 1
    assert not (parts / "parts").exists()
    assert files(parts) == files(whole)
