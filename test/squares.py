# SPDX-License-Identifier: Apache-2.0
"""Items that other processes can make: the squares of numbers, in a file each."""

import json
import os
import signal
import threading
import time
from pathlib import Path

from swiftvla_ros.files import whole_file


def file_of(folder: Path, item: int) -> Path:
    """Say where an item lies."""
    return folder / f"item_{item}.json"


def make_square(folder: Path, item: int) -> int:
    """Write an item's square."""
    with whole_file(file_of(folder, item), durable=True) as partial_path:
        partial_path.write_text(json.dumps(item * item))
    return item * item


def kill_itself_once(folder: Path, item: int) -> int:
    """Be killed, as the kernel does it where memory is short, at the first try of item 2."""
    mark = folder / "killed"
    if item == 2 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return make_square(folder, item)


def square_when_released(folder: Path, item: int) -> int:
    """Say that an item was begun, and make it when somebody has written ``released``."""
    (folder / f"begun_{item}_{os.getpid()}").touch()
    deadline = time.monotonic() + 120
    while not (folder / "released").exists():
        if time.monotonic() > deadline:
            raise RuntimeError("nobody released it")
        time.sleep(0.02)
    return make_square(folder, item)


def say_and_stay(_item: int) -> None:
    """Begin, and never be done."""
    print("stays", flush=True)
    threading.Event().wait()
