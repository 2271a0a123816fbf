# SPDX-License-Identifier: Apache-2.0
"""How many parameters a network has, part by part, without filling memory."""

from __future__ import annotations

import torch
from torch import nn

from swiftvla_ros.model.config import SwiftVLAConfig
from swiftvla_ros.model.objective import Auxiliary
from swiftvla_ros.model.swiftvla import SwiftVLA


def count_parameters(config: SwiftVLAConfig) -> dict[str, int]:
    """Parameters of each part.

    SmolVLM's language head stands in the published sum of 450.05 M (the paper's 0.45 B) although a policy never uses
    it; it is counted here for comparison, and not built.
    """
    with torch.device("meta"):
        model, auxiliary = SwiftVLA(config), Auxiliary(config)

    def count(*modules: nn.Module | None) -> int:
        return sum(p.numel() for module in modules if module is not None for p in module.parameters())

    expert = model.expert
    inputs = (expert.action_in_proj, expert.action_time_mlp_in, expert.action_time_mlp_out)
    return {
        "vision": count(model.backbone.vision_model),
        "connector": count(model.backbone.connector),
        "text": count(model.backbone.text_model),
        "lm_head (published, unused, not built)": config.text.vocab_size * config.text.hidden_size,
        "action expert": count(expert.layers, expert.norm),
        "state, action and time projections": count(model.state_proj, model.action_out_proj, *inputs),
        "fusion tokens": count(model.fusion, model.guide),
        "trajectory head (training)": count(auxiliary.trajectory_head),
        "4D projection, reconstruction and alignment (training)": count(
            auxiliary.geometry_proj, auxiliary.reconstruct_2d, auxiliary.reconstruct_4d, auxiliary.alignment
        ),
    }
