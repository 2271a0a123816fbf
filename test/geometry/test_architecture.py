# SPDX-License-Identifier: Apache-2.0
"""The network's equations, written out a second time in plain torch; its sizes; its gradients."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from swiftvla_ros.geometry import PRESETS, GeometryConfig, GeometryTransformer, pool_tokens
from swiftvla_ros.geometry.checkpoint import build_on_meta

Draw = Callable[..., Tensor]
Weights = dict[str, Tensor]


def norm(x: Tensor, w: Weights, name: str, eps: float = 1e-5) -> Tensor:
    """Layer norm, without weights where the name has none."""
    return F.layer_norm(x, x.shape[-1:], w.get(f"{name}.weight"), w.get(f"{name}.bias"), eps)


def linear(x: Tensor, w: Weights, name: str) -> Tensor:
    """A product, x W + b."""
    return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])


def mlp(x: Tensor, w: Weights, name: str) -> Tensor:
    """Two layers with a GELU."""
    return linear(F.gelu(linear(x, w, f"{name}.fc1")), w, f"{name}.fc2")


def turn(x: Tensor, positions: Tensor) -> Tensor:
    """2D RoPE as products of complex numbers: channels (i, i + quarter) of a half are one, base 100."""
    quarter = x.shape[-1] // 4
    out = []
    for half, place in zip(x.chunk(2, dim=-1), positions.T, strict=True):
        angle = place[:, None] * 100.0 ** -(torch.arange(quarter) / quarter)
        z = torch.complex(half[..., :quarter], half[..., quarter:]) * torch.polar(torch.ones_like(angle), angle)
        out += [z.real, z.imag]
    return torch.cat(out, dim=-1)


def block(
    x: Tensor, w: Weights, name: str, heads: int, seen: Tensor, positions: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """One pre-norm block over tokens [n, dim], head by head."""
    q, k, v = linear(norm(x, w, f"{name}.norm1", eps), w, f"{name}.attn.qkv").chunk(3, dim=-1)
    outs = []
    for qh, kh, vh in zip(*(y.chunk(heads, dim=-1) for y in (q, k, v)), strict=True):
        if positions is not None:
            qh = turn(norm(qh, w, f"{name}.attn.q_norm"), positions)
            kh = turn(norm(kh, w, f"{name}.attn.k_norm"), positions)
        scores = (qh @ kh.T / qh.shape[-1] ** 0.5).masked_fill(~seen, -torch.inf)
        outs.append(scores.softmax(-1) @ vh)
    x = x + w[f"{name}.ls1.gamma"] * linear(torch.cat(outs, -1), w, f"{name}.attn.proj")
    return x + w[f"{name}.ls2.gamma"] * mlp(norm(x, w, f"{name}.norm2", eps), w, f"{name}.mlp")


def reference_tokens(w: Weights, config: GeometryConfig, frames: Tensor) -> list[Tensor]:
    """All pairs' aggregated tokens [f, p, 2·dim] of frames [f, 3, h, w], causal without a window."""
    name, (rows, columns), special = "aggregator.patch_embed", config.grid, config.special_tokens
    normal = (frames - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[
        :, None, None
    ]
    tokens = []
    stored = w[f"{name}.pos_embed"][0]
    square = stored[1:].T.reshape(1, -1, config.encoder.position_grid, config.encoder.position_grid)
    places = F.interpolate(square, (rows, columns), mode="bicubic", antialias=True)[0].flatten(1).T
    for i, image in enumerate(normal):
        size = config.patch_size
        pixels = torch.stack(
            [
                image[:, r * size : (r + 1) * size, c * size : (c + 1) * size].flatten()
                for r in range(rows)
                for c in range(columns)
            ]
        )
        patches = pixels @ w[f"{name}.patch_embed.proj.weight"].flatten(1).T + w[f"{name}.patch_embed.proj.bias"]
        x = torch.cat([w[f"{name}.cls_token"][0] + stored[:1], w[f"{name}.register_tokens"][0], patches + places])
        everything = torch.ones(len(x), len(x), dtype=torch.bool)
        for layer in range(config.encoder.num_layers):
            x = block(x, w, f"{name}.blocks.{layer}", config.encoder.num_heads, everything, eps=1e-6)
        kind = min(i, 1)
        first = [w["aggregator.camera_token"][0, kind], w["aggregator.register_token"][0, kind]]
        tokens.append(torch.cat([*first, norm(x[-len(patches) :], w, f"{name}.norm", 1e-6)]))
    x = torch.cat(tokens)
    positions = torch.tensor([(0, 0)] * special + [(r, c) for r in range(1, rows + 1) for c in range(1, columns + 1)])
    positions = positions.float().repeat(len(frames), 1)
    frame = torch.arange(len(x)) // len(tokens[0])
    out = []
    for pair in range(config.num_pairs):
        args = (config.num_heads,)
        local = block(x, w, f"aggregator.frame_blocks.{pair}", *args, frame[:, None] == frame, positions)
        x = block(local, w, f"aggregator.global_blocks.{pair}", *args, frame[:, None] >= frame, positions)
        out.append(torch.cat([local, x], dim=-1).view(len(frames), -1, 2 * config.dim))
    return out


def reference_pose(w: Weights, config: GeometryConfig, camera_tokens: Tensor) -> Tensor:
    """The camera head over tokens [f, 2·dim], causal."""
    tokens = norm(camera_tokens, w, "camera_head.token_norm")
    frame = torch.arange(len(tokens))
    pose = torch.zeros(len(tokens), 9)
    for iteration in range(config.camera.iterations):
        given = pose if iteration else w["camera_head.empty_pose_tokens"][0].expand(len(tokens), -1)
        shift, scale, gate = linear(
            F.silu(linear(given, w, "camera_head.embed_pose")), w, "camera_head.poseLN_modulation.1"
        ).chunk(3, dim=-1)
        x = tokens + gate * (norm(tokens, {}, "", 1e-6) * (1 + scale) + shift)
        for layer in range(config.camera.num_layers):
            x = block(x, w, f"camera_head.trunk.{layer}", config.camera.num_heads, frame[:, None] >= frame)
        pose = pose + mlp(norm(x, w, "camera_head.trunk_norm"), w, "camera_head.pose_branch")
    return torch.cat([pose[:, :7], pose[:, 7:].clamp(min=0)], dim=-1)


def reference_dpt(w: Weights, config: GeometryConfig, tokens: list[Tensor], name: str) -> Tensor:
    """The DPT head's raw maps, in the order of the paper: enlarge first, then the product per pixel."""

    def conv(x: Tensor, layer: str, **options: int) -> Tensor:
        return F.conv2d(x, w[f"{name}.{layer}.weight"], w.get(f"{name}.{layer}.bias"), **options)

    def enlarge(x: Tensor, size: tuple[int, ...]) -> Tensor:
        return F.interpolate(x, size, mode="bilinear", align_corners=True)

    def residual(x: Tensor, unit: str) -> Tensor:
        x = x.relu()
        return x + conv(conv(x, f"{unit}.conv1", padding=1).relu(), f"{unit}.conv2", padding=1)

    def with_positions(x: Tensor) -> Tensor:
        _, c, h, width = x.shape
        diagonal = (config.image_size[0] ** 2 + config.image_size[1] ** 2) ** 0.5
        out = x.clone()
        for i in range(h):
            for j in range(width):
                v = config.image_size[0] / diagonal * (2 * i - (h - 1)) / h
                u = config.image_size[1] / diagonal * (2 * j - (width - 1)) / width
                omega = 100.0 ** -(torch.arange(c // 4) / (c // 4))
                waves = [f(p * omega) for p in (u, v) for f in (torch.sin, torch.cos)]
                out[:, :, i, j] += 0.1 * torch.cat(waves)
        return out

    sides = []
    for i, layer in enumerate(config.dense.layers):
        x = norm(tokens[layer][:, config.special_tokens :], w, f"{name}.norm")
        x = with_positions(conv(x.transpose(1, 2).unflatten(2, config.grid), f"projects.{i}"))
        if i < 2:
            up, weight = (4, 2)[i], f"{name}.resize_layers.{i}"
            x = F.conv_transpose2d(x, w[f"{weight}.weight"], w[f"{weight}.bias"], stride=up)
        elif i == 3:
            x = conv(x, "resize_layers.3", stride=2, padding=1)
        sides.append(conv(x, f"scratch.layer{i + 1}_rn", padding=1))
    x = residual(sides[3], "scratch.refinenet4.resConfUnit2")
    x = conv(enlarge(x, sides[2].shape[2:]), "scratch.refinenet4.out_conv")
    for i in (3, 2, 1):
        x = residual(
            x + residual(sides[i - 1], f"scratch.refinenet{i}.resConfUnit1"), f"scratch.refinenet{i}.resConfUnit2"
        )
        size = sides[i - 2].shape[2:] if i > 1 else tuple(2 * s for s in x.shape[2:])
        x = conv(enlarge(x, size), f"scratch.refinenet{i}.out_conv")
    x = with_positions(enlarge(conv(x, "scratch.output_conv1", padding=1), config.image_size))
    return conv(conv(x, "scratch.output_conv2.0", padding=1).relu(), "scratch.output_conv2.2")


def test_network_computes_the_published_equations(
    config: Callable[..., GeometryConfig], build: Callable[[GeometryConfig], GeometryTransformer], draw: Draw
) -> None:
    """Protects the architecture: encoder, alternating attention, camera and DPT heads against a second writing."""
    tiny = config("dpt")
    net = build(tiny)
    w = dict(net.state_dict())
    images = draw(1, 2)
    with torch.no_grad():
        out = net(images)
        aggregated = reference_tokens(w, tiny, images[0].flatten(0, 1))
        pose = reference_pose(w, tiny, aggregated[-1][:, 0])
        depth = reference_dpt(w, tiny, aggregated, "depth_head")
        points = reference_dpt(w, tiny, aggregated, "point_head")
    assert out.pose is not None
    features = aggregated[-1][:, tiny.special_tokens :]
    close = {"atol": 1e-4, "rtol": 1e-4}
    torch.testing.assert_close(out.features[0].flatten(0, 1), features, **close)
    torch.testing.assert_close(out.pose[0].flatten(0, 1), pose, **close)
    torch.testing.assert_close(out.depth[0].flatten(0, 1), depth[:, 0].exp(), **close)
    torch.testing.assert_close(out.depth_confidence[0].flatten(0, 1), 1 + depth[:, 1].exp(), **close)
    xyz = points[:, :3].movedim(1, -1)
    torch.testing.assert_close(out.points[0].flatten(0, 1), xyz.sign() * (xyz.abs().exp() - 1), **close)
    torch.testing.assert_close(out.points_confidence[0].flatten(0, 1), 1 + points[:, 3].exp(), **close)


def test_full_size_has_the_published_tensors() -> None:
    """Protects the importer: the 1B preset has every published tensor by name and shape but the tracker and a mask."""
    published = published_tensors()
    net = build_on_meta(PRESETS["streamvggt-1b"]())
    ours = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    rest = {name for name in published if name not in ours}
    assert {name: published[name] for name in ours} == ours
    assert rest == {n for n in published if n.startswith("track_head.")} | {"aggregator.patch_embed.mask_token"}
    assert sum(p.numel() for p in net.aggregator.parameters()) == 909_111_296
    assert sum(p.numel() for p in net.parameters()) == 1_190_595_096


def published_tensors() -> dict[str, tuple[int, ...]]:
    """Names and shapes in the public state dicts; the stored list writes runs of layers as {first..last}."""
    listed = json.loads((Path(__file__).parent / "published_tensors.json").read_text(encoding="utf-8"))
    out = {}
    for name, shape in listed.items():
        run = re.search(r"\{(\d+)\.\.(\d+)\}", name)
        numbers = range(int(run[1]), int(run[2]) + 1) if run else [0]
        for i in numbers:
            out[name[: run.start()] + str(i) + name[run.end() :] if run else name] = tuple(shape)
    return out


def test_gradient_reaches_every_parameter_under_autocast(tiny: GeometryTransformer, draw: Draw) -> None:
    """Protects training: in bf16, every parameter gets a finite gradient, and heads answer in fp32."""
    tiny.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        out = tiny(draw(2, 3), window=torch.tensor([1, 2]))
    assert out.depth is not None
    assert out.pose_refinements is not None
    assert out.points is not None
    assert out.depth_confidence is not None
    assert out.points_confidence is not None
    dense = (out.depth, out.points, out.depth_confidence, out.points_confidence)
    assert {x.dtype for x in (*dense, out.pose_refinements)} == {torch.float32}
    sum(x.square().mean() for x in (*dense, out.pose_refinements)).backward()
    for name, parameter in tiny.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
        assert bool(parameter.grad.any()), name
    tiny.zero_grad()


def test_training_and_inference_attention_agree(tiny: GeometryTransformer, draw: Draw) -> None:
    """Protects against two truths: what is trained with plain products is what the fused kernel computes."""
    images = draw(2, 3)
    trained = tiny(images, window=2).features.detach()
    with torch.no_grad():
        torch.testing.assert_close(tiny(images, window=2).features, trained, atol=1e-4, rtol=1e-4)


def test_pool_tokens_means_cells() -> None:
    """Protects what the policy reads: 64 tokens, row-major, each the mean of its cell; wrong sizes are refused."""
    features = torch.arange(32 * 32.0).view(1, 32 * 32, 1)
    pooled = pool_tokens(features, (32, 32))
    cells = features.view(8, 4, 8, 4).mean(dim=(1, 3)).view(1, 64, 1)
    torch.testing.assert_close(pooled, cells)
    same = torch.rand(2, 3, 64, 5)
    assert torch.equal(pool_tokens(same, (8, 8)), same)
    with pytest.raises(ValueError, match="60 tokens make no square"):
        pool_tokens(same, (8, 8), tokens=60)
    with pytest.raises(ValueError, match="no grid of 4×8"):
        pool_tokens(same, (4, 8))


def test_wrong_inputs_are_named(tiny: GeometryTransformer, draw: Draw) -> None:
    """Protects callers: another image size, a missing axis or an unknown head is refused with what was expected."""
    with pytest.raises(ValueError, match=r"expected \(batch, step, view, 3, 24, 36\)"):
        tiny(draw(1, 1)[..., :24])
    with pytest.raises(ValueError, match=r"expected \(batch, view, 3, 24, 36\)"):
        tiny.step(draw(1, 1), tiny.start(1, 1))
    with pytest.raises(ValueError, match=r"unknown heads \['normals'\]"):
        tiny(draw(1, 1), heads=("normals",))
