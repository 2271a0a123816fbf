# SPDX-License-Identifier: Apache-2.0
"""What computes a checkpoint's network, and the list of all that can.

A runtime is a module with two functions, ``capabilities()`` and ``load(checkpoint, options)``, and a line in
:data:`RUNTIMES`. It is imported only when it is used. It gets arrays that are ready for the network and gives back the
network's own rows: images, words, statistics and joint order are nothing that it knows of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.extras import missing_extra
from swiftvla_ros.observation.observation import NO_GUIDANCE, RowsAhead
from swiftvla_ros.policy.checkpoint import Checkpoint, CheckpointError

# Name → module. "auto" takes the first whose libraries are installed.
RUNTIMES = {"torch": "swiftvla_ros.policy.runtimes.torch_runtime"}


@dataclass(frozen=True)
class RuntimeOptions:
    """How to compute."""

    device: str = "auto"  # "auto" (the runtime's best device that is there), or a name of the runtime's
    # What weights and activations are: "float32", or "bfloat16" (half the memory, and several times faster where the
    # processor multiplies bfloat16).
    precision: str = "float32"
    threads: int | None = None  # CPU threads; None leaves the runtime's default
    # How chunks are made to continue what will have been executed when they arrive (docs/guidance.md): "none", "vjp",
    # "identity" or "trained".
    guidance: str = NO_GUIDANCE
    # For studies: also load the 4D branch, from the auxiliary file beside the weights, so that an observation's
    # geometry is read. A deployed policy runs without it.
    with_4d: bool = False

    def __str__(self) -> str:
        threads = f", {self.threads} threads" if self.threads and self.device != "cuda" else ""
        guidance = "" if self.guidance == NO_GUIDANCE else f", guidance {self.guidance}"
        return f"{self.device or 'device unknown'}, {self.precision or 'precision unknown'}{threads}{guidance}"


@dataclass(frozen=True)
class Capabilities:
    """What a runtime can do on this machine."""

    # Devices that it knows, the best one first, and for each why it can't be used here; empty where it can.
    devices: Mapping[str, str]
    precisions: tuple[str, ...]  # what it computes in
    guidance: tuple[str, ...] = ()  # chunk guidance that it knows, besides none
    with_4d: bool = False  # whether it can run the 4D branch


@dataclass(frozen=True)
class NetworkInput:
    """What a network reads: images [cams, 3, h, w] in [-1, 1], token ids int64 [n], normalised state [S].

    ``geometry`` are pooled 4D features [64, dim], for studies of what the 4D branch adds.
    """

    images: NDArray[np.float32]
    token_ids: NDArray[np.int64]
    state: NDArray[np.float32]
    geometry: NDArray[np.float32] | None = None


class PolicyRuntime(Protocol):
    """A checkpoint's network on one ``device``, with so many ``threads`` on a CPU."""

    device: str
    threads: int

    def infer(
        self, inputs: NetworkInput, noise: NDArray[np.float32], ahead: RowsAhead | None = None
    ) -> NDArray[np.float32]:
        """Compute a normalised chunk [H, A] from noise [H, A]; ``ahead`` is what it shall continue."""

    def keypoints(self, inputs: NetworkInput) -> NDArray[np.float32]:  # noqa: ARG002
        """Where the Fusion Tokens see the end effector go in the front image: (u, v) [f, 2], goal keypoint first."""
        raise CheckpointError("keypoints: this runtime can't tell them; use runtime torch")


class RuntimeModule(Protocol):
    """What a module of :data:`RUNTIMES` has."""

    def capabilities(self) -> Capabilities:
        """What it can do on this machine."""

    def load(self, checkpoint: Checkpoint, options: RuntimeOptions) -> PolicyRuntime:
        """Load a checkpoint; the options are checked, and the device is no more "auto"."""


def load_runtime(checkpoint: Checkpoint, name: str = "auto", options: RuntimeOptions | None = None) -> PolicyRuntime:
    """Load a checkpoint's network with the runtime called ``name``, or the first that is installed.

    Raises
    ------
    CheckpointError
        Names the runtime, device, precision or guidance that isn't there or doesn't fit, and the file or tensor that
        is broken.
    """
    name, module = _import(name)
    return module.load(checkpoint, _checked(checkpoint, name, module.capabilities(), options or RuntimeOptions()))


def _import(name: str) -> tuple[str, RuntimeModule]:
    if name != "auto" and name not in RUNTIMES:
        raise CheckpointError(f"runtime '{name}' is unknown; write auto or one of {list(RUNTIMES)}")
    problems = []
    for known in RUNTIMES if name == "auto" else (name,):
        try:
            return known, cast(RuntimeModule, import_module(RUNTIMES[known]))
        except ModuleNotFoundError as error:  # noqa: PERF203  (a handful of runtimes)
            missing = missing_extra(error) or f"this needs {error.name}, which is not installed"
            problems.append(f"runtime '{known}': {missing}")
    raise CheckpointError("; ".join(problems))


def _checked(checkpoint: Checkpoint, name: str, capabilities: Capabilities, options: RuntimeOptions) -> RuntimeOptions:
    devices, device = capabilities.devices, options.device
    if device == "auto":
        device = next((known for known, why_not in devices.items() if not why_not), device)
    if device not in devices:
        known_devices = ["auto", *devices]
        raise CheckpointError(f"device '{device}' is unknown to runtime '{name}'; write one of {known_devices}")
    if devices[device]:
        raise CheckpointError(f"device '{device}' was asked for, but {devices[device]}")
    if options.precision not in capabilities.precisions:
        raise CheckpointError(
            f"precision '{options.precision}' is unknown to runtime '{name}'; "
            f"write {' or '.join(capabilities.precisions)}"
        )
    guidance = (NO_GUIDANCE, *capabilities.guidance)
    if options.guidance not in guidance:
        raise CheckpointError(
            f"guidance '{options.guidance}' is unknown to runtime '{name}'; write one of {list(guidance)}"
        )
    where = f"checkpoint '{checkpoint.folder}'"
    if options.guidance == "trained" and not checkpoint.model.max_delay_steps:
        raise CheckpointError(
            f"{where}: was not trained to continue executed rows (config.json: model.max_delay_steps is 0), so "
            "guidance 'trained' can't be used; write vjp or identity, or train it on with "
            "`swiftvla train --max-delay-steps`"
        )
    if options.with_4d and not capabilities.with_4d:
        raise CheckpointError(f"runtime '{name}' can't run the 4D branch; use runtime torch")
    if options.with_4d and checkpoint.model.geometry is None:
        raise CheckpointError(
            f"{where}: was trained without a 4D branch (config.json: model.geometry is null), so it can't be run with "
            "one"
        )
    return replace(options, device=device)
