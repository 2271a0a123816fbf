# SPDX-License-Identifier: Apache-2.0
"""A chunk from one of lerobot's flow-matching models, which all are asked alike; needs torch."""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from answering import Arrays, answer


def answer_with(
    model: Any, arguments: argparse.Namespace, fit: Callable[[torch.Tensor], torch.Tensor] = lambda image: image
) -> None:
    """Answer until the input ends; ``fit`` makes an image [1, 3, h, w] what the model reads."""
    device = arguments.device

    def prepare(data: Arrays) -> Callable[[], NDArray[np.float32]]:
        arrays = {name: torch.from_numpy(array).to(device) for name, array in data.items()}
        images = [fit(image) for image in arrays["images"].unbind(1)]
        present = [torch.ones(1, dtype=torch.bool, device=device)] * len(images)
        inputs = images, present, arrays["text"], arrays["text_present"], arrays["state"]

        def compute() -> NDArray[np.float32]:
            with torch.inference_mode():
                return model.sample_actions(*inputs, noise=arrays["noise"])[0].float().cpu().numpy()

        return compute

    about = {"parameters": sum(weight.numel() for weight in model.parameters())}
    answer(arguments.folder, prepare, about, lambda: torch.cuda.max_memory_allocated() / 2**20)
