# SPDX-License-Identifier: Apache-2.0
"""What computes a checkpoint's network, and how the one is found that can.

A runtime is a module with two functions, ``capabilities()`` and ``load(checkpoint, options)``, and a line in
:data:`~swiftvla_ros.runtime_registry.RUNTIMES`. It is imported only when it is used. It gets arrays that are ready for
the network and gives back the network's own rows: images, words, statistics and joint order are nothing that it knows
of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.extras import missing_extra
from swiftvla_ros.observation.observation import NO_GUIDANCE, RowsAhead
from swiftvla_ros.policy.checkpoint import Checkpoint, CheckpointError
from swiftvla_ros.runtime_registry import FIRST_ON_A_GPU, RUNTIMES, readers

_GPU_FILES = (Path("/dev/nvidia0"), Path("/dev/nvhost-gpu"), Path("/dev/nvgpu"))


@dataclass(frozen=True)
class RuntimeOptions:
    """How to compute."""

    runtime: str = "auto"  # "auto" (the best that can run the checkpoint here), or a name of `RUNTIMES`
    device: str = "auto"  # "auto" (the runtime's best device that is there), or a name of the runtime's
    # What weights and activations are: "auto" (what a deployed network was exported and checked at, float32 with
    # torch), "float32", "bfloat16" (half the memory, and several times faster where the processor multiplies it), or
    # "float16" (on a GPU).
    precision: str = "auto"
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
        runtime = f"{self.runtime} on " if self.runtime not in {"", "auto"} else ""
        return f"{runtime}{self.device or 'device unknown'}, {self.precision or 'precision unknown'}{threads}{guidance}"


@dataclass(frozen=True)
class Capabilities:
    """What a runtime can do on this machine."""

    # Devices that it knows, the best one first, and for each why it can't be used here; empty where it can.
    devices: Mapping[str, str]
    precisions: tuple[str, ...]  # what it computes in
    guidance: tuple[str, ...] = ()  # chunk guidance that it knows, besides none
    with_4d: bool = False  # whether it can run the 4D branch
    # Whether it makes kernels of its own from float32 graphs, at a precision that is chosen when they are loaded.
    chooses_precision: bool = False


@dataclass(frozen=True)
class NetworkInput:
    """What a network reads: images [cams, 3, h, w] in [-1, 1], token ids int64 [n], normalised state [S].

    ``geometry`` are pooled 4D features [64, dim], for studies of what the 4D branch adds.
    """

    images: NDArray[np.float32]
    token_ids: NDArray[np.int64]
    state: NDArray[np.float32]
    geometry: NDArray[np.float32] | None = None
    # For each camera what `PolicyRuntime.see` made of its image before; None, or none at all: the image is read.
    seen: tuple[NDArray[np.float32] | None, ...] = ()


class PolicyRuntime(Protocol):
    """A checkpoint's network on one ``device``, in one ``precision``, with so many ``threads`` on a CPU."""

    device: str
    precision: str
    threads: int

    def infer(
        self, inputs: NetworkInput, noise: NDArray[np.float32], ahead: RowsAhead | None = None
    ) -> NDArray[np.float32]:
        """Compute a normalised chunk [H, A] from noise [H, A]; ``ahead`` is what it shall continue."""

    def see(self, image: NDArray[np.float32]) -> NDArray[np.float32] | None:  # noqa: ARG002
        """What the network makes of one camera's image [3, h, w] before all are there; None: it reads them together.

        A chunk has the same bits whether or not its images were seen before.
        """
        return None

    def vision_tokens(self) -> tuple[NDArray[np.float32], ...] | None:
        """The tokens [p, d] that the last chunk's prefix had of each camera's image; None: this runtime can't tell."""
        return None

    def keypoints(self, inputs: NetworkInput) -> NDArray[np.float32]:  # noqa: ARG002
        """Where the Fusion Tokens see the end effector go in the front image: (u, v) [f, 2], goal keypoint first."""
        raise CheckpointError("keypoints: this runtime can't tell them; use runtime torch")


class RuntimeModule(Protocol):
    """What a registered module has."""

    def capabilities(self) -> Capabilities:
        """What it can do on this machine."""

    def load(self, checkpoint: Checkpoint, options: RuntimeOptions) -> PolicyRuntime:
        """Load a checkpoint; the options are checked, and the device is no more "auto"."""


class LoadedRuntime(NamedTuple):
    """A runtime, which one it is, and why the ones before it were not taken."""

    runtime: PolicyRuntime
    name: str
    why: str


def load_runtime(checkpoint: Checkpoint, options: RuntimeOptions | None = None) -> LoadedRuntime:
    """Load a checkpoint's network with the runtime that the options name, or the best that can run it here.

    Raises
    ------
    CheckpointError
        Names the runtime, device, precision or guidance that isn't there or doesn't fit, and the file or tensor that
        is broken.
    """
    options = options or RuntimeOptions()
    if options.runtime != "auto" and options.runtime not in RUNTIMES:
        raise CheckpointError(f"runtime '{options.runtime}' is unknown; write auto or one of {list(RUNTIMES)}")
    if options.runtime != "auto":
        module, checked = _module(checkpoint, options.runtime, options)
        return LoadedRuntime(module.load(checkpoint, checked), options.runtime, "")
    first = FIRST_ON_A_GPU if any(file.exists() for file in _GPU_FILES) else ()
    names = sorted(RUNTIMES, key=lambda name: first.index(name) if name in first else len(first))
    without_graphs, problems = [], []
    for name in names:
        try:
            module, checked = _module(checkpoint, name, options)
        except _NoGraphsError as error:  # noqa: PERF203  (a handful of runtimes)
            without_graphs.append(str(error))
        except CheckpointError as error:
            problems.append(str(error))
        else:
            return LoadedRuntime(module.load(checkpoint, checked), name, "; ".join(problems + without_graphs[:1]))
    raise CheckpointError("; ".join(problems or without_graphs[:1]))


class RuntimeNotInstalledError(CheckpointError):
    """A runtime's library is missing; the message says how to get it."""


class _NoGraphsError(CheckpointError):
    """A runtime that runs graphs was asked to run a checkpoint that has none."""


def _or_export(name: str) -> str:
    kinds = RUNTIMES[name].graphs
    return f", or export the checkpoint as {' or '.join(kinds)}" if kinds else ""


def _module(checkpoint: Checkpoint, name: str, options: RuntimeOptions) -> tuple[RuntimeModule, RuntimeOptions]:
    """A runtime's module and what it shall do; raises CheckpointError, which says why it can't."""
    try:
        module = cast(RuntimeModule, import_module(RUNTIMES[name].module))
    except ModuleNotFoundError as error:
        missing = missing_extra(error) or f"this needs {error.name}, which is not installed"
        raise RuntimeNotInstalledError(f"runtime '{name}': {missing}") from error
    capabilities, deployment, folder = module.capabilities(), checkpoint.deployment, checkpoint.folder
    if not RUNTIMES[name].graphs:
        if not checkpoint.weights.is_file():
            raise CheckpointError(
                f"runtime '{name}': {folder} holds graphs alone; name the checkpoint that they were exported from"
            )
        wanted = replace(options, precision=capabilities.precisions[0]) if options.precision == "auto" else options
        return module, replace(_checked(checkpoint, name, capabilities, wanted), runtime=name)
    if deployment is None:
        raise _NoGraphsError(f"runtime '{name}': {checkpoint.why_no_graphs}")
    if deployment.graphs not in RUNTIMES[name].graphs:
        raise CheckpointError(
            f"runtime '{name}': {folder} has graphs of the kind {deployment.graphs}, which it doesn't read; write "
            f"{' or '.join(f'runtime:={reader}' for reader in readers(deployment.graphs))}{_or_export(name)}"
        )
    own = deployment.precision
    if capabilities.chooses_precision and own == "float32":
        own = capabilities.precisions[0] if options.precision == "auto" else options.precision
    if options.precision not in {"auto", own}:
        raise CheckpointError(
            f"runtime '{name}': {folder} was exported and checked at {own}, not {options.precision}; write "
            "precision:=auto, or export the checkpoint again"
        )
    checked = _checked(checkpoint, name, capabilities, replace(options, precision=own))
    return module, replace(checked, runtime=name)


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
    branch = checkpoint.model.geometry
    if options.with_4d and (branch is None or not branch.shown):
        raise CheckpointError(
            f"{where}: was trained without 4D tokens (config.json: model.geometry is null, or all of it is masked), "
            "so it can't be run with them"
        )
    return replace(options, device=device)
