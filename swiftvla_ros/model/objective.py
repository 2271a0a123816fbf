# SPDX-License-Identifier: Apache-2.0
"""What trains SwiftVLA and is dropped afterwards: trajectory head, 4D branch, mask-and-reconstruct, and the losses."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn

from swiftvla_ros.model import flow_matching
from swiftvla_ros.model.config import GeometryBranchConfig, SwiftVLAConfig
from swiftvla_ros.model.fusion import Keypoints, TrajectoryHead, countable
from swiftvla_ros.model.prefix import Modality, Prefix
from swiftvla_ros.model.reconstruction import AlignmentHead, ReconstructionHead, Standardizer
from swiftvla_ros.model.swiftvla import Condition, GeometryTokens, ModelInput, SwiftVLA

LOSSES = ("action", "trajectory", "reconstruct_2d", "reconstruct_4d", "alignment")


class TrainingSample(NamedTuple):
    """One batch of the objective."""

    inputs: ModelInput  # the observation
    # Normalised chunks, and the rows that the demonstration's expert commanded (grounding scenes have none).
    actions: Float[Tensor, "b h a"]
    row_valid: Bool[Tensor, "b h"]
    # The end effector's keypoints in the front image, 0…1, and which are known.
    keypoint_uv: Float[Tensor, "b f 2"]
    keypoint_valid: Bool[Tensor, "b f"]
    # r noise samples and flow times for each observation; they share its prefix.
    noise: Float[Tensor, "b r h a"]
    time: Float[Tensor, "b r"]
    # Rows at the start of each noisy chunk that are given clean, as if they had been executed already
    # (`max_delay_steps`); they are not in the loss.
    delay: Int[Tensor, "b r"]
    # Pooled 4D features of the front view, and the samples that have them; None trains without the 4D branch.
    geometry: Float[Tensor, "b k g"] | None
    has_geometry: Bool[Tensor, " b"]
    # Modalities that are masked (`draw_masks`); never both.
    mask_2d: Bool[Tensor, " b"]
    mask_4d: Bool[Tensor, " b"]

    @property
    def executed(self) -> Bool[Tensor, "b r h"]:
        """The rows that ``delay`` means."""
        rows = torch.arange(self.actions.shape[1], device=self.delay.device)
        return rows < self.delay[..., None]


class Losses(NamedTuple):
    """Sums and counts of the losses in the order of :data:`LOSSES` (paper, eq. 6 to 8, and alignment).

    A mean over a batch that several processes share needs the sums and the counts of all of them.
    """

    sums: Float[Tensor, " losses"]
    counts: Float[Tensor, " losses"]

    def terms(
        self, weights: Float[Tensor, " losses"], counts: Float[Tensor, " losses"] | None = None
    ) -> Float[Tensor, " losses"]:
        """The weighted means (of eq. 9); ``counts`` are the whole batch's where this is a part of it."""
        return weights * self.sums / (self.counts if counts is None else counts).clamp(min=1)

    def total(
        self, weights: Float[Tensor, " losses"], counts: Float[Tensor, " losses"] | None = None
    ) -> Float[Tensor, ""]:
        """The sum of :meth:`terms` (eq. 9)."""
        return self.terms(weights, counts).sum()


class Auxiliary(nn.Module):
    """All modules that only training (or a study with 4D input) needs; stored apart from the policy."""

    def __init__(self, config: SwiftVLAConfig) -> None:
        super().__init__()
        self.config = config
        self.trajectory_head = TrajectoryHead(config, config.fusion) if config.fusion else None
        geometry, latent = config.geometry, config.expert.hidden_size
        self.geometry_proj: nn.Module | None = None
        self.reconstruct_2d: ReconstructionHead | None = None
        self.reconstruct_4d: ReconstructionHead | None = None
        self.alignment: AlignmentHead | None = None
        if geometry is None:
            return
        width = config.text.hidden_size
        # Where all samples' 4D is masked, features are targets alone.
        if geometry.shown:
            self.geometry_proj = nn.Sequential(nn.LayerNorm(geometry.dim), nn.Linear(geometry.dim, width))
        if geometry.align_layer is not None:
            self.alignment = AlignmentHead(width, geometry.dim)
        if self.needs_statistics:
            self.standardize_4d = Standardizer(geometry.dim)
        if geometry.reconstruct:
            vision = config.vision
            self.reconstruct_2d = ReconstructionHead(latent, config.num_cameras * vision.tokens, vision.hidden_size)
            self.reconstruct_4d = ReconstructionHead(latent, geometry.tokens, geometry.dim)
            self.standardize_2d = Standardizer(vision.hidden_size)

    @property
    def needs_statistics(self) -> bool:
        """Whether frozen features are a target, which has to be standardised."""
        geometry = self.config.geometry
        return geometry is not None and (geometry.reconstruct or geometry.align_layer is not None)

    def geometry_tokens(
        self, features: Float[Tensor, "b k g"], present: Bool[Tensor, " b"] | None = None
    ) -> GeometryTokens:
        """Pooled 4D features → tokens of the prefix; all samples have them by default."""
        if self.geometry_proj is None:
            raise ValueError(
                "this network was trained without 4D tokens (config.json: model.geometry is null or masked)"
            )
        if present is None:
            present = torch.ones(len(features), dtype=torch.bool, device=features.device)
        return GeometryTokens(self.geometry_proj(features), present)

    def keypoints(self, prefix: Prefix, hidden: Float[Tensor, "b n d"]) -> Keypoints:
        """Where the Fusion Tokens see the end effector go, from the prefix's outputs."""
        if self.trajectory_head is None:
            raise ValueError("this network has no Fusion Tokens (config.json: model.fusion is null)")
        per_camera = self.config.vision.tokens
        first = self.config.front_camera * per_camera
        return self.trajectory_head(hidden[:, prefix.columns(Modality.FUSION)], hidden[:, first : first + per_camera])

    def image_target(self, features: Float[Tensor, "b cams p v"]) -> Float[Tensor, "b n v"]:
        """F_2D: the vision tower's features, averaged over the patches that the connector makes one token of.

        The tower's own output and not the connector's: a target that is trained along could collapse.
        """
        vision = self.config.vision
        b, cams = features.shape[:2]
        side, scale = vision.tokens_per_side, vision.scale_factor
        patches = features.detach().reshape(b, cams, side, scale, side, scale, -1)
        return patches.mean(dim=(3, 5)).reshape(b, cams * side * side, -1)

    def fit_standardizers(self, images: Float[Tensor, "b n v"], geometry: Float[Tensor, "b k g"]) -> None:
        """Take mean and deviation of the targets from some samples: :meth:`image_target`'s, and 4D."""
        if self.reconstruct_2d is not None:
            self.standardize_2d.fit(images)
        if self.needs_statistics:
            self.standardize_4d.fit(geometry)

    def standardized_images(self, features: Float[Tensor, "b cams p v"]) -> Float[Tensor, "b n v"]:
        """The target of h_2D."""
        return self.standardize_2d(self.image_target(features))


class Objective(nn.Module):
    """The policy with its auxiliary modules; calling it computes the losses of a batch."""

    def __init__(self, policy: SwiftVLA, auxiliary: Auxiliary) -> None:
        super().__init__()
        self.policy = policy
        self.auxiliary = auxiliary
        # In a tuple, so that it is no part of what is trained, counted and stored.
        self._target_tower: tuple[nn.Module, ...] = ()

    def reconstruct_of(self, tower: nn.Module) -> None:
        """Take a frozen vision tower's features as the 2D target: the policy's own is trained, and would move it."""
        self._target_tower = (tower,)

    def target_features(
        self, images: Float[Tensor, "b cams 3 h w"], features: Float[Tensor, "b cams p v"]
    ) -> Float[Tensor, "b cams p v"]:
        """The features that are to be reconstructed; ``features`` are the policy's own."""
        if not self._target_tower:
            return features
        with torch.no_grad():
            return self._target_tower[0](images.flatten(0, 1)).view_as(features)

    def count(self, sample: TrainingSample) -> Float[Tensor, " losses"]:
        """How many rows, keypoints and samples the losses of a batch are means over; costs next to nothing."""
        reconstructs = self.auxiliary.reconstruct_4d is not None and sample.geometry is not None
        repeats = sample.noise.shape[1]
        counts = (
            (sample.row_valid[:, None] & ~sample.executed).sum(),
            countable(sample.keypoint_uv, sample.keypoint_valid).sum() * (self.auxiliary.trajectory_head is not None),
            (sample.mask_2d & sample.has_geometry).sum() * (reconstructs and repeats > 0),
            (sample.mask_4d & sample.has_geometry).sum() * (reconstructs and repeats > 0),
            self._aligned(sample).sum(),
        )
        return torch.stack(counts).float()

    def forward(self, sample: TrainingSample) -> Losses:
        """Losses of one batch; without noise samples (a grounding batch) the expert doesn't run.

        A masked modality is absent (paper, §3.3): nobody sees its tokens, and those of 4D take no position, so what a
        sample with a masked 4D modality trains is exactly the network that is deployed.
        """
        policy, auxiliary = self.policy, self.auxiliary
        counts = self.count(sample)
        # Without 4D features there is nothing to see once 2D is masked.
        sample = sample._replace(mask_2d=sample.mask_2d & sample.has_geometry)
        features = policy.backbone.vision_features(sample.inputs.images)
        geometry = None
        if sample.geometry is not None and auxiliary.geometry_proj is not None:
            present = sample.has_geometry & ~sample.mask_4d
            geometry = auxiliary.geometry_tokens(sample.geometry, present)
        prefix = policy.embed_prefix(sample.inputs, features, geometry, ~sample.mask_2d)
        with self._tapped() as aligned_layer:
            condition, hidden = policy.condition(prefix)
        zero = hidden.new_zeros((), dtype=torch.float32)
        action = trajectory = reconstruct_2d = reconstruct_4d = alignment = zero
        if auxiliary.trajectory_head is not None:
            keypoints = auxiliary.keypoints(prefix, hidden)
            trajectory = auxiliary.trajectory_head.loss(
                keypoints, sample.keypoint_uv, sample.keypoint_valid, ~sample.mask_2d
            ).sum()
        if sample.noise.shape[1]:
            # One time for all rows, but clean rows have none of the noise.
            time = sample.time[..., None].masked_fill(sample.executed, 0.0)
            noisy, target = flow_matching.interpolate(sample.actions[:, None], sample.noise, time)
            latent = policy.action_latent(noisy, time, condition)
            error = (policy.velocity(latent) - target).square().mean(dim=-1)
            action = (error * (sample.row_valid[:, None] & ~sample.executed)).sum()
            # Only what is masked is reconstructed (eq. 7); one noise sample is enough to do it from.
            if auxiliary.reconstruct_2d is not None:
                target = self.target_features(sample.inputs.images, features)
                loss = auxiliary.reconstruct_2d.loss(latent[:, 0], auxiliary.standardized_images(target))
                reconstruct_2d = (loss * sample.mask_2d).sum()
            if auxiliary.reconstruct_4d is not None and sample.geometry is not None:
                loss = auxiliary.reconstruct_4d.loss(latent[:, 0], auxiliary.standardize_4d(sample.geometry))
                reconstruct_4d = (loss * (sample.mask_4d & sample.has_geometry)).sum()
        if auxiliary.alignment is not None and sample.geometry is not None:
            shown = aligned_layer[0][:, self.policy.front_places(sample.geometry.shape[1], hidden.device)]
            loss = auxiliary.alignment.loss(shown, auxiliary.standardize_4d(sample.geometry))
            alignment = (loss * self._aligned(sample)).sum()
        return Losses(torch.stack([action, trajectory, reconstruct_2d, reconstruct_4d, alignment]), counts)

    def _aligned(self, sample: TrainingSample) -> Bool[Tensor, " b"]:
        """The samples whose image tokens are aligned: they have 4D features, and images."""
        aligns = self.auxiliary.alignment is not None and sample.geometry is not None
        return sample.has_geometry & ~sample.mask_2d & aligns

    @contextmanager
    def _tapped(self) -> Iterator[list[Tensor]]:
        """What the aligned text layer gave, once the backbone has run; nothing where none is aligned."""
        seen: list[Tensor] = []
        geometry = self.auxiliary.config.geometry
        if geometry is None or geometry.align_layer is None:
            yield seen
            return
        layer = self.policy.backbone.text_model.layers[geometry.align_layer - 1]
        hook = layer.register_forward_hook(lambda _layer, _given, gave: seen.append(gave[0]))
        try:
            yield seen
        finally:
            hook.remove()


class FlowDistillation(Objective):
    """Fewer denoising steps: the action expert learns to go in one step as far as it went in several.

    A frozen copy of the expert (the teacher) goes its ``teacher_steps`` from the noise that a deployed policy begins
    with; the expert learns the mean velocity between the points where it will take its own ``denoise_steps``. So a
    chunk is the same function of noise and observation as before, with the same layout of weights. Everything but the
    expert stays as it is, so one pass of the backbone, without gradients, serves both.

    SnapFlow (arXiv 2604.05656) learns its one step from its own two-step shortcuts beside the usual loss, and tells
    the two apart by another time embedding. This is the simpler case: a policy that is trained already is the teacher,
    and nothing of its own many-step velocities has to be kept.
    """

    def __init__(self, policy: SwiftVLA, auxiliary: Auxiliary, teacher_steps: int) -> None:
        super().__init__(policy, auxiliary)
        if teacher_steps % policy.config.denoise_steps:
            raise ValueError(f"{teacher_steps} steps can't be gone in {policy.config.denoise_steps} equal ones")
        self.teacher_steps = teacher_steps
        self.requires_grad_(False)
        self.teacher, self.teacher_out = copy.deepcopy(policy.expert), copy.deepcopy(policy.action_out_proj)
        policy.expert.requires_grad_(True)
        policy.action_out_proj.requires_grad_(True)

    def count(self, sample: TrainingSample) -> Float[Tensor, " losses"]:
        """Rows alone: nothing else is trained."""
        return _action_alone((sample.row_valid[:, None] & ~sample.executed).sum().float())

    def forward(self, sample: TrainingSample) -> Losses:
        """How far the velocities of a batch are from the teacher's mean ones; ``sample.time`` chooses the steps."""
        policy, steps = self.policy, self.policy.config.denoise_steps
        executed = sample.executed[..., None]
        noise = sample.noise * policy.config.noise_scale
        with torch.no_grad():
            prefix = policy.embed_prefix(sample.inputs, policy.backbone.vision_features(sample.inputs.images))
            hidden, key_values = policy.backbone(prefix)
            guide = policy.guide_of(prefix, hidden)
            taught = Condition(self.teacher.project_prefix(key_values), prefix.present, prefix.next_position, guide)
            points = self._way(torch.where(executed, sample.actions[:, None], noise), sample.executed, taught)
        step = ((1 - sample.time) * steps).long().clamp(max=steps - 1)
        begin, end = (_chosen(points, step + i) for i in (0, 1))
        condition = Condition(policy.expert.project_prefix(key_values), prefix.present, prefix.next_position, guide)
        time = (1 - step / steps)[..., None].masked_fill(sample.executed, 0.0)
        velocity = policy.velocity(policy.action_latent(begin, time, condition))
        error = (velocity - (begin - end) * steps).square().mean(dim=-1)
        action = (error * (sample.row_valid[:, None] & ~sample.executed)).sum()
        return Losses(_action_alone(action), self.count(sample))

    def _way(
        self, x: Float[Tensor, "b r h a"], executed: Bool[Tensor, "b r h"], condition: Condition
    ) -> list[Float[Tensor, "b r h a"]]:
        """Where the teacher is at the beginning of each of the learner's steps, and at the end."""
        layout = self.teacher.layout(condition.present, condition.next_position, x.shape[1])
        points, every = [x], self.teacher_steps // self.policy.config.denoise_steps
        for step, time in enumerate(flow_matching.denoising_times(self.teacher_steps, x.device)):
            times = self.teacher.embed_time(time.expand(executed.shape).masked_fill(executed, 0.0))
            latent = self.teacher(x, times, condition.key_values, layout, condition.guide)
            x = x - (self.teacher_out(latent).float() / self.teacher_steps).masked_fill(executed[..., None], 0.0)
            if (step + 1) % every == 0:
                points.append(x)
        return points


def _action_alone(value: Float[Tensor, ""]) -> Float[Tensor, " losses"]:
    return nn.functional.pad(value[None], (0, len(LOSSES) - 1))


def _chosen(points: list[Float[Tensor, "b r h a"]], which: Int[Tensor, "b r"]) -> Float[Tensor, "b r h a"]:
    """Of each chunk the point with its number."""
    stacked = torch.stack(points, dim=2)
    return stacked.gather(2, which[..., None, None, None].expand(-1, -1, 1, *stacked.shape[3:]))[:, :, 0]


def draw_masks(
    config: GeometryBranchConfig, count: int, rng: np.random.Generator, step: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which samples of a batch lose their 2D, and which their 4D modality: (mask_2d [count], mask_4d [count]).

    One uniform number decides for both, so no sample loses both.
    """
    ramp = min(1.0, (step + 1) / config.mask_2d_ramp_steps) if config.mask_2d_ramp_steps else 1.0
    u = rng.random(count)
    return u >= 1 - config.p_mask_2d * ramp, u < config.p_mask_4d
