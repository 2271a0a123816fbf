# SPDX-License-Identifier: Apache-2.0
"""A process that answers as ``server.py`` does, without LIBERO; the name of the suite says what is wrong."""

import contextlib
import os
import signal
import socket
import sys
import time
from typing import Any

import numpy as np

from swiftvla_ros.policy.lerobot.server import check_array, receive, send
from swiftvla_ros.sim.libero.server import ACTION, CAMERAS, NUMBERS, STATE

SIDE = 32


def arrays_of(request: dict[str, Any], fault: str) -> dict[str, Any]:
    """What is measured, and seen where it is asked for."""
    given: dict[str, Any] = {STATE: np.zeros(8), "hand": np.eye(3), "things": np.zeros((2, 7))}
    if fault == "nan":
        given[STATE][3] = np.nan
    if fault == "short":
        given["things"] = np.zeros((1, 7))
    for camera in CAMERAS if request.get("look") else ():
        given[f"image.{camera}"] = np.zeros((SIDE, SIDE // (2 if fault == "narrow" else 1), 3), np.uint8)
    return given


def main(channel: socket.socket) -> None:
    """Answer each request, but for what the suite's name says."""
    fault = ""
    while True:
        request, arrays = receive(channel)
        if request["do"] == "open":
            fault = request["suite"]
            if fault == "lacks":
                send(channel, {"error": "python lacks libero", "lacks": "libero"})
                continue
            told = {"names": ["milk_1", "basket_1"], "language": "pick the milk", "initial_states": 2}
            told |= {"of_interest": ["milk_1", "basket_1"]}
            send(channel, {} if fault == "no scene" else told, {"boxes.milk_1": np.zeros((1, 8, 3))})
            continue
        if fault == "garbage":
            channel.sendall(b"GET / HTTP/1.1\r\n\r\n")
        elif fault == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        elif fault == "refuses":
            send(channel, {"error": "ValueError: no such state"})
        elif fault == "long":
            channel.sendall(b"SVL1" + b"\xff" * 8)
        elif fault == "hangs":
            time.sleep(60)
        else:
            if request["do"] == "step":
                check_array(ACTION, arrays.get(ACTION), (NUMBERS,), "float64")
            send(channel, {"success": "yes" if fault == "no answer" else False}, arrays_of(request, fault))


if __name__ == "__main__":
    with contextlib.suppress(EOFError):
        main(socket.socket(fileno=int(sys.argv[1])))
