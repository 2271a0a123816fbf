# SPDX-License-Identifier: Apache-2.0
"""lerobot's SmolVLA as a process that computes chunks when it is told to; runs in lerobot's own interpreter.

``python smolvla_lerobot.py FOLDER PRECISION THREADS [DEVICE [MODE]]``: FOLDER has a SmolVLA's ``model.safetensors``,
and ``inputs_<cameras>.safetensors``; the protocol stands in ``answering.py``. No network is needed: the hub's
configuration stands below.

Made for lerobot 0.4.4 (transformers 4.57, torch from 2.2 on, no torchvision needed).
"""

import os
import types
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")

from absent_torchvision import make_torchvision_importable
from answering import command_line, parse


def _backbone() -> Any:
    """SmolVLM2-500M-Video-Instruct's configuration."""
    from transformers import SmolVLMConfig

    return SmolVLMConfig(
        text_config={
            "model_type": "llama", "vocab_size": 49280, "hidden_size": 960, "intermediate_size": 2560,
            "num_hidden_layers": 32, "num_attention_heads": 15, "num_key_value_heads": 5, "head_dim": 64,
            "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 100000.0, "attention_bias": False,
            "hidden_act": "silu", "pad_token_id": 2, "tie_word_embeddings": False,
        },
        vision_config={
            "model_type": "smolvlm_vision", "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
            "num_attention_heads": 12, "image_size": 512, "patch_size": 16, "num_channels": 3,
            "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6,
        },
        scale_factor=4, image_token_id=49190, tie_word_embeddings=False, pad_token_id=2,
    )  # fmt: skip


def main() -> None:
    """Load the model, then answer."""
    parser = command_line(__doc__, ["float32", "bfloat16"])
    parser.add_argument("mode", nargs="?", default="eager", help="eager, or one of torch.compile's modes")
    arguments = parse(parser)
    make_torchvision_importable()
    import torch
    from lerobot.policies.smolvla import smolvlm_with_expert
    from lerobot.policies.smolvla.configuration_smolvla import SmolVLAConfig
    from lerobot.policies.smolvla.modeling_smolvla import VLAFlowMatching
    from safetensors import safe_open

    from sampling import answer_with

    torch.set_num_threads(arguments.threads)
    backbone, device = _backbone(), arguments.device
    tokenizer = types.SimpleNamespace(fake_image_token_id=49189, global_image_token_id=49152)
    smolvlm_with_expert.AutoConfig = types.SimpleNamespace(from_pretrained=lambda *_, **__: backbone)
    smolvlm_with_expert.AutoProcessor = types.SimpleNamespace(
        from_pretrained=lambda *_, **__: types.SimpleNamespace(tokenizer=tokenizer)
    )
    model = VLAFlowMatching(SmolVLAConfig(load_vlm_weights=False, device="cpu")).eval()
    state = model.state_dict()
    # One by one, so that the file never lies in memory: lerobot's own loader takes more.
    # The language head, which no policy uses, is not in the file.
    for name in (name for name in state if ".lm_head." not in name):
        with safe_open(arguments.folder / "model.safetensors", framework="pt") as file:
            state[name].copy_(file.get_tensor(f"model.{name}"))
    if arguments.precision == "bfloat16":
        # As lerobot mixes: backbone and expert in bfloat16, the projections of state, action and time in float32.
        model.vlm_with_expert.to(torch.bfloat16)
    model.to(device)
    if arguments.mode != "eager":
        # lerobot's own option compiles the whole loop of steps, which takes minutes.
        model.denoise_step = torch.compile(model.denoise_step, mode=arguments.mode, dynamic=False)
        model.embed_prefix = torch.compile(model.embed_prefix, mode=arguments.mode, dynamic=False)

    answer_with(model, arguments)


if __name__ == "__main__":
    main()
