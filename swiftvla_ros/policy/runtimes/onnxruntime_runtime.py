# SPDX-License-Identifier: Apache-2.0
"""Runs a deployed network with ONNX Runtime: on a CPU, or on a GPU by its CUDA execution provider."""

from __future__ import annotations

import os
from typing import Any

import onnxruntime as ort

from swiftvla_ros.policy.checkpoint import Checkpoint, CheckpointError
from swiftvla_ros.policy.deployment import PREFIX, STAGES, STEP, VISION
from swiftvla_ros.policy.runtime import Capabilities, PolicyRuntime, RuntimeOptions
from swiftvla_ros.policy.runtimes.graph_runtime import GUIDANCE, GraphRuntime, deployment_of
from swiftvla_ros.policy.runtimes.network_ends import Array, Layout

_PROVIDERS = {"tensorrt": "TensorrtExecutionProvider", "cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}


def capabilities() -> Capabilities:
    """What this build of ONNX Runtime can do on this machine."""
    there = ort.get_available_providers()
    devices = {
        device: ""
        if provider in there
        else f"ONNX Runtime {ort.__version__} was built without {provider}; install onnxruntime-gpu, or say device:=cpu"
        for device, provider in _PROVIDERS.items()
        if device != "tensorrt" or provider in there
    }
    return Capabilities(devices, ("float32", "int8-vision"), GUIDANCE)


def load(checkpoint: Checkpoint, options: RuntimeOptions) -> PolicyRuntime:
    """Open a session for each graph."""
    deployment = deployment_of(checkpoint)
    threads = options.threads or len(os.sched_getaffinity(0))
    try:
        graphs = OnnxRuntimeGraphs(
            {stage: str(checkpoint.folder / deployment.stages[stage].file) for stage in STAGES}, options.device, threads
        )
    except Exception as error:  # the library's errors have no class of their own
        raise CheckpointError(
            f"checkpoint '{checkpoint.folder}': ONNX Runtime {ort.__version__} can't load its graphs "
            f"({' '.join(str(error).split())[:300]}); export the checkpoint again, or use another runtime"
        ) from error
    return GraphRuntime(checkpoint, graphs, options, threads=threads, precision=deployment.precision)


class OnnxRuntimeGraphs:
    """The graphs of ``files`` (stage → path); what one gives to the next stays on the device."""

    def __init__(self, files: dict[str, str], device: str, threads: int) -> None:
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = threads
        # Threads that wait for work by spinning take the core from the robot's other nodes.
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # What a provider can't run, the next one does.
        names = list(_PROVIDERS)
        providers = [_PROVIDERS[name] for name in names[names.index(device) :]]
        self._sessions = {s: ort.InferenceSession(file, settings, providers=providers) for s, file in files.items()}
        self._device = "cpu" if device == "cpu" else "cuda"
        names = [output.name for output in self._sessions[PREFIX].get_outputs()]
        self._carried, self._guides = [n for n in names if n != "guide"], "guide" in names
        self._step_binding = self._sessions[STEP].io_binding()
        self._key_values: list[ort.OrtValue] = []

    def vision(self, image: Array) -> Array:
        """One image [3, s, s] → its tokens [p, d]."""
        tokens: Any = self._sessions[VISION].run(["tokens"], {"image": image[None]})[0]
        return tokens[0]

    def prefix(self, images: Array, text: Array, state: Array, layout: Layout, step_layout: Layout) -> Array | None:
        """Keys and values stay where the graph of the step reads them."""
        binding = self._sessions[PREFIX].io_binding()
        feeds = {"images": images, "text": text, "state": state, **layout._asdict()}
        for name, array in feeds.items():
            binding.bind_cpu_input(name, array)
        for name in self._carried:
            binding.bind_output(name, self._device)
        if self._guides:
            binding.bind_output("guide", "cpu")
        self._sessions[PREFIX].run_with_iobinding(binding)
        found = binding.get_outputs()
        self._key_values = found[: len(self._carried)]
        self._step_binding = self._sessions[STEP].io_binding()
        for name, value in zip(self._carried, self._key_values, strict=True):
            self._step_binding.bind_ortvalue_input(name, value)
        for name, table in step_layout._asdict().items():
            self._step_binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(table, self._device, 0))
        self._step_binding.bind_output("latent", "cpu")
        return found[-1].numpy() if self._guides else None

    def step(self, actions: Array) -> Array:
        """Embedded action tokens [1, h, w] → their latent [1, h, w]."""
        self._step_binding.bind_cpu_input("actions", actions)
        self._sessions[STEP].run_with_iobinding(self._step_binding)
        return self._step_binding.get_outputs()[0].numpy()

    def carried(self) -> list[Array]:
        """Every layer's key, then every layer's value."""
        return [value.numpy() for value in self._key_values]
