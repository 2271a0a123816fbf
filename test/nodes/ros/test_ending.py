# SPDX-License-Identifier: Apache-2.0
"""A node's process ends when it is told to, whatever its libraries' threads do."""

import subprocess
import sys

_NODE = """
import os, signal, threading
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode, script_of

class LoadingNode(ManagedNode[None]):
    def __init__(self):
        super().__init__("loading")
        threading.Thread(target=threading.Event().wait, name="of a library").start()
        os.kill(os.getpid(), signal.SIGTERM)

script_of(LoadingNode)()
"""


def test_a_thread_that_does_not_end_keeps_no_process() -> None:
    """Protects Ctrl-C and the supervisor: a library's thread that hangs is shown, and the process is gone."""
    command = [sys.executable, "-c", _NODE]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode != 0, "it did not end by itself"
    assert "_shutdown" in ended.stderr, "the operator sees where it hung"
