# SPDX-License-Identifier: Apache-2.0
"""Eight bits where a network bears them: the vision tower's products, or weights alone.

Activations of eight bits in the prefix or the expert cost far more exactness than in the tower (docs/performance.md),
so nothing here offers them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

# Weights smaller than this stay as they are: they take no memory worth the rounding.
_SMALLEST = 4096


class _Images(CalibrationDataReader):
    def __init__(self, images: Sequence[NDArray[np.float32]]) -> None:
        self._images = iter(images)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        image = next(self._images, None)
        return None if image is None else {"image": image[None]}


def quantise_vision(path: Path, images: Sequence[NDArray[np.float32]]) -> None:
    """Rewrite the vision graph so that its matrix products multiply 8-bit numbers, weights per channel.

    ``images`` [3, s, s] are what activations are scaled by. The patches' convolution, norms, softmax and residuals stay
    in float; so do products of two activations, which attention consists of.
    """
    model = onnx.load(path)
    weights = {tensor.name for tensor in model.graph.initializer} | {
        node.output[0] for node in model.graph.node if node.op_type == "Transpose" and not node.name.startswith("/")
    }
    by_weights = [n.name for n in model.graph.node if n.op_type == "MatMul" and n.input[1] in weights]
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / path.name
        onnx.save(_with_plain_weights(model), source)
        quantize_static(
            source,
            path,
            _Images(images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            op_types_to_quantize=["MatMul"],
            nodes_to_quantize=by_weights,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
        )


def quantise_weights(path: Path) -> None:
    """Rewrite a graph so that its large weights are 8-bit numbers with one scale per output channel."""
    model = _with_plain_weights(onnx.load(path))
    graph = model.graph
    products = {node.input[1] for node in graph.node if node.op_type == "MatMul"}
    nodes = []
    for tensor in list(graph.initializer):
        values = numpy_helper.to_array(tensor)
        if tensor.name not in products or values.ndim != 2 or values.size < _SMALLEST:
            continue
        scale = np.maximum(np.abs(values).max(axis=0) / 127, np.finfo(np.float32).tiny).astype(np.float32)
        packed = np.clip(np.rint(values / scale), -127, 127).astype(np.int8)
        name = tensor.name
        graph.initializer.remove(tensor)
        graph.initializer.extend(
            [numpy_helper.from_array(packed, f"{name}.int8"), numpy_helper.from_array(scale, f"{name}.scale")]
        )
        nodes.append(onnx.helper.make_node("DequantizeLinear", [f"{name}.int8", f"{name}.scale"], [name], axis=1))
    nodes.extend(graph.node)
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, path)


def _with_plain_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with its weights inside, transposed where a node would transpose them."""
    graph = model.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    kept = []
    for node in graph.node:
        if node.op_type == "Transpose" and node.input[0] in tensors:
            values = numpy_helper.to_array(tensors[node.input[0]])
            graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values.T), node.output[0]))
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
    read = {name for node in kept for name in node.input} | {output.name for output in graph.output}
    used = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(used)
    return model
