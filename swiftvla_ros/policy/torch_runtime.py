# SPDX-License-Identifier: Apache-2.0
"""Runs a checkpoint's network with torch; the only module of this room that imports it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from swiftvla_ros.model.config import SwiftVLAConfig
from swiftvla_ros.model.swiftvla import ModelInput, SwiftVLA
from swiftvla_ros.policy.checkpoint import Checkpoint, CheckpointError


class TorchRuntime:
    """The network on one device, in evaluation mode."""

    def __init__(self, checkpoint: Checkpoint, device: str, threads: int | None) -> None:
        self._device = _device(device)
        if threads is not None:
            torch.set_num_threads(threads)
        self.model = load_model(checkpoint).to(self._device).eval()
        self.config = self.model.config

    @property
    def device(self) -> str:
        """The device that is used: "cpu" or "cuda"."""
        return self._device.type

    def infer(
        self,
        images: NDArray[np.uint8],
        token_ids: NDArray[np.int64],
        state: NDArray[np.float32],
        noise: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Images [cams, h, w, 3], ids [n], normalised state [J], noise [H, A] → normalised chunk [H, A]."""
        with torch.inference_mode():
            actions = self.model.sample_actions(
                self._input(images, token_ids, state), torch.from_numpy(noise)[None].to(self._device)
            )
            return actions[0].cpu().numpy()

    def keypoints(
        self, images: NDArray[np.uint8], token_ids: NDArray[np.int64], state: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Where the Fusion Tokens see the end effector go in the front image: (u, v) [f, 2], goal keypoint first."""
        with torch.inference_mode():
            _, keypoints = self.model.condition(self._input(images, token_ids, state))
            return keypoints.uv[0].cpu().numpy()

    def _input(self, images: NDArray[np.uint8], token_ids: NDArray[np.int64], state: NDArray[np.float32]) -> ModelInput:
        text = torch.from_numpy(token_ids)[None].to(self._device)
        return ModelInput(
            images=to_model_images(torch.from_numpy(images)[None].to(self._device)),
            text=text,
            text_present=torch.ones_like(text, dtype=torch.bool),
            state=torch.from_numpy(state)[None].to(self._device),
        )


def to_model_images(images: torch.Tensor) -> torch.Tensor:
    """uint8 [b, cams, h, w, 3] → float [b, cams, 3, h, w] in [-1, 1] (SigLIP's normalisation)."""
    return images.permute(0, 1, 4, 2, 3).float() / 127.5 - 1


def load_model(checkpoint: Checkpoint) -> SwiftVLA:
    """Build the network and fill it; every tensor must be there and fit.

    Raises
    ------
    CheckpointError
        Names the tensors that are missing, unknown, of another shape or not finite.
    """
    try:
        model = SwiftVLA(SwiftVLAConfig.from_json(checkpoint.model))
    except (TypeError, KeyError, ValueError) as error:
        raise CheckpointError(f"checkpoint '{checkpoint.folder}': config.json: model: {error}") from error
    try:
        weights = load_file(checkpoint.weights)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{checkpoint.weights}: corrupt ({error}); copy it again or train it again") from error
    expected = model.state_dict()
    problems = [f"missing {key}" for key in expected if key not in weights]
    problems += [f"unknown {key}" for key in weights if key not in expected]
    for key in set(weights) & set(expected):
        if weights[key].shape != expected[key].shape:
            problems.append(f"{key} has shape {list(weights[key].shape)}, expected {list(expected[key].shape)}")
        elif not torch.isfinite(weights[key]).all():
            problems.append(f"{key} holds NaN or Inf")
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise CheckpointError(f"{checkpoint.weights}: {'; '.join(sorted(problems)[:5])}{more}")
    model.load_state_dict({key: value.float() for key, value in weights.items()})
    return model


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda"):
        raise CheckpointError(f"device '{name}' is unknown; write auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise CheckpointError(
            f"device 'cuda' was asked for, but torch {torch.__version__} sees no GPU; install a CUDA build of torch "
            "(on a Jetson: NVIDIA's own wheel, PyPI's has no CUDA there), or say device:=cpu"
        )
    return torch.device(name)
