# SPDX-License-Identifier: Apache-2.0
"""A process that answers as ``server.py`` does, without lerobot; ``config.json``'s key ``stub`` says what is wrong."""

import contextlib
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from swiftvla_ros.policy.lerobot.server import ACTION, STATE, Arrays, check_array, receive, send

ROWS = 4


def ready(columns: int, device: str) -> dict[str, Any]:
    """What a policy says of itself."""
    told = {"lerobot": "0.0", "type": "act", "device": "cpu", "precision": "float32", "threads": 1}
    return told | {"rows": ROWS, "columns": columns, "differs_by": 0.0, "draws": device != "calm"}


def main(channel: socket.socket) -> None:
    """Answer each request, but for what ``stub`` names."""
    request, _ = receive(channel)
    config = json.loads((Path(request["folder"]) / "config.json").read_text())
    stub, inputs = config.get("stub", ""), {name: tuple(shape) for name, shape in request["inputs"].items()}
    columns = config["output_features"][ACTION]["shape"][0]
    if stub == "lacks":
        send(channel, {"error": "python lacks lerobot", "lacks": "lerobot"})
        return
    if stub == "ends":
        sys.exit(3)
    send(channel, ready(columns, request["device"]) | ({"rows": 10**9} if stub == "long" else {}))
    while True:
        request, arrays = receive(channel)
        if stub == "garbage":
            channel.sendall(b"GET / HTTP/1.1\r\n\r\n")
            continue
        if stub == "hangs":
            time.sleep(60)
        if stub == "dies once" and not (mark := Path(request["instruction"])).exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            send(channel, {}, {ACTION: chunk(arrays, inputs, request["seed"], stub)})
        except ValueError as error:
            send(channel, {"error": str(error)})


def chunk(arrays: Arrays, inputs: dict[str, tuple[int, ...]], seed: int, stub: str) -> Any:
    """The state, row by row, with noise in the last column."""
    for name, shape in inputs.items():
        check_array(name, arrays.get(name), shape, "float32" if name == STATE else "uint8")
    rows = np.tile(arrays[STATE], (ROWS, 1))
    rows[:, -1] = np.random.default_rng(seed).standard_normal(ROWS)
    if stub == "not finite":
        rows[1, 2] = np.nan
    return rows[:, :2] if stub == "narrow" else rows.astype(np.float64) if stub == "doubles" else rows


if __name__ == "__main__":
    with contextlib.suppress(EOFError):
        main(socket.socket(fileno=int(sys.argv[1])))
