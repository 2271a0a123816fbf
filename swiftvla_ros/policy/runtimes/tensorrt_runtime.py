# SPDX-License-Identifier: Apache-2.0
"""Runs a deployed network with TensorRT, as on a Jetson: JetPack's TensorRT and cuda-python.

Not run by this project's tests, which have no TensorRT: only the naming of engines is. Engines are built when they are
first needed, which takes minutes, and kept beside nothing that others can write: in the user's cache, under a name made
of all that an engine depends on.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorrt as trt
from cuda.bindings import runtime as cudart

from swiftvla_ros.contract.hashing import file_blocks, sha256
from swiftvla_ros.files import whole_file
from swiftvla_ros.model.config import SwiftVLAConfig
from swiftvla_ros.policy.checkpoint import Checkpoint, CheckpointError
from swiftvla_ros.policy.deployment import PREFIX, STAGES, STEP, VISION
from swiftvla_ros.policy.runtime import Capabilities, PolicyRuntime, RuntimeOptions
from swiftvla_ros.policy.runtimes.engine_cache import engine_name
from swiftvla_ros.policy.runtimes.graph_runtime import GUIDANCE, GraphRuntime, deployment_of
from swiftvla_ros.policy.runtimes.network_ends import Array, Layout

_log = logging.getLogger(__name__)
# Most memory that the builder may try kernels with.
_WORKSPACE_BYTES = 1 << 30


def capabilities() -> Capabilities:
    """What TensorRT can do on this machine."""
    error, count = cudart.cudaGetDeviceCount()
    there = error == cudart.cudaError_t.cudaSuccess and count > 0
    no_gpu = f"TensorRT {trt.__version__} sees no GPU; on a Jetson start the container with --runtime nvidia"
    devices = {"cuda": "" if there else no_gpu}
    return Capabilities(devices, ("float16", "float32"), GUIDANCE, chooses_precision=True)


def load(checkpoint: Checkpoint, options: RuntimeOptions) -> PolicyRuntime:
    """Load the engines of a deployment's graphs, or build them."""
    deployment = deployment_of(checkpoint)
    files = {stage: checkpoint.folder / deployment.stages[stage].file for stage in STAGES}
    graphs = TensorRtGraphs(files, checkpoint.model, checkpoint.sha256, options.precision)
    return GraphRuntime(checkpoint, graphs, options, threads=0, precision=options.precision)


class TensorRtGraphs:
    """The graphs of ``files`` (stage → path) as engines; keys and values stay on the GPU."""

    def __init__(self, files: dict[str, Path], config: SwiftVLAConfig, checkpoint: str, precision: str) -> None:
        self._stream = _checked(cudart.cudaStreamCreate())
        runtime = trt.Runtime(_Logger())
        self._stages: dict[str, _Stage] = {}
        for stage, file in files.items():
            path = _engine_path(stage, file, checkpoint, precision)
            if not path.is_file():
                _log.warning("building the TensorRT engine of %s; the first start takes minutes", stage)
                engine = _build(stage, file, config, precision)
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                with whole_file(path) as partial:
                    partial.write_bytes(engine)
            self._stages[stage] = _Stage(runtime, path, self._stream)
        outputs = self._stages[PREFIX].outputs
        layers = range(sum(name.startswith("key_") for name in outputs))
        self._carried = [f"{kind}_{layer}" for kind in ("key", "value") for layer in layers]
        self._guides = "guide" in outputs

    def vision(self, image: Array) -> Array:
        """One image [3, s, s] → its tokens [p, d]."""
        stage = self._stages[VISION]
        stage.run({"image": image[None]})
        return stage.fetch("tokens")[0]

    def prefix(self, images: Array, text: Array, state: Array, layout: Layout, step_layout: Layout) -> Array | None:
        """Keys and values stay where the engine of the step reads them."""
        stage, step = self._stages[PREFIX], self._stages[STEP]
        stage.run({"images": images, "text": text, "state": state, **layout._asdict()})
        for name in self._carried:
            step.share(name, stage)
        for name, table in step_layout._asdict().items():
            step.upload(name, table)
        return stage.fetch("guide") if self._guides else None

    def step(self, actions: Array) -> Array:
        """Embedded action tokens [1, h, w] → their latent [1, h, w]."""
        stage = self._stages[STEP]
        stage.run({"actions": actions})
        return stage.fetch("latent")

    def carried(self) -> list[Array]:
        """Every layer's key, then every layer's value."""
        return [self._stages[PREFIX].fetch(name) for name in self._carried]


class _Stage:
    """One engine with its buffers, which grow to the largest shape that was seen."""

    def __init__(self, runtime: Any, path: Path, stream: Any) -> None:
        self._engine = runtime.deserialize_cuda_engine(path.read_bytes())
        if self._engine is None:
            raise CheckpointError(f"{path}: TensorRT {trt.__version__} can't read it; delete it to build it again")
        self._context, self._stream = self._engine.create_execution_context(), stream
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        self.outputs = [name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT]
        self._buffers: dict[str, tuple[int, int]] = {}

    def upload(self, name: str, array: Array) -> None:
        """Copy an input [...] to the GPU."""
        array = np.ascontiguousarray(array, dtype=np.float32)
        self._context.set_input_shape(name, array.shape)
        address = self._buffer(name, array.nbytes)
        kind = cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        _checked(cudart.cudaMemcpyAsync(address, array.ctypes.data, array.nbytes, kind, self._stream))
        # The array may be gone before a copy that was only queued.
        _checked(cudart.cudaStreamSynchronize(self._stream))

    def share(self, name: str, other: _Stage) -> None:
        """Read an input where another engine wrote it."""
        self._context.set_input_shape(name, tuple(other.shape(name)))
        self._context.set_tensor_address(name, other.address(name))

    def run(self, inputs: Mapping[str, Array]) -> None:
        """Compute from these inputs, and those that were given before."""
        for name, array in inputs.items():
            self.upload(name, array)
        for name in self.outputs:
            self._buffer(name, 4 * int(np.prod(self.shape(name))))
        if not self._context.execute_async_v3(self._stream):
            raise RuntimeError("TensorRT could not run its engine; its reason stands in the log above")

    def fetch(self, name: str) -> Array:
        """Copy an output to the host."""
        array = np.empty(tuple(self.shape(name)), np.float32)
        kind = cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
        _checked(cudart.cudaMemcpyAsync(array.ctypes.data, self.address(name), array.nbytes, kind, self._stream))
        _checked(cudart.cudaStreamSynchronize(self._stream))
        return array

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor with the present inputs."""
        return tuple(self._context.get_tensor_shape(name))

    def address(self, name: str) -> int:
        """Where a tensor lies on the GPU."""
        return self._buffers[name][0]

    def _buffer(self, name: str, size: int) -> int:
        address, capacity = self._buffers.get(name, (0, 0))
        if size > capacity:
            if address:
                _checked(cudart.cudaFree(address))
            address = int(_checked(cudart.cudaMalloc(size)))
            self._buffers[name] = address, size
        self._context.set_tensor_address(name, address)
        return address


class _Logger(trt.ILogger):
    def __init__(self) -> None:
        super().__init__()

    def log(self, severity: Any, message: str) -> None:
        if severity <= trt.ILogger.Severity.WARNING:
            _log.warning("TensorRT: %s", message)


class _Progress(trt.IProgressMonitor):
    """Tells what a build is at; whoever waits for minutes wants to know."""

    def __init__(self, stage: str) -> None:
        super().__init__()
        self._stage, self._steps, self._told = stage, {"": 1}, -1

    def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
        if parent is None:
            self._steps[phase] = max(1, steps)

    def step_complete(self, phase: str, step: int) -> bool:
        if phase in self._steps and (tenth := 10 * step // self._steps[phase]) != self._told:
            self._told = tenth
            _log.warning("TensorRT engine of %s: %s %d %%", self._stage, phase, 10 * tenth)
        return True

    def phase_finish(self, phase: str) -> None:
        self._steps.pop(phase, None)


def _build(stage: str, file: Path, config: SwiftVLAConfig, precision: str) -> bytes:
    logger = _Logger()
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(file)):
        errors = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
        raise CheckpointError(f"{file}: TensorRT {trt.__version__} can't read it ({errors[:300]})")
    settings = builder.create_builder_config()
    settings.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, _WORKSPACE_BYTES)
    settings.progress_monitor = _Progress(stage)
    # Else float32 is computed with ten bits of mantissa.
    settings.clear_flag(trt.BuilderFlag.TF32)
    if precision == "float16":
        settings.set_flag(trt.BuilderFlag.FP16)
    profile = builder.create_optimization_profile()
    longest = config.text.max_tokens
    usual = min(12, longest)
    around = config.prefix_tokens(0)
    for i in range(network.num_inputs):
        tensor = network.get_input(i)
        shapes = [_shape(tensor, words, around, config.horizon) for words in (1, usual, longest)]
        profile.set_shape(tensor.name, *shapes)
    settings.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, settings)
    if engine is None:
        raise CheckpointError(f"{file}: TensorRT {trt.__version__} could not build its engine; the log says why")
    return bytes(engine)


def _shape(tensor: Any, words: int, around: int, horizon: int) -> tuple[int, ...]:
    """An input's shape with so many words of text; dynamic sides are the text, the prefix, or prefix and chunk."""
    sides = list(tensor.shape)
    for axis, side in enumerate(sides):
        if side == -1:
            prefix = words if tensor.name == "text" else words + around
            sides[axis] = prefix + (horizon if tensor.name == "mask" and sides[1] == horizon else 0)
    return tuple(sides)


def _engine_path(stage: str, file: Path, checkpoint: str, precision: str) -> Path:
    properties = _checked(cudart.cudaGetDeviceProperties(0))
    name = engine_name(
        stage, precision, checkpoint, sha256(file_blocks(file)), properties.name.decode(),
        f"{properties.major}.{properties.minor}", str(_checked(cudart.cudaDriverGetVersion())), trt.__version__,
    )  # fmt: skip
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "swiftvla_ros" / "tensorrt" / name


def _checked(result: Any) -> Any:
    """The value of a CUDA call; RuntimeError names its error."""
    error, *values = result
    if error != cudart.cudaError_t.cudaSuccess:
        raise RuntimeError(f"CUDA: {cudart.cudaGetErrorString(error)[1].decode()}")
    return values[0] if values else None
