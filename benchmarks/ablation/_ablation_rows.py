# SPDX-License-Identifier: Apache-2.0
"""The rows of docs/ablation.md: ways to train, each from the same start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

INPUTS = {"2d": "images alone", "4d": "with live 4D"}
"""What a policy is given when it is rolled out."""


@dataclass(frozen=True)
class Row:
    """One way to train.

    Attributes
    ----------
    name, title
        What it is called on the command line, and in the table.
    teacher
        Whose 4D features it is trained with: the geometry transformer's, the simulation's truth, or nobody's.
    options
        Of ``swiftvla train --stage 2``.
    paper
        Success in the paper, by input.
    steps
        How many times as many as everybody's.
    """

    name: str
    title: str
    teacher: Literal["geometry", "truth"] | None
    options: tuple[str, ...]
    paper: dict[str, float]
    steps: float = 1.0

    @property
    def deployed(self) -> float:
        """Share of its samples that train the network that is deployed."""
        return 1.0 if self.teacher is None else float(self.options[self.options.index("--mask-4d") + 1])

    @property
    def inputs(self) -> tuple[str, ...]:
        """What it is rolled out with; live truth is `oracle.py eval`'s."""
        return ("2d", "4d") if self.teacher == "geometry" and self.deployed < 1 else ("2d",)


_RANDOM = ("--cache-steps", "3,4,5,6")
_BOTH = ("--mask-4d", "0.5", "--mask-2d", "0.2")
_PAPER = (*_BOTH, "--reconstruct", *_RANDOM)
ROWS = (
    Row("2d", "2D only", None, (), {"2d": 0.36}),
    # As much longer as a step with 4D took on the two cores it was tried on.
    Row("2d-longer", "2D only, longer", None, (), {}, steps=1.5),
    Row("2d-half", "2D only, half the steps", None, (), {}, steps=0.5),
    Row(
        "no-mask",
        "4D, no mask",
        "geometry",
        ("--mask-4d", "0", "--mask-2d", "0", "--no-reconstruct", *_RANDOM),
        {"2d": 0.02, "4d": 0.50},
    ),
    Row(
        "mask-4d",
        "4D mask",
        "geometry",
        ("--mask-4d", "0.5", "--mask-2d", "0", "--no-reconstruct", *_RANDOM),
        {"2d": 0.40, "4d": 0.48},
    ),
    Row("both-masks", "both masks", "geometry", (*_BOTH, "--no-reconstruct", *_RANDOM), {"2d": 0.50, "4d": 0.52}),
    Row("paper", "paper", "geometry", _PAPER, {"2d": 0.53, "4d": 0.55}),
    Row("restrained", "paper, restrained", "geometry", (*_PAPER, "--restrain-auxiliary"), {}),
    Row(
        "alignment",
        "alignment",
        "geometry",
        ("--mask-4d", "1", "--mask-2d", "0", "--no-reconstruct", "--align-layer", "2", "--cache-steps", "6"),
        {},
    ),
    Row("truth", "oracle teacher", "truth", (*_BOTH, "--reconstruct", "--cache-steps", "1"), {}),
)
