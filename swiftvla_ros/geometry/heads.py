# SPDX-License-Identifier: Apache-2.0
"""Camera pose, and a value per pixel, from aggregated tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from swiftvla_ros.geometry.config import GeometryConfig
from swiftvla_ros.geometry.layers import Attend, Block, Mlp

_POSE_DIM = 9


class CameraHead(nn.Module):
    """Refines every frame's camera pose a few times, looking at the camera tokens of the frames it may see.

    A pose is translation (3), rotation quaternion x y z w (4) and field of view, height then width (2, rad): camera
    from world, x right, y down, z forward, in the camera frame of the stream's first frame. The quaternion is not
    normalised.
    """

    def __init__(self, config: GeometryConfig) -> None:
        super().__init__()
        dim, camera = config.feature_dim, config.camera
        self.iterations = camera.iterations
        self.trunk = nn.ModuleList(
            Block(dim, camera.num_heads, 4.0, config.layer_scale_init) for _ in range(camera.num_layers)
        )
        self.token_norm = nn.LayerNorm(dim)
        self.trunk_norm = nn.LayerNorm(dim)
        self.empty_pose_tokens = nn.Parameter(torch.zeros(1, 1, _POSE_DIM))
        self.embed_pose = nn.Linear(_POSE_DIM, dim)
        self.poseLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim, 3 * dim))
        self.adaln_norm = nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False)
        self.pose_branch = Mlp(dim, dim // 2, _POSE_DIM)
        # Untrained, the increments add up to no rotation and a field of view of 1 rad: the ReLU on it is alive.
        with torch.no_grad():
            start = torch.tensor([0.0, 0, 0, 0, 0, 0, 1, 1, 1])
            self.pose_branch.fc2.bias.copy_(start / self.iterations)

    def forward(
        self, camera_tokens: Float[Tensor, "b f dim"], attend: Callable[[int, int], Attend]
    ) -> Float[Tensor, "i b f 9"]:
        """Poses after every refinement, the best last.

        ``attend(iteration, layer)`` gives the attention between frames. Iterations see each other's frames never, so
        a stream keeps their keys apart.
        """
        tokens = self.token_norm(camera_tokens)
        plain = self.adaln_norm(tokens)
        pose: Tensor | None = None
        poses = []
        for iteration in range(self.iterations):
            # Each refinement starts from the last pose as a given: losses on every pose train every increment.
            given = self.empty_pose_tokens.expand(*tokens.shape[:2], -1) if pose is None else pose.detach()
            shift, scale, gate = self.poseLN_modulation(self.embed_pose(given)).chunk(3, dim=-1)
            x = tokens + gate * (plain * (1 + scale) + shift)
            for layer, block in enumerate(self.trunk):
                x = block(x, attend=attend(iteration, layer))
            increment = self.pose_branch(self.trunk_norm(x)).float()
            pose = increment if pose is None else pose.detach() + increment
            poses.append(torch.cat([pose[..., :7], pose[..., 7:].relu()], dim=-1))
        return torch.stack(poses)


class PatchHead(nn.Module):
    """Last tokens to pixels: each patch as a small map at half resolution, refined beside the image's own pixels."""

    layers: tuple[int, ...]

    def __init__(self, config: GeometryConfig, channels: int) -> None:
        super().__init__()
        self.layers = (config.num_pairs - 1,)
        self.grid = config.grid
        self.cell = config.patch_size // 2
        features = config.dense.features
        self.norm = nn.LayerNorm(config.feature_dim)
        self.project = nn.Linear(config.feature_dim, features * self.cell**2)
        # 12: the image's three colours of 2×2 pixels.
        self.refine = nn.Conv2d(features + 12, 2 * features, 3, padding=1)
        self.out = nn.Conv2d(2 * features, 4 * channels, 3, padding=1)

    def forward(
        self, tokens: Sequence[Float[Tensor, "n p dim"]], images: Float[Tensor, "n 3 h w"]
    ) -> Float[Tensor, "n c h w"]:
        """Values of every pixel, before activations."""
        maps = self.project(self.norm(tokens[0])).transpose(1, 2).unflatten(2, self.grid)
        maps = F.pixel_shuffle(maps, self.cell)
        pixels = F.pixel_unshuffle(images, 2).to(maps.dtype)
        return F.pixel_shuffle(self.out(F.gelu(self.refine(torch.cat([maps, pixels], dim=1)))), 2)


def activate_depth(raw: Float[Tensor, "n 2 h w"]) -> tuple[Float[Tensor, "n h w"], Float[Tensor, "n h w"]]:
    """Depth in the unit of the training data, and a confidence above 1."""
    return raw[:, 0].float().exp(), 1 + raw[:, 1].float().exp()


def activate_points(raw: Float[Tensor, "n 4 h w"]) -> tuple[Float[Tensor, "n h w 3"], Float[Tensor, "n h w"]]:
    """Points by the inverse of sign(x) log(1 + |x|), and a confidence above 1."""
    x = raw[:, :3].float().movedim(1, -1)
    return x.sign() * x.abs().expm1(), 1 + raw[:, 3].float().exp()
