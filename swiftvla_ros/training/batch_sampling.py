# SPDX-License-Identifier: Apache-2.0
"""All that chance decides in one optimiser step, drawn for the whole batch from nothing but the seed and the step.

Every process draws the same and takes its share: so a batch is the same for any number of processes and micro-batches,
and a resumed run goes on as it would have.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from swiftvla_ros.model import flow_matching
from swiftvla_ros.model.config import SwiftVLAConfig
from swiftvla_ros.model.objective import draw_masks
from swiftvla_ros.training.options import TrainOptions
from swiftvla_ros.training.samples import SceneSamples

DELAYED_SHARE = 0.5
"""Share of noisy chunks whose first rows are given clean, where a network is trained for delays. The other half stays
as it was: a first chunk, and every chunk of a policy that is run without chunk guidance, has no such rows."""
_DELAY_STREAM = 1


class Frames(Protocol):
    """What demonstrations' frames are drawn from."""

    def draw(self, count: int, rng: np.random.Generator, /) -> NDArray[np.int64]:
        """The numbers of so many frames."""


@dataclass(frozen=True)
class Augmentation:
    """Light, colour and noise of b observations."""

    # Of all channels of an image.
    gain: Float[Tensor, "b cams 1 1 1"]
    offset: Float[Tensor, "b cams 1 1 1"]
    cast: Float[Tensor, "b cams 3 1 1"]  # offset of one channel: a small colour cast
    pixels: Float[Tensor, "h w"]  # noise of the pixels, the same in all images
    state: Float[Tensor, "b s"]  # offset of the normalised state

    @classmethod
    def draw(cls, count: int, config: SwiftVLAConfig, generator: torch.Generator) -> Augmentation:
        """Draw one for each of ``count`` samples."""
        cams, side = config.num_cameras, config.vision.image_size

        def uniform(width: float, *shape: int) -> Tensor:
            return width * (torch.rand((count, cams, *shape), generator=generator) - 0.5)

        return cls(
            gain=1 + uniform(0.2, 1, 1, 1),
            cast=uniform(0.1, 3, 1, 1),
            offset=uniform(0.3, 1, 1, 1),
            pixels=0.02 * torch.randn((side, side), generator=generator),
            state=0.02 * torch.randn((count, config.state_dim), generator=generator),
        )

    def apply(
        self, images: Float[Tensor, "b cams 3 h w"], state: Float[Tensor, "b s"]
    ) -> tuple[Float[Tensor, "b cams 3 h w"], Float[Tensor, "b s"]]:
        """Images in [-1, 1] and the normalised state, varied."""
        device = images.device
        gain, offset = self.gain.to(device), (self.cast + self.offset).to(device)
        varied = (images * gain).add_(offset).add_(self.pixels.to(device)).clamp_(-1, 1)
        return varied, state + self.state.to(device)

    def share(self, part: slice) -> Augmentation:
        """Some samples' augmentation."""
        return Augmentation(self.gain[part], self.offset[part], self.cast[part], self.pixels, self.state[part])


@dataclass(frozen=True)
class SampledBatch:
    """The draws of b samples: the scenes among them first, then the demonstrations' frames."""

    # Number of each scene, and of its instruction [s].
    scenes: NDArray[np.int64]
    instructions: NDArray[np.int64]
    # Number of each demonstration's frame, and the temporal cache of its 4D features [b - s].
    frames: NDArray[np.int64]
    cache_steps: NDArray[np.int64]
    # Modalities that are masked [b].
    mask_2d: NDArray[np.bool_]
    mask_4d: NDArray[np.bool_]
    # Noise and flow times of r noisy chunks per sample, and how many of each chunk's first rows are given clean.
    noise: Float[Tensor, "b r h a"]
    time: Float[Tensor, "b r"]
    delay: Int[Tensor, "b r"]
    augmentation: Augmentation | None  # None in validation

    def __len__(self) -> int:
        return len(self.mask_2d)

    def share(self, part: int, parts: int) -> SampledBatch:
        """Every ``parts``-th sample, so that shares hold equally many scenes."""
        whole = slice(part, None, parts)
        first_frame = (part - len(self.scenes)) % parts
        return SampledBatch(
            scenes=self.scenes[whole],
            instructions=self.instructions[whole],
            frames=self.frames[first_frame::parts],
            cache_steps=self.cache_steps[first_frame::parts],
            mask_2d=self.mask_2d[whole],
            mask_4d=self.mask_4d[whole],
            noise=self.noise[whole],
            time=self.time[whole],
            delay=self.delay[whole],
            augmentation=None if self.augmentation is None else self.augmentation.share(whole),
        )

    def masked(self, *, image: bool, geometry: bool) -> SampledBatch:
        """The same with a modality masked in all samples or in none."""
        return dataclasses.replace(
            self, mask_2d=np.full_like(self.mask_2d, image), mask_4d=np.full_like(self.mask_4d, geometry)
        )


def draw_step(
    scenes: SceneSamples | None,
    episodes: Frames | None,
    config: SwiftVLAConfig,
    options: TrainOptions,
    seed: tuple[int, ...],
    *,
    step: int = 0,
    augment: bool = True,
) -> SampledBatch:
    """Draw one batch of ``options.batch`` samples from ``seed``, which decides everything.

    Without episodes there are no actions, and so no noise. Masking ramps up with the optimiser's ``step``; ``augment``
    changes light, colour and noise of the observations.
    """
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    count = options.batch
    num_scenes = 0 if scenes is None else count if episodes is None else round(count * options.scene_share)
    nothing = np.zeros(0, np.int64)
    which, instructions = (nothing, nothing) if scenes is None else scenes.draw(num_scenes, rng)
    frames = nothing if episodes is None else episodes.draw(count - num_scenes, rng)
    unmasked = np.zeros(count, bool)
    repeats = 0 if episodes is None else options.noise_samples
    shape = (count, repeats, config.horizon, config.action_dim)
    mask_2d, mask_4d = (unmasked, unmasked)
    if config.geometry is not None:
        mask_2d, mask_4d = draw_masks(config.geometry, count, rng, step)
    return SampledBatch(
        scenes=which,
        instructions=instructions,
        frames=frames,
        cache_steps=rng.choice(np.array(options.cache_steps), len(frames)),
        mask_2d=mask_2d,
        mask_4d=mask_4d,
        noise=torch.randn(shape, generator=generator),
        time=flow_matching.sample_time(shape[:2], generator, torch.device("cpu")),
        delay=draw_delay(shape[:2], config.max_delay_steps, seed)
        if augment
        else torch.zeros(shape[:2], dtype=torch.long),
        augmentation=Augmentation.draw(count, config, generator) if augment else None,
    )


def draw_delay(shape: tuple[int, int], most: int, seed: tuple[int, ...]) -> Int[Tensor, "b r"]:
    """How many of a noisy chunk's first rows are given clean: none in most chunks, else 1 to ``most``, each as often.

    From a generator of its own, so that a training without is the very same as before there was such a thing.
    """
    if not most:
        return torch.zeros(shape, dtype=torch.long)
    rng = np.random.default_rng((*seed, _DELAY_STREAM))
    delay = rng.integers(1, most + 1, shape)
    return torch.from_numpy(np.where(rng.random(shape) < DELAYED_SHARE, delay, 0))
