# SPDX-License-Identifier: Apache-2.0
"""All that can compute a checkpoint's network, a line each; what a runtime is, ``policy/runtime.py`` says.

Beside the rooms and without imports: the policy loads what stands here, and the launch arguments, which must not import
a policy, offer it.
"""

from __future__ import annotations

from typing import NamedTuple


class RegisteredRuntime(NamedTuple):
    """Where a runtime is, which devices it can know, and the kinds of exported graphs that it reads, if it does."""

    module: str
    devices: tuple[str, ...]
    graphs: tuple[str, ...] = ()  # none: it reads the weights themselves


_ROOM = "swiftvla_ros.policy.runtimes"
# In the order in which "auto" tries them: torch is not even imported where another one will do. A name is that of the
# library, by which `extras` tells what brings it.
RUNTIMES = {
    "openvino": RegisteredRuntime(f"{_ROOM}.openvino_runtime", ("cpu",), ("onnx", "openvino")),
    "onnxruntime": RegisteredRuntime(f"{_ROOM}.onnxruntime_runtime", ("cpu", "cuda", "tensorrt"), ("onnx",)),
    "torch": RegisteredRuntime(f"{_ROOM}.torch_runtime", ("cpu", "cuda")),
    "tensorrt": RegisteredRuntime(f"{_ROOM}.tensorrt_runtime", ("cuda",), ("onnx",)),
}
# Tried first where there is an NVIDIA GPU: on a PC, and on a Jetson.
FIRST_ON_A_GPU = ("tensorrt", "torch")


def devices() -> list[str]:
    """Every device that some runtime can know."""
    return list(dict.fromkeys(device for runtime in RUNTIMES.values() for device in runtime.devices))


def readers(graphs: str) -> list[str]:
    """The runtimes that read graphs of this kind, the best one first."""
    return [name for name, runtime in RUNTIMES.items() if graphs in runtime.graphs]
