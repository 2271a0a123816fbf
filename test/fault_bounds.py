# SPDX-License-Identifier: Apache-2.0
"""How soon a running system must be safe after a fault, and scripts that run beside it; for ``test/faults``."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from swiftvla_ros.contract import load_contract
from swiftvla_ros.msg import ExecutorState

CONTRACT = load_contract("so101_sim")
_SCRIPTS = Path(__file__).parent / "faults"
HOLD = ExecutorState.HOLD

# What a message's way through the graph may add to a time that the contract gives.
TRANSPORT_S = 0.15
# The last chunk's last row is 0.9 s after its observation; rest follows within 0.5 s of it.
ROWS_END_S = 0.9 + 0.5 + TRANSPORT_S
# Joint states older than this slow the arm down, which takes 0.5 s.
STATE_END_S = CONTRACT.policy.max_state_age_s + 0.5 + TRANSPORT_S
# A controller that has not told its joint order after 1.5 s is taken for one that tells nothing; rest takes 0.5 s.
ORDER_END_S = 1.5 + 0.5 + TRANSPORT_S
NO_CHUNKS = (ExecutorState.REASON_ROWS_EXHAUSTED, ExecutorState.REASON_CHUNK_LATE)


@contextmanager
def beside(*arguments: object) -> Iterator[Callable[[], str]]:
    """Run a script of test/faults; gives a function that returns what it printed so far."""
    lines: list[str] = []
    command = [sys.executable, "-u", str(_SCRIPTS / str(arguments[0])), *map(str, arguments[1:])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        reader = threading.Thread(target=lines.extend, args=(process.stdout,), daemon=True)
        reader.start()
        try:
            yield lambda: "".join(lines)
        finally:
            process.terminate()
            process.wait(10)
            reader.join(10)
