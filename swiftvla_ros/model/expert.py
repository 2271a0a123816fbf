# SPDX-License-Identifier: Apache-2.0
"""The action expert: a small transformer over noisy action tokens, conditioned on every layer of the backbone.

Even layers attend to the prefix and to earlier action tokens together; odd layers attend to the prefix alone, whose
keys and values they project once more (SmolVLA, arXiv 2506.01844; layout and parameter names follow lerobot's
``smolvlm_with_expert.py``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from swiftvla_ros.model.attention import KeyValue, Mask, Rotation, attend, once_for_all_layers, rotate, rotation
from swiftvla_ros.model.config import FLOW_TIME_PERIODS, SwiftVLAConfig
from swiftvla_ros.model.gradient_checkpointing import run_layer
from swiftvla_ros.model.text_model import GatedMLP, RMSNorm


class ActionLayout(NamedTuple):
    """Positions and masks of the action tokens over one prefix; the same for every denoising step."""

    cross: Rotation
    joint: Rotation
    prefix_mask: Mask
    joint_mask: Mask


class ExpertAttention(nn.Module):
    """Projections of one expert layer; a cross layer's keys and values come from the backbone's own."""

    def __init__(self, config: SwiftVLAConfig, *, cross: bool) -> None:
        super().__init__()
        text, width = config.text, config.expert.hidden_size
        kv_width = text.num_kv_heads * text.head_dim
        self.cross = cross
        self.q_proj = nn.Linear(width, text.num_heads * text.head_dim, bias=False)
        self.k_proj = nn.Linear(kv_width if cross else width, kv_width, bias=False)
        self.v_proj = nn.Linear(kv_width if cross else width, kv_width, bias=False)
        self.o_proj = nn.Linear(text.num_heads * text.head_dim, width, bias=False)


class ExpertLayer(nn.Module):
    """Attention and MLP with llama's pre-norms."""

    def __init__(self, config: SwiftVLAConfig, *, cross: bool) -> None:
        super().__init__()
        width = config.expert.hidden_size
        self.input_layernorm = RMSNorm(width)
        self.self_attn = ExpertAttention(config, cross=cross)
        self.post_attention_layernorm = RMSNorm(width)
        self.mlp = GatedMLP(width, config.expert.intermediate_size)
        self.head_dim = config.text.head_dim

    def forward(
        self,
        hidden: Float[Tensor, "b n d"],
        k: Float[Tensor, "b m kv hd"],
        v: Float[Tensor, "b m kv hd"],
        layout: ActionLayout,
    ) -> Float[Tensor, "b n d"]:
        """The layer's output over the keys and values that :meth:`project_prefix` gave."""
        attention = self.self_attn
        x = self.input_layernorm(hidden)
        q = self._heads(attention.q_proj(x))
        if attention.cross:
            mixed = attend(rotate(q, layout.cross), k, v, layout.prefix_mask)
        else:
            own_k = rotate(self._heads(attention.k_proj(x)), layout.joint)
            own_v = self._heads(attention.v_proj(x))
            k, v = torch.cat([k, own_k], dim=1), torch.cat([v, own_v], dim=1)
            mixed = attend(rotate(q, layout.joint), k, v, layout.joint_mask)
        hidden = hidden + attention.o_proj(mixed)
        return hidden + self.mlp(self.post_attention_layernorm(hidden))

    def project_prefix(self, k: Float[Tensor, "b m kv hd"], v: Float[Tensor, "b m kv hd"]) -> KeyValue:
        """What the layer reads of the prefix: a cross layer projects the backbone's keys and values once more."""
        attention = self.self_attn
        if not attention.cross:
            return k, v
        return self._heads(attention.k_proj(k.flatten(2))), self._heads(attention.v_proj(v.flatten(2)))

    def _heads(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n h hd"]:
        return x.unflatten(-1, (-1, self.head_dim))


class ActionExpert(nn.Module):
    """Noisy actions, flow time and the prefix's keys and values → the latent Z_A (paper, eq. 2)."""

    def __init__(self, config: SwiftVLAConfig) -> None:
        super().__init__()
        self.config = config
        # Gradient checkpointing of every layer.
        self.checkpoint_layers = False
        width = config.expert.hidden_size
        self.layers = nn.ModuleList(
            ExpertLayer(config, cross=i % config.expert.self_attention_every != 0)
            for i in range(config.text.num_layers)
        )
        self.norm = RMSNorm(width)
        self.action_in_proj = nn.Linear(config.action_dim, width)
        self.action_time_mlp_in = nn.Linear(2 * width, width)
        self.action_time_mlp_out = nn.Linear(width, width)

    def _layers(self) -> Iterable[ExpertLayer]:
        return cast(Iterable[ExpertLayer], self.layers)

    def project_prefix(self, key_values: list[KeyValue]) -> list[KeyValue]:
        """What the expert reads of the prefix, layer by layer: once per chunk, for all denoising steps."""
        return [layer.project_prefix(k, v) for layer, (k, v) in zip(self._layers(), key_values, strict=True)]

    def layout(self, present: Bool[Tensor, "b m"], next_position: Int[Tensor, " b"], repeats: int) -> ActionLayout:
        """Where ``repeats`` chunks stand that share a prefix, and what they see of it and of each other."""
        text, horizon = self.config.text, self.config.horizon
        b, m = present.shape
        n = repeats * horizon
        steps = torch.arange(horizon, device=present.device).repeat(repeats).expand(b, n)
        prefix_mask = present[:, None, :].expand(b, n, m)
        causal = _chunk_causal(repeats, horizon, present.device).expand(b, n, n)
        # Cross layers count action positions from 0, self layers go on after the prefix (lerobot's SmolVLA).
        return ActionLayout(
            cross=rotation(steps, text.head_dim, text.rope_theta),
            joint=rotation(steps + next_position[:, None], text.head_dim, text.rope_theta),
            prefix_mask=once_for_all_layers(prefix_mask, self.norm.weight.dtype),
            joint_mask=once_for_all_layers(torch.cat([prefix_mask, causal], dim=2), self.norm.weight.dtype),
        )

    def embed_time(self, time: Float[Tensor, "*any"]) -> Float[Tensor, "*any d"]:
        """Flow times (1 is noise, 0 is clean) → their part of the action tokens' first layer."""
        layer = self.action_time_mlp_in
        embedded = time_embedding(time, layer.out_features).to(layer.weight.dtype)
        return nn.functional.linear(embedded, layer.weight[:, layer.out_features :], layer.bias)

    def embed_actions(
        self, noisy: Float[Tensor, "b r h a"], time: Float[Tensor, "b r #h d"], guide: Float[Tensor, "b d"] | None
    ) -> Float[Tensor, "b r*h d"]:
        """Noisy chunks, their embedded flow times and the guide → action tokens; r chunks lie one after the other."""
        layer = self.action_time_mlp_in
        x = nn.functional.linear(self.action_in_proj(noisy), layer.weight[:, : layer.out_features]) + time
        tokens = self.action_time_mlp_out(nn.functional.silu(x)).flatten(1, 2)
        return tokens if guide is None else tokens + guide[:, None]

    def forward(
        self,
        noisy: Float[Tensor, "b r h a"],
        time: Float[Tensor, "b r #h d"],
        prefix_key_values: list[KeyValue],
        layout: ActionLayout,
        guide: Float[Tensor, "b d"] | None = None,
    ) -> Float[Tensor, "b r h d"]:
        """The latent of r noisy chunks per prefix.

        Several chunks (with their own noise and time) can share one prefix in training: they lie side by side as action
        tokens and don't see each other, so the prefix is computed and read once. ``time`` comes from
        :meth:`embed_time`: one for each chunk, or one for each of its rows, which may differ in how much noise they
        hold. ``guide`` is added to every action token: the Fusion Tokens' outputs, where the config says so.
        """
        b, repeats, horizon, _ = noisy.shape
        tokens = self.embed_actions(noisy, time, guide).to(prefix_key_values[0][0].dtype)
        latent = self.run_layers(tokens, prefix_key_values, layout)
        return latent.to(noisy.dtype).view(b, repeats, horizon, -1)

    def run_layers(
        self, tokens: Float[Tensor, "b n d"], prefix_key_values: list[KeyValue], layout: ActionLayout
    ) -> Float[Tensor, "b n d"]:
        """Run all layers over embedded action tokens."""
        hidden = tokens
        for layer, (k, v) in zip(self._layers(), prefix_key_values, strict=True):
            hidden = run_layer(layer, hidden, k, v, layout, recompute=self.checkpoint_layers)
        return self.norm(hidden)


def time_embedding(time: Float[Tensor, "*any"], width: int) -> Float[Tensor, "*any d"]:
    """Sines and cosines of the flow time with periods spaced evenly in their logarithm (openpi's ``posemb_sincos``).

    In float64, since the shortest period turns 250 times from noise to action.
    """
    fraction = torch.linspace(0, 1, width // 2, device=time.device, dtype=torch.float64)
    shortest, longest = FLOW_TIME_PERIODS
    period = shortest * (longest / shortest) ** fraction
    phase = 2 * math.pi * time[..., None].double() / period
    return torch.cat([phase.sin(), phase.cos()], dim=-1).float()


def _chunk_causal(repeats: int, horizon: int, device: torch.device) -> Bool[Tensor, "n n"]:
    """Action tokens see earlier tokens of their own chunk."""
    index: Int[Tensor, " n"] = torch.arange(repeats * horizon, device=device)
    same = index[:, None] // horizon == index[None, :] // horizon
    return same & (index[:, None] >= index[None, :])
