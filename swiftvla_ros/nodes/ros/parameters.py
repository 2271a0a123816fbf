# SPDX-License-Identifier: Apache-2.0
"""What a node's parameters may hold, and when they may change: a change that would do nothing is refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.parameter import Parameter


@dataclass(frozen=True)
class Allowed:
    """Values that a parameter may hold: numbers of a range (of a list, each one), or texts of a list."""

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    one_of: tuple[str, ...] = ()

    def problem(self, name: str, value: Any) -> str:
        """What is wrong with a value, and what to write; empty where nothing is."""
        if self.one_of and value not in self.one_of:
            return f"parameter {name} is '{value}'; write one of {list(self.one_of)}"
        numbers = value if isinstance(value, Iterable) and not isinstance(value, str) else [value]
        for number in numbers:
            if isinstance(number, (bool, str)) or not isinstance(number, (int, float)):
                continue
            # Comparisons with NaN are false: it is no number of any range.
            if not (math.isfinite(number) and self.least <= number <= self.most and number > self.above):
                return f"parameter {name} is {number}; write {self}"
        return ""

    def __str__(self) -> str:
        if math.isfinite(self.above):
            return f"a number above {self.above:g}"
        if math.isfinite(self.most):
            return f"{self.least:g} to {self.most:g}"
        return f"{self.least:g} or more" if math.isfinite(self.least) else "a finite number"


@dataclass(frozen=True)
class Rules:
    """What a node's parameters may hold, and which of them it applies while it runs.

    ``live`` are applied by a callback of the node's own. All others are read when the node is configured, those too
    that nobody described here: so a new parameter can't be forgotten. ``configured`` says whether that is over.
    """

    node_name: str
    allowed: dict[str, Allowed]
    live: set[str]
    present: Callable[[str], Any]
    declared: Callable[[str], bool]
    configured: Callable[[], bool]

    def judge(self, parameters: list[Parameter]) -> SetParametersResult:
        """Answer a request to set parameters; what is given at start is judged by ``configure``, with the rest."""
        for parameter in parameters:
            if self.declared(parameter.name) and (problem := self._problem(parameter.name, parameter.value)):
                return SetParametersResult(successful=False, reason=problem)
        return SetParametersResult(successful=True)

    def check(self) -> None:
        """Raise ValueError with the first value that is not allowed."""
        for name, allowed in self.allowed.items():
            if problem := allowed.problem(name, self.present(name)):
                raise ValueError(problem)

    def _problem(self, name: str, value: Any) -> str:
        if problem := self.allowed.get(name, Allowed()).problem(name, value):
            return problem
        if name in self.live or not self.configured() or _plain(value) == _plain(self.present(name)):
            return ""
        written = str(value).lower() if isinstance(value, bool) else value
        return (
            f"parameter {name} is read when the node is configured, and would change nothing now: deactivate and clean "
            f"up first (ros2 lifecycle set {self.node_name} deactivate, cleanup), or start it again with "
            f"-p {name}:={written}"
        )


def _plain(value: Any) -> Any:
    """Lists of numbers come as several types, which are never equal to each other."""
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else value
