# SPDX-License-Identifier: Apache-2.0
"""Becomes a node after asking the kernel for a signal when the supervisor dies: ``child.py SIGNAL PARENT COMMAND…``.

A program of its own instead of ``subprocess``'s ``preexec_fn``, which runs Python between fork and exec and can
deadlock in a process with threads. Run with ``-I -S``, it starts in some 20 ms.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Set the signal, which survives ``execv``, and become the command."""
    number, parent, *command = sys.argv[1:]
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number))
        # The parent may have died before the call, and then nobody sends the signal.
        if os.getppid() != int(parent):
            sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - no shell is meant


if __name__ == "__main__":
    main()
