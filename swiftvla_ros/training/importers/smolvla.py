# SPDX-License-Identifier: Apache-2.0
"""lerobot SmolVLA checkpoints (format of lerobot 0.1 to 0.4) as SwiftVLA checkpoints that compute the same chunks.

A lerobot folder holds ``config.json``, ``model.safetensors`` and statistics (:mod:`.smolvla_statistics`).
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

from swiftvla_ros.contract import Contract
from swiftvla_ros.files import some_of, tensor_problems, whole_file
from swiftvla_ros.model.config import ExpertConfig, SwiftVLAConfig, TextConfig, VisionConfig
from swiftvla_ros.model.swiftvla import SwiftVLA
from swiftvla_ros.policy import checkpoint as files
from swiftvla_ros.policy.checkpoint import CheckpointError, read_json
from swiftvla_ros.policy.image_preprocessing import PAD_TOP_LEFT
from swiftvla_ros.training.checkpoint_writer import write_description
from swiftvla_ros.training.importers.smolvla_statistics import vector_statistics

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

# lerobot takes the sizes from the hub; of what shapes don't tell, these models have the same.
_KNOWN_BACKBONES = ("SmolVLM2-500M-Video-Instruct", "SmolVLM2-256M-Video-Instruct", "SmolVLM-500M-Instruct")
_HEAD_DIM = 64
# lerobot rotates text and action tokens with this base, whatever the language model's own.
_ROPE_THETA = 1e4

# Settings that change what is computed, and their values that this network computes.
_SUPPORTED: dict[str, tuple[Any, ...]] = {
    "type": ("smolvla",),
    "n_obs_steps": (1,),
    "adapt_to_pi_aloha": (False,),
    "use_delta_joint_actions_aloha": (False,),
    "add_image_special_tokens": (False,),
    "attention_mode": ("cross_attn",),
    "min_period": (4e-3,),
    "max_period": (4.0,),
    "use_peft": (False,),
}
_NEEDED = (
    "input_features",
    "output_features",
    "chunk_size",
    "num_steps",
    "max_state_dim",
    "max_action_dim",
    "num_vlm_layers",
    "self_attn_every_n_layers",
    "tokenizer_max_length",
    "resize_imgs_with_padding",
)


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

    Raises
    ------
    CheckpointError
        Names the file and the key, tensor or feature that doesn't fit, and the fix.
    """
    if out.resolve() == folder.resolve():
        raise CheckpointError(f"{out}: is the lerobot checkpoint itself; name another folder to write")
    path = folder / "config.json"
    settings = read_json(path)
    _check_settings(path, settings)
    weights_path = folder / "model.safetensors"
    try:
        tensors = load_file(weights_path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{weights_path}: can't be read ({error}); copy the whole folder again") from error
    buffers = {name: value for name, value in tensors.items() if name.startswith(_BUFFERS)}
    weights, notes = _rename(weights_path, tensors, int(settings["num_vlm_layers"]))
    cameras, camera_notes = _cameras(path, settings, contract, without)
    config = _network(path, settings, {name: tuple(w.shape) for name, w in weights.items()}, len(cameras))
    _check_tensors(weights_path, weights, config)
    if not settings.get("load_vlm_weights", False):
        weights[_POSITIONS] = _shifted_positions(weights[_POSITIONS])
        notes.append(
            "load_vlm_weights is false, so lerobot runs the image encoder in float32, where transformers 4.57 gives "
            "patch i of a row or column the position of patch i-1; the position table is re-arranged to do the same"
        )
    order = _joint_order(path, settings, contract, joint_order)
    if joint_order is None:
        notes.append(f"state and action are taken to be {', '.join(order)}, in this order (--joints says otherwise)")
    given = None if statistics is None else read_json(statistics)
    table = {
        what: vector_statistics(folder, settings, feature, buffers, given, contract, order)
        for what, feature in (("state", "observation.state"), ("action", "action"))
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
    (out / files.STATS).write_text(json.dumps(table, indent=1) + "\n")
    with whole_file(out / files.WEIGHTS) as partial:
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, partial)
    return Imported(config, cameras, (*notes, *camera_notes))


def lerobot_name(name: str) -> str:
    """What lerobot calls a tensor of ours that it has."""
    # The longest of our prefixes: the expert's projections have their own.
    theirs, ours = max((pair for pair in _RENAMED if name.startswith(pair[1])), key=lambda pair: len(pair[1]))
    return theirs + name[len(ours) :]


def _check_settings(path: Path, settings: dict[str, Any]) -> None:
    for key, supported in _SUPPORTED.items():
        if settings.get(key, supported[0]) not in supported:
            raise CheckpointError(f"{path}: {key} is {settings[key]!r}; only {supported[0]!r} can be imported")
    backbone = str(settings.get("vlm_model_name", _KNOWN_BACKBONES[0]))
    if backbone.rpartition("/")[2] not in _KNOWN_BACKBONES:
        raise CheckpointError(f"{path}: vlm_model_name '{backbone}' is unknown; known are {list(_KNOWN_BACKBONES)}")
    missing = [key for key in _NEEDED if settings.get(key) is None]
    if missing:
        raise CheckpointError(f"{path}: lacks {missing}; save the policy again with lerobot 0.4")
    layers, expert_layers = settings["num_vlm_layers"], settings.get("num_expert_layers", -1)
    if layers < 1 or (expert_layers > 0 and expert_layers != layers) or settings["self_attn_every_n_layers"] < 1:
        raise CheckpointError(
            f"{path}: num_vlm_layers {layers}, num_expert_layers {expert_layers}, self_attn_every_n_layers "
            f"{settings['self_attn_every_n_layers']}: only as many expert layers as layers of the language model, "
            "some of them joint ones, can be imported"
        )


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


def _network(path: Path, settings: dict[str, Any], shapes: Shapes, num_cameras: int) -> SwiftVLAConfig:
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
                num_layers=settings["num_vlm_layers"],
                num_heads=shapes[f"{text}layers.0.self_attn.q_proj.weight"][0] // _HEAD_DIM,
                num_kv_heads=shapes[f"{text}layers.0.self_attn.k_proj.weight"][0] // _HEAD_DIM,
                head_dim=_HEAD_DIM,
                rope_theta=_ROPE_THETA,
                max_tokens=settings["tokenizer_max_length"],
            ),
            expert=ExpertConfig(
                hidden_size=shapes[f"{expert}mlp.gate_proj.weight"][1],
                intermediate_size=shapes[f"{expert}mlp.gate_proj.weight"][0],
                self_attention_every=settings["self_attn_every_n_layers"],
            ),
            fusion=None,
            num_cameras=num_cameras,
            front_camera=0,
            state_dim=settings["max_state_dim"],
            action_dim=settings["max_action_dim"],
            horizon=settings["chunk_size"],
            denoise_steps=settings["num_steps"],
            state_block="own",
        )
    except KeyError as error:
        raise CheckpointError(f"{path.parent / 'model.safetensors'}: lacks the tensor that becomes {error}") from error
    side = config.vision.image_size
    if list(settings["resize_imgs_with_padding"]) != [side, side]:
        raise CheckpointError(
            f"{path}: resize_imgs_with_padding is {settings['resize_imgs_with_padding']}, but the image encoder reads "
            f"{side}×{side} px; only [{side}, {side}] can be imported"
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
        raise CheckpointError(f"{path}: (by our names) {some_of(problems)}")


def _shifted_positions(table: torch.Tensor) -> torch.Tensor:
    """Rows of a position table where transformers 4.57 looks for them in float32.

    It divides the image's side into buckets, and places patch i at i/n · (1 − 1e-6): just below its own bucket.
    """
    n = round(len(table) ** 0.5)
    bounds = torch.arange(1 / n, 1.0, 1 / n)
    bucket = torch.bucketize(torch.arange(n, dtype=torch.float32) / n * (1 - 1e-6), bounds, right=True)
    return table[(bucket[:, None] * n + bucket).flatten()].contiguous()


def _cameras(
    path: Path, settings: dict[str, Any], contract: Contract, without: Sequence[str]
) -> tuple[tuple[str, ...], list[str]]:
    """The contract's cameras in the order of lerobot's features, with notes on what is left out."""
    features = [name for name, feature in settings["input_features"].items() if feature["type"] == "VISUAL"]
    of_feature = {feature: name for name, feature in contract.lerobot_cameras.items()}
    stray = [name for name in without if name not in features]
    if stray:
        raise CheckpointError(f"{path}: --without {stray}: the policy has the cameras {features}")
    cameras, notes = [], []
    for feature in features:
        if feature in without or feature.rpartition(".")[2].startswith("empty_camera_"):
            notes.append(f"camera {feature} is left out: lerobot masks an absent camera, which is the same")
        elif feature in of_feature:
            cameras.append(of_feature[feature])
        else:
            raise CheckpointError(
                f"{path}: input_features: '{feature}' is none of the cameras {sorted(of_feature)} of {contract.path}; "
                f"write there which camera it is: `lerobot: {{cameras: {{<camera>: {feature}}}}}`, or leave it out "
                f"with --without {feature}"
            )
    if not cameras:
        raise CheckpointError(f"{path}: input_features: none of the cameras {features} is left")
    return tuple(cameras), notes


def _joint_order(
    path: Path, settings: dict[str, Any], contract: Contract, joint_order: Sequence[str] | None
) -> tuple[str, ...]:
    order = tuple(joint_order or contract.joint_names)
    if sorted(order) != sorted(contract.joint_names):
        raise CheckpointError(f"--joints {list(order)} are not the joints {list(contract.joint_names)}, each once")
    for group, feature in (("input_features", "observation.state"), ("output_features", "action")):
        shape = settings[group].get(feature, {}).get("shape")
        if shape != [len(order)]:
            raise CheckpointError(
                f"{path}: {group}: {feature} has shape {shape}, but {contract.path} has {len(order)} joints; only "
                "policies whose state and action are the robot's joint positions can be imported"
            )
    return order


def _card(folder: Path, notes: Sequence[str]) -> str:
    lines = "\n".join(f"* {note}" for note in notes)
    title = f"# Imported from lerobot: {folder.resolve().name}"
    return f"{title}\n\nSmolVLA weights, run as a SwiftVLA without Fusion Tokens.\n\n{lines}\n"
