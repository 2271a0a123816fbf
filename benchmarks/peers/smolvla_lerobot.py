# SPDX-License-Identifier: Apache-2.0
"""lerobot's SmolVLA as a process that computes chunks when it is told to; runs in lerobot's own interpreter.

``python smolvla_lerobot.py FOLDER PRECISION THREADS``: FOLDER has a SmolVLA's ``model.safetensors``, and
``inputs_<cameras>.safetensors``. A line "N" on the standard input is answered by a line of JSON: a chunk for N cameras,
the seconds it took, and the largest resident size so far. No network: the hub's configuration stands below.

Made for lerobot 0.4.4 (transformers 4.57, torch from 2.2 on, no torchvision needed).
"""

import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import resource
import sys
import time
import types
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")


class _Absent(types.ModuleType):
    """A module that only has to be importable: lerobot wants torchvision for data sets, not for policies."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class _AbsentFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        del target
        # transformers must see that it is absent.
        if name.split(".", maxsplit=1)[0] == "torchvision" and (path is not None or "lerobot" in sys.modules):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _Absent(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        del module


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
    folder, precision, threads = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    if importlib.util.find_spec("torchvision") is None:
        import transformers.utils.import_utils  # noqa: F401

        sys.meta_path.append(_AbsentFinder())
    import torch
    from lerobot.policies.smolvla import smolvlm_with_expert
    from lerobot.policies.smolvla.configuration_smolvla import SmolVLAConfig
    from lerobot.policies.smolvla.modeling_smolvla import VLAFlowMatching
    from safetensors import safe_open
    from safetensors.torch import load_file

    torch.set_num_threads(threads)
    backbone = _backbone()
    tokenizer = types.SimpleNamespace(fake_image_token_id=49189, global_image_token_id=49152)
    smolvlm_with_expert.AutoConfig = types.SimpleNamespace(from_pretrained=lambda *_, **__: backbone)
    smolvlm_with_expert.AutoProcessor = types.SimpleNamespace(
        from_pretrained=lambda *_, **__: types.SimpleNamespace(tokenizer=tokenizer)
    )
    sys.stdout, answers = sys.stderr, sys.stdout
    model = VLAFlowMatching(SmolVLAConfig(load_vlm_weights=False, device="cpu")).eval()
    state = model.state_dict()
    # One by one, so that the file never lies in memory: lerobot's own loader takes more.
    # The language head, which no policy uses, is not in the file.
    for name in (name for name in state if ".lm_head." not in name):
        with safe_open(folder / "model.safetensors", framework="pt") as file:
            state[name].copy_(file.get_tensor(f"model.{name}"))
    if precision == "bfloat16":
        # As lerobot mixes: backbone and expert in bfloat16, the projections of state, action and time in float32.
        model.vlm_with_expert.to(torch.bfloat16)
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        data = load_file(folder / f"inputs_{int(line)}.safetensors")
        images = list(data["images"].unbind(1))
        masks = [torch.ones(1, dtype=torch.bool)] * len(images)
        begin = time.perf_counter()
        with torch.inference_mode():
            chunk = model.sample_actions(
                images, masks, data["text"], data["text_present"], data["state"], noise=data["noise"]
            )
        answer = {
            "seconds": time.perf_counter() - begin,
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "chunk": chunk[0].float().tolist(),
        }
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
