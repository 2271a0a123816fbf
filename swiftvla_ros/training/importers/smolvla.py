# SPDX-License-Identifier: Apache-2.0
"""lerobot SmolVLA checkpoints (format of lerobot 0.1 to 0.4) as SwiftVLA checkpoints that compute the same chunks.

A lerobot folder holds ``config.json`` (:mod:`.smolvla_settings`), ``model.safetensors``, what is done before and behind
the policy (:mod:`.smolvla_processors`) and statistics (:mod:`.smolvla_statistics`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from swiftvla_ros.contract import Camera, Contract
from swiftvla_ros.contract.sections.lerobot import ACTION, STATE
from swiftvla_ros.files import some_of, tensor_problems, unreadable, whole_file
from swiftvla_ros.model.config import ExpertConfig, SwiftVLAConfig, TextConfig, VisionConfig
from swiftvla_ros.model.swiftvla import SwiftVLA
from swiftvla_ros.policy import checkpoint as files
from swiftvla_ros.policy.checkpoint import CheckpointError, read_json
from swiftvla_ros.policy.image_preprocessing import PAD_TOP_LEFT
from swiftvla_ros.training.checkpoint_writer import write_description
from swiftvla_ros.training.importers.smolvla_processors import Processors, read_processors
from swiftvla_ros.training.importers.smolvla_settings import Settings, read_settings
from swiftvla_ros.training.importers.smolvla_statistics import FEATURES, vector_statistics

Shapes = dict[str, tuple[int, ...]]

# Their names → ours, by the first prefix that fits.
_RENAMED = (
    ("model.vlm_with_expert.vlm.model.", "backbone."),
    ("model.vlm_with_expert.lm_expert.", "expert."),
    ("model.action_in_proj.", "expert.action_in_proj."),
    ("model.action_time_mlp_", "expert.action_time_mlp_"),
    ("model.state_proj.", "state_proj."),
    ("model.action_out_proj.", "action_out_proj."),
)
_LM_HEAD = "model.vlm_with_expert.vlm.lm_head."
_BUFFERS = ("normalize_inputs.", "normalize_targets.", "unnormalize_outputs.")
_POSITIONS = "backbone.vision_model.embeddings.position_embedding.weight"

_HEAD_DIM = 64
# lerobot rotates text and action tokens with this base, whatever the language model's own.
_ROPE_THETA = 1e4


@dataclass(frozen=True)
class Imported:
    """What was written, and what the user should know of it, one sentence a note."""

    config: SwiftVLAConfig
    camera_names: tuple[str, ...]
    notes: tuple[str, ...]


def import_smolvla(
    folder: Path,
    out: Path,
    contract: Contract,
    tokenizer: str,
    *,
    joint_order: Sequence[str] | None = None,
    statistics: Path | None = None,
    without: Sequence[str] = (),
    for_training: bool = False,
) -> Imported:
    """Write a SwiftVLA checkpoint that computes what a lerobot SmolVLA checkpoint computes.

    Parameters
    ----------
    folder, out
        The lerobot checkpoint, and the folder to write.
    contract
        The robot; its ``lerobot`` key says which features are its cameras, and the units of its joints there.
    tokenizer
        The text of SmolVLM2's ``tokenizer.json``.
    joint_order
        The joints in the order of lerobot's vectors, whose entries have no names in a checkpoint; by default the
        contract's order.
    statistics
        A JSON file (a dataset's ``meta/stats.json``) for where the checkpoint has none.
    without
        Camera features that the robot doesn't have; lerobot leaves out what is missing, and so does the import.
    for_training
        Weights alone, as a start for training: no statistics are written, so that nobody runs it, and image sizes,
        joints and processors may be others than the contract's.

    Raises
    ------
    CheckpointError
        Names the file and the key, tensor or feature that doesn't fit, and the fix.
    """
    if out.resolve() == folder.resolve():
        raise CheckpointError(f"{out}: is the lerobot checkpoint itself; name another folder to write")
    path = folder / "config.json"
    settings, notes = read_settings(folder)
    processors = Processors() if for_training else read_processors(folder, settings)
    weights_path = folder / "model.safetensors"
    try:
        tensors = load_file(weights_path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(unreadable(weights_path, error, "copy the whole folder again")) from error
    buffers = {name: value for name, value in tensors.items() if name.startswith(_BUFFERS)}
    weights, more = _rename(weights_path, tensors, settings.num_vlm_layers)
    notes += more
    cameras, camera_notes = _cameras(path, settings, processors, contract, without, check=not for_training)
    config = _network(path, settings, {name: tuple(w.shape) for name, w in weights.items()}, len(cameras))
    _check_tensors(weights_path, weights, config)
    if not settings.load_vlm_weights:
        weights[_POSITIONS] = _shifted_positions(weights[_POSITIONS])
        notes.append(
            "load_vlm_weights is false, so lerobot runs the image encoder in float32, where transformers 4.57 gives "
            "patch i of a row or column the position of patch i-1; the position table is re-arranged to do the same"
        )
    order = contract.joint_names
    table: dict[str, Any] = {}
    if for_training:
        notes.append(
            "a start for `swiftvla train`, not a policy: image sizes, processors and statistics are not its own"
        )
    else:
        order = _joint_order(path, settings, contract, joint_order)
        if joint_order is None:
            notes.append(
                f"state and action are taken to be {', '.join(order)}, in this order (--joints says otherwise)"
            )
        notes.append(_step_note(contract, statistics))
        given = None if statistics is None else read_json(statistics)
        table = {
            what: vector_statistics(folder, what, processors, buffers, given, contract, order) for what in FEATURES
        }
    write_description(
        out,
        config,
        tokenizer,
        contract,
        _card(folder, notes),
        {
            "joint_names": order,
            "camera_names": cameras,
            "action": files.ACTION_KEYS["absolute"],
            "image_fit": PAD_TOP_LEFT,
        },
    )
    if table:
        (out / files.STATS).write_text(json.dumps(table, indent=1) + "\n")
    with whole_file(out / files.WEIGHTS) as partial:
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, partial)
    return Imported(config, cameras, (*notes, *camera_notes))


def lerobot_name(name: str) -> str:
    """What lerobot calls a tensor of ours that it has."""
    # The longest of our prefixes: the expert's projections have their own.
    theirs, ours = max((pair for pair in _RENAMED if name.startswith(pair[1])), key=lambda pair: len(pair[1]))
    return theirs + name[len(ours) :]


def _rename(path: Path, tensors: dict[str, torch.Tensor], layers: int) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Weights by our names, with notes on what is left out; a tensor that nothing is known of is refused."""
    weights: dict[str, torch.Tensor] = {}
    left_out: list[str] = []
    unknown: list[str] = []
    for name, tensor in tensors.items():
        if name.startswith(_BUFFERS):
            continue
        if name.startswith(_LM_HEAD) or _text_layer(name) >= layers:
            left_out.append(name)
            continue
        for theirs, ours in _RENAMED:
            if name.startswith(theirs):
                weights[ours + name[len(theirs) :]] = tensor
                break
        else:
            unknown.append(name)
    if unknown:
        raise CheckpointError(f"{path}: tensors {sorted(unknown)[:5]} are none of SmolVLA's ({len(unknown)} in all)")
    notes = []
    if left_out:
        parts = sorted({re.sub(r"(text_model\.layers)\..*", r"\1", name) for name in left_out})
        notes.append(f"left out, since a policy never uses it: {', '.join(parts)} ({len(left_out)} tensors)")
    return weights, notes


def _text_layer(name: str) -> int:
    found = re.match(r"model\.vlm_with_expert\.vlm\.model\.text_model\.layers\.(\d+)\.", name)
    return int(found[1]) if found else -1


def _network(path: Path, settings: Settings, shapes: Shapes, num_cameras: int) -> SwiftVLAConfig:
    """The network that weights of these shapes make up."""
    tower, text, expert = "backbone.vision_model.", "backbone.text_model.", "expert.layers.0."
    try:
        hidden, _, patch, _ = shapes[f"{tower}embeddings.patch_embedding.weight"]
        side = round(shapes[_POSITIONS][0] ** 0.5)
        vocab, width = shapes[f"{text}embed_tokens.weight"]
        connector = shapes["backbone.connector.modality_projection.proj.weight"][1]
        config = SwiftVLAConfig(
            vision=VisionConfig(
                image_size=side * patch,
                patch_size=patch,
                hidden_size=hidden,
                intermediate_size=shapes[f"{tower}encoder.layers.0.mlp.fc1.weight"][0],
                num_layers=_count(shapes, f"{tower}encoder.layers."),
                num_heads=hidden // _HEAD_DIM,
                scale_factor=round((connector / hidden) ** 0.5),
            ),
            text=TextConfig(
                vocab_size=vocab,
                hidden_size=width,
                intermediate_size=shapes[f"{text}layers.0.mlp.gate_proj.weight"][0],
                num_layers=settings.num_vlm_layers,
                num_heads=shapes[f"{text}layers.0.self_attn.q_proj.weight"][0] // _HEAD_DIM,
                num_kv_heads=shapes[f"{text}layers.0.self_attn.k_proj.weight"][0] // _HEAD_DIM,
                head_dim=_HEAD_DIM,
                rope_theta=_ROPE_THETA,
                max_tokens=settings.tokenizer_max_length,
            ),
            expert=ExpertConfig(
                hidden_size=shapes[f"{expert}mlp.gate_proj.weight"][1],
                intermediate_size=shapes[f"{expert}mlp.gate_proj.weight"][0],
                self_attention_every=settings.self_attn_every_n_layers,
            ),
            fusion=None,
            num_cameras=num_cameras,
            front_camera=0,
            state_dim=settings.max_state_dim,
            action_dim=settings.max_action_dim,
            horizon=settings.chunk_size,
            denoise_steps=settings.num_steps,
            state_block="own",
        )
    except KeyError as error:
        raise CheckpointError(
            f"{path.parent / 'model.safetensors'}: lacks the tensor that becomes {error}; copy the whole folder again"
        ) from error
    except (ValueError, IndexError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"{path.parent / 'model.safetensors'}: the shapes of its tensors are no SmolVLA's of {path} ({error}); "
            "copy the whole folder again"
        ) from error
    side = config.vision.image_size
    if settings.resize_imgs_with_padding != (side, side):
        raise CheckpointError(
            f"{path}: resize_imgs_with_padding is {list(settings.resize_imgs_with_padding)}, but the image encoder "
            f"reads {side}×{side} px; only [{side}, {side}] can be imported"
        )
    return config


def _count(shapes: Shapes, prefix: str) -> int:
    return len({name[len(prefix) :].partition(".")[0] for name in shapes if name.startswith(prefix)})


def _check_tensors(path: Path, weights: dict[str, torch.Tensor], config: SwiftVLAConfig) -> None:
    """Every tensor of the network must be there and fit, and no other."""
    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in SwiftVLA(config).state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if problems := tensor_problems(expected, found):
        raise CheckpointError(f"{path}: (by our names) {some_of(problems)}; copy the whole folder again")
    if broken := [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]:
        raise CheckpointError(f"{path}: {some_of(broken)} hold NaN or Inf; copy the file again, or train it again")


def _shifted_positions(table: torch.Tensor) -> torch.Tensor:
    """Rows of a position table where transformers 4.57 looks for them in float32.

    It divides the image's side into buckets, and places patch i at i/n · (1 − 1e-6): just below its own bucket.
    """
    n = round(len(table) ** 0.5)
    bounds = torch.arange(1 / n, 1.0, 1 / n)
    bucket = torch.bucketize(torch.arange(n, dtype=torch.float32) / n * (1 - 1e-6), bounds, right=True)
    return table[(bucket[:, None] * n + bucket).flatten()].contiguous()


def _cameras(
    path: Path,
    settings: Settings,
    processors: Processors,
    contract: Contract,
    without: Sequence[str],
    *,
    check: bool,
) -> tuple[tuple[str, ...], list[str]]:
    """The contract's cameras in the order of lerobot's features, with notes on what is left out or assumed."""
    sizes = settings.images
    of_feature = {feature: name for name, feature in contract.lerobot_cameras.items()}
    stray = [name for name in without if name not in sizes]
    if stray:
        raise CheckpointError(f"{path}: --without {stray}: the policy has the cameras {list(sizes)}")
    cameras, notes = [], []
    # A start for training has seen other cameras, and learns what these are.
    spare = [] if check else [n for n, f in contract.lerobot_cameras.items() if f not in sizes]
    for feature, size in sizes.items():
        robots = processors.renamed.get(feature, feature)
        if feature in without or feature.rpartition(".")[2].startswith("empty_camera_"):
            notes.append(f"camera {feature} is left out: lerobot masks an absent camera, which is the same")
        elif robots in of_feature:
            cameras.append(of_feature[robots])
            if check:
                notes += _size_notes(path, feature, size, contract.camera(of_feature[robots]), contract)
        elif spare:
            cameras.append(spare.pop(0))
            notes.append(f"camera {cameras[-1]} takes the place of {feature}, in their order")
        elif not check and cameras:
            notes.append(f"camera {feature} is left out: the robot has no more")
        else:
            raise CheckpointError(
                f"{path}: input_features: '{robots}' is none of the cameras {sorted(of_feature)} of {contract.path}; "
                f"write there which camera it is: `lerobot: {{cameras: {{<camera>: {robots}}}}}`, or leave it out "
                f"with --without {feature}"
            )
    if not cameras:
        raise CheckpointError(f"{path}: input_features: none of the cameras {list(sizes)} is left; keep one")
    return tuple(cameras), notes


def _size_notes(path: Path, feature: str, size: tuple[int, int], camera: Camera, contract: Contract) -> list[str]:
    """The policy pads by itself, so it must be given images of the size that it was trained with."""
    if camera.size != size:
        raise CheckpointError(
            f"{path}: input_features.{feature} has images of {size[0]}×{size[1]} px, but {contract.path} "
            f"cameras.{camera.name}.size is {list(camera.size)}; write `size: [{size[0]}, {size[1]}]` there, the "
            "policy pads them as lerobot does (as a start for training alone: --for-training)"
        )
    if camera.source_size == size and not camera.rotate_deg and camera.crop is None:
        return []
    note = (
        f"camera {camera.name}: the contract makes {size[0]}×{size[1]} px of {camera.source_size[0]}×"
        f"{camera.source_size[1]} (rotate_deg {camera.rotate_deg}, crop {camera.crop}, fit {camera.fit}); the training "
        "images must have been made the same way"
    )
    return [note]


def _step_note(contract: Contract, statistics: Path | None) -> str:
    """A policy doesn't tell how fast its dataset was; a dataset beside the statistics does, and is compared."""
    step_s = contract.policy.step_s
    info = None if statistics is None else statistics.parent / "info.json"
    if info is None or not info.is_file():
        return (
            f"a row of a chunk is a frame of the training data, and no file here says how many a second those were: "
            f"{contract.path} policy.step_s {step_s:g} is right for {1 / step_s:.4g} fps; lerobot records 30 "
            "by default (step_s 0.0333)"
        )
    fps = read_json(info).get("fps")
    if not isinstance(fps, int | float) or not 0 < fps <= 1000:
        raise CheckpointError(f"{info}: fps is {fps!r}, not a number of frames a second; correct it")
    if abs(step_s * fps - 1) > 5e-3:
        raise CheckpointError(
            f"{info}: fps is {fps:g}, but {contract.path} policy.step_s is {step_s:g}, which is {1 / step_s:.4g} fps: "
            f"the arm would move {step_s * fps:.3g} times slower than in training; write `step_s: {1 / fps:.4f}`"
        )
    return f"policy.step_s {step_s:g} is the dataset's {fps:g} fps"


def _joint_order(
    path: Path, settings: Settings, contract: Contract, joint_order: Sequence[str] | None
) -> tuple[str, ...]:
    order = tuple(joint_order or contract.joint_names)
    if sorted(order) != sorted(contract.joint_names):
        raise CheckpointError(f"--joints {list(order)} are not the joints {list(contract.joint_names)}, each once")
    groups = {"input_features": (settings.input_features, STATE), "output_features": (settings.output_features, ACTION)}
    for group, (features, feature) in groups.items():
        shape = list(features[feature].shape) if feature in features else None
        if shape != [len(order)] or set(features) - {feature} - set(settings.images):
            raise CheckpointError(
                f"{path}: {group}: {feature} has shape {shape}, but {contract.path} has {len(order)} joints; only "
                "policies whose state and action are the robot's joint positions can be imported"
            )
    return order


def _card(folder: Path, notes: Sequence[str]) -> str:
    lines = "\n".join(f"* {note}" for note in notes)
    title = f"# Imported from lerobot: {folder.resolve().name}"
    return f"{title}\n\nSmolVLA weights, run as a SwiftVLA without Fusion Tokens.\n\n{lines}\n"
