# SPDX-License-Identifier: Apache-2.0
"""The parity gate: what a deployed network computes beside float32 torch, stage by stage and step by step.

A whole chunk that looks right proves little (others' gates passed while robots failed): ten Euler steps hide an error
in one, and padding hides a text that was cut. So each stage is compared by itself, each denoising step from the
reference's own x_t, at the longest text; and only then the chunks, in mrad of each joint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from swiftvla_ros.deploy.stages import PrefixStage, StepStage, VisionStage
from swiftvla_ros.model.swiftvla import SwiftVLA
from swiftvla_ros.policy.checkpoint import Checkpoint
from swiftvla_ros.policy.deployment import PREFIX, STAGES, STEP, VISION, Deployment
from swiftvla_ros.policy.runtime import NetworkInput
from swiftvla_ros.policy.runtimes.graph_runtime import GraphRuntime, Graphs, condition
from swiftvla_ros.policy.runtimes.network_ends import Array, Layout, NetworkEnds

# Standard deviations of a joint's actions in the training data that its range is taken for.
RANGE_STD = 6.0


@dataclass(frozen=True)
class Bounds:
    """The most that may differ: ‖graph − torch‖ / ‖torch‖ of each stage's output, and of chunks."""

    vision: float
    prefix: float
    step: float
    chunk_mrad: float  # the worst joint of the worst row of the worst observation; for a sliding joint, mm
    chunk_share: float  # the same as a share of the joint's range in the training data


BOUNDS = {
    "float32": Bounds(1e-4, 1e-4, 1e-4, chunk_mrad=0.1, chunk_share=1e-4),
    "float16": Bounds(5e-3, 5e-3, 5e-3, chunk_mrad=2.0, chunk_share=2e-3),
    "bfloat16": Bounds(2e-2, 2e-2, 1.5e-2, chunk_mrad=10.0, chunk_share=1e-2),
    "int8-vision": Bounds(8e-2, 2e-2, 1.5e-2, chunk_mrad=10.0, chunk_share=1e-2),
    "int8-weights": Bounds(3e-2, 3e-2, 1.8e-2, chunk_mrad=10.0, chunk_share=1e-2),
}


@dataclass(frozen=True)
class Parity:
    """What the gate measured with one runtime; ``failures`` is empty where it passes."""

    observations: int
    vision: float
    prefix: float
    steps: tuple[float, ...]  # of each denoising step
    chunk_mrad: float
    chunk_share: float
    repeats: bool  # the same observation gives the same bits
    failures: tuple[str, ...] = field(default=())

    def figures(self) -> dict[str, Any]:
        """As it stands in ``deploy.json``."""
        return asdict(self)


class ReferenceGraphs(Graphs):
    """The stages in float32 torch."""

    def __init__(self, network: SwiftVLA) -> None:
        self._vision, self._prefix, self._step = (s(network).eval() for s in (VisionStage, PrefixStage, StepStage))
        self._layers = network.config.text.num_layers
        self.key_values: list[torch.Tensor] = []

    @torch.inference_mode()
    def vision(self, image: Array) -> Array:
        """One image [3, s, s] → its tokens [p, d]."""
        return np.asarray(self._vision(torch.from_numpy(image)[None])[0])

    @torch.inference_mode()
    def prefix(self, images: Array, text: Array, state: Array, layout: Layout, step_layout: Layout) -> Array | None:
        """Keys and values, and the guide."""
        found = self._prefix(*(torch.from_numpy(np.asarray(x)) for x in (images, text, state, *layout)))
        self.key_values, guide = list(found[: 2 * self._layers]), found[2 * self._layers :]
        self._step_layout = step_layout
        return np.asarray(guide[0]) if guide else None

    @torch.inference_mode()
    def step(self, actions: Array) -> Array:
        """Embedded action tokens [1, h, w] → their latent [1, h, w]."""
        keys, values = self.key_values[: self._layers], self.key_values[self._layers :]
        layout = (torch.from_numpy(table) for table in self._step_layout)
        return np.asarray(self._step(torch.from_numpy(actions), keys, values, *layout))

    def carried(self) -> list[Array]:
        """Every layer's key, then every layer's value."""
        return [np.asarray(tensor) for tensor in self.key_values]


def measure(
    checkpoint: Checkpoint,
    network: SwiftVLA,
    runtime: GraphRuntime,
    inputs: Sequence[NetworkInput],
    noise: NDArray[np.float32],
    advance: Callable[[], object] = lambda: None,
) -> Parity:
    """Compare a deployed network with its checkpoint's, in float32 torch, on ``inputs``; noise [h, a].

    ``advance`` is called after each observation.
    """
    reference, graphs, ends = ReferenceGraphs(network), runtime.graphs, runtime.ends
    exact = NetworkEnds(checkpoint.model, checkpoint.weights)
    # Six standard deviations of normalised actions are a joint's range.
    scale = checkpoint.action.std
    joints = len(scale)
    worst: dict[str, float] = {VISION: 0.0, PREFIX: 0.0, "mrad": 0.0, "share": 0.0}
    steps = np.zeros(checkpoint.model.denoise_steps)
    repeats = True
    for sample in inputs:
        tokens = [reference.vision(image) for image in sample.images]
        for image, expected in zip(sample.images, tokens, strict=True):
            worst[VISION] = max(worst[VISION], _relative(graphs.vision(image), expected))
        guide = condition(reference, exact, tokens, sample)
        own_guide = condition(graphs, ends, tokens, sample)
        pairs = list(zip(graphs.carried(), reference.carried(), strict=True))
        if guide is not None and own_guide is not None:
            pairs.append((own_guide, guide))
        worst[PREFIX] = max(worst[PREFIX], *(_relative(own, expected) for own, expected in pairs))
        x = noise
        for step, time in enumerate(exact.embed_time(exact.flow_times)[:, None]):
            expected = exact.velocity(reference.step(exact.embed_actions(x, time, guide)))
            own_time = ends.embed_time(ends.flow_times[step : step + 1])
            own = ends.velocity(graphs.step(ends.embed_actions(x, own_time, own_guide)))
            steps[step] = max(steps[step], _relative(own, expected))
            x = x - expected / np.float32(len(steps))
        chunk = runtime.infer(sample, noise)
        error = np.abs(chunk[:, :joints] - x[:, :joints])
        worst["mrad"] = max(worst["mrad"], float((1e3 * error * scale).max()))
        worst["share"] = max(worst["share"], float(error.max() / RANGE_STD))
        repeats = repeats and np.array_equal(chunk, runtime.infer(sample, noise))
        advance()
    found = Parity(
        len(inputs), worst[VISION], worst[PREFIX], tuple(steps.tolist()), worst["mrad"], worst["share"], repeats
    )
    return replace(found, failures=tuple(_failures(found, BOUNDS[runtime.precision])))


def with_longest_text(inputs: Sequence[NetworkInput], longest: int) -> list[NetworkInput]:
    """The inputs, and the first of them again with as many words as the network reads, and with one."""
    ids = inputs[0].token_ids
    long = np.resize(ids, longest).astype(np.int64)
    return [*inputs, replace(inputs[0], token_ids=long), replace(inputs[0], token_ids=ids[:1])]


def precision_problems(deployment: Deployment) -> list[str]:
    """Where the graphs themselves contradict the precision that the deployment claims."""
    problems = []
    for stage in STAGES:
        content = deployment.stages[stage]
        total = sum(n for kind, n in content.weight_bytes.items() if kind not in _INTEGERS) or 1
        eight = sum(n for kind, n in content.weight_bytes.items() if kind in _EIGHT_BITS)
        half = sum(n for kind, n in content.weight_bytes.items() if kind in _HALF)
        products = sum(n for kind, n in content.nodes.items() if kind.startswith(_BY_WEIGHTS))
        in_bfloat16 = sum(n for kind, n in content.nodes.items() if kind.startswith(_BY_WEIGHTS) and "bf16" in kind)
        precision = deployment.precision
        if precision == "float32" and eight + half:
            problems.append(f"{stage}: claims float32, but {(eight + half) / total:.0%} of its weights' bytes are not")
        if (precision == "int8-weights" or (precision == "int8-vision" and stage == VISION)) and eight < 0.5 * total:
            problems.append(f"{stage}: claims 8-bit weights, but only {eight / total:.0%} of their bytes are")
        if precision == "float16" and half < 0.9 * total:
            problems.append(f"{stage}: claims float16, but only {half / total:.0%} of its weights' bytes are")
        if precision == "bfloat16" and in_bfloat16 < products:
            problems.append(
                f"{stage}: claims bfloat16, but this CPU computes {products - in_bfloat16} of its {products} products "
                "otherwise; export on a CPU that multiplies bfloat16 (AVX-512 BF16, AMX, or an Arm of v8.6)"
            )
    return problems


_INTEGERS = {"int64", "i64", "int32", "i32"}
_EIGHT_BITS = {"int8", "uint8", "i8", "u8"}
_HALF = {"float16", "f16", "bfloat16", "bf16"}
# OpenVINO's layers that multiply by weights; "MatMul" is a product of two activations.
_BY_WEIGHTS = ("FullyConnected", "Convolution")


def _relative(own: Array, expected: Array) -> float:
    """‖own − expected‖ / ‖expected‖; infinite where shapes differ or something is not finite."""
    if own.shape != expected.shape or not np.isfinite(own).all():
        return float("inf")
    return float(np.linalg.norm(own - expected) / max(float(np.linalg.norm(expected)), 1e-12))


def _failures(found: Parity, bounds: Bounds) -> Iterator[str]:
    measured = [(VISION, found.vision, bounds.vision), (PREFIX, found.prefix, bounds.prefix)]
    measured += [(f"{STEP} {i}", value, bounds.step) for i, value in enumerate(found.steps)]
    for name, value, bound in measured:
        if not value <= bound:
            yield f"{name} differs by {value:.2%} of its output; at most {bound:.2%} may"
    if not found.chunk_mrad <= bounds.chunk_mrad:
        yield f"a chunk differs by {found.chunk_mrad:.2f} mrad; at most {bounds.chunk_mrad} may"
    if not found.chunk_share <= bounds.chunk_share:
        yield f"a chunk differs by {found.chunk_share:.2%} of a joint's range; at most {bounds.chunk_share:.2%} may"
    if not found.repeats:
        yield "the same observation gives other bits the second time, so nothing could be replayed"
