# SPDX-License-Identifier: Apache-2.0
"""The dense prediction transformer's head (arXiv 2103.13413) as VGGT has it: four layers at four resolutions, fused.

Modules carry the names of the public checkpoints (``projects``, ``resize_layers``, ``scratch.refinenet1`` …).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from swiftvla_ros.geometry.config import GeometryConfig

Maps = Float[Tensor, "n c h w"]

# Weight of the coordinates that are added to feature maps.
_POSITION_SCALE = 0.1
_POSITION_BASE = 100.0
_HIDDEN = 32


class DPTHead(nn.Module):
    """Tokens of four (frame, global) pairs to values per pixel."""

    def __init__(self, config: GeometryConfig, channels: int) -> None:
        super().__init__()
        dense = config.dense
        self.layers = dense.layers
        self.grid = config.grid
        self.image_size = config.image_size
        self.norm = nn.LayerNorm(config.feature_dim)
        self.projects = nn.ModuleList(nn.Conv2d(config.feature_dim, c, 1) for c in dense.channels)
        first, second, _, last = dense.channels
        # To 4, 2, 1 and a half times the resolution of the patches.
        self.resize_layers = nn.ModuleList(
            [
                nn.ConvTranspose2d(first, first, 4, stride=4),
                nn.ConvTranspose2d(second, second, 2, stride=2),
                nn.Identity(),
                nn.Conv2d(last, last, 3, stride=2, padding=1),
            ]
        )
        self.scratch = _Fusion(dense.channels, dense.features, channels)

    def forward(self, tokens: Sequence[Float[Tensor, "n p dim"]], images: Float[Tensor, "n 3 h w"]) -> Maps:
        """Values of every pixel, before activations; ``images`` are not looked at again."""
        del images
        maps = []
        for x, project, resize in zip(tokens, self.projects, self.resize_layers, strict=True):
            x = project(self.norm(x).transpose(1, 2).unflatten(2, self.grid))
            maps.append(resize(x + self._positions(x)))
        x = F.interpolate(self.scratch(maps), size=self.image_size, mode="bilinear", align_corners=True)
        return self.scratch.output_conv2(x + self._positions(x))

    def _positions(self, x: Maps) -> Float[Tensor, "c h w"]:
        """Sines and cosines of pixel coordinates, in which the image's diagonal is 2 long."""
        c, h, w = x.shape[1:]
        height, width = self.image_size
        diagonal = (height**2 + width**2) ** 0.5
        omega = _POSITION_BASE ** -(torch.arange(c // 4, device=x.device) / (c // 4))

        def waves(size: int, span: float) -> Float[Tensor, "size half"]:
            span *= (size - 1) / size
            angles = torch.linspace(-span, span, size, device=x.device)[:, None] * omega
            return torch.cat([angles.sin(), angles.cos()], dim=1)

        across = waves(w, width / diagonal)[None].expand(h, -1, -1)
        down = waves(h, height / diagonal)[:, None].expand(-1, w, -1)
        return (_POSITION_SCALE * torch.cat([across, down], dim=-1).movedim(-1, 0)).to(x.dtype)


class _Fusion(nn.Module):
    """From the coarsest map to the finest, each joined by the next."""

    def __init__(self, channels: Sequence[int], features: int, out: int) -> None:
        super().__init__()
        for i, c in enumerate(channels, start=1):
            self.add_module(f"layer{i}_rn", nn.Conv2d(c, features, 3, padding=1, bias=False))
            self.add_module(f"refinenet{i}", _Refine(features, joined=i < len(channels)))
        self.output_conv1 = nn.Conv2d(features, features // 2, 3, padding=1)
        self.output_conv2 = nn.Sequential(
            nn.Conv2d(features // 2, _HIDDEN, 3, padding=1), nn.ReLU(), nn.Conv2d(_HIDDEN, out, 1)
        )

    def forward(self, maps: Sequence[Maps]) -> Maps:
        sides = [self.get_submodule(f"layer{i}_rn")(x) for i, x in enumerate(maps, start=1)]
        x = None
        for i in range(len(maps), 0, -1):
            side = sides[i - 1]
            size = sides[i - 2].shape[2:] if i > 1 else (2 * side.shape[2], 2 * side.shape[3])
            x = self.get_submodule(f"refinenet{i}")(x, side, size)
        return self.output_conv1(x)


class _Refine(nn.Module):
    """Join the coarser map with this one's, refine, and enlarge to the next one's size."""

    def __init__(self, features: int, joined: bool) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(features, features, 1)
        if joined:
            self.resConfUnit1 = _Residual(features)
        self.resConfUnit2 = _Residual(features)

    def forward(self, coarse: Maps | None, side: Maps, size: Sequence[int]) -> Maps:
        x = self.resConfUnit2(side if coarse is None else coarse + self.resConfUnit1(side))
        # Enlarging and a product per pixel commute: the product is done where pixels are few.
        return F.interpolate(self.out_conv(x), size=tuple(size), mode="bilinear", align_corners=True)


class _Residual(nn.Module):
    """Two convolutions on a rectified map, added to it.

    To the rectified one: the public weights were trained with a ReLU in place, which changes what is added.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Maps) -> Maps:
        x = x.relu()
        return x + self.conv2(self.conv1(x).relu())
