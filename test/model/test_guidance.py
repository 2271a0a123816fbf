# SPDX-License-Identifier: Apache-2.0
"""Chunk guidance: the reference's mask and weight, the true Jacobian, and what executed rows do to a chunk."""

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from swiftvla_ros.model import flow_matching
from swiftvla_ros.model.guidance import Guidance, Method, soft_mask
from swiftvla_ros.model.guidance_weight import guidance_weight
from swiftvla_ros.model.swiftvla import ModelInput, SwiftVLA

Draw = Callable[..., ModelInput]
HORIZON, WIDTH = 4, 2


class LinearDenoiser:
    """A velocity A·x + b over all rows at once, whose Jacobian is A."""

    def __init__(self) -> None:
        g = torch.Generator().manual_seed(0)
        self.matrix = 0.3 * torch.randn((HORIZON * WIDTH, HORIZON * WIDTH), generator=g)
        self.offset = torch.randn(HORIZON * WIDTH, generator=g)

    def __call__(self, x: Tensor, _step: int) -> Tensor:
        return (x.flatten(1) @ self.matrix.T + self.offset).view_as(x)


def plan(method: Method, frozen: int = 1, overlap: int = 3) -> Guidance:
    """Return guidance towards random rows; what lies beyond the overlap is NaN, since nobody may read it."""
    rows = torch.randn((1, HORIZON, WIDTH), generator=torch.Generator().manual_seed(7))
    rows[:, overlap:] = torch.nan
    return Guidance.over(method, rows, frozen, overlap)


def test_mask_is_the_references() -> None:
    """Protects the soft mask: 1 up to the delay, then the paper's equation 5, and 0 beyond the plan's end."""
    mask = soft_mask(2, 5, 7)

    def falling(i: int) -> float:
        c = (5 - i) / (5 - 2 + 1)
        return c * (math.exp(c) - 1) / (math.e - 1)

    expected = [1.0, 1.0, falling(2), falling(3), falling(4), 0.0, 0.0]
    torch.testing.assert_close(mask, torch.tensor(expected))
    assert soft_mask(3, 3, 5).tolist() == [1.0, 1.0, 1.0, 0.0, 0.0]
    assert soft_mask(0, 0, 3).tolist() == [0.0, 0.0, 0.0]


def test_weight_is_the_references() -> None:
    """Protects the change of the time's direction: our t is the paper's 1 - τ, and both ends are clipped."""
    for time in (0.9, 0.6, 0.5, 0.3, 0.1):
        tau = 1 - time
        theirs = (1 - tau) / tau * (tau**2 + (1 - tau) ** 2) / (1 - tau) ** 2
        assert guidance_weight(time, 1e9) == pytest.approx(theirs)
        assert guidance_weight(time, 2.5) == pytest.approx(min(2.5, theirs))
    assert guidance_weight(1.0, 5.0) == 5.0
    assert guidance_weight(0.0, 5.0) == 5.0


@pytest.mark.parametrize("method", ["vjp", "identity"])
def test_correction_of_a_linear_denoiser(method: Method) -> None:
    """Protects the algorithm: the weighted error comes back through (I - t·A) transposed, or as it is."""
    denoiser, guidance = LinearDenoiser(), plan(method)
    times = flow_matching.denoising_times(10, torch.device("cpu"))
    x = torch.randn((1, 1, HORIZON, WIDTH), generator=torch.Generator().manual_seed(3))
    steered = guidance.steer(denoiser, times)
    for step in (0, 4, 9):
        t = float(times[step])
        v = denoiser(x, step)
        mask = soft_mask(1, 3, HORIZON)[:, None]
        error = (mask * (torch.nan_to_num(guidance.rows) - (x - t * v)[:, 0])).flatten()
        jacobian = torch.eye(HORIZON * WIDTH) - t * denoiser.matrix
        correction = (jacobian.T @ error if method == "vjp" else error).view_as(x)
        expected = v - guidance_weight(t, guidance.max_weight) * correction
        torch.testing.assert_close(steered(x, step), expected, atol=1e-5, rtol=1e-5)


def test_vjp_without_autograd_is_refused() -> None:
    """Protects against guidance that silently does nothing: inference_mode has no Jacobian."""
    with torch.inference_mode(), pytest.raises(RuntimeError, match="autograd"):
        plan("vjp").steer(LinearDenoiser(), torch.ones(1))


@pytest.mark.parametrize("method", ["vjp", "identity"])
def test_guided_chunk_begins_like_the_plan(nano: SwiftVLA, inputs: Draw, method: Method) -> None:
    """Protects the use of it: executed rows of the chunk come nearer to the plan, the free ones less."""
    observation, noise = inputs(), torch.zeros((2, 10, 6))
    plain = nano.sample_actions(observation, noise)
    rows = plain + 0.5
    guided = nano.sample_actions(observation, noise, guidance=Guidance.over(method, rows, frozen=3, overlap=8))
    before, after = (plain - rows).abs().mean(dim=(0, 2)), (guided - rows).abs().mean(dim=(0, 2))
    assert (after[:3] < 0.3 * before[:3]).all()
    assert (guided - plain)[:, 9].abs().mean() < (guided - plain)[:, 0].abs().mean()


def test_executed_rows_stay_as_they_were(nano: SwiftVLA, inputs: Draw) -> None:
    """Protects conditioning: executed rows are in the chunk to the bit, and the others go on from them."""
    observation, noise = inputs(), torch.randn((2, 10, 6), generator=torch.Generator().manual_seed(6))
    rows = torch.randn((2, 10, 6), generator=torch.Generator().manual_seed(8))
    guidance = Guidance.over("trained", rows, frozen=4, overlap=4)
    chunk = nano.sample_actions(observation, noise, guidance=guidance)
    assert torch.equal(chunk[:, :4], rows[:, :4])
    other = dataclasses.replace(guidance, rows=rows + 1.0)
    assert (nano.sample_actions(observation, noise, guidance=other) - chunk)[:, 4:].abs().max() > 1e-4
    # Rows that are not executed are nobody's business here.
    beyond = rows.clone()
    beyond[:, 4:] = torch.nan
    again = nano.sample_actions(observation, noise, guidance=dataclasses.replace(guidance, rows=beyond))
    torch.testing.assert_close(again, chunk)


@pytest.mark.parametrize("method", ["vjp", "identity", "trained"])
def test_nothing_executed_is_a_plain_chunk(nano: SwiftVLA, inputs: Draw, method: Method) -> None:
    """Protects the first chunk: with no plan there, every method gives what the policy gives without."""
    observation, noise = inputs(), torch.randn((2, 10, 6), generator=torch.Generator().manual_seed(6))
    guidance = Guidance.over(method, torch.full((2, 10, 6), torch.nan), frozen=0, overlap=0)
    guided = nano.sample_actions(observation, noise, guidance=guidance)
    torch.testing.assert_close(guided, nano.sample_actions(observation, noise), atol=1e-5, rtol=1e-5)


def test_impossible_overlaps_are_refused() -> None:
    """Protects against a plan that ends before what is executed, or after the chunk."""
    rows = torch.zeros((1, HORIZON, WIDTH))
    for frozen, overlap in ((3, 2), (1, HORIZON + 1), (-1, 2)):
        with pytest.raises(ValueError, match="overlap"):
            Guidance.over("vjp", rows, frozen, overlap)
