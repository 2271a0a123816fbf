# SPDX-License-Identifier: Apache-2.0
"""What gpu_check's sections share: networks, observations, lerobot's processes, and clocks."""

import gc
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from _chunk_networks import write_checkpoints, write_inputs
from chunk_latency import Worker
from swiftvla_ros.model.guidance import Guidance
from swiftvla_ros.model.swiftvla import ModelInput
from swiftvla_ros.policy.checkpoint import Checkpoint, open_checkpoint
from swiftvla_ros.policy.runtime import NetworkInput, RuntimeOptions
from swiftvla_ros.policy.runtimes.captured_chunk import text_lengths
from swiftvla_ros.policy.runtimes.torch_runtime import TorchRuntime

_ROOT = Path(__file__).parents[1]
_NANO = _ROOT / "models" / "swiftvla-nano-so101"
PEERS = Path(__file__).parent / "peers"
_PRECISIONS = {"cuda": ("float32", "bfloat16", "float16"), "cpu": ("float32", "bfloat16")}

Array = NDArray[np.float32]


class Peer:
    """A process of lerobot's that starts while other things are done; ready, it has computed a first chunk."""

    def __init__(self, *arguments: str) -> None:
        self.worker: Worker | None = None
        self._arguments = arguments
        self._thread = threading.Thread(target=self._start, daemon=True)
        self._thread.start()

    def _start(self) -> None:
        python, *arguments = self._arguments
        worker = Worker(python, PEERS / "smolvla_lerobot.py", *arguments)
        worker.chunk(2)
        self.worker = worker

    def ready(self) -> bool:
        """Whether it has started; it is waited for a little."""
        self._thread.join(timeout=30)
        return self.worker is not None

    def chunk(self, cameras: int) -> dict[str, Any]:
        """Compute a chunk."""
        assert self.worker is not None
        return self.worker.chunk(cameras)


class Check:
    """The checkpoints, runtimes and peers that sections share, and what they found."""

    def __init__(self, device: str, folder: Path, peer_python: str | None, cameras: list[int]) -> None:
        self.device, self.folder, self.cameras = device, folder, cameras
        self.cuda = device == "cuda"
        self.precisions = _PRECISIONS[device]
        self.found: dict[str, Any] = {}
        self.peer_python = peer_python
        self.peers: dict[str, Peer] = {}
        self._runtimes: dict[tuple[Any, ...], TorchRuntime] = {}
        self.nano = open_checkpoint(_NANO)
        self.large: Checkpoint = self.nano

    def make_large(self) -> None:
        """Draw the 450M network's weights; on a CPU the small one stands for it."""
        if not self.cuda:
            return
        config = write_checkpoints(self.folder, ["float32"])
        write_inputs(self.folder, config, [1, 2, 3])
        self.large = open_checkpoint(self.folder / "float32")

    def start_peers(self) -> None:
        """Start lerobot's processes, which load while other sections run."""
        if self.peer_python is None:
            return
        wanted = {
            "lerobot float32": ("float32", "cuda", "eager"),
            "lerobot bfloat16": ("bfloat16", "cuda", "eager"),
            "lerobot bfloat16, compiled": ("bfloat16", "cuda", "default"),
            "lerobot bfloat16, compiled to graphs": ("bfloat16", "cuda", "reduce-overhead"),
        }
        for name, (precision, device, mode) in wanted.items():
            self.peers[name] = Peer(self.peer_python, str(self.folder), precision, "4", device, mode)

    def runtime(self, checkpoint: Checkpoint, precision: str, device: str | None = None, guidance: str = "none") -> Any:
        """Load a runtime, once."""
        key = (checkpoint.folder, checkpoint.model, precision, device or self.device, guidance)
        if key not in self._runtimes:
            options = RuntimeOptions(device=device or self.device, precision=precision, guidance=guidance)
            self._runtimes[key] = TorchRuntime(checkpoint, options)
        return self._runtimes[key]

    def seen_by(self, cameras: int) -> Checkpoint:
        """The 450M network with another number of cameras: no weight depends on it."""
        return replace(self.large, model=replace(self.large.model, num_cameras=cameras)) if self.cuda else self.large

    def forget(self) -> None:
        """Free the runtimes."""
        self._runtimes.clear()
        gc.collect()
        if self.cuda:
            # Each stream that ever multiplied has one.
            torch._C._cuda_clearCublasWorkspaces()
            torch.cuda.empty_cache()

    def close(self) -> None:
        """End the peers."""
        for peer in self.peers.values():
            if peer.worker is not None:
                peer.worker.close()


def observation(
    checkpoint: Checkpoint, words: int, seed: int, cameras: int | None = None
) -> tuple[NetworkInput, Array]:
    """Smooth random images, random words and state, and noise."""
    config, rng = checkpoint.model, np.random.default_rng(seed)
    count, side = cameras or config.num_cameras, config.vision.image_size
    coarse = torch.from_numpy(rng.uniform(-1, 1, (count, 3, 8, 8)).astype(np.float32))
    images = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(-1, 1).numpy()
    ids = rng.integers(1, config.text.vocab_size, words)
    state = rng.standard_normal(config.state_dim).astype(np.float32) * 0.5
    noise = rng.standard_normal((config.horizon, config.action_dim)).astype(np.float32)
    return NetworkInput(images, ids, state), noise


def eager(
    runtime: TorchRuntime,
    inputs: NetworkInput,
    noise: Array,
    *,
    batched: bool = False,
    guidance: Guidance | None = None,
) -> Array:
    """A chunk as the graphs compute it, without graphs: instructions padded alike, towers one by one unless batched."""
    model, device = runtime.model, runtime.device
    words = len(inputs.token_ids)
    length = next(length for length in text_lengths(model.config.text.max_tokens) if length >= words)
    with torch.inference_mode():
        images = torch.from_numpy(inputs.images)[None].to(device)
        text = torch.zeros((1, length), dtype=torch.int64)
        text[0, :words] = torch.from_numpy(inputs.token_ids)
        present = (torch.arange(length) < words)[None]
        tensors = ModelInput(
            images, text.to(device), present.to(device), torch.from_numpy(inputs.state)[None].to(device)
        )
        start = torch.from_numpy(noise)[None].to(device)
        if batched:
            return model.sample_actions(tensors, start)[0].cpu().numpy()
        features = [model.backbone.vision_features(images[:, i : i + 1]) for i in range(images.shape[1])]
        prefix = model.embed_prefix(tensors, torch.cat(features, dim=1))
        return model.denoise(prefix, start, guidance)[0].cpu().numpy()


def lengths_to_try(check: Check, checkpoint: Checkpoint) -> list[int]:
    """Numbers of words at both sides of each length that instructions are padded to; on a CPU, two."""
    if not check.cuda:
        return [5, 17]
    lengths = text_lengths(checkpoint.model.text.max_tokens)
    return sorted({1, 5, *lengths, *(length + 1 for length in lengths[:-1])})


def differences(check: Check, checkpoint: Checkpoint, observations: list[tuple[NetworkInput, Array]]) -> dict[str, Any]:
    """How far each precision's chunks lie from float32's on the CPU, in shares of their range."""
    reference = [check.runtime(checkpoint, "float32", "cpu").infer(*each) for each in observations]
    span = float(np.max(reference) - np.min(reference))
    rows: dict[str, Any] = {"range": span, "chunks": len(observations)}
    for precision in check.precisions:
        runtime = check.runtime(checkpoint, precision)
        errors = np.array([np.abs(runtime.infer(*each) - r) for each, r in zip(observations, reference, strict=True)])
        rows[precision] = {
            "finite": bool(np.isfinite(errors).all()),
            "max_share_of_range": float(errors.max() / span), "mean_share_of_range": float(errors.mean() / span),
        }  # fmt: skip
    return rows


def wait(check: Check) -> None:
    """Until the GPU is done."""
    if check.cuda:
        torch.cuda.synchronize()


def median(work: Callable[[], object], repeat: int = 20, warm: int = 3) -> float:
    """Seconds that ``work`` takes, which itself waits for its end."""
    seconds = []
    for i in range(warm + repeat):
        begin = time.perf_counter()
        work()
        if i >= warm:
            seconds.append(time.perf_counter() - begin)
    return float(np.median(seconds))


def between_events(work: Callable[[], object], repeat: int = 20) -> float:
    """Median seconds on the GPU's clock."""
    seconds = []
    for i in range(repeat + 3):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        work()
        end.record()
        torch.cuda.synchronize()
        if i >= 3:
            seconds.append(begin.elapsed_time(end) / 1e3)
    return float(np.median(seconds))
