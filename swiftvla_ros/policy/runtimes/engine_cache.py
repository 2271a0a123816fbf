# SPDX-License-Identifier: Apache-2.0
"""The name of a TensorRT engine's file: another one for everything that an engine depends on."""

from __future__ import annotations

import hashlib
import re


def engine_name(stage: str, precision: str, checkpoint: str, graph: str, *machine: str) -> str:
    """Name of the engine of a stage.

    Parameters
    ----------
    stage, precision
        Stand in the name, for people.
    checkpoint, graph
        SHA-256 of the checkpoint, whose weights the graph reads, and of the graph's own file.
    machine
        GPU, compute capability, driver and TensorRT version: an engine of another one must not be loaded.
    """
    digest = hashlib.sha256("\n".join([stage, precision, checkpoint, graph, *machine]).encode()).hexdigest()
    gpu = re.sub(r"[^A-Za-z0-9]+", "-", machine[0]).strip("-").lower() if machine else "gpu"
    return f"{stage}-{precision}-{gpu}-{digest[:16]}.engine"
