# SPDX-License-Identifier: Apache-2.0
"""Runs a checkpoint's network with torch; the only module of this room that imports it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import nn

from swiftvla_ros.model.config import SwiftVLAConfig
from swiftvla_ros.model.cpu_packed_linear import can_pack, pack
from swiftvla_ros.model.guidance import METHODS, Guidance, Method
from swiftvla_ros.model.objective import Auxiliary
from swiftvla_ros.model.swiftvla import GeometryTokens, ModelInput, SwiftVLA
from swiftvla_ros.observation.observation import NO_GUIDANCE, RowsAhead
from swiftvla_ros.policy.checkpoint import PAD_TOP_LEFT, Checkpoint, CheckpointError

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}

# Small layers at the ends of the flow, which stay in float32 at any precision (as in lerobot's SmolVLA).
_ALWAYS_FLOAT32 = ("state_proj.", "expert.action_", "action_out_proj.")
# A file's pages stay in memory while it is mapped: so it is mapped anew after so many bytes.
_MAPPED_BYTES = 64 << 20

Module = TypeVar("Module", bound=nn.Module)


class TorchRuntime:
    """The network on one device, in evaluation mode."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str,
        threads: int | None,
        precision: str = "float32",
        *,
        with_4d: bool,
        guidance: str = NO_GUIDANCE,
    ) -> None:
        self._device = _device(device)
        if precision not in PRECISIONS:
            raise CheckpointError(f"precision '{precision}' is unknown; write {' or '.join(PRECISIONS)}")
        if guidance not in (NO_GUIDANCE, *METHODS):
            raise CheckpointError(f"guidance '{guidance}' is unknown; write one of {[NO_GUIDANCE, *METHODS]}")
        self.guidance, self.precision = guidance, precision
        if threads is not None:
            torch.set_num_threads(threads)
        self.threads = torch.get_num_threads()
        self._checkpoint = checkpoint
        self.model = load_model(checkpoint, PRECISIONS[precision]).to(self._device)
        self.config = self.model.config
        if guidance == "trained" and not self.config.max_delay_steps:
            raise CheckpointError(
                f"checkpoint '{checkpoint.folder}': was not trained to continue executed rows (config.json: "
                "model.max_delay_steps is 0), so guidance 'trained' can't be used; write vjp or identity, or train it "
                "on with `swiftvla train --max-delay-steps`"
            )
        if self.device == "cpu" and can_pack(PRECISIONS[precision]):
            pack(self.model, expert=guidance != "vjp")
        self._captured: CapturedChunk | None = None
        self._with_4d = with_4d
        if with_4d and self._auxiliary.geometry_proj is None:
            raise CheckpointError(
                f"checkpoint '{checkpoint.folder}': was trained without a 4D branch (config.json: model.geometry is "
                "null), so it can't be run with one"
            )

    @property
    def device(self) -> str:
        """The device that is used: "cpu" or "cuda"."""
        return self._device.type

    def infer(
        self,
        images: list[NDArray[np.uint8]],
        token_ids: NDArray[np.int64],
        state: NDArray[np.float32],
        noise: NDArray[np.float32],
        geometry: NDArray[np.float32] | None = None,
        ahead: RowsAhead | None = None,
    ) -> NDArray[np.float32]:
        """Images [h, w, 3] in camera order, ids [n], normalised state [J], noise [H, A] → normalised chunk [H, A].

        ``geometry`` are pooled 4D features [64, dim], for a study of what the 4D branch adds. ``ahead`` is what the
        chunk shall continue.
        """
        # A vector-Jacobian product needs autograd, which inference_mode takes away from all that is made in it.
        with torch.no_grad() if self.guidance == "vjp" else torch.inference_mode():
            inputs = self._input(images, token_ids, state)
            start = torch.from_numpy(noise)[None].to(self._device)
            if self._device.type == "cuda" and geometry is None and ahead is None:
                if self._captured is None:
                    self._captured = CapturedChunk(self.model, inputs, start)
                chunk = self._captured(inputs, start)
            else:
                chunk = self.model.sample_actions(inputs, start, self._geometry(geometry), self._guidance(ahead))
            return chunk[0].cpu().numpy()

    def keypoints(
        self, images: list[NDArray[np.uint8]], token_ids: NDArray[np.int64], state: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Where the Fusion Tokens see the end effector go in the front image: (u, v) [f, 2], goal keypoint first."""
        with torch.inference_mode():
            inputs = self._input(images, token_ids, state)
            prefix = self.model.embed_prefix(inputs, self.model.backbone.vision_features(inputs.images))
            _, hidden = self.model.condition(prefix)
            return self._auxiliary.keypoints(prefix, hidden.float()).uv[0].cpu().numpy()

    @cached_property
    def _auxiliary(self) -> Auxiliary:
        """What only training and studies need; a deployed policy never gets here."""
        path = self._checkpoint.auxiliary
        if not path.is_file():
            raise CheckpointError(
                f"{path}: missing; keypoints and 4D input need the modules that only training uses: copy the file too, "
                "from where the checkpoint was trained"
            )
        return _fill(Auxiliary(self.config), path, torch.float32).to(self._device)

    def _guidance(self, ahead: RowsAhead | None) -> Guidance | None:
        if ahead is None:
            return None
        overlap, joints = ahead.rows.shape
        # The network's padding is zero in training, too.
        rows = torch.zeros((1, self.config.horizon, self.config.action_dim), device=self._device)
        rows[0, :overlap, :joints] = torch.from_numpy(ahead.rows).to(self._device)
        return Guidance(cast(Method, self.guidance), rows, ahead.executed, overlap)

    def _geometry(self, features: NDArray[np.float32] | None) -> GeometryTokens | None:
        if features is None:
            return None
        if not self._with_4d:
            raise ValueError("geometry: the policy was loaded without its 4D branch; load it with_4d=True")
        branch = self.config.geometry
        if branch is not None and features.shape != (branch.tokens, branch.dim):
            raise ValueError(f"geometry: expected [{branch.tokens}, {branch.dim}], got {list(features.shape)}")
        return self._auxiliary.geometry_tokens(torch.from_numpy(features)[None].to(self._device))

    def _input(
        self, images: list[NDArray[np.uint8]], token_ids: NDArray[np.int64], state: NDArray[np.float32]
    ) -> ModelInput:
        text = torch.from_numpy(token_ids)[None].to(self._device)
        present = torch.ones_like(text, dtype=torch.bool)
        if self._device.type == "cuda":
            # A captured graph has fixed shapes; padding is absent for everyone, so it changes nothing.
            padding = (0, self.config.text.max_tokens - text.shape[1])
            text, present = nn.functional.pad(text, padding), nn.functional.pad(present, padding)
        if self._checkpoint.image_fit == PAD_TOP_LEFT:
            side = self.config.vision.image_size
            pictures = torch.stack([pad_top_left(torch.from_numpy(x).to(self._device), side) for x in images])[None]
        else:
            pictures = to_model_images(torch.from_numpy(np.stack(images))[None].to(self._device))
        return ModelInput(
            images=pictures,
            text=text,
            text_present=present,
            state=torch.from_numpy(state)[None].to(self._device),
        )


class CapturedChunk:
    """A network's chunk as a CUDA graph: one launch instead of thousands, which take longer than their work.

    Parameters
    ----------
    model
        On the GPU; its parameters must stay where they are.
    inputs, noise
        Of the shapes that all calls will have.
    """

    def __init__(self, model: SwiftVLA, inputs: ModelInput, noise: torch.Tensor) -> None:
        self._inputs = ModelInput(*(tensor.clone() for tensor in inputs))
        self._noise = noise.clone()
        # Libraries choose their kernels and workspaces in the first calls, which must not be captured.
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):
                model.sample_actions(self._inputs, self._noise)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._chunk = model.sample_actions(self._inputs, self._noise)

    def __call__(self, inputs: ModelInput, noise: torch.Tensor) -> torch.Tensor:
        """The chunk [b, h, a]; the next call writes over it."""
        for fixed, tensor in zip((*self._inputs, self._noise), (*inputs, noise), strict=True):
            fixed.copy_(tensor)
        self._graph.replay()
        return self._chunk


def to_model_images(images: torch.Tensor) -> torch.Tensor:
    """uint8 [b, cams, h, w, 3] → float [b, cams, 3, h, w] in [-1, 1] (SigLIP's normalisation)."""
    return images.permute(0, 1, 4, 2, 3).float() / 127.5 - 1


def pad_top_left(image: torch.Tensor, side: int) -> torch.Tensor:
    """uint8 [h, w, 3] of any size → float [3, side, side] in [-1, 1], as lerobot's SmolVLA sees it.

    The image keeps its aspect ratio and lies in the lower right corner; the rest is black.
    """
    height, width = image.shape[:2]
    ratio = max(width / side, height / side)
    inner = int(height / ratio), int(width / ratio)
    picture = image.permute(2, 0, 1)[None].float() / 255
    if inner != (height, width):
        picture = nn.functional.interpolate(picture, size=inner, mode="bilinear", align_corners=False)
    return nn.functional.pad(picture, (side - inner[1], 0, side - inner[0], 0))[0] * 2 - 1


def load_model(checkpoint: Checkpoint, dtype: torch.dtype) -> SwiftVLA:
    """Build the network and fill it; every tensor must be there and fit.

    Weights go straight from the file into ``dtype``, so that memory never holds them twice.

    Raises
    ------
    CheckpointError
        Names the tensors that are missing, unknown, of another shape or not finite.
    """
    try:
        with torch.device("meta"):
            model = SwiftVLA(SwiftVLAConfig.from_json(checkpoint.model))
    except (TypeError, KeyError, ValueError) as error:
        raise CheckpointError(f"checkpoint '{checkpoint.folder}': config.json: model: {error}") from error
    return _fill(model, checkpoint.weights, dtype)


def _fill(module: Module, path: Path, dtype: torch.dtype) -> Module:
    """Give a module the weights of a file, for inference."""
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: corrupt ({error}); copy it again or train it again") from error
    problems = [f"missing {name}" for name in expected if name not in shapes]
    problems += [f"unknown {name}" for name in shapes if name not in expected]
    for name in shapes.keys() & expected.keys():
        if shapes[name] != expected[name]:
            problems.append(f"{name} has shape {list(shapes[name])}, expected {list(expected[name])}")
    weights: dict[str, torch.Tensor] = {}
    if not problems:
        for name, tensor in _read(path, list(expected)):
            if not torch.isfinite(tensor).all():
                problems.append(f"{name} holds NaN or Inf")
            target = torch.float32 if name.startswith(_ALWAYS_FLOAT32) else dtype
            weights[name] = tensor.to(target, copy=True)
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise CheckpointError(f"{path}: {'; '.join(sorted(problems)[:5])}{more}")
    module.load_state_dict(weights, assign=True)
    return module.eval().requires_grad_(False)


def _read(path: Path, names: list[str]) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of a file, one after the other; each is valid until the next is asked for."""
    while names:
        mapped = 0
        with safe_open(path, framework="pt") as file:
            while names and mapped < _MAPPED_BYTES:
                name = names.pop(0)
                tensor = file.get_tensor(name)
                mapped += tensor.nbytes
                yield name, tensor


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
