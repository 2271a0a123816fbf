# SPDX-License-Identifier: Apache-2.0
"""A checkpoint's folder in, a folder with graphs out."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import onnx
import onnxscript
import openvino as ov
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from swiftvla_ros.contract.hashing import file_blocks, sha256
from swiftvla_ros.deploy.graph_content import onnx_content, openvino_content
from swiftvla_ros.deploy.onnx_graphs import export_graphs
from swiftvla_ros.deploy.quantisation import quantise_vision, quantise_weights
from swiftvla_ros.policy.checkpoint import CONFIG, CONTRACT, STATS, TOKENIZER, WEIGHTS, Checkpoint
from swiftvla_ros.policy.checkpoint_fingerprint import FINGERPRINT, write_fingerprint
from swiftvla_ros.policy.deployment import DEPLOY, STAGES, VISION, Deployment
from swiftvla_ros.policy.runtime import NetworkInput
from swiftvla_ros.policy.runtimes.network_ends import ENDS, TABLE
from swiftvla_ros.policy.runtimes.openvino_runtime import compile_graph
from swiftvla_ros.policy.runtimes.torch_runtime import load_model
from swiftvla_ros.policy.words.file import WORDS

GraphKind = Literal["onnx", "openvino"]
# What each kind of graph can be exported at.
PRECISIONS: dict[GraphKind, tuple[str, ...]] = {
    "onnx": ("float32", "int8-vision"),
    "openvino": ("float32", "float16", "bfloat16", "int8-vision", "int8-weights"),
}
ENDS_FILE = "ends.safetensors"


def write_deployment(
    checkpoint: Checkpoint, folder: Path, kind: GraphKind, precision: str, calibration: Sequence[NetworkInput] = ()
) -> Deployment:
    """Write graphs of a checkpoint, and what else a policy needs, into the new ``folder``.

    Parameters
    ----------
    checkpoint
        With weights in float32.
    folder
        Graphs in ONNX lie beside a copy of the weights that they name; OpenVINO's IR holds all of its own.
    kind, precision
        One of :data:`PRECISIONS`.
    calibration
        What activations of eight bits are scaled by; read for "int8-vision" alone.
    """
    folder.mkdir(parents=True)
    for path in checkpoint.folder.iterdir():
        if path.is_file() and path.suffix not in {".safetensors", ".onnx"} and path.name != DEPLOY:
            shutil.copy(path, folder)
    shutil.copy(checkpoint.weights, folder)
    if (words := checkpoint.folder / WORDS).is_file():
        shutil.copy(words, folder)
    export_graphs(load_model(checkpoint, torch.float32), folder, folder / WEIGHTS)
    sources = {stage: folder / f"{stage}.onnx" for stage in STAGES}
    if precision == "int8-vision":
        quantise_vision(sources[VISION], [image for inputs in calibration for image in inputs.images])
    elif precision == "int8-weights":
        for source in sources.values():
            quantise_weights(source)
    ends = WEIGHTS
    if kind == "openvino":
        ends = ENDS_FILE
        stages = {}
        for stage, source in sources.items():
            target = source.with_suffix(".xml")
            ov.save_model(ov.Core().read_model(source), target, compress_to_fp16=precision != "float32")
            source.unlink()
            stages[stage] = openvino_content(target, compile_graph(target, precision))
        _write_ends(checkpoint.weights, folder / ENDS_FILE)
        write_fingerprint(checkpoint, folder / FINGERPRINT)
        (folder / WEIGHTS).unlink()
    else:
        stages = {stage: onnx_content(source) for stage, source in sources.items()}
    names = [path.name for stage in stages.values() for path in sorted(folder.glob(f"{Path(stage.file).stem}.*"))]
    if kind == "openvino":
        names += [ENDS_FILE, FINGERPRINT, CONFIG, STATS, TOKENIZER, CONTRACT]
    deployment = Deployment(
        checkpoint_sha256=checkpoint.sha256,
        graphs=kind,
        precision=precision,
        ends=ends,
        camera_names=checkpoint.camera_names,
        max_text_tokens=checkpoint.model.text.max_tokens,
        stages=stages,
        files={name: sha256(file_blocks(folder / name)) for name in names},
        made_with={library.__name__: library.__version__ for library in (torch, onnx, onnxscript, ov)},
    )
    deployment.write(folder)
    return deployment


def _write_ends(weights: Path, path: Path) -> None:
    """What the graphs leave out, in float32."""
    with safe_open(weights, framework="numpy") as file:
        save_file({name: file.get_tensor(name).astype("float32") for name in (TABLE, *ENDS)}, path)
