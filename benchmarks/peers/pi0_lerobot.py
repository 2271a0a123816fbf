# SPDX-License-Identifier: Apache-2.0
"""lerobot's π0 as a process that computes chunks when it is told to; runs in lerobot's own interpreter.

``python pi0_lerobot.py FOLDER bfloat16 THREADS [DEVICE]``: FOLDER has ``inputs_<cameras>.safetensors`` as for the other
peers; its images are scaled to π0's 224 × 224. The weights are random: they cost the same time and memory as trained
ones, and the chunk means nothing. The protocol stands in ``answering.py``. No network is needed.

Made for lerobot 0.4.4 with transformers 4.57. lerobot's π0 was written for a patched transformers that PyPI does not
have; :func:`_mend` does to the ordinary one what inference needs of that patch.
"""

import importlib.machinery
import os
import sys
import types
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")

from absent_torchvision import make_torchvision_importable
from answering import command_line, parse


def _mend() -> None:
    """The patch's check, and what it changed in Gemma and SigLIP."""
    import torch
    from transformers.models.gemma.modeling_gemma import GemmaModel
    from transformers.models.siglip.modeling_siglip import SiglipVisionEmbeddings

    check: Any = types.ModuleType("transformers.models.siglip.check")
    check.__spec__ = importlib.machinery.ModuleSpec(check.__name__, None)
    check.check_whether_transformers_replace_is_installed_correctly = lambda: True
    sys.modules[check.__name__] = check
    import transformers.models.siglip

    transformers.models.siglip.check = check  # type: ignore[attr-defined]

    gemma, embeddings = GemmaModel.forward, SiglipVisionEmbeddings.forward

    def gemma_forward(
        self: GemmaModel, *, inputs_embeds: torch.Tensor, past_key_values: Any, adarms_cond: None, **options: Any
    ) -> Any:
        # adarms_cond is π0.5's. The norms are in float32, and so is what the state and the rows are projected to.
        assert adarms_cond is None
        cached = 0 if past_key_values is None else past_key_values.get_seq_length()
        dtype = self.layers[0].self_attn.q_proj.weight.dtype
        # The ordinary Gemma multiplies its inputs by this; the patched one leaves that to π0.
        inputs_embeds = inputs_embeds.to(dtype) / self.config.hidden_size**0.5
        output = gemma(self, inputs_embeds=inputs_embeds, past_key_values=past_key_values, **options)
        if cached:
            # The ordinary attention keeps a step's keys and values, which the next step must not see.
            past_key_values.crop(cached)
        return output

    def embeddings_forward(self: SiglipVisionEmbeddings, *args: Any, **options: Any) -> torch.Tensor:
        # The patches are embedded in float32, and encoded in bfloat16.
        return embeddings(self, *args, **options).to(self.encoded_in)

    GemmaModel.forward = gemma_forward
    SiglipVisionEmbeddings.forward = embeddings_forward


def _build(precision: str, device: str) -> Any:
    """The model, each weight made once, in its own type: lerobot's way takes twice the memory."""
    import torch
    from accelerate import init_empty_weights
    from lerobot.policies.pi0.configuration_pi0 import PI0Config
    from lerobot.policies.pi0.modeling_pi0 import PI0Pytorch

    with init_empty_weights(include_buffers=False):
        model = PI0Pytorch(PI0Config(dtype=precision, device=device)).eval().requires_grad_(False)
    backbone = model.paligemma_with_expert.paligemma
    backbone.tie_weights()
    backbone.vision_tower.vision_model.embeddings.encoded_in = getattr(torch, precision)
    generator = torch.Generator(device).manual_seed(0)
    made: dict[int, torch.nn.Parameter] = {}
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            if id(weight) not in made:
                fresh = torch.empty(weight.shape, dtype=weight.dtype, device=device)
                # Norms and biases start at 0 (Gemma's norms add 1).
                spread = weight[0].numel() ** -0.5 if weight.dim() > 1 else 0.0
                made[id(weight)] = torch.nn.Parameter(fresh.normal_(0, spread, generator=generator), False)
            setattr(module, name, made[id(weight)])
    return model.to(device)  # the buffers


def main() -> None:
    """Make the model, then answer."""
    arguments = parse(command_line(__doc__, ["bfloat16", "float32"]))
    make_torchvision_importable()
    import torch

    from sampling import answer_with

    _mend()
    torch.set_num_threads(arguments.threads)
    model = _build(arguments.precision, arguments.device)
    answer_with(model, arguments, lambda image: torch.nn.functional.interpolate(image, (224, 224)))


if __name__ == "__main__":
    main()
