# SPDX-License-Identifier: Apache-2.0
"""Which frames a frame attends to, over a whole sequence at once.

Frames stand in the order of time steps, and within a step in the order of views. Frame (t, v) sees (t', v') where
t - K < t' < t, and (t, v') where v' ≤ v. With an anchor it also sees the whole of step 0.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from swiftvla_ros.geometry.layers import Heads, attention

Window = int | Int[Tensor, " b"] | None


def window_rows(window: Window) -> Int[Tensor, " r"] | None:
    """A window as one row per sample, or one for all; raises ValueError where a window is below 1."""
    if window is None:
        return None
    rows = torch.as_tensor(window, dtype=torch.long, device="cpu").reshape(-1)
    if int(rows.min()) < 1:
        raise ValueError(f"window {rows.tolist()}: a frame sees its own step at least, so K ≥ 1")
    return rows


class CausalWindow:
    """Attention over a sequence of frames, a frame's queries at a time.

    Only keys that some sample sees are read, so a windowed sequence costs time linear in its length, and without
    differing windows no mask is needed at all.
    """

    def __init__(self, steps: int, views: int, window: Window, anchor: bool, device: torch.device) -> None:
        visible = _visible_frames(steps, views, window_rows(window), anchor)
        self._frames = steps * views
        self._visible = visible.to(device)
        # Per query frame: runs of key frames, and which of these each sample sees (None: all).
        self._plan: list[tuple[list[tuple[int, int]], Bool[Tensor, "r k"] | None]] = []
        for frame in range(self._frames):
            seen = visible[:, frame]
            keys = seen.any(dim=0).nonzero()[:, 0].tolist()
            runs = _runs(keys)
            self._plan.append((runs, None if bool(seen[:, keys].all()) else seen[:, keys].to(device)))

    def __call__(self, q: Heads, k: Heads, v: Heads) -> Heads:
        """Attention with any number of tokens per frame."""
        tokens = q.shape[2] // self._frames
        if tokens == 1:  # the camera head: one product with a mask beats many small ones
            return attention(q, k, v, self._visible[:, None])
        # A slice of a strided tensor would be copied for every product.
        k, v = k.contiguous(), v.contiguous()
        out = []
        for frame, (runs, seen) in enumerate(self._plan):
            key, value = (_take(x, runs, tokens) for x in (k, v))
            mask = None if seen is None else seen.repeat_interleave(tokens, dim=1)[:, None, None]
            out.append(attention(q[:, :, frame * tokens : (frame + 1) * tokens], key, value, mask))
        return torch.cat(out, dim=2)


def _visible_frames(
    steps: int, views: int, window: Int[Tensor, " r"] | None, anchor: bool
) -> Bool[Tensor, "r frames frames"]:
    frame = torch.arange(steps * views)
    step = frame // views
    past = frame[:, None] >= frame
    if window is None:
        return past[None]
    recent = step[:, None] - step < window[:, None, None]
    return past & (recent | (step == 0) if anchor else recent)


def _runs(frames: list[int]) -> list[tuple[int, int]]:
    """[0, 1, 5, 6, 7] → [(0, 2), (5, 8)]."""
    runs: list[tuple[int, int]] = []
    for frame in frames:
        if runs and runs[-1][1] == frame:
            runs[-1] = (runs[-1][0], frame + 1)
        else:
            runs.append((frame, frame + 1))
    return runs


def _take(x: Heads, runs: list[tuple[int, int]], tokens: int) -> Heads:
    parts = [x[:, :, start * tokens : end * tokens] for start, end in runs]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)
