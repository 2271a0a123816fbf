# SPDX-License-Identifier: Apache-2.0
"""Runs a checkpoint's network with torch; the only module of this room that imports it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import nn

from swiftvla_ros.files import some_of, tensor_problems, unreadable
from swiftvla_ros.model.cpu.mapped_embedding import MappedEmbedding
from swiftvla_ros.model.cpu.packing import pack
from swiftvla_ros.model.gpu.layers import fuse
from swiftvla_ros.model.guidance import METHODS, Guidance, Method
from swiftvla_ros.model.objective import Auxiliary
from swiftvla_ros.model.prefix import Modality
from swiftvla_ros.model.swiftvla import GeometryTokens, ModelInput, SwiftVLA
from swiftvla_ros.observation.observation import RowsAhead
from swiftvla_ros.policy.checkpoint import Checkpoint, CheckpointError
from swiftvla_ros.policy.runtime import Capabilities, NetworkInput, PolicyRuntime, RuntimeOptions
from swiftvla_ros.policy.runtimes.captured_chunk import CapturedChunk

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# Small layers at the ends of the flow, which stay in float32 at any precision (as in lerobot's SmolVLA).
_ALWAYS_FLOAT32 = ("state_proj.", "expert.action_", "action_out_proj.")
_WORDS = "backbone.text_model.embed_tokens.weight"
_CPU = torch.device("cpu")
_CHECKED_AT_ONCE = 1 << 20
# A file's pages stay in memory while it is mapped: so it is mapped anew after so many bytes.
_MAPPED_BYTES = 64 << 20

Module = TypeVar("Module", bound=nn.Module)


def capabilities() -> Capabilities:
    """What torch can do on this machine."""
    no_gpu = (
        f"torch {torch.__version__} sees no GPU; install a CUDA build of torch (on a Jetson: NVIDIA's own wheel, "
        "PyPI's has no CUDA there), or say device:=cpu"
    )
    devices = {"cuda": "" if torch.cuda.is_available() else no_gpu, "cpu": ""}
    return Capabilities(devices, tuple(PRECISIONS), METHODS, with_4d=True)


class TorchRuntime(PolicyRuntime):
    """The network on one device, in evaluation mode; the module's ``load``."""

    def __init__(self, checkpoint: Checkpoint, options: RuntimeOptions) -> None:
        self._device = torch.device(options.device)
        self._guidance_method = options.guidance
        if options.threads is not None:
            torch.set_num_threads(options.threads)
        self.device, self.precision, self.threads = options.device, options.precision, torch.get_num_threads()
        self._checkpoint, self.config = checkpoint, checkpoint.model
        dtype = PRECISIONS[options.precision]
        if dtype == torch.float16 and self.device == "cpu":
            raise CheckpointError(
                "precision 'float16' needs a GPU: processors are slow with it; write bfloat16 or float32"
            )
        if self.device == "cpu":
            self.model = load_packed(checkpoint, dtype, expert=options.guidance != "vjp")
        else:
            self.model = load_model(checkpoint, dtype, self._device)
        self._captured: CapturedChunk | None = None
        # The newest chunk's image tokens [1, n, d], cameras one after the other; made when they are asked for.
        self._image_tokens: Callable[[], torch.Tensor] | None = None
        if self.device == "cuda":
            # TensorFloat-32 is what cuDNN takes for float32 unless told otherwise.
            torch.backends.cudnn.allow_tf32 = False
            fuse(self.model)
            captured = ("identity", "trained")  # of the methods; "vjp" needs autograd
            method = cast(Method, options.guidance) if options.guidance in captured else None
            self._captured = CapturedChunk(self.model, method)
        if options.with_4d:
            _ = self._auxiliary  # what is missing shall be told now

    def infer(
        self, inputs: NetworkInput, noise: NDArray[np.float32], ahead: RowsAhead | None = None
    ) -> NDArray[np.float32]:
        """Compute a normalised chunk [H, A] from noise [H, A]; ``ahead`` is what it shall continue."""
        guided_by_autograd = ahead is not None and self._guidance_method == "vjp"
        if self._captured and inputs.geometry is None and not guided_by_autograd:
            self._image_tokens = self._captured.image_tokens
            return self._captured(inputs, noise, ahead)
        # A vector-Jacobian product needs autograd, which inference_mode takes away from all that is made in it.
        with torch.no_grad() if self._guidance_method == "vjp" else torch.inference_mode():
            tensors = self._input(inputs)
            start = torch.from_numpy(noise)[None].to(self._device)
            geometry = self._geometry(inputs.geometry)
            prefix = self.model.embed_prefix(tensors, self.model.backbone.vision_features(tensors.images), geometry)
            self._image_tokens = lambda: prefix.embeddings[:, prefix.columns(Modality.IMAGE)]
            return self.model.denoise(prefix, start, self._guidance(ahead))[0].cpu().numpy()

    def vision_tokens(self) -> tuple[NDArray[np.float32], ...] | None:
        """The tokens [p, d] of each camera's image in the last chunk."""
        if self._image_tokens is None:
            return None
        with torch.inference_mode():
            tokens = self._image_tokens()[0].float().cpu().numpy()
        return tuple(np.split(tokens, self.config.num_cameras))

    def keypoints(self, inputs: NetworkInput) -> NDArray[np.float32]:
        """Where the Fusion Tokens see the end effector go in the front image: (u, v) [f, 2], goal keypoint first."""
        with torch.inference_mode():
            tensors = self._input(inputs)
            prefix = self.model.embed_prefix(tensors, self.model.backbone.vision_features(tensors.images))
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
        with torch.device("meta"):
            auxiliary = Auxiliary(self.config)
        return _filled(auxiliary, path, torch.float32, self._device)

    def _guidance(self, ahead: RowsAhead | None) -> Guidance | None:
        if ahead is None:
            return None
        overlap, joints = ahead.rows.shape
        # The network's padding is zero in training, too.
        rows = torch.zeros((1, self.config.horizon, self.config.action_dim), device=self._device)
        rows[0, :overlap, :joints] = torch.from_numpy(ahead.rows).to(self._device)
        return Guidance.over(cast(Method, self._guidance_method), rows, ahead.executed, overlap)

    def _geometry(self, features: NDArray[np.float32] | None) -> GeometryTokens | None:
        if features is None:
            return None
        return self._auxiliary.geometry_tokens(torch.from_numpy(features)[None].to(self._device))

    def _input(self, inputs: NetworkInput) -> ModelInput:
        text = torch.from_numpy(inputs.token_ids)[None].to(self._device)
        return ModelInput(
            images=torch.from_numpy(inputs.images)[None].to(self._device),
            text=text,
            text_present=torch.ones_like(text, dtype=torch.bool),
            state=torch.from_numpy(inputs.state)[None].to(self._device),
        )


load = TorchRuntime


def load_model(checkpoint: Checkpoint, dtype: torch.dtype, device: torch.device = _CPU) -> SwiftVLA:
    """Build the network and fill it; every tensor must be there and fit.

    Weights go straight from the file into ``dtype`` and onto the device, so that memory never holds them twice.

    Raises
    ------
    CheckpointError
        Names the tensors that are missing, unknown, of another shape or not finite.
    """
    with torch.device("meta"):
        model = SwiftVLA(checkpoint.model)
    return _filled(model, checkpoint.weights, dtype, device)


def load_packed(checkpoint: Checkpoint, dtype: torch.dtype, *, expert: bool) -> SwiftVLA:
    """The same for a CPU, packed part by part (:func:`pack`); word embeddings stay in the file."""
    with torch.device("meta"):
        model = SwiftVLA(checkpoint.model)
    weights = _Weights(model, checkpoint.weights, dtype, _CPU)
    # First, while there is little else: it is read once, to see that its numbers are finite.
    text: Any = model.backbone.text_model
    text.embed_tokens = MappedEmbedding(weights.mapped(_WORDS), dtype)
    pack(model, expert=expert, load=weights.fill)
    weights.fill(model)
    weights.check()
    return model


def _filled(module: Module, path: Path, dtype: torch.dtype, device: torch.device) -> Module:
    weights = _Weights(module, path, dtype, device)
    weights.fill(module)
    weights.check()
    return module


class _Weights:
    """A file's tensors, which go into a module that is on "meta", for inference.

    Raises
    ------
    CheckpointError
        The file can't be read, or its tensors are not those of the module.
    """

    def __init__(self, module: nn.Module, path: Path, dtype: torch.dtype, device: torch.device) -> None:
        self._path, self._dtype, self._device = path, dtype, device
        # Weak, so that a layer's plain weights go when it has been packed.
        self._prefixes = WeakKeyDictionary({part: f"{name}." if name else "" for name, part in module.named_modules()})
        self._problems: list[str] = []
        expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
        try:
            with safe_open(path, framework="pt") as file:
                shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (no mapping)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(unreadable(path, error, "copy it again, or train it again")) from error
        if problems := tensor_problems(expected, shapes):
            raise CheckpointError(f"{path}: {some_of(problems)}")
        module.to(dtype).eval().requires_grad_(False)

    def fill(self, part: nn.Module) -> None:
        """Give a part of the module those of its tensors that it does not have yet."""
        prefix = self._prefixes[part]
        missing = [prefix + name for name, tensor in part.state_dict().items() if tensor.is_meta]
        weights: dict[str, torch.Tensor] = {}
        for name, tensor in _read(self._path, missing):
            self._check_numbers(name, tensor)
            target = torch.float32 if name.startswith(_ALWAYS_FLOAT32) else self._dtype
            weights[name.removeprefix(prefix)] = tensor.to(self._device, target, copy=True)
        part.load_state_dict(weights, strict=False, assign=True)

    def mapped(self, name: str) -> torch.Tensor:
        """A tensor that stays in its file: pages of it that nobody reads take no memory."""
        for _, tensor in _read(self._path, [name]):
            self._check_numbers(name, tensor)
        with safe_open(self._path, framework="pt") as file:
            # The check above read the whole tensor: this one is mapped anew.
            return cast(torch.Tensor, file.get_tensor(name))

    def check(self) -> None:
        """Raise CheckpointError if what was read holds numbers that are not finite."""
        if self._problems:
            raise CheckpointError(f"{self._path}: {some_of(self._problems)}")

    def _check_numbers(self, name: str, tensor: torch.Tensor) -> None:
        # In slices, since what the comparison makes is larger than the tensor.
        if not all(bool(part.isfinite().all()) for part in tensor.flatten().split(_CHECKED_AT_ONCE)):
            self._problems.append(f"{name} holds NaN or Inf")


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
