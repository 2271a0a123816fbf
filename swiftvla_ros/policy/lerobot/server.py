# SPDX-License-Identifier: Apache-2.0
"""Computes a LeRobot policy's chunks for the process that started it; its messages are both sides'.

The file runs by itself in another interpreter, ``python server.py FD``, which has lerobot and not this package: so it
imports nothing of the package. ``FD`` is one end of a pair of Unix sockets. When the other end is closed it ends.

A message is JSON and, behind it, arrays as safetensors; nothing in it is ever executed. Every request gets one answer:
what was asked for, or ``{"error": sentence}``. A chunk depends on its observation and its seed alone: before each one
the policy forgets what it saw, and all random numbers are seeded.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import socket
import struct
import sys
import threading
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

Arrays = dict[str, np.ndarray[Any, Any]]

# As in contract/sections/lerobot.py, which is not there where this file runs.
STATE, ACTION = "observation.state", "action"
# The longest that a message's parts may be, bytes; and the most rows and columns of a chunk.
MOST_JSON, MOST_ARRAYS, MOST_ROWS, MOST_COLUMNS = 1 << 16, 1 << 28, 1000, 64
_HEAD = struct.Struct(">4sII")
_MAGIC = b"SVL1"
_PARENT_S = 1.0


class MessageError(ValueError):
    """What came is no message, or not the one that was awaited."""


def send(channel: socket.socket, told: Mapping[str, Any], arrays: Arrays | None = None) -> None:
    """Send one message; ``told`` is what JSON can say."""
    text, data = json.dumps(told).encode(), save(arrays) if arrays else b""
    if len(text) > MOST_JSON or len(data) > MOST_ARRAYS:
        raise MessageError(f"a message of {len(text)} and {len(data)} bytes is longer than {MOST_JSON}, {MOST_ARRAYS}")
    channel.sendall(_HEAD.pack(_MAGIC, len(text), len(data)) + text + data)


def receive(channel: socket.socket, timeout_s: float | None = None) -> tuple[dict[str, Any], Arrays]:
    """Take one message, which is whole after ``timeout_s``.

    Raises
    ------
    EOFError
        The other end was closed.
    TimeoutError
        It did not come, or not whole.
    MessageError
        It is none, or longer than any may be.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    magic, of_text, of_arrays = _HEAD.unpack(_exactly(channel, _HEAD.size, deadline))
    if magic != _MAGIC or of_text > MOST_JSON or of_arrays > MOST_ARRAYS:
        raise MessageError(f"no message of this protocol: it begins with {magic!r} and lengths {of_text}, {of_arrays}")
    try:
        told = json.loads(_exactly(channel, of_text, deadline))
        data = _exactly(channel, of_arrays, deadline)
        arrays = load(data) if data else {}
    except (ValueError, KeyError, SafetensorError) as error:
        raise MessageError(f"a message can't be read: {error}") from error
    if not isinstance(told, dict):
        raise MessageError(f"a message is {type(told).__name__}, not an object")
    return told, arrays


def check_array(name: str, array: Any, shape: tuple[int, ...], dtype: str) -> None:
    """Raise MessageError for an array that is not there, of another shape or type, or not finite."""
    if array is None or array.shape != shape or str(array.dtype) != dtype:
        got = "nothing" if array is None else f"{array.dtype} {list(array.shape)}"
        raise MessageError(f"{name}: expected {dtype} {list(shape)}, got {got}")
    if not np.isfinite(array).all():
        raise MessageError(f"{name}: has numbers that are not finite")


def _exactly(channel: socket.socket, count: int, deadline: float | None) -> bytes:
    data = bytearray()
    while len(data) < count:
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            channel.settimeout(left)
        part = channel.recv(min(count - len(data), 1 << 20))
        if not part:
            raise EOFError
        data += part
    return bytes(data)


class _Served:
    """A loaded policy with what LeRobot does before and behind it."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        # In this order: the configurations of all policies are known once the factory and the plugins are imported.
        self._torch = torch = importlib.import_module("torch")
        factory = importlib.import_module("lerobot.policies.factory")
        importlib.import_module("lerobot.utils.import_utils").register_third_party_plugins()
        configured = importlib.import_module("lerobot.configs.policies").PreTrainedConfig
        if request["threads"]:
            torch.set_num_threads(int(request["threads"]))
        folder = str(request["folder"])
        self._config = configured.from_pretrained(folder)
        device = str(request["device"])
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = self._config.device = device
        self._policy = factory.get_policy_class(self._config.type).from_pretrained(folder, config=self._config)
        # Saved with the device of the training; behind the policy all is brought to the CPU anyway.
        steps = json.loads(Path(folder, "policy_preprocessor.json").read_text(encoding="utf-8"))["steps"]
        moves = any(step.get("registry_name") == "device_processor" for step in steps)
        self._before, self._behind = factory.make_pre_post_processors(
            self._config,
            pretrained_path=folder,
            preprocessor_overrides={"device_processor": {"device": device}} if moves else {},
        )
        # What an observation has: name → shape, image sizes as (height, width).
        self.inputs = {str(name): tuple(int(n) for n in shape) for name, shape in request["inputs"].items()}

    def ready(self) -> dict[str, Any]:
        """What was loaded; chunks of nothing tell their size, and what of them a seed decides."""
        nothing = {
            name: np.zeros(shape, np.float32 if name == STATE else np.uint8) for name, shape in self.inputs.items()
        }
        one, again, other = (self.chunk(nothing, "", seed) for seed in (0, 0, 1))
        torch = self._torch
        return {
            "lerobot": version("lerobot"),
            "type": str(self._config.type),
            "device": self.device,
            "precision": str(next(self._policy.parameters()).dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "rows": one.shape[0],
            "columns": one.shape[1],
            "differs_by": float(np.abs(one - again).max()),
            "draws": bool((one != other).any()),
        }

    def chunk(self, arrays: Arrays, instruction: str, seed: int) -> np.ndarray[Any, Any]:
        """Compute a chunk [H, A] in the dataset's units."""
        torch = self._torch
        batch: dict[str, Any] = {"task": instruction, "robot_type": ""}
        for name, shape in self.inputs.items():
            array = arrays.get(name)
            check_array(name, array, shape, "float32" if name == STATE else "uint8")
            tensor = torch.from_numpy(np.array(array)).float()
            if name != STATE:
                tensor = (tensor / 255).permute(2, 0, 1).contiguous()
            batch[name] = tensor[None].to(self.device)
        if extra := sorted(set(arrays) - set(self.inputs)):
            raise MessageError(f"{extra}: the policy doesn't read them")
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002  (a policy may draw from this one)
        torch.manual_seed(seed)
        self._policy.reset()
        with torch.inference_mode():
            ready = self._before(batch)
            rows = [self._behind(row) for row in self._rows(ready)]
        chunk = torch.cat([row.reshape(1, -1) for row in rows]).float().cpu().numpy()
        if len(chunk) > MOST_ROWS or chunk.shape[1] > MOST_COLUMNS:
            raise MessageError(f"the policy gave {list(chunk.shape)}, more than {MOST_ROWS} rows or {MOST_COLUMNS}")
        return np.ascontiguousarray(chunk)

    def _rows(self, batch: dict[str, Any]) -> Any:
        """The chunk's rows [1, A]: all that the policy predicts, where it needs one observation alone."""
        if self._config.n_obs_steps == 1:
            chunk = self._policy.predict_action_chunk(batch)
            return (chunk if chunk.ndim == 3 else chunk[None]).unbind(1)
        # With a history it fills that with the first observation, as at the beginning of an episode, and keeps its
        # rows for the calls that follow.
        return [self._policy.select_action(dict(batch)) for _ in range(self._config.n_action_steps)]


def serve(channel: socket.socket) -> None:
    """Answer until the other end is closed."""
    served: _Served | None = None
    while True:
        try:
            request, arrays = receive(channel)
        except EOFError:
            return
        # Whatever a policy raises is told to who asked; the process goes on.
        try:
            if request.get("do") == "load":
                served = _Served(request)
                send(channel, served.ready())
            elif request.get("do") == "infer" and served is not None:
                chunk = served.chunk(arrays, str(request["instruction"]), int(request["seed"]))
                send(channel, {}, {ACTION: chunk})
            else:
                raise MessageError(f"'{request.get('do')}' can't be done here and now")
        except ModuleNotFoundError as error:
            send(channel, {"error": f"{sys.executable} lacks {error.name}", "lacks": error.name})
        except Exception as error:  # noqa: BLE001
            send(channel, {"error": f"{type(error).__name__}: {error}"[: MOST_JSON // 8]})


def end_with(parent: int) -> None:
    """End when the parent has, even amid a computation."""
    while os.getppid() == parent:
        time.sleep(_PARENT_S)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    serve(socket.socket(fileno=int(sys.argv[1])))
