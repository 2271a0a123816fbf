# SPDX-License-Identifier: Apache-2.0
"""How many steps an episode of a bag has, whatever it is read from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

from swiftvla_ros.contract import Contract

_NS = 1_000_000_000


class _ShownSteps(Protocol):
    @property
    def steps(self) -> Sequence[object]: ...


class EpisodeInBag(ABC):
    """The episode of a bag that is not loaded yet; ``contract`` says how long a step is."""

    contract: Contract

    def steps(self) -> int:
        """Count its steps; reads stamps, decodes no image."""
        return self._count

    def expected_steps(self) -> int:
        """Tell from when it began and ended how many steps it has unless some are missing."""
        begin_ns, end_ns = self._span_ns()
        return 1 + max(0, round((end_ns - begin_ns) / _NS / self.contract.policy.step_s))

    @cached_property
    def _count(self) -> int:
        return len(self._timeline(decode=False).steps)

    @abstractmethod
    def _span_ns(self) -> tuple[int, int]:
        """When it began and ended."""

    @abstractmethod
    def _timeline(self, *, decode: bool) -> _ShownSteps:
        """Its steps that show something; without ``decode`` no image is."""
