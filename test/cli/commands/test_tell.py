# SPDX-License-Identifier: Apache-2.0
"""``swiftvla tell`` refuses in a sentence, before it looks for a system."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from swiftvla_ros.cli.main import app


def test_what_is_no_text_is_refused_in_a_sentence() -> None:
    r"""`swiftvla tell $'\xff'` ended in UnicodeEncodeError (report E)."""
    command = [sys.executable, "-c", "from swiftvla_ros.cli.main import app; app()", "tell", b"pick \xff"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert (
        ended.stderr.strip() == "the instruction holds the byte 0xff, which is no UTF-8; write one line of plain text"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["tell", "go", "--namespace", "left arm"],
        ["up", "--loopback", "--namespace", "left arm"],
        ["doctor", "--namespace", "left arm"],
        ["record", "bag", "--namespace", "left arm"],
        ["view", "--foxglove", "layout.json", "--robot", "so101", "--namespace", "left arm"],
    ],
)
def test_a_namespace_that_ros_refuses_is_refused_in_a_sentence(
    arguments: list[str], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--namespace "left arm"` ended in RCLError in every process (report E)."""
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "namespace 'left arm' is none that ROS accepts" in result.output
    assert "'left_arm'" in result.output
