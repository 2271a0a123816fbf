# SPDX-License-Identifier: Apache-2.0
"""The action expert: where its tokens stand, what they see, and when it is told the time."""

import math

import torch

from swiftvla_ros.model import flow_matching
from swiftvla_ros.model.expert import time_embedding
from swiftvla_ros.model.swiftvla import SwiftVLA


def test_layout_counts_on_after_the_present_prefix(nano: SwiftVLA) -> None:
    """Protects positions: joint layers go on after the present tokens, cross layers start at 0, chunks are causal."""
    present = torch.tensor([[True] * 5, [True, True, False, False, True]])
    layout = nano.expert.layout(present, present.sum(dim=1), repeats=2)
    horizon = nano.config.horizon
    # The first frequency is 1, so the first sine of the second half is the position's.
    half = nano.config.text.head_dim // 2
    joint, cross = layout.joint.sin[:, :, 0, half], layout.cross.sin[:, :, 0, half]
    steps = torch.arange(horizon).repeat(2)
    torch.testing.assert_close(joint[0], (steps + 5).float().sin())
    torch.testing.assert_close(joint[1], (steps + 3).float().sin())
    torch.testing.assert_close(cross[1], steps.float().sin())
    own = layout.joint_mask[1, :, 5:]
    assert torch.equal(layout.joint_mask[1, :, :5], present[1].expand(2 * horizon, 5))
    assert torch.equal(own[:horizon, :horizon], torch.ones(horizon, horizon, dtype=torch.bool).tril())
    assert not own[:horizon, horizon:].any()
    assert not own[horizon:, :horizon].any()


def test_time_embedding_is_exact() -> None:
    """Protects parity: the shortest period is a 250th of the flow, where float32 phases are off by 1e-4."""
    found = time_embedding(torch.tensor([0.7]), 6)[0]
    periods = [4e-3, math.sqrt(4e-3 * 4.0), 4.0]
    phases = [2 * math.pi * float(torch.tensor(0.7)) / period for period in periods]
    expected = torch.tensor([math.sin(p) for p in phases] + [math.cos(p) for p in phases])
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=0)


def test_time_is_a_part_of_the_first_layer(nano: SwiftVLA) -> None:
    """Protects SmolVLA weights: time embedded apart is what the layer computes of actions and time side by side."""
    expert = nano.expert
    noisy, time = torch.randn(2, 3, 10, 6), torch.rand(2, 3)
    with torch.no_grad():
        ours = expert.embed_actions(noisy, expert.embed_time(time[..., None]), guide=None)
        actions = expert.action_in_proj(noisy)
        embedded = time_embedding(time, actions.shape[-1])[:, :, None].expand_as(actions)
        together = expert.action_time_mlp_in(torch.cat([actions, embedded], dim=-1))
        theirs = expert.action_time_mlp_out(torch.nn.functional.silu(together)).flatten(1, 2)
    torch.testing.assert_close(ours, theirs)


def test_rows_may_have_times_of_their_own(nano: SwiftVLA) -> None:
    """Protects conditioning on executed rows: equal times of rows are one time, and a row's own reaches only it."""
    expert = nano.expert
    noisy, time = torch.randn(2, 3, 10, 6), torch.rand(2, 3, 1)
    with torch.no_grad():
        scalar = expert.embed_actions(noisy, expert.embed_time(time), guide=None)
        per_row = expert.embed_actions(noisy, expert.embed_time(time.expand(2, 3, 10)), guide=None)
        torch.testing.assert_close(scalar, per_row, atol=1e-6, rtol=1e-5)
        times = time.expand(2, 3, 10).clone()
        times[..., 4] = 0.0
        other = expert.embed_actions(noisy, expert.embed_time(times), guide=None)
    changed = ((other - scalar).abs() > 1e-4).any(dim=-1).view(2, 3, 10)
    assert changed[..., 4].all()
    assert not changed[..., [0, 1, 2, 3, 5, 6, 7, 8, 9]].any()


def test_denoising_times_are_those_of_the_euler_steps() -> None:
    """Protects sampling: the velocity is asked for at 1, 1 − 1/n … 1/n, rounded once."""
    times = flow_matching.denoising_times(10, torch.device("cpu"))
    assert times.tolist() == [torch.tensor(1.0 - step / 10).item() for step in range(10)]
