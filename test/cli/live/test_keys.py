# SPDX-License-Identifier: Apache-2.0
"""Keys of a real terminal."""

import os
import pty
import termios
from pathlib import Path

from swiftvla_ros.cli.live.keys import Keys, split_keys


def test_keys_come_at_once_and_the_terminal_is_left_as_it_was() -> None:
    """Protects the operator's terminal: keys need no Enter, and echo and line editing are back afterwards."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "r") as terminal, os.fdopen(ours, "wb", buffering=0) as keyboard:
        before = termios.tcgetattr(terminal.fileno())
        with Keys(terminal) as keys:
            assert keys.are_there
            assert keys.pressed() == []
            keyboard.write(b"s\x1b[Ad")
            assert keys.pressed() == ["s", "ESC[A", "d"]
        assert termios.tcgetattr(terminal.fileno()) == before


def test_a_pipe_has_no_keys(tmp_path: Path) -> None:
    """Protects scripts: without a terminal nothing waits for a key."""
    (tmp_path / "in").write_text("sss")
    with (tmp_path / "in").open() as file, Keys(file) as keys:
        assert not keys.are_there
        assert keys.pressed() == []
        assert keys.line("name? ") == ""


def test_sequences_are_one_key() -> None:
    """Protects against the letter at the end of a cursor key that would be taken for a command."""
    assert split_keys("\x1b[D\x1b[15~q\x1bOP") == ["ESC[D", "ESC[15~", "q", "ESCOP"]
