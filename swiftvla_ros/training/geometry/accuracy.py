# SPDX-License-Identifier: Apache-2.0
"""How true the geometry network's depth and poses are, beside predictors that never look at an image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from swiftvla_ros.geometry import GeometryTransformer
from swiftvla_ros.training.geometry.samples import SequenceSamples

_BATCH = 5
# Pixel-wise means and medians settle long before this.
_TRIVIAL_SEQUENCES = 400
_ALL_VIEWS = "all views"
TRIVIAL = "training set's "
"""What the names of trivial predictors begin with."""
UNTRAINED, TRAINED = "geometry network, random weights", "geometry network, trained"


@dataclass(frozen=True)
class GeometryErrors:
    """Mean errors over sequences."""

    depth_abs_rel: dict[str, float]  # by view: |depth - truth| / truth
    # By view: of the camera pose relative to the sequence's first frame, which itself is not counted, over frames that
    # see step 0.
    translation_cm: dict[str, float]
    rotation_deg: dict[str, float]
    fov_deg: dict[str, float]
    points_cm: dict[str, float]  # of the point map, over the same frames; NaN for predictors that give none


Table = dict[str, GeometryErrors]
"""Errors by predictor: the trivial ones, the network with random weights and the trained one."""


@dataclass(frozen=True)
class TrivialPredictor:
    """The same answer whatever the image: what the training sequences are like on average."""

    depth: dict[str, NDArray[np.float32]]  # by the way it is averaged: depth maps [V, h, w], m
    pose: NDArray[np.float32]  # [S, V, 9]: the mean pose of every step and view

    @classmethod
    def fit(cls, train: SequenceSamples) -> TrivialPredictor:
        """Average the training sequences."""
        depth = train.depth[:_TRIVIAL_SEQUENCES].astype(np.float32)
        depth = depth.reshape(-1, *depth.shape[2:])
        pixel = depth.mean(axis=0)
        view = np.broadcast_to(pixel.mean(axis=(1, 2), keepdims=True), pixel.shape)
        pose = train.pose.mean(axis=0)
        pose[..., 3:7] /= np.linalg.norm(pose[..., 3:7], axis=-1, keepdims=True)
        return cls({"mean of the view": view, "mean of the pixel": pixel, "median of the pixel": _median(depth)}, pose)

    def measure(self, held_out: SequenceSamples, cache_steps: int) -> dict[str, GeometryErrors]:
        """Its errors, by the way depth is averaged."""
        true = held_out.pose[:, :cache_steps]
        pose = np.broadcast_to(self.pose[:cache_steps], true.shape)
        errors = _pose_errors(torch.from_numpy(pose.copy()), torch.from_numpy(true))
        nothing = dict.fromkeys(held_out.views, float("nan"))
        by_view = {name: _by_view(held_out.views, [error]) for name, error in errors.items()}
        found = {}
        for name, depth in self.depth.items():
            truth = held_out.depth.astype(np.float32)
            error = torch.from_numpy((np.abs(depth - truth) / truth).mean(axis=(-1, -2)))
            found[name] = GeometryErrors(_by_view(held_out.views, [error]), **by_view, points_cm=nothing)
        return found


@torch.no_grad()
def measure(net: GeometryTransformer, held_out: SequenceSamples, cache_steps: int) -> GeometryErrors:
    """A network's errors as it is used: a stream that remembers ``cache_steps`` steps, without an anchor."""
    device = next(net.parameters()).device
    errors: dict[str, list[Tensor]] = {}
    for rows in np.array_split(np.arange(len(held_out)), -(-len(held_out) // _BATCH)):
        sample = held_out.take(rows).to(device)
        out = net(sample.images, cache_steps)
        assert out.depth is not None
        assert out.pose is not None
        assert out.points is not None
        known = slice(0, cache_steps)
        found = _pose_errors(out.pose[:, known].cpu(), sample.pose[:, known].cpu())
        found["depth_abs_rel"] = ((out.depth - sample.depth).abs() / sample.depth).mean(dim=(-1, -2)).cpu()
        off = (out.points[:, known] - sample.points[:, known]).norm(dim=-1)
        found["points_cm"] = 100 * off.mean(dim=(-1, -2)).cpu()
        for name, error in found.items():
            errors.setdefault(name, []).append(error)
    return GeometryErrors(**{name: _by_view(held_out.views, parts) for name, parts in errors.items()})


def _pose_errors(pose: Tensor, true: Tensor) -> dict[str, Tensor]:
    """Errors [b, t, v]; that of the first frame, whose camera is the world, is NaN."""
    centre, true_centre = _centre(pose), _centre(true)
    unit = torch.nn.functional.normalize(pose[..., 3:7], dim=-1)
    cosine = (unit * true[..., 3:7]).sum(-1).abs().clamp(max=1)
    errors = {
        "translation_cm": 100 * (centre - true_centre).norm(dim=-1),
        "rotation_deg": (2 * cosine.acos()).rad2deg(),
        "fov_deg": (pose[..., 7:] - true[..., 7:]).abs().mean(-1).rad2deg(),
    }
    for error in errors.values():
        error[:, 0, 0] = torch.nan
    return errors


def _centre(pose: Tensor) -> Tensor:
    """Where a camera stands in the world: -Rᵀ t."""
    x, y, z, w = torch.nn.functional.normalize(pose[..., 3:7], dim=-1).unbind(-1)
    axis, t = torch.stack([-x, -y, -z], dim=-1), pose[..., :3]
    turned = 2 * torch.linalg.cross(axis, t)
    return -(t + w[..., None] * turned + torch.linalg.cross(axis, turned))


def _by_view(views: tuple[str, ...], errors: list[Tensor]) -> dict[str, float]:
    together = torch.cat(errors)
    return {view: together[:, :, index].nanmean().item() for index, view in enumerate(views)}


def _median(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Over a part of the frames: a median costs a sort."""
    return np.median(depth[:: max(1, len(depth) // _TRIVIAL_SEQUENCES)], axis=0).astype(np.float32)


def margins(table: Table) -> dict[str, float]:
    """How many times smaller than the best trivial predictor's the trained network's depth error is.

    For each view, and over all views together.
    """
    views = list(table[TRAINED].depth_abs_rel)
    errors = {
        name: {**errors.depth_abs_rel, _ALL_VIEWS: float(np.mean(list(errors.depth_abs_rel.values())))}
        for name, errors in table.items()
    }
    trivial = [error for name, error in errors.items() if name.startswith(TRIVIAL)]
    return {view: min(t[view] for t in trivial) / errors[TRAINED][view] for view in [*views, _ALL_VIEWS]}


def margins_line(table: Table) -> str:
    """The margins as a sentence."""
    parts = [f"{times:.2f} ({view})" for view, times in margins(table).items()]
    return f"Times that the depth error is smaller than the best trivial predictor's: {', '.join(parts)}"


def table_lines(table: Table) -> list[str]:
    """The errors as a Markdown table, a column for each view and error."""
    views = list(table[TRAINED].depth_abs_rel)
    names = {
        "depth_abs_rel": ("depth abs-rel", 3), "translation_cm": ("position, cm", 1),
        "rotation_deg": ("rotation, °", 1), "fov_deg": ("field of view, °", 1), "points_cm": ("points, cm", 1),
    }  # fmt: skip
    head = ["held-out scenes", *(f"{title} ({view})" for title, _ in names.values() for view in views)]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, errors in table.items():
        found = [(getattr(errors, key)[view], digits) for key, (_, digits) in names.items() for view in views]
        cells = ["–" if np.isnan(value) else f"{value:.{digits}f}" for value, digits in found]
        lines.append("| " + " | ".join([name, *cells]) + " |")
    return lines
