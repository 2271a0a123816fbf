# SPDX-License-Identifier: Apache-2.0
"""The first real observation, computed by another runtime, too: whether this machine computes what the gate saw.

An export is judged where it was made. A robot has another processor, driver and library; what it computes wrongly there
no parity on a desk shows.
"""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.observation.observation import Observation
from swiftvla_ros.policy.checkpoint import CheckpointError
from swiftvla_ros.policy.checkpoint_policy import load_checkpoint
from swiftvla_ros.policy.runtime import RuntimeOptions

_log = logging.getLogger(__name__)
# Light ones that run graphs; torch would bring its own weights and half a gigabyte of libraries.
_OTHERS = ("onnxruntime", "openvino")
# More than this between two runtimes is no rounding, whatever precision the gate lets through.
LARGEST_DIFFERENCE_MRAD = 10.0
# Memory that must be free for each byte of weights: what loading takes at its peak, twice.
_FREE_PER_BYTE = 4


@dataclass(frozen=True)
class Agreement:
    """What was found; ``difference_mrad`` is None where no second runtime could be asked."""

    text: str
    difference_mrad: float | None = None

    @property
    def alike(self) -> bool:
        """Whether nothing speaks against the chunks."""
        return self.difference_mrad is None or self.difference_mrad <= LARGEST_DIFFERENCE_MRAD


class SecondOpinion:
    """Asks another runtime once, in a thread that gives way to all others.

    ``ask`` and ``end`` are called one after the other, by whichever threads; ``agreement`` is read by any.
    """

    def __init__(self, folder: Path | str, contract: Contract, first: str) -> None:
        self._folder, self._contract, self._first = Path(folder), contract, first
        self._thread: threading.Thread | None = None
        self._ending = False
        self.agreement: Agreement | None = None

    def ask(self, observation: Observation, noise: NDArray[np.float32] | None, chunk: NDArray[np.float64]) -> None:
        """Compute ``observation`` again, the first time that this is called, and compare with ``chunk`` [H, J]."""
        if self._thread is None:
            arguments = (observation, noise, chunk)
            self._thread = threading.Thread(target=self._compute, args=arguments, name="second opinion")
            self._thread.start()

    def end(self) -> None:
        """Wait for what is under way: a process must not end while a runtime's threads are being made."""
        self._ending = True
        if self._thread is not None:
            self._thread.join()

    def _compute(self, observation: Observation, noise: NDArray[np.float32] | None, chunk: NDArray[np.float64]) -> None:
        # Of this thread alone, on Linux: the robot's nodes go first.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        try:
            self.agreement = self._compare(observation, noise, chunk)
        except Exception as error:  # noqa: BLE001  (it must never end the node that it watches over)
            self.agreement = Agreement(f"no second runtime could be asked: {error}")
        _log.info("second opinion: %s", self.agreement.text)

    def _compare(
        self, observation: Observation, noise: NDArray[np.float32] | None, chunk: NDArray[np.float64]
    ) -> Agreement:
        files = [path for path in self._folder.iterdir() if path.suffix in {".safetensors", ".bin"}]
        needed, free = _FREE_PER_BYTE * sum(path.stat().st_size for path in files), _free_bytes()
        if free < needed:
            return Agreement(
                f"not asked for: {free >> 20} MB of memory are free, it would take up to {needed >> 20} MB"
            )
        problems = []
        for name in _OTHERS:
            if name == self._first:
                continue
            try:
                if self._ending:
                    return Agreement("not asked for: the policy ended")
                policy = load_checkpoint(self._folder, self._contract, RuntimeOptions(name, "cpu", threads=1))
            except CheckpointError as error:
                problems.append(str(error))
                continue
            difference = 1e3 * float(np.abs(policy.infer(observation, noise=noise) - chunk).max())
            return Agreement(
                f"{name} differs from {self._first} by {difference:.4f} mrad in the first chunk", difference
            )
        return Agreement("no second runtime can run it: " + "; ".join(problems))


def _free_bytes() -> int:
    """Memory that can be had without swapping (Linux's MemAvailable)."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
