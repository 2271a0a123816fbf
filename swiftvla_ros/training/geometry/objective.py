# SPDX-License-Identifier: Apache-2.0
"""What the geometry network is trained for: depth, camera poses and points that are true, and knowing how true."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from swiftvla_ros.geometry import GeometryTransformer
from swiftvla_ros.training.geometry.samples import GeometrySample

LOSSES = ("depth", "depth_edges", "points", "translation", "rotation", "fov", "confidence")
# Translations are a few decimetres, so an error of 10 cm counts as one of 0.5 in a quaternion.
WEIGHTS = (1.0, 1.0, 0.5, 5.0, 1.0, 1.0, 0.01)
# An error of this (log depth; m over m for points) is worth a confidence of 10.
_CONFIDENT_ERROR = 0.02


class GeometryObjective(nn.Module):
    """The network with its losses: one forward pass, so that processes can share it."""

    def __init__(self, net: GeometryTransformer) -> None:
        super().__init__()
        self.net = net

    def forward(self, sample: GeometrySample, window: Int[Tensor, " b"], anchor: bool) -> Float[Tensor, " losses"]:
        """The mean losses of a sample on the network's device, in the order of :data:`LOSSES`.

        ``window`` and ``anchor`` are as for :meth:`GeometryTransformer.forward`. Poses and points are relative to step
        0, so without an anchor only frames that still see step 0 are asked for them.
        """
        out = self.net(sample.images, window, anchor)
        assert out.depth is not None
        assert out.depth_confidence is not None
        assert out.pose_refinements is not None
        assert out.points is not None
        assert out.points_confidence is not None
        t = torch.arange(sample.depth.shape[1], device=sample.depth.device)
        knows_world = (t < window.to(t.device)[:, None]) | anchor
        error = out.depth.log() - sample.depth.log()
        across, down = error.diff(dim=-1).abs(), error.diff(dim=-2).abs()
        depth_error = error.abs()
        points_error = (out.points - sample.points).norm(dim=-1) / sample.depth
        true, poses = sample.pose, out.pose_refinements
        # A quaternion and its negative are the same rotation: the nearer one counts.
        off = torch.minimum(
            (poses[..., 3:7] - true[..., 3:7]).abs().sum(-1), (poses[..., 3:7] + true[..., 3:7]).abs().sum(-1)
        )
        parts = [
            depth_error.mean(),
            across.mean() + down.mean(),
            _mean(points_error.mean(dim=(-1, -2)), knows_world),
            _mean((poses[..., :3] - true[..., :3]).norm(dim=-1).mean(dim=0), knows_world),
            _mean(off.mean(dim=0), knows_world),
            _mean((poses[..., 7:] - true[..., 7:]).abs().sum(-1).mean(dim=0), knows_world),
            _calibration(out.depth_confidence, depth_error).mean()
            + _mean(_calibration(out.points_confidence, points_error).mean(dim=(-1, -2)), knows_world),
        ]
        return torch.stack(parts)


def _mean(errors: Float[Tensor, "b t v"], counts: Tensor) -> Tensor:
    """The mean over each sample's frames that count, then over samples: all samples weigh the same."""
    per_step = errors.mean(dim=2) * counts
    return (per_step.sum(dim=1) / counts.sum(dim=1)).mean()


def _calibration(confidence: Tensor, error: Tensor) -> Tensor:
    """Least where the confidence is in proportion to 1 / error; the error itself is taken as given.

    The published loss weighs errors by confidence, which lets a network neglect what it finds hard. Here every pixel
    counts the same, and the confidence only reports.
    """
    return confidence * error.detach() / (10 * _CONFIDENT_ERROR) - confidence.log()
