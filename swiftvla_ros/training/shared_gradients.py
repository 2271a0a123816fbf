# SPDX-License-Identifier: Apache-2.0
"""What the losses ask of the layers that all of them share: how much, and how far it goes against the action's."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor, nn

from swiftvla_ros.model.objective import LOSSES, Objective
from swiftvla_ros.training.options import TrainOptions

_ACTION = LOSSES.index("action")


class SharedGradients:
    """Measures each loss's gradient on the text layers, and restrains the auxiliary ones where the options say so.

    Restraining is gradient surgery (PCGrad, arXiv 2001.06782) with one task that nothing is taken from: what the
    auxiliary losses ask for together loses its part against the action's gradient, and is cut to that one's length.
    """

    def __init__(self, objective: Objective, options: TrainOptions, accelerator: Accelerator) -> None:
        if options.restrain_auxiliary and accelerator.scaler is not None:
            raise ValueError("restrained auxiliary gradients need --precision bf16 or no: fp16 scales them")
        self._options, self._accelerator = options, accelerator
        layers = objective.policy.backbone.text_model.layers
        self._parameters = [p for p in layers.parameters() if p.requires_grad]
        if not self._parameters and (options.restrain_auxiliary or options.log_gradients_every):
            raise ValueError("the text layers are frozen: there are no gradients on them to restrain or to log")
        self._action: Float[Tensor, " p"] | None = None
        self.measured: dict[str, float] | None = None
        """Of the last step, by "<loss> norm" and "<loss> cosine" to the action's; None where it was not measured."""

    def look(self, step: int, terms: Float[Tensor, " losses"]) -> None:
        """Take what is needed of a micro-batch's weighted losses, before they go backward."""
        every = self._options.log_gradients_every
        # Of this process's share of the last micro-batch: enough to see who pulls where.
        due = every and (step + 1) % every == 0 and self._accelerator.sync_gradients
        self.measured = self._measure(terms) if due else None
        if self._options.restrain_auxiliary:
            action = self._gradient(terms[_ACTION]) / self._options.accumulate
            self._action = action if self._action is None else self._action + action

    def restrain(self) -> None:
        """Restrain the whole batch's auxiliary gradients, once they are there."""
        if self._action is None:
            return
        action, self._action = self._accelerator.reduce(self._action, reduction="mean"), None
        whole = torch.cat([_flat(p.grad, p) for p in self._parameters])
        restrained = action + restrained_by(action, whole - action)
        for parameter, part in zip(
            self._parameters, restrained.split([p.numel() for p in self._parameters]), strict=True
        ):
            if parameter.grad is not None:
                parameter.grad.copy_(part.view_as(parameter))

    def _measure(self, terms: Float[Tensor, " losses"]) -> dict[str, float]:
        asked = {name: self._gradient(term) for name, term in zip(LOSSES, terms, strict=True)}
        told = {}
        for name, gradient in asked.items():
            if gradient.any():
                told[f"{name} norm"] = float(gradient.norm())
                told[f"{name} cosine"] = float(torch.cosine_similarity(gradient, asked["action"], dim=0))
        return told

    def _gradient(self, loss: Float[Tensor, ""]) -> Float[Tensor, " p"]:
        found = torch.autograd.grad(loss, self._parameters, retain_graph=True, allow_unused=True)
        return torch.cat([_flat(g, p) for g, p in zip(found, self._parameters, strict=True)])


def restrained_by(action: Float[Tensor, " p"], auxiliary: Float[Tensor, " p"]) -> Float[Tensor, " p"]:
    """What is left of an auxiliary gradient: nothing against the action's, and no more than that one's length."""
    length = action.norm()
    against = (auxiliary @ action).clamp(max=0) / length.square().clamp(min=1e-20)
    auxiliary = auxiliary - against * action
    return auxiliary * (length / auxiliary.norm().clamp(min=1e-20)).clamp(max=1)


def _flat(gradient: Tensor | None, parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter).flatten() if gradient is None else gradient.flatten()
