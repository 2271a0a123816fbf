# SPDX-License-Identifier: Apache-2.0
"""Sizes and decisions of a SwiftVLA network, each with its reason, and the two presets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from swiftvla_ros.errors import checked

# What a file may say, far beyond what anybody builds: a damaged number must not cost hours or all of the memory.
Width = Annotated[int, Field(gt=0, le=1 << 18)]
Layers = Annotated[int, Field(gt=0, le=512)]
RowCount = Annotated[int, Field(gt=0, le=4096)]
Real = Annotated[float, Field(allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
# Shortest and longest period of the flow time's sines and cosines (openpi's).
FLOW_TIME_PERIODS = 4e-3, 4.0
STRICT = ConfigDict(strict=True, extra="forbid")


@dataclass(frozen=True)
class VisionConfig:
    """The SigLIP tower of SmolVLM; images are square, ``image_size`` px."""

    __pydantic_config__ = STRICT

    image_size: Width
    patch_size: Width
    hidden_size: Width
    intermediate_size: Width
    num_layers: Layers
    num_heads: Width
    # SmolVLM's pixel shuffle: scale_factor² neighbouring patches become one token.
    scale_factor: Width

    def __post_init__(self) -> None:
        if self.image_size % (self.patch_size * self.scale_factor) or self.hidden_size % self.num_heads:
            raise ValueError(
                f"image_size {self.image_size} must be a multiple of patch_size {self.patch_size} × scale_factor "
                f"{self.scale_factor}, and hidden_size {self.hidden_size} one of num_heads {self.num_heads}"
            )

    @property
    def tokens_per_side(self) -> int:
        """Tokens along one side of an image, after the pixel shuffle."""
        return self.image_size // self.patch_size // self.scale_factor

    @property
    def tokens(self) -> int:
        """Tokens of one image."""
        return self.tokens_per_side**2


@dataclass(frozen=True)
class TextConfig:
    """SmolVLM's text model, cut to its first ``num_layers`` layers."""

    __pydantic_config__ = STRICT

    vocab_size: Width
    hidden_size: Width
    intermediate_size: Width
    num_layers: Layers
    num_heads: Width
    num_kv_heads: Width
    head_dim: Width
    # SmolVLM's own is 1e5; lerobot trained SmolVLA, whose weights the 450M network starts from, with 1e4.
    rope_theta: Real
    max_tokens: Width

    def __post_init__(self) -> None:
        if self.num_heads % self.num_kv_heads or self.head_dim % 2 or not self.rope_theta > 0:
            raise ValueError(
                f"num_heads {self.num_heads} must be a multiple of num_kv_heads {self.num_kv_heads}, head_dim "
                f"{self.head_dim} even and rope_theta {self.rope_theta} positive"
            )


@dataclass(frozen=True)
class ExpertConfig:
    """The action expert: as many layers as the text model, ``width_multiplier`` as wide (SmolVLA's 0.75)."""

    __pydantic_config__ = STRICT

    hidden_size: Width
    intermediate_size: Width
    # Layers 0, n, 2n … attend to prefix and action tokens together, the others to the prefix alone (SmolVLA: 2).
    self_attention_every: Width = 2


@dataclass(frozen=True)
class FusionConfig:
    """Fusion Tokens and the end-effector trajectory they are trained on.

    The paper gives neither their number nor the trajectory's space or horizon; its figures draw a path on the front
    image. So each token owns one keypoint of the end effector in the front view: token 0 the *goal keypoint* (the
    lowest point of what remains of the demonstration, where a table-top task touches its object), the others the end
    effector ``keypoint_steps`` ahead.
    """

    __pydantic_config__ = STRICT

    keypoint_steps: tuple[RowCount, ...]
    # Each front-view token is split into cells_per_token² cells, and a token points at one of all cells. The paper only
    # regresses coordinates (eq. 6), as the head does besides; pointing is what lets a small network bind word to place.
    cells_per_token: Layers = 4
    head_dim: Width = 32
    # Spread of the pointing's target in cells: neighbours of the right cell are nearly right.
    target_sigma_cells: Real = 0.7
    # Weight of the regression against the pointing.
    coordinate_weight: Real = 4.0
    # Whether the Fusion Tokens' outputs Z_f are also added to the action tokens. The paper's expert reads Fusion Tokens
    # through their keys and values alone; these come before a layer's attention, so in a network of four layers they
    # know little of what the last one found: without this, chunks ignored the word that keypoints obeyed.
    guides_expert: bool = False

    @property
    def num_tokens(self) -> int:
        """Goal keypoint and future keypoints."""
        return 1 + len(self.keypoint_steps)


@dataclass(frozen=True)
class GeometryBranchConfig:
    """The 4D branch, which exists in training only: its features, how modalities are masked, and reconstruction.

    The paper names modality masking and reconstruction but gives no probability, head or normalisation.
    """

    __pydantic_config__ = STRICT

    # Width of the frozen transformer's pooled front-view features, and their number (paper: 64).
    dim: Width
    tokens: RowCount = 64
    # Share of the samples whose 4D modality is masked: half, since it is always absent once deployed.
    p_mask_4d: Fraction = 0.5
    # Share whose 2D modality is masked, never together with 4D; reached over the first steps, because text, state and
    # the front view's 4D tokens alone are a hard start.
    p_mask_2d: Fraction = 0.2
    mask_2d_ramp_steps: int = 200
    # Whether the action expert's latent must reconstruct the modality that is masked (paper, eq. 7).
    reconstruct: bool = True
    # Not the paper's, but Spatial Forcing's (arXiv 2510.12276): after this text layer, counted from 1, the front view's
    # image tokens must tell what the transformer's features are. None: no alignment.
    align_layer: Layers | None = None

    @property
    def shown(self) -> bool:
        """Whether any sample's 4D is shown to the network; if not, the features are targets alone."""
        return self.p_mask_4d < 1

    def __post_init__(self) -> None:
        if not (self.p_mask_4d >= 0 and self.p_mask_2d >= 0 and self.p_mask_4d + self.p_mask_2d <= 1):
            raise ValueError(
                f"geometry: p_mask_4d {self.p_mask_4d} and p_mask_2d {self.p_mask_2d} must be shares of at most 1 "
                "together, since no sample masks both"
            )


@dataclass(frozen=True)
class SwiftVLAConfig:
    """One network, as it is built and stored with a checkpoint."""

    __pydantic_config__ = STRICT

    vision: VisionConfig
    text: TextConfig
    expert: ExpertConfig
    fusion: FusionConfig | None  # None builds SmolVLA: no Fusion Tokens
    num_cameras: Layers
    # Index of the front camera in the contract's order: Fusion Tokens point into its image.
    front_camera: Annotated[int, Field(ge=0)]
    # State and action vectors are padded to these widths (SmolVLA pads to 32 so that robots can share weights).
    state_dim: Width
    action_dim: Width
    horizon: RowCount
    # Flow-matching integration steps from noise to chunk (SmolVLA's 10).
    denoise_steps: RowCount = 10
    # Start of the integration: 0 begins at the mean of the noise and is the same for every seed; 1 samples.
    noise_scale: Real = 1.0
    # "prefix": images, text and state see each other (SwiftVLA, fig. 3). "own": the state lies in a later block that
    # images and text don't see (SmolVLA).
    state_block: Literal["prefix", "own"] = "prefix"
    # What the auxiliary modules were trained with; a deployed network has no weights of it. None: no 4D branch.
    geometry: GeometryBranchConfig | None = None
    # Rows at the start of a chunk that it may have been given clean in training: as many as the network can be told
    # will have been executed before its chunk arrives (arXiv 2512.05964). 0: it was trained without.
    max_delay_steps: Annotated[int, Field(ge=0)] = 0

    def __post_init__(self) -> None:
        if self.front_camera >= self.num_cameras or self.max_delay_steps >= self.horizon:
            raise ValueError(
                f"front_camera {self.front_camera} must be one of num_cameras {self.num_cameras}, and max_delay_steps "
                f"{self.max_delay_steps} less than horizon {self.horizon}"
            )
        layer = None if self.geometry is None else self.geometry.align_layer
        if layer is not None and layer > self.text.num_layers:
            raise ValueError(f"geometry: align_layer {layer} must be one of the {self.text.num_layers} text layers")

    def prefix_tokens(self, text: int) -> int:
        """Tokens of a prefix with so many of text: images, text, state, and the Fusion Tokens."""
        fusion = self.fusion.num_tokens if self.fusion else 0
        return self.num_cameras * self.vision.tokens + text + 1 + fusion

    @classmethod
    def from_json(cls, data: Any) -> SwiftVLAConfig:
        """The inverse of ``dataclasses.asdict``; ValueError on a field that is unknown, missing or of no network."""
        return checked(cls, data)


def swiftvla_450m(num_cameras: int = 3) -> SwiftVLAConfig:
    """The paper's model: SmolVLM2-500M's dimensions, first 16 text layers, expert 0.75 as wide."""
    return SwiftVLAConfig(
        vision=VisionConfig(512, 16, 768, 3072, num_layers=12, num_heads=12, scale_factor=4),
        text=TextConfig(49280, 960, 2560, 16, num_heads=15, num_kv_heads=5, head_dim=64, rope_theta=1e4, max_tokens=48),
        expert=ExpertConfig(hidden_size=720, intermediate_size=2048),
        fusion=FusionConfig(keypoint_steps=(5, 10, 15, 20, 25, 30, 35, 40, 45)),
        num_cameras=num_cameras,
        front_camera=0,
        state_dim=32,
        action_dim=32,
        horizon=50,
    )


def swiftvla_nano(num_cameras: int = 2, joints: int = 6, vocab_size: int = 6144) -> SwiftVLAConfig:
    """The same architecture, small enough to be trained on two CPU cores."""
    return SwiftVLAConfig(
        vision=VisionConfig(96, 8, 128, 384, num_layers=3, num_heads=4, scale_factor=2),
        text=TextConfig(
            vocab_size, 192, 512, 4, num_heads=6, num_kv_heads=2, head_dim=32, rope_theta=1e4, max_tokens=96
        ),
        expert=ExpertConfig(hidden_size=144, intermediate_size=384),
        fusion=FusionConfig(keypoint_steps=(2, 4, 7, 10, 14, 20), guides_expert=True),
        num_cameras=num_cameras,
        front_camera=0,
        state_dim=joints,
        action_dim=joints,
        horizon=10,
        # Starting at the noise's mean picks more often in simulation than sampling does.
        noise_scale=0.0,
    )


PRESETS = {"swiftvla-450m": swiftvla_450m, "swiftvla-nano": swiftvla_nano}
