# SPDX-License-Identifier: Apache-2.0
"""The temporal cache of a stream: keys and values of the last K steps, in buffers that never grow."""

from __future__ import annotations

import torch
from jaxtyping import Bool
from torch import Tensor

from swiftvla_ros.geometry.layers import Heads, attention
from swiftvla_ros.geometry.window import Window, window_rows

RingName = tuple[str | int, ...]


class StreamCache:
    """What a stream remembers: one ring of keys and values per attention layer that looks at other frames.

    Slot ``step mod K`` is overwritten in place, so time and memory per step stay flat. Positions know no time, so keys
    are stored normalised and rotated, and nothing that is remembered is computed again. Samples may differ in K: the
    ring holds the longest, a mask hides what a sample must not see. With an anchor, step 0 has a slot of its own.
    """

    def __init__(self, batch: int, window: Window, anchor: bool) -> None:
        rows = window_rows(window)
        if rows is None:
            raise ValueError("a stream needs a window: its cache holds the last K steps")
        if len(rows) not in (1, batch):
            raise ValueError(f"{len(rows)} windows for {batch} samples: give one, or one per sample")
        self.batch = batch
        self.views = 0
        # The step being computed; -1 before the first.
        self.step = -1
        self.slot = 0
        self._window = rows
        self._anchor = anchor
        self._slot_steps = torch.full((int(rows.max()) + anchor,), -1)
        self._rings: dict[RingName, KeyValueRing] = {}
        self._masks: dict[tuple[int, torch.device], list[Tensor]] = {}

    def advance(self, views: int) -> None:
        """Begin the next step; raises ValueError when the number of views changes."""
        if self.step >= 0 and views != self.views:
            raise ValueError(f"{views} views after steps with {self.views}: start a new stream")
        self.views = views
        self.step += 1
        slots = len(self._slot_steps)
        if self._anchor:
            self.slot = 0 if self.step == 0 else 1 + (self.step - 1) % (slots - 1)
        else:
            self.slot = self.step % slots
        self._slot_steps[self.slot] = self.step
        self._masks.clear()

    def ring(self, *name: str | int) -> KeyValueRing:
        """The ring of one attention layer; raises ValueError for one that was not used from the first step on."""
        if name not in self._rings:
            if self.step > 0:
                raise ValueError(f"the stream has no past of {name[0]!r}: ask for it from the first step on")
            self._rings[name] = KeyValueRing(self)
        return self._rings[name]

    def masks(self, tokens: int, device: torch.device) -> list[Bool[Tensor, "b 1 1 m"]]:
        """Per view, which keys of a ring with ``tokens`` per frame it may see."""
        key = (tokens, device)
        if key not in self._masks:
            steps = self._slot_steps
            seen = (steps >= 0) & (self.step - steps < self._window[:, None])
            if self._anchor:
                seen = seen | (steps == 0)
            frames = seen[:, :, None].repeat(1, 1, self.views)
            self._masks[key] = []
            for view in range(self.views):
                frames[:, self.slot] = torch.arange(self.views) <= view
                mask = frames.flatten(1).repeat_interleave(tokens, dim=1)
                self._masks[key].append(mask[:, None, None].to(device))
        return self._masks[key]

    @property
    def slots(self) -> int:
        """Steps that a ring holds."""
        return len(self._slot_steps)

    @property
    def nbytes(self) -> int:
        """Memory of all rings."""
        return sum(ring.nbytes for ring in self._rings.values())


class KeyValueRing:
    """One attention layer's keys and values of the remembered steps."""

    def __init__(self, cache: StreamCache) -> None:
        self._cache = cache
        self._key: Heads | None = None
        self._value: Heads | None = None

    def __call__(self, q: Heads, k: Heads, v: Heads) -> Heads:
        """Store this step's keys and values over the oldest, then attend view by view."""
        cache = self._cache
        step_tokens = k.shape[2]
        if self._key is None or self._value is None:
            shape = (*k.shape[:2], cache.slots * step_tokens, k.shape[3])
            self._key, self._value = k.new_zeros(shape), v.new_zeros(shape)
        here = slice(cache.slot * step_tokens, (cache.slot + 1) * step_tokens)
        self._key[:, :, here] = k
        self._value[:, :, here] = v
        tokens = step_tokens // cache.views
        return torch.cat(
            [
                attention(query, self._key, self._value, mask)
                for query, mask in zip(q.split(tokens, dim=2), cache.masks(tokens, q.device), strict=True)
            ],
            dim=2,
        )

    @property
    def nbytes(self) -> int:
        """Memory of both buffers."""
        return sum(x.nbytes for x in (self._key, self._value) if x is not None)
