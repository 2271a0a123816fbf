# SPDX-License-Identifier: Apache-2.0
"""The order of the prefix's tokens, who sees whom, and how a masked modality becomes an absent one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

StateBlock = Literal["prefix", "own"]


class Modality(IntEnum):
    """The prefix's segments, in their order."""

    IMAGE = 0  # 2D: all cameras, contract order
    GEOMETRY = 1  # 4D: the front view's geometry tokens, in training only
    TEXT = 2
    STATE = 3
    FUSION = 4


@dataclass(frozen=True)
class Prefix:
    """Embedded prefix tokens."""

    embeddings: Float[Tensor, "b n d"]  # [b, n, d], segments in the order of `Modality`
    # [b, n]: False for padding and for a masked modality. A token that is not present is seen by nobody and takes no
    # position, so masked equals absent; but images that are masked leave their places to the 4D tokens.
    present: Bool[Tensor, "b n"]
    lengths: dict[Modality, int]  # number of tokens of each modality, in order
    state_block: StateBlock = "prefix"  # `SwiftVLAConfig.state_block`
    geometry_positions: Int[Tensor, " k"] | None = None  # of the 4D tokens, by `front_places`

    @property
    def positions(self) -> Int[Tensor, "b n"]:
        """Rotary positions: a token's number among those that take one (lerobot's SmolVLA counts alike).

        A 4D token stands where the front view's image token of the same place stands, so everything else has the
        positions that it has without 4D.
        """
        positions = (self._counted.long().cumsum(dim=1) - 1).clamp(min=0)
        if self.geometry_positions is not None:
            positions[:, self.columns(Modality.GEOMETRY)] = self.geometry_positions
        return positions

    @property
    def next_position(self) -> Int[Tensor, " b"]:
        """The position after the last, where the action tokens go on."""
        return self._counted.sum(dim=1)

    @property
    def _counted(self) -> Bool[Tensor, "b n"]:
        """Tokens that take a position of their own: those present but 4D tokens, which need the images' places."""
        geometry = self.columns(Modality.GEOMETRY)
        if geometry.start == geometry.stop:
            return self.present
        counted = self.present.clone()
        counted[:, self.columns(Modality.IMAGE)] |= counted[:, geometry.start, None]
        counted[:, geometry] = False
        return counted

    @property
    def attention_mask(self) -> Bool[Tensor, "b n n"]:
        """Who sees whom; see :func:`attention_mask`."""
        device = self.present.device
        modality = torch.cat([torch.full((n,), int(m), device=device) for m, n in self.lengths.items()])
        return attention_mask(self.present, modality, self.state_block)

    def columns(self, modality: Modality) -> slice:
        """Where a modality's tokens lie; empty where there are none."""
        start = sum(n for m, n in self.lengths.items() if m < modality)
        return slice(start, start + self.lengths.get(modality, 0))


def attention_mask(
    present: Bool[Tensor, "b n"], modality: Int[Tensor, " n"], state_block: StateBlock = "prefix"
) -> Bool[Tensor, "b n n"]:
    """Who sees whom in the prefix (paper, fig. 3); rows are queries, columns are keys.

    ::

                2D   4D   text state fusion
        2D      1    R    1    1     0
        4D      R    R    R    R     0
        text    1    R    1    1     0
        state   1    R    1    1     0
        fusion  1    R    1    1     1

    R: visible unless the sample's 4D modality is masked (for a masked 2D modality the R cross lies on 2D). All but the
    Fusion Tokens see each other in both directions; Fusion Tokens see everything and are seen by nobody else here. (The
    action expert reads all of them.)

    SmolVLA's layout (``state_block`` "own") has no 4D and no Fusion Tokens, and its state is a block of its own::

                2D   text state
        2D      1    1    0
        text    1    1    0
        state   1    1    1
    """
    block = torch.zeros_like(modality).masked_fill(modality == int(Modality.FUSION), 2)
    if state_block == "own":
        block = block.masked_fill(modality == int(Modality.STATE), 1)
    allowed = block[None, :] <= block[:, None]
    return allowed & present[:, None, :] & present[:, :, None]


def front_places(tokens: int, first: int, side: int, device: torch.device) -> Int[Tensor, " k"]:
    """For so many 4D tokens of the front view the image tokens that show the same: side × side of them, from ``first``.

    Both are grids over one picture, row by row. These places are the 4D tokens' rotary positions, too, about which the
    paper says nothing: positions of their own, between images and text, would move all that comes after by 64 places
    whenever 4D is there, away from where the image tokens were when that was learnt.
    """
    geometry_side = max(1, round(tokens**0.5))
    k = torch.arange(tokens, device=device)
    # The middle of each cell; of a number that is no square the last rows show what the last image tokens do.
    row, column = (((2 * cell + 1) * side // (2 * geometry_side)) for cell in (k // geometry_side, k % geometry_side))
    return first + row.clamp(max=side - 1) * side + column


def concatenate(
    segments: list[tuple[Modality, Float[Tensor, "b k d"], Bool[Tensor, "b k"]]],
    state_block: StateBlock = "prefix",
    geometry_positions: Int[Tensor, " k"] | None = None,
) -> Prefix:
    """Join the segments of a prefix; they must come in the order of :class:`Modality`."""
    order = [int(modality) for modality, _, _ in segments]
    if order != sorted(set(order)):
        raise ValueError(f"prefix segments {[m.name for m, _, _ in segments]} are out of order")
    embeddings = torch.cat([e for _, e, _ in segments], dim=1)
    present = torch.cat([p for _, _, p in segments], dim=1)
    return Prefix(embeddings, present, {m: e.shape[1] for m, e, _ in segments}, state_block, geometry_positions)
