# SPDX-License-Identifier: Apache-2.0
"""Sizes of a 4D visual geometry transformer, and the two presets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from swiftvla_ros.errors import checked

# What a file may say, far beyond what anybody builds: a damaged number must not cost hours or all of the memory.
GeometryWidth = Annotated[int, Field(gt=0, le=1 << 16)]
Layers = Annotated[int, Field(gt=0, le=512)]
Real = Annotated[float, Field(allow_inf_nan=False)]
STRICT = ConfigDict(strict=True, extra="forbid")


@dataclass(frozen=True)
class EncoderConfig:
    """The DINOv2-style ViT that turns one image into patch tokens; its width is the transformer's ``dim``."""

    __pydantic_config__ = STRICT

    num_layers: Layers
    num_heads: GeometryWidth
    mlp_ratio: Annotated[float, Field(gt=0, le=64)]
    registers: Annotated[int, Field(ge=0, le=512)]
    # Side of the stored grid of position embeddings; other image sizes interpolate it (DINOv2: 518 px / 14 = 37).
    position_grid: Layers


@dataclass(frozen=True)
class CameraHeadConfig:
    """A small transformer over camera tokens that refines the pose ``iterations`` times."""

    __pydantic_config__ = STRICT

    num_layers: Layers
    num_heads: GeometryWidth
    iterations: Layers


@dataclass(frozen=True)
class DenseHeadConfig:
    """What turns patch tokens into a value per pixel, for depth and for points.

    ``dpt`` is the published head: it fuses four layers at four resolutions. ``patch`` projects the last layer's tokens
    straight to pixels at half resolution and refines them beside the image's own pixels: a thirtieth of the cost.
    """

    __pydantic_config__ = STRICT

    kind: Literal["dpt", "patch"]
    features: GeometryWidth
    # dpt only: channels and (frame, global) pair of each of its four inputs.
    channels: tuple[GeometryWidth, ...] = ()
    layers: tuple[Annotated[int, Field(ge=0)], ...] = ()


@dataclass(frozen=True)
class GeometryConfig:
    """One geometry transformer, as it is built and stored with a checkpoint."""

    __pydantic_config__ = STRICT

    # Height and width in pixels, multiples of ``patch_size``.
    image_size: tuple[GeometryWidth, GeometryWidth]
    patch_size: GeometryWidth
    dim: GeometryWidth
    num_heads: GeometryWidth
    # Pairs of frame attention (inside an image) and global attention (between images).
    num_pairs: Layers
    mlp_ratio: Annotated[float, Field(gt=0, le=64)]
    # Tokens beside the patches of every frame: one camera token and these.
    registers: Annotated[int, Field(ge=0, le=512)]
    encoder: EncoderConfig
    camera: CameraHeadConfig
    dense: DenseHeadConfig
    # Start of every residual branch's scale. Small values keep a pretrained encoder's features at first; a network
    # trained from nothing learns faster with 1.
    layer_scale_init: Real
    rope_base: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 100.0
    # StreamVGGT sees the past only and can stream; VGGT sees all frames at once and cannot.
    causal: bool = True

    def __post_init__(self) -> None:
        h, w = self.image_size
        if h % self.patch_size or w % self.patch_size:
            raise ValueError(f"image_size {h}×{w}: both sides must be multiples of patch_size {self.patch_size}")
        if self.dim % (4 * self.num_heads):
            raise ValueError(
                f"dim {self.dim}: 2D RoPE needs a multiple of 4 channels in each of {self.num_heads} heads"
            )
        if self.dense.kind == "patch" and self.patch_size % 2:
            raise ValueError(f"dense.kind 'patch' works at half resolution: patch_size {self.patch_size} must be even")
        if self.dense.kind == "dpt" and not len(self.dense.channels) == len(self.dense.layers) == 4:
            raise ValueError("dense.kind 'dpt' needs four channels and four layers")
        if any(layer >= self.num_pairs for layer in self.dense.layers):
            raise ValueError(f"dense.layers {list(self.dense.layers)}: there are only num_pairs {self.num_pairs}")
        if self.dim % self.encoder.num_heads or self.feature_dim % self.camera.num_heads:
            raise ValueError(
                f"dim {self.dim} must be a multiple of encoder.num_heads {self.encoder.num_heads}, and twice dim one "
                f"of camera.num_heads {self.camera.num_heads}"
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Patches of an image: rows, columns."""
        return self.image_size[0] // self.patch_size, self.image_size[1] // self.patch_size

    @property
    def special_tokens(self) -> int:
        """Tokens before the patches of a frame: the camera token and the registers."""
        return 1 + self.registers

    @property
    def feature_dim(self) -> int:
        """Width of an aggregated token: the frame attention's output beside the global attention's."""
        return 2 * self.dim

    @classmethod
    def from_json(cls, data: Any) -> GeometryConfig:
        """The inverse of ``dataclasses.asdict``; ValueError on a field that is unknown, missing or of no network."""
        return checked(cls, data)


def streamvggt_1b() -> GeometryConfig:
    """The dimensions of the public StreamVGGT and VGGT weights.

    They were trained around 518 px; 448 px gives 32×32 patches, which pool evenly to the policy's 8×8 tokens.
    """
    return GeometryConfig(
        image_size=(448, 448),
        patch_size=14,
        dim=1024,
        num_heads=16,
        num_pairs=24,
        mlp_ratio=4.0,
        registers=4,
        encoder=EncoderConfig(num_layers=24, num_heads=16, mlp_ratio=4.0, registers=4, position_grid=37),
        camera=CameraHeadConfig(num_layers=4, num_heads=16, iterations=4),
        dense=DenseHeadConfig("dpt", features=256, channels=(256, 512, 1024, 1024), layers=(4, 11, 17, 23)),
        layer_scale_init=0.01,
    )


def geometry_nano() -> GeometryConfig:
    """The same architecture, small enough to train and to stream on a laptop's CPU; one patch is one token of 8×8."""
    return GeometryConfig(
        image_size=(96, 96),
        patch_size=12,
        dim=128,
        num_heads=4,
        num_pairs=4,
        mlp_ratio=3.0,
        registers=4,
        encoder=EncoderConfig(num_layers=4, num_heads=4, mlp_ratio=3.0, registers=4, position_grid=8),
        camera=CameraHeadConfig(num_layers=2, num_heads=4, iterations=2),
        dense=DenseHeadConfig("patch", features=16),
        layer_scale_init=1.0,
    )


PRESETS = {"streamvggt-1b": streamvggt_1b, "geometry-nano": geometry_nano}
