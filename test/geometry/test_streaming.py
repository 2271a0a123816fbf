# SPDX-License-Identifier: Apache-2.0
"""A stream equals the whole sequence, forgets what it should, and never grows."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from swiftvla_ros.geometry import HEADS, GeometryOutput, GeometryTransformer
from swiftvla_ros.geometry.window import CausalWindow

Draw = Callable[..., Tensor]


def stream(net: GeometryTransformer, images: Tensor, window: int | Tensor, anchor: bool = False) -> GeometryOutput:
    """Run all heads step by step, and put the steps side by side as ``forward`` gives them."""
    cache = net.start(images.shape[0], window, anchor)
    steps = []
    for t in range(images.shape[1]):
        out, cache = net.step(images[:, t], cache, HEADS)
        steps.append(out)
    axis = {name: 2 if name == "pose_refinements" else 1 for name in GeometryOutput._fields}
    return GeometryOutput(**{name: torch.stack([getattr(s, name) for s in steps], dim=d) for name, d in axis.items()})


def difference(a: GeometryOutput, b: GeometryOutput) -> float:
    """Largest absolute difference over all outputs."""
    return max(float((x - y).abs().max()) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("anchor", [False, True])
@pytest.mark.parametrize("window", [1, 3, [2, 4], 9])
def test_stream_equals_one_causal_pass(
    tiny: GeometryTransformer, draw: Draw, window: int | list[int], anchor: bool
) -> None:
    """Protects streaming: step by step gives the windowed pass, for one K, a K per sample, a K longer than the past."""
    images = draw(2, 7)
    rows = torch.tensor(window) if isinstance(window, list) else window
    with torch.no_grad():
        whole = tiny(images, rows, anchor)
    assert difference(stream(tiny, images, rows, anchor), whole) <= 1e-4


def test_long_window_is_plain_causal_attention(tiny: GeometryTransformer, draw: Draw) -> None:
    """Protects the meaning of no window: the same as one that reaches back to the start."""
    images = draw(1, 4)
    with torch.no_grad():
        assert difference(tiny(images), tiny(images, window=4)) <= 1e-5


@pytest.mark.parametrize("anchor", [False, True])
def test_window_attention_is_masked_softmax(anchor: bool) -> None:
    """Protects the window's definition, written out: t-K < t' < t, and within a step v' ≤ v; the anchor's step too."""
    steps, views, tokens, window = 5, 2, 3, torch.tensor([2, 3])
    n = steps * views * tokens
    q, k, v = torch.randn(3, 2, 4, n, 8, generator=torch.Generator().manual_seed(2))
    mask = torch.zeros(2, n, n, dtype=torch.bool)
    for row in range(2):
        for i in range(n):
            for j in range(n):
                (t, a), (s, b) = divmod(i // tokens, views), divmod(j // tokens, views)
                recent = t - int(window[row]) < s or (anchor and s == 0)
                mask[row, i, j] = recent and (s < t or (s == t and b <= a))
    scores = (q @ k.transpose(-1, -2) / 8**0.5).masked_fill(~mask[:, None], -torch.inf)
    expected = scores.softmax(-1) @ v
    causal = CausalWindow(steps, views, window, anchor, q.device)
    torch.testing.assert_close(causal(q, k, v), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(causal(q.requires_grad_(), k, v), expected, atol=1e-5, rtol=1e-5)


def test_nothing_is_seen_before_its_time(tiny: GeometryTransformer, draw: Draw) -> None:
    """Protects causality: a changed front view leaves earlier steps and this step's wrist view as they were."""
    images = draw(1, 4)
    changed = images.clone()
    changed[:, 2, 1] = 1 - changed[:, 2, 1]
    with torch.no_grad():
        a, b = tiny(images).features.flatten(1, 2), tiny(changed).features.flatten(1, 2)
    assert torch.equal(a[:, :5], b[:, :5])
    assert bool(((a - b)[:, 5:].abs().amax(dim=(0, 2, 3)) > 1e-3).all())


def test_anchor_keeps_the_first_step(tiny: GeometryTransformer, draw: Draw) -> None:
    """Protects the anchor: with K = 1 a frame depends on step 0 if it is kept, and on no other step."""
    images = draw(1, 4)
    features = {}
    with torch.no_grad():
        for changed in (None, 0, 1):
            x = images.clone()
            if changed is not None:
                x[:, changed] = 1 - x[:, changed]
            for anchor in (False, True):
                features[changed, anchor] = tiny(x, window=1, anchor=anchor, heads=()).features[:, 3]
    assert torch.equal(features[None, False], features[0, False])
    assert float((features[None, True] - features[0, True]).abs().max()) > 1e-3
    assert torch.equal(features[None, True], features[1, True])


def test_samples_do_not_affect_each_other(tiny: GeometryTransformer, draw: Draw) -> None:
    """Protects batches: a sample streams the same beside any other, and the same alone."""
    images, window = draw(3, 5), torch.tensor([2, 3, 4])
    together = stream(tiny, images, window)
    other = images.clone()
    other[1] = draw(1, 5, seed=7)[0]
    beside = stream(tiny, other, window)
    for row in (0, 2):
        alone = stream(tiny, images[row : row + 1], int(window[row]))
        for name in GeometryOutput._fields:
            axis = 1 if name == "pose_refinements" else 0
            a, b = (getattr(x, name).select(axis, row) for x in (together, beside))
            assert torch.equal(a, b)
            torch.testing.assert_close(a, getattr(alone, name).select(axis, 0), atol=1e-4, rtol=1e-5)


def test_a_scene_serves_several_windows(tiny: GeometryTransformer, draw: Draw) -> None:
    """Protects teacher targets for several K: a scene given once gives what a copy of it per window gives."""
    images, window = draw(2, 6), torch.tensor([1, 2, 4]).repeat(2)
    cache = tiny.start(6, window)
    for t in range(6):
        out, cache = tiny.step(images[:, t], cache)
    expected = stream(tiny, images.repeat_interleave(3, dim=0), window)
    torch.testing.assert_close(out.features, expected.features[:, -1], atol=1e-5, rtol=1e-5)


def test_memory_stays_flat_over_100_steps(tiny: GeometryTransformer, draw: Draw) -> None:
    """Protects endless streams: the buffers are the first step's (times: benchmarks/geometry_stream.py)."""
    images = draw(1, 1)[:, 0]
    cache = tiny.start(1, 6, anchor=True)
    sizes = set()
    for _ in range(100):
        out, cache = tiny.step(images, cache)
        sizes.add(cache.nbytes)
    config = tiny.config
    frame = 2 * config.num_pairs * (config.grid[0] * config.grid[1] + config.special_tokens) * config.dim * 4
    assert sizes == {frame * (6 + 1) * 2}
    assert bool(out.features.isfinite().all())


def test_stream_refuses_what_it_cannot_do(tiny: GeometryTransformer, draw: Draw) -> None:
    """Protects users of streams: no window, a wrong batch, other views, or a camera without its past is named."""
    images = draw(2, 1)[:, 0]
    with pytest.raises(ValueError, match="needs a window"):
        tiny.start(1, None)
    with pytest.raises(ValueError, match="K ≥ 1"):
        tiny.start(1, 0)
    with pytest.raises(ValueError, match="3 windows for 2 samples"):
        tiny.start(2, torch.tensor([1, 2, 3]))
    with pytest.raises(ValueError, match="2 samples for a stream of 3"):
        tiny.step(images, tiny.start(3, 2))
    _, cache = tiny.step(images, tiny.start(2, 2))
    with pytest.raises(ValueError, match="1 views after steps with 2"):
        tiny.step(images[:, :1], cache)
    _, cache = tiny.step(images, tiny.start(2, 2))
    with pytest.raises(ValueError, match="no past of 'camera'"):
        tiny.step(images, cache, ("camera",))
