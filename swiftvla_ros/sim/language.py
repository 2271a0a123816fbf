# SPDX-License-Identifier: Apache-2.0
"""What sentences name in the simulated scene."""

from __future__ import annotations

from dataclasses import dataclass

COLORS = ("red", "green", "blue")


@dataclass(frozen=True)
class Task:
    """What an instruction asks for."""

    verb: str  # names the `TaskDefinition`
    color: str  # the block that is meant, one of `COLORS`
    where: str = ""  # the place that is meant; empty for tasks that name none
