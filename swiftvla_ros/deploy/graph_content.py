# SPDX-License-Identifier: Apache-2.0
"""What a graph really holds and computes, counted in the graph itself: nobody believes a precision by its name."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import onnx
import openvino as ov

from swiftvla_ros.policy.deployment import StageContent

# OpenVINO's names of layers that multiply with weights.
_PRODUCTS = {"FullyConnected", "MatMul", "Convolution"}


def onnx_content(path: Path) -> StageContent:
    """Count an ONNX graph's nodes, and its weights' bytes by type; weights in another file are not read."""
    graph = onnx.load(path, load_external_data=False).graph
    weights: Counter[str] = Counter()
    for tensor in graph.initializer:
        size = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        weights[onnx.TensorProto.DataType.Name(tensor.data_type).lower()] += math.prod(tensor.dims) * size
    nodes = Counter(node.op_type for node in graph.node)
    return StageContent(file=path.name, nodes=dict(sorted(nodes.items())), weight_bytes=dict(sorted(weights.items())))


def openvino_content(path: Path, compiled: ov.CompiledModel) -> StageContent:
    """Count the weights' bytes of an IR file by type, and the products of what it was compiled to by precision.

    Nodes are named "<kind> <what it computes in on this CPU>".
    """
    weights: Counter[str] = Counter()
    for node in ov.Core().read_model(path).get_ops():
        if node.get_type_name() == "Constant":
            output = node.output(0)
            size = math.prod(output.get_shape()) * output.get_element_type().size
            weights[output.get_element_type().get_type_name()] += size
    nodes: Counter[str] = Counter()
    for node in compiled.get_runtime_model().get_ops():
        information = node.get_rt_info()
        kind = information["layerType"].astype(str)
        if kind in _PRODUCTS:
            nodes[f"{kind} {information['runtimePrecision'].astype(str)}"] += 1
    return StageContent(file=path.name, nodes=dict(sorted(nodes.items())), weight_bytes=dict(sorted(weights.items())))
