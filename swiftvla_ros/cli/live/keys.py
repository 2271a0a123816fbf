# SPDX-License-Identifier: Apache-2.0
"""Single keys from a terminal, over ssh too, while a command goes on."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from types import TracebackType
from typing import Any, TextIO


class Keys:
    """Reads keys without waiting for Enter; a context manager that leaves the terminal as it was.

    Where the input is no terminal there are no keys. Ctrl-C stays what it is.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        stream = sys.stdin if stream is None else stream
        self._fd: int | None = stream.fileno() if stream.isatty() else None
        self._saved: Any = None

    @property
    def are_there(self) -> bool:
        """Whether anybody can press one."""
        return self._fd is not None

    def __enter__(self) -> Keys:
        if self._fd is not None:
            self._saved = termios.tcgetattr(self._fd)
            tty.setcbreak(self._fd)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._fd is not None:
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._saved)

    def pressed(self) -> list[str]:
        """Return the keys that were pressed since the last call, in order; a cursor key is one, such as ``ESC[A``."""
        if self._fd is None or not select.select([self._fd], [], [], 0)[0]:
            return []
        return split_keys(os.read(self._fd, 1024).decode(errors="ignore"))

    def line(self, prompt: str) -> str:
        """Ask for a line of text; the terminal echoes and edits it as usual. Empty where there is no terminal."""
        if self._fd is None:
            return ""
        termios.tcsetattr(self._fd, termios.TCSADRAIN, self._saved)
        try:
            return input(prompt).strip()
        except EOFError:
            return ""
        finally:
            tty.setcbreak(self._fd)


def split_keys(text: str) -> list[str]:
    """Split what a terminal sent into keys: a cursor or function key is an escape sequence of several characters."""
    keys, k = [], 0
    while k < len(text):
        end = k + 1
        if text[k] == "\x1b" and text[k + 1 : k + 2] in ("[", "O"):
            end = k + 2
            while end < len(text) and not text[end].isalpha() and text[end] != "~":
                end += 1
            end += 1
        keys.append(text[k:end].replace("\x1b", "ESC"))
        k = end
    return keys
