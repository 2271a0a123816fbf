# SPDX-License-Identifier: Apache-2.0
"""Runs a deployed network with OpenVINO, on a CPU."""

from __future__ import annotations

from pathlib import Path

import openvino as ov

from swiftvla_ros.policy.checkpoint import Checkpoint, CheckpointError
from swiftvla_ros.policy.deployment import PREFIX, STAGES, STEP
from swiftvla_ros.policy.runtime import Capabilities, PolicyRuntime, RuntimeOptions
from swiftvla_ros.policy.runtimes.graph_runtime import GUIDANCE, GraphRuntime, deployment_of
from swiftvla_ros.policy.runtimes.network_ends import Array, Layout

# Precision of a deployment → what the plugin is told to compute in. A CPU without bfloat16 takes float32 instead.
_COMPUTE = {"float32": "f32", "float16": "f32", "bfloat16": "bf16", "int8-vision": "bf16", "int8-weights": "bf16"}


def capabilities() -> Capabilities:
    """What OpenVINO can do on this machine."""
    return Capabilities({"cpu": ""}, tuple(_COMPUTE), GUIDANCE)


def load(checkpoint: Checkpoint, options: RuntimeOptions) -> PolicyRuntime:
    """Compile a deployment's graphs."""
    deployment = deployment_of(checkpoint)
    try:
        graphs = OpenVinoGraphs(
            {stage: checkpoint.folder / deployment.stages[stage].file for stage in STAGES},
            deployment.precision,
            options.threads,
        )
    except RuntimeError as error:
        raise CheckpointError(
            f"checkpoint '{checkpoint.folder}': OpenVINO {ov.__version__} can't load its graphs "
            f"({' '.join(str(error).split())[:300]}); export the checkpoint again, or use runtime torch"
        ) from error
    return GraphRuntime(checkpoint, graphs, options, threads=graphs.threads, precision=deployment.precision)


def compile_graph(file: Path, precision: str, threads: int | None = None) -> ov.CompiledModel:
    """Compile a graph for this CPU, for one inference at a time."""
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
        "INFERENCE_PRECISION_HINT": _COMPUTE[precision],
        # The other nodes' threads shall find the cores that this one leaves.
        "ENABLE_CPU_PINNING": "NO",
        **({"INFERENCE_NUM_THREADS": str(threads)} if threads else {}),
    }
    return ov.Core().compile_model(str(file), "CPU", settings)


class OpenVinoGraphs:
    """The graphs of ``files`` (stage → path), compiled for this CPU."""

    def __init__(self, files: dict[str, Path], precision: str, threads: int | None) -> None:
        self.compiled = {stage: compile_graph(file, precision, threads) for stage, file in files.items()}
        self.threads = int(self.compiled[STEP].get_property("INFERENCE_NUM_THREADS"))
        self._vision, self._prefix, self._step = (self.compiled[s].create_infer_request() for s in STAGES)
        self._guides = any("guide" in output.names for output in self.compiled[PREFIX].outputs)
        names = [name for output in self.compiled[PREFIX].outputs for name in output.names]
        layers = range(sum(name.startswith("key_") for name in names))
        self._carried = [f"{kind}_{layer}" for kind in ("key", "value") for layer in layers]

    def vision(self, image: Array) -> Array:
        """One image [3, s, s] → its tokens [p, d]."""
        self._vision.infer({"image": image[None]}, share_inputs=True)
        return self._vision.get_tensor("tokens").data[0].copy()

    def prefix(self, images: Array, text: Array, state: Array, layout: Layout, step_layout: Layout) -> Array | None:
        """Keys and values stay where the graph of the step reads them."""
        feeds = {"images": images, "text": text, "state": state}
        self._prefix.infer({**feeds, **layout._asdict()}, share_inputs=True)
        for name in self._carried:
            self._step.set_tensor(name, self._prefix.get_tensor(name))
        for name, table in step_layout._asdict().items():
            self._step.set_tensor(name, ov.Tensor(table, shared_memory=True))
        return self._prefix.get_tensor("guide").data.copy() if self._guides else None

    def step(self, actions: Array) -> Array:
        """Embedded action tokens [1, h, w] → their latent [1, h, w]."""
        self._step.set_tensor("actions", ov.Tensor(actions, shared_memory=True))
        self._step.infer()
        return self._step.get_tensor("latent").data

    def carried(self) -> list[Array]:
        """Every layer's key, then every layer's value."""
        return [self._prefix.get_tensor(name).data for name in self._carried]
