# SPDX-License-Identifier: Apache-2.0
"""The network: its sizes, its mask, its prefix cache, its losses."""

import dataclasses
from collections.abc import Callable

import pytest
import torch

from swiftvla_ros.model import flow_matching
from swiftvla_ros.model.attention import attend
from swiftvla_ros.model.config import PRESETS, GeometryBranchConfig, SwiftVLAConfig, swiftvla_450m
from swiftvla_ros.model.parameter_count import count_parameters
from swiftvla_ros.model.prefix import Modality, attention_mask
from swiftvla_ros.model.swiftvla import ModelInput, SwiftVLA

Draw = Callable[..., ModelInput]


def test_450m_has_the_papers_parameters() -> None:
    """Protects the full-size preset: every part has SmolVLA's published size, and the whole is the paper's 450.05 M."""
    counts = count_parameters(swiftvla_450m())
    assert counts["vision"] == 86_433_024
    assert counts["connector"] == 11_796_480
    assert counts["text"] == 204_626_880
    assert counts["lm_head (published, unused, not built)"] == 47_308_800
    assert counts["action expert"] == 98_245_840
    published = sum(v for k, v in counts.items() if not k.startswith(("fusion", "trajectory", "4D")))
    assert published == 450_046_176


@pytest.mark.parametrize("name", PRESETS)
def test_config_survives_json(name: str) -> None:
    """Protects checkpoints: a config read back is the one that was written, and unknown fields are refused."""
    config = dataclasses.replace(PRESETS[name](), geometry=GeometryBranchConfig(dim=256))
    assert SwiftVLAConfig.from_json(dataclasses.asdict(config)) == config
    with pytest.raises(ValueError, match="surprise is unknown"):
        SwiftVLAConfig.from_json({**dataclasses.asdict(config), "surprise": 1})


def test_mask_is_the_papers_figure_entry_by_entry() -> None:
    """Protects the layout of the paper's fig. 3, for a sample with all modalities and for one whose 4D is masked."""
    modality = torch.tensor([int(m) for m in Modality])
    everything = attention_mask(torch.ones(1, 5, dtype=torch.bool), modality)[0].int().tolist()
    assert everything == [[1, 1, 1, 1, 0]] * 4 + [[1, 1, 1, 1, 1]]
    without_4d = attention_mask(torch.tensor([[True, False, True, True, True]]), modality)[0].int().tolist()
    assert without_4d == [[1, 0, 1, 1, 0], [0] * 5, [1, 0, 1, 1, 0], [1, 0, 1, 1, 0], [1, 0, 1, 1, 1]]


def test_smolvlas_mask_hides_the_state() -> None:
    """Protects SmolVLA's layout: images and text don't see the state, which sees them."""
    modality = torch.tensor([int(m) for m in (Modality.IMAGE, Modality.TEXT, Modality.STATE)])
    mask = attention_mask(torch.ones(1, 3, dtype=torch.bool), modality, "own")[0].int().tolist()
    assert mask == [[1, 1, 0], [1, 1, 0], [1, 1, 1]]


def test_padding_equals_absence(nano: SwiftVLA, inputs: Draw) -> None:
    """Protects masked = absent: padded text gives the very chunk that unpadded text gives, positions included."""
    noise = torch.randn((2, 10, 6), generator=torch.Generator().manual_seed(2))
    plain = nano.sample_actions(inputs(), noise)
    padded = nano.sample_actions(inputs(padding=7), noise)
    torch.testing.assert_close(plain, padded, atol=1e-5, rtol=0)


def test_attention_equals_torchs() -> None:
    """Protects the folded grouped-query attention: it equals torch's own on repeated keys and values."""
    g = torch.Generator().manual_seed(0)
    q = torch.randn((2, 7, 6, 8), generator=g)
    k, v = torch.randn((2, 9, 2, 8), generator=g), torch.randn((2, 9, 2, 8), generator=g)
    mask = torch.rand((2, 7, 9), generator=g) > 0.3
    mask[..., 0] = True
    expected = torch.nn.functional.scaled_dot_product_attention(
        q.transpose(1, 2),
        k.transpose(1, 2).repeat_interleave(3, dim=1),
        v.transpose(1, 2).repeat_interleave(3, dim=1),
        attn_mask=mask[:, None],
    )
    torch.testing.assert_close(attend(q, k, v, mask), expected.transpose(1, 2).flatten(2))


def test_prefix_runs_once_per_chunk(nano: SwiftVLA, inputs: Draw) -> None:
    """Protects the prefix cache: ten denoising steps cost one pass of the backbone."""
    calls: dict[str, int] = {"backbone": 0, "expert": 0}
    hooks = [
        nano.backbone.register_forward_hook(lambda *_: calls.__setitem__("backbone", calls["backbone"] + 1)),
        nano.expert.register_forward_hook(lambda *_: calls.__setitem__("expert", calls["expert"] + 1)),
    ]
    nano.sample_actions(inputs(), torch.zeros(2, 10, 6))
    for hook in hooks:
        hook.remove()
    assert calls == {"backbone": 1, "expert": nano.config.denoise_steps}


def test_chunks_that_share_a_prefix_do_not_see_each_other(nano: SwiftVLA, inputs: Draw) -> None:
    """Protects the training trick of several noise samples per prefix: each gets what it gets alone."""
    observation = inputs()
    prefix = nano.embed_prefix(observation, nano.backbone.vision_features(observation.images))
    condition, _ = nano.condition(prefix)
    noisy = torch.randn((2, 3, 10, 6), generator=torch.Generator().manual_seed(4))
    time = torch.tensor([[0.2, 0.5, 0.9]]).expand(2, 3)[..., None]
    together = nano.velocity(nano.action_latent(noisy, time, condition))
    for r in range(3):
        alone = nano.velocity(nano.action_latent(noisy[:, r : r + 1], time[:, r : r + 1], condition))
        torch.testing.assert_close(together[:, r : r + 1], alone, atol=1e-5, rtol=1e-4)


def test_euler_recovers_a_straight_flow() -> None:
    """Protects the sampler's direction and step: for a constant velocity it lands on the clean actions exactly."""
    clean, noise = torch.randn(2, 1, 10, 6), torch.randn(2, 1, 10, 6)
    landed = flow_matching.integrate(lambda _x, _t: noise - clean, noise, steps=10)
    torch.testing.assert_close(landed, clean, atol=1e-5, rtol=1e-5)


def test_training_times_lean_towards_noise() -> None:
    """Protects the flow time's distribution, 0.999 · Beta(1.5, 1) + 0.001 with mean 0.6."""
    time = flow_matching.sample_time((20_000,), torch.Generator().manual_seed(0), torch.device("cpu"))
    assert time.min() >= 0.001
    assert time.max() <= 1.0
    assert time.mean().item() == pytest.approx(0.6004, abs=0.01)
