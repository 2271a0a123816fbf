# SPDX-License-Identifier: Apache-2.0
"""LeRobot's batches → what our network and objective read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lerobot.utils.constants import ACTION, OBS_LANGUAGE_ATTENTION_MASK, OBS_LANGUAGE_TOKENS, OBS_STATE
from numpy.typing import NDArray
from torch import Tensor, nn

from lerobot_policy_swiftvla.configuration_swiftvla import SwiftVLAConfig
from lerobot_policy_swiftvla.dataset_description import coding
from swiftvla_ros.model.objective import TrainingSample
from swiftvla_ros.model.swiftvla import ModelInput
from swiftvla_ros.policy.image_preprocessing import PAD_TOP_LEFT
from swiftvla_ros.policy.normalization import Normalizer
from swiftvla_ros.training.batch_sampling import SampledBatch
from swiftvla_ros.training.importers.lerobot_columns import KEYPOINTS, VALID_ROWS, geometry_column, labels_of_columns
from swiftvla_ros.training.samples import ALL_ROWS
from swiftvla_ros.training.trainer import padded, training_sample

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class GivenFrames:
    """Frames that LeRobot's loader has drawn: nothing is left to chance."""

    count: int

    def draw(self, count: int, rng: np.random.Generator, /) -> NDArray[np.int64]:  # noqa: ARG002
        """As many as there are."""
        assert count == self.count
        return np.arange(count)


class BatchReader:
    """Reads batches for one policy: images, words and state, and in training what the losses are judged by."""

    def __init__(self, config: SwiftVLAConfig) -> None:
        self.config, self.network = config, config.swiftvla
        self.coding = coding(config)
        statistics, names = config.statistics, config.joint_names
        self.state = Normalizer.from_statistics(statistics, "state", names)
        self.action = Normalizer.from_statistics(statistics, "action", names)

    def inputs(self, batch: Batch) -> ModelInput:
        """The observation."""
        lacking = [name for name in (*self.config.cameras, OBS_STATE, OBS_LANGUAGE_TOKENS) if name not in batch]
        if lacking:
            raise KeyError(f"the batch lacks {lacking}; it has {sorted(batch)} (names are mapped with --rename_map)")
        tokens, present = batch[OBS_LANGUAGE_TOKENS], batch[OBS_LANGUAGE_ATTENTION_MASK].bool()
        images = network_images(
            [batch[name] for name in self.config.cameras], self.network.vision.image_size, self.config.image_fit
        )
        state = padded(self.state.normalize(self.raw_state(batch)), self.network.state_dim)
        return ModelInput(images, tokens, present, state.to(images.device))

    def raw_state(self, batch: Batch) -> NDArray[np.float64]:
        """Measured positions [b, J] in the dataset's units."""
        return batch[OBS_STATE].detach().cpu().double().numpy()

    def sample(self, batch: Batch, draws: SampledBatch) -> TrainingSample:
        """A whole batch of the objective."""
        inputs = self.inputs(batch)
        if draws.augmentation is not None:
            images, state = draws.augmentation.apply(inputs.images, inputs.state)
            inputs = inputs._replace(images=images, state=state)
        device = inputs.images.device
        actions = batch[ACTION].detach().cpu().double().numpy()
        rows = self.coding.encode(actions, self.raw_state(batch)).astype(np.float32)
        count, fusion = len(rows), self.network.fusion
        valid_rows = _column(batch, VALID_ROWS, np.full(count, ALL_ROWS)).reshape(count)
        nowhere = np.zeros((count, 0 if fusion is None else fusion.num_tokens, 3), np.float32)
        labels = labels_of_columns(rows, valid_rows, _column(batch, KEYPOINTS, nowhere))
        geometry = self._geometry(batch, draws)
        everywhere = torch.ones(count, dtype=torch.bool, device=device)
        return training_sample(labels, draws, self.action, self.network, device)._replace(
            inputs=inputs, geometry=geometry, has_geometry=everywhere if geometry is not None else ~everywhere
        )

    def positions(self, chunk: Tensor, state: NDArray[np.float64]) -> Tensor:
        """The network's normalised rows [b, H, A] → positions [b, H, J] in the dataset's units."""
        rows = self.action.denormalize(chunk[..., : state.shape[-1]].cpu().double().numpy())
        return torch.from_numpy(self.coding.decode(rows, state).astype(np.float32)).to(chunk.device)

    def rows(self, positions: Tensor, state: NDArray[np.float64]) -> Tensor:
        """The inverse of :meth:`positions`: [b, R, J] → [b, H, A], zeros behind the R rows."""
        given = positions.detach().cpu().double().numpy()[:, : self.network.horizon]
        rows = padded(self.action.normalize(self.coding.encode(given, state)), self.network.action_dim)
        return nn.functional.pad(rows, (0, 0, 0, self.network.horizon - rows.shape[1])).to(positions.device)

    def _geometry(self, batch: Batch, draws: SampledBatch) -> Tensor | None:
        """Each sample's 4D features, of the temporal cache that was drawn for it."""
        if self.network.geometry is None:
            return None
        columns = [geometry_column(int(k)) for k in draws.cache_steps]
        lacking = sorted({name for name in columns if name not in batch})
        if lacking:
            raise KeyError(
                f"the batch lacks {lacking}: stage 2 is trained with the teacher's 4D features, which `swiftvla "
                "export-lerobot … --teacher-targets …` writes into a dataset"
            )
        return torch.stack([batch[name][row] for row, name in enumerate(columns)]).float()


def network_images(images: list[Tensor], side: int, fit: str) -> Tensor:
    """Cameras' images [b, 3, h, w], uint8 or 0…1 → float32 [b, cams, 3, side, side] in [-1, 1].

    To the last bit what ``swiftvla_ros.policy.image_preprocessing`` makes of the 8-bit images that these come from, in
    its order in memory; :func:`pad_top_left` of images of other sizes within its rounding.
    """
    levels = [image.float() if image.dtype == torch.uint8 else (image.float() * 255).round() for image in images]
    if fit == PAD_TOP_LEFT:
        return torch.stack([pad_top_left(level, side) for level in levels], dim=1)
    stacked = torch.stack([level.permute(0, 2, 3, 1) for level in levels], dim=1)
    return stacked.div(127.5).sub_(1).movedim(-1, -3)


def pad_top_left(levels: Tensor, side: int) -> Tensor:
    """Images 0…255 [b, 3, h, w], kept in their aspect ratio, in the lower right corner of black squares."""
    height, width = levels.shape[-2:]
    ratio = max(width / side, height / side)
    inner = int(height / ratio), int(width / ratio)
    picture = levels / 255
    if inner != (height, width):
        picture = nn.functional.interpolate(picture, size=inner, mode="bilinear", align_corners=False)
    return nn.functional.pad(picture, (side - inner[1], 0, side - inner[0], 0)) * 2 - 1


def _column(batch: Batch, name: str, default: NDArray[Any]) -> NDArray[Any]:
    return batch[name].detach().cpu().numpy() if name in batch else default
