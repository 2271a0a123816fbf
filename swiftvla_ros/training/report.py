# SPDX-License-Identifier: Apache-2.0
"""What a training run says while it runs: losses, and what validation finds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from swiftvla_ros.training.listening_metrics import Listening

ACTION_WITH_4D = "action_with_4D"
"""Name of the held-out action loss with 4D features in the prefix."""


@dataclass(frozen=True)
class Validation:
    """The averaged network on held-out data."""

    # As the network is deployed, without 4D features (what is reconstructed from it included): of `LOSSES`, those that
    # were counted. And `ACTION_WITH_4D` where it is trained with 4D, without which nobody sees whether that is used.
    losses: dict[str, float]
    listening: Listening | None  # None where there are no scenes


@dataclass(frozen=True)
class Report:
    """One line of progress; ``losses`` are those of the step, ``validation`` is None between validations."""

    step: int
    steps: int
    seconds: float
    samples_per_s: float
    losses: dict[str, float]
    validation: Validation | None = None
    # Of some steps, each loss's gradient on the layers that all share (`SharedGradients.measured`).
    gradients: dict[str, float] | None = None
    final: bool = False

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Report:
        """The inverse of ``dataclasses.asdict``."""
        validation = data["validation"]
        if validation is not None:
            gauges = validation["listening"]
            validation = Validation(validation["losses"], None if gauges is None else Listening(**gauges))
        return cls(**{**data, "validation": validation})


def listens(line: Report, bar: float) -> bool:
    """Whether both gauges of a validation reach ``bar``: the right block, and an answer that changes with the word."""
    gauges = None if line.validation is None else line.validation.listening
    if gauges is None:
        return False
    change = gauges.answers_change if math.isnan(gauges.chunks_change) else gauges.chunks_change
    return gauges.first_step_accuracy >= bar and change >= bar
