# SPDX-License-Identifier: Apache-2.0
"""The state of a training run on disk, in safetensors and JSON, so that a killed run goes on where it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from swiftvla_ros.files import whole_file

STATE = "state.safetensors"
_MOMENTS = ("exp_avg", "exp_avg_sq", "step", "momentum_buffer")


def save_state(
    folder: Path, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer, facts: dict[str, Any]
) -> None:
    """Write weights, averaged weights, the optimiser's moments and ``facts`` (step, seconds …)."""
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.state_dict().items()}
    for name, parameter in model.named_parameters():
        for moment in _MOMENTS:
            if moment in optimizer.state.get(parameter, {}):
                tensors[f"optimizer.{moment}.{name}"] = optimizer.state[parameter][moment]
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / STATE) as partial:
        save_file(
            {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()},
            partial,
            metadata={"facts": json.dumps(facts)},
        )


def load_state(
    folder: Path, model: nn.Module, average: nn.Module | None, optimizer: torch.optim.Optimizer
) -> dict[str, Any] | None:
    """Restore what :func:`save_state` wrote and return its facts; None where nothing was written yet.

    A process that keeps no averaged weights gives None for them.
    """
    path = folder / STATE
    if not path.is_file():
        return None
    with safe_open(path, framework="pt") as file:
        facts: dict[str, Any] = json.loads(file.metadata()["facts"])
    tensors = load_file(path)
    for prefix, module in (("model.", model), ("average.", average)):
        if module is not None:
            module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    for name, parameter in model.named_parameters():
        moments = {m: tensors[f"optimizer.{m}.{name}"] for m in _MOMENTS if f"optimizer.{m}.{name}" in tensors}
        if moments:
            optimizer.state[parameter] = {
                m: v if m == "step" else v.to(device=parameter.device, dtype=parameter.dtype)
                for m, v in moments.items()
            }
    return facts
