# SPDX-License-Identifier: Apache-2.0
"""The three stages as ONNX graphs, whose weights stay where they are: in the checkpoint's own ``model.safetensors``."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import nn

from swiftvla_ros.deploy.stages import PrefixStage, StepStage, VisionStage
from swiftvla_ros.files import tensor_places
from swiftvla_ros.model.swiftvla import SwiftVLA
from swiftvla_ros.policy.deployment import PREFIX, STEP, VISION

# The newest that OpenVINO, ONNX Runtime on Python 3.10 and TensorRT 10 all read.
OPSET = 20
# A tensor smaller than this lies in the graph itself.
_INSIDE_BYTES = 1024


def export_graphs(network: SwiftVLA, folder: Path, weights: Path) -> None:
    """Write ``vision.onnx``, ``prefix.onnx`` and ``step.onnx`` into the folder of ``weights``.

    Parameters
    ----------
    network
        In float32 and evaluation mode, with the weights of ``weights``, not packed.
    folder
        Where the graphs go; they name the weights by file, so both must lie in one folder in the end.
    weights
        The float32 ``model.safetensors`` that the graphs shall read.
    """
    config = network.config
    horizon, layers = config.horizon, config.text.num_layers
    text_tokens = torch.export.Dim("text", min=1, max=config.text.max_tokens)
    fixed = config.prefix_tokens(0)
    sample_text = min(16, config.text.max_tokens)
    m = fixed + sample_text
    width, side = config.text.hidden_size, config.vision.image_size
    heads, head_dim = config.text.num_kv_heads, config.text.head_dim
    images = config.num_cameras * config.vision.tokens
    tables = torch.zeros(1, m, 1, head_dim), torch.zeros(1, m, 1, head_dim)
    rows = torch.zeros(1, horizon, 1, head_dim), torch.zeros(1, horizon, 1, head_dim)
    actions, step_mask = torch.zeros(1, horizon, config.expert.hidden_size), torch.zeros(1, horizon, m + horizon)
    key_values = [[torch.zeros(1, m, heads, head_dim) for _ in range(layers)] for _ in range(2)]
    # The step reads prefixes of any length.
    prefix = torch.export.Dim("prefix", min=1 + fixed, max=fixed + config.text.max_tokens)
    names = [f"key_{i}" for i in range(layers)], [f"value_{i}" for i in range(layers)]
    stages: list[tuple[str, nn.Module, tuple[Any, ...], Any, list[str], list[str]]] = [
        (VISION, VisionStage(network), (torch.zeros(1, 3, side, side),), None, ["image"], ["tokens"]),
        (
            PREFIX,
            PrefixStage(network),
            (
                torch.zeros(1, images, width), torch.zeros(1, sample_text, width), torch.zeros(1, 1, width), *tables,
                torch.zeros(1, m, m),
            ),
            (
                None, {1: text_tokens}, None, {1: text_tokens + fixed}, {1: text_tokens + fixed},
                {1: text_tokens + fixed, 2: text_tokens + fixed},
            ),
            ["images", "text", "state", "cos", "sin", "mask"],
            [*names[0], *names[1], *(["guide"] if network.guide is not None else [])],
        ),
        (
            STEP,
            StepStage(network),
            (actions, *key_values, *rows, step_mask),
            (None, [{1: prefix}] * layers, [{1: prefix}] * layers, None, None, {2: prefix + horizon}),
            ["actions", *names[0], *names[1], "cos", "sin", "mask"],
            ["latent"],
        ),
    ]  # fmt: skip
    for name, stage, arguments, dynamic, inputs, outputs in stages:
        with _quietly():
            program = torch.onnx.export(
                stage.eval(), arguments, dynamo=True, opset_version=OPSET, dynamic_shapes=dynamic, verbose=False,
                input_names=inputs, output_names=outputs, optimize=True, external_data=False,
            )  # fmt: skip
            assert program is not None
            graph = program.model_proto
        _point_to(graph, weights)
        (folder / f"{name}.onnx").write_bytes(graph.SerializeToString())


def _point_to(model: onnx.ModelProto, weights: Path) -> None:
    """Replace the graph's large tensors by where they lie in a safetensors file; drop what only debugging reads.

    The exporter has already transposed what a linear layer multiplies with; a file holds it as it was trained, so a
    node transposes it again, once, when a runtime loads the graph.
    """
    places = tensor_places(weights)
    known = _by_content(weights)
    graph = model.graph
    transposes = []
    for tensor in list(graph.initializer):
        if len(tensor.raw_data) < _INSIDE_BYTES:
            continue
        name, transposed = known.get(_digest(onnx.numpy_helper.to_array(tensor)), ("", False))
        if not name:
            continue
        place = places[name]
        if transposed:
            transposes.append(onnx.helper.make_node("Transpose", [name], [tensor.name], perm=[1, 0]))
            graph.initializer.remove(tensor)
            tensor = graph.initializer.add(data_type=tensor.data_type)
        tensor.name = name if transposed else tensor.name
        tensor.ClearField("raw_data")
        tensor.ClearField("dims")
        tensor.dims.extend(place.shape)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", weights.name), ("offset", place.begin), ("length", place.end - place.begin)):
            tensor.external_data.add(key=key, value=str(value))
    nodes = [*transposes, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    for part in (model, graph, *graph.node, *graph.value_info, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    del graph.value_info[:]


def _by_content(weights: Path) -> dict[str, tuple[str, bool]]:
    """Digest of a tensor's bytes, or of its transpose's → its name, and whether it is the transpose."""
    known: dict[str, tuple[str, bool]] = {}
    with safe_open(weights, framework="numpy") as file:
        for name in file.keys():  # noqa: SIM118 (no mapping)
            tensor = file.get_tensor(name)
            known[_digest(tensor)] = name, False
            if tensor.ndim == 2:
                known.setdefault(_digest(tensor.T), (name, True))
    return known


def _digest(tensor: NDArray[Any]) -> str:
    return hashlib.sha256(str(tensor.shape).encode() + np.ascontiguousarray(tensor).tobytes()).hexdigest()


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """The exporter tells of packages that nobody needs here."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
