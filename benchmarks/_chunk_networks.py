# SPDX-License-Identifier: Apache-2.0
"""A 450M network of random weights in all the forms that chunk_latency.py compares, its inputs, and its arithmetic."""

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors.numpy import load_file
from safetensors.torch import save_file

from swiftvla_ros.contract import contract_from_text, load_contract
from swiftvla_ros.model.config import SwiftVLAConfig, swiftvla_450m
from swiftvla_ros.model.swiftvla import SwiftVLA
from swiftvla_ros.policy.checkpoint import CONFIG, WEIGHTS, open_checkpoint
from swiftvla_ros.policy.deployment import DEPLOY
from swiftvla_ros.policy.runtime import NetworkInput
from swiftvla_ros.training.importers.smolvla import import_smolvla, lerobot_name

_ROOT = Path(__file__).parents[1]
# As in lerobot's deployments: the tokens of a short sentence, padded to this length.
_TOKENS, _PADDED = 12, 48


def write_checkpoints(folder: Path, precisions: list[str]) -> SwiftVLAConfig:
    """Random weights as lerobot stores them, and what they become here, for each precision."""
    config = SwiftVLAConfig.from_json({**asdict(swiftvla_450m()), "fusion": None, "state_block": "own"})
    if all((folder / precision / "model.safetensors").is_file() for precision in precisions):
        return config
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in SwiftVLA(config).state_dict().items()}
    weights = {}
    for name, shape in shapes.items():
        if len(shape) == 1:
            weights[lerobot_name(name)] = torch.full(shape, 1.0 if "norm" in name and "weight" in name else 0.0)
        else:
            spread = 0.02 if "embed_tokens" in name else float(np.prod(shape[1:])) ** -0.5
            weights[lerobot_name(name)] = torch.randn(shape, generator=generator).mul_(spread)
    save_file(weights, folder / "model.safetensors")
    del weights
    joints = [joint.name for joint in load_contract("so101_sim").joints]
    images = {f"observation.images.{name}": {"type": "VISUAL", "shape": [3, 480, 640]} for name in "abc"}
    vector = {"shape": [len(joints)]}
    settings = {
        "type": "smolvla", "input_features": {"observation.state": {"type": "STATE", **vector}, **images},
        "output_features": {"action": {"type": "ACTION", **vector}}, "chunk_size": config.horizon, "num_steps": 10,
        "max_state_dim": config.state_dim, "max_action_dim": config.action_dim, "num_vlm_layers": 16,
        "self_attn_every_n_layers": 2, "tokenizer_max_length": _PADDED, "resize_imgs_with_padding": [512, 512],
    }  # fmt: skip
    statistics = {
        name: {"mean": [0.0] * len(joints), "std": [1.0] * len(joints)} for name in ("observation.state", "action")
    }
    (folder / "statistics.json").write_text(json.dumps(statistics))
    data = yaml.safe_load(load_contract("so101_sim").text)
    camera = {**data["cameras"][0], "size": [640, 480]}
    data["cameras"] = [{**camera, "name": name, "topic": f"/{name}"} for name in "abc"]
    contract = contract_from_text(yaml.safe_dump(data), _ROOT / "config/robots/three_cameras.yaml")
    tokenizer = (_ROOT / "models/smollm2-tokenizer/tokenizer.json").read_text(encoding="utf-8")
    for precision in precisions:
        # lerobot computes in bfloat16 when it starts from the published backbone.
        lerobot = {**settings, "load_vlm_weights": precision == "bfloat16"}
        (folder / "config.json").write_text(json.dumps(lerobot))
        import_smolvla(folder, folder / precision, contract, tokenizer, statistics=folder / "statistics.json")
    return config


def write_inputs(folder: Path, config: SwiftVLAConfig, cameras: list[int]) -> None:
    """The same random observation for both."""
    side = config.vision.image_size
    for count in cameras:
        generator = torch.Generator().manual_seed(count)
        inputs = {
            "images": torch.rand((1, count, 3, side, side), generator=generator) * 2 - 1,
            "text": torch.randint(0, 49152, (1, _PADDED), generator=generator),
            "text_present": torch.arange(_PADDED)[None] < _TOKENS,
            "state": torch.randn((1, config.state_dim), generator=generator),
            "noise": torch.randn((1, config.horizon, config.action_dim), generator=generator),
        }
        save_file(inputs, folder / f"inputs_{count}.safetensors")


def write_graphs(folder: Path, cameras: int, kind: str, precision: str) -> Path:
    """Export the network for so many cameras, where ``folder`` has it not yet; random weights need no gate."""
    from swiftvla_ros.deploy.export import write_deployment

    out = folder / f"{kind}-{precision}-{cameras}"
    if (out / DEPLOY).is_file():
        return out
    source, network = folder / "float32", folder / f"float32-{cameras}"
    shutil.rmtree(network, ignore_errors=True)
    shutil.copytree(source, network, ignore=shutil.ignore_patterns(WEIGHTS))
    os.link(source / WEIGHTS, network / WEIGHTS)
    config = json.loads((network / CONFIG).read_text())
    config["camera_names"] = config["camera_names"][:cameras]
    config["model"]["num_cameras"] = cameras
    (network / CONFIG).write_text(json.dumps(config))
    data = load_file(folder / f"inputs_{cameras}.safetensors")
    calibration = [NetworkInput(data["images"][0], data["text"][data["text_present"]], data["state"][0])]
    write_deployment(open_checkpoint(network), out, kind, precision, calibration)
    shutil.rmtree(network)
    return out


def chunk_flops(config: SwiftVLAConfig, cameras: int) -> float:
    """Floating-point operations of one chunk: matrix products, twice the multiplications; text without padding."""
    vision, text, expert = config.vision, config.text, config.expert
    patches, tokens = vision.tokens * vision.scale_factor**2, cameras * vision.tokens
    layer = 4 * vision.hidden_size**2 + 2 * vision.hidden_size * vision.intermediate_size
    tower = vision.num_layers * (patches * layer + 2 * patches**2 * vision.hidden_size)
    embed = 3 * vision.patch_size**2 * vision.hidden_size * patches
    connector = vision.tokens * vision.hidden_size * vision.scale_factor**2 * text.hidden_size
    n, width = tokens + _TOKENS + 1, text.hidden_size
    q, kv = text.num_heads * text.head_dim, text.num_kv_heads * text.head_dim
    keys = n * width * 2 * kv
    rest = n * (2 * width * q + 3 * width * text.intermediate_size) + 2 * n**2 * q
    prefix = text.num_layers * keys + (text.num_layers - 1) * rest
    h, w, joint = config.horizon, expert.hidden_size, -(-text.num_layers // expert.self_attention_every)
    crossed = (text.num_layers - joint) * n * 2 * kv * kv
    step = text.num_layers * h * (2 * w * q + 3 * w * expert.intermediate_size + 2 * n * q)
    step += joint * h * (2 * w * kv + 2 * h * q) + h * (2 * w * w + 2 * w * config.action_dim)
    return 2.0 * (cameras * (tower + embed + connector) + prefix + crossed + config.denoise_steps * step)
