# SPDX-License-Identifier: Apache-2.0
"""What sentences name in the simulated scene."""

from __future__ import annotations

from dataclasses import dataclass

COLORS = ("red", "green", "blue")


@dataclass(frozen=True)
class Task:
    """What an instruction asks for.

    Attributes
    ----------
    verb
        Names the :class:`~swiftvla_ros.sim.tasks.definition.TaskDefinition`.
    color
        The block that is meant, one of :data:`COLORS`.
    where
        The place that is meant; empty for tasks that name none.
    """

    verb: str
    color: str
    where: str = ""
