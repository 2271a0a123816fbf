# SPDX-License-Identifier: Apache-2.0
"""Who may move the arm: the policy, until an operator takes it, and again once that operator gives it back."""

from __future__ import annotations

from swiftvla_ros.contract.executor_codes import ChunkSource
from swiftvla_ros.motion.chunk import JointChunk


class OperatorGrip:
    """Whether an operator holds the arm, and what was followed last of each source.

    It is held from the operator's first chunk, or :meth:`take`, until :meth:`give_back`: silence gives nothing back. A
    person who took over has a hand near the arm, and an end of the operator's node must not let the policy loose.

    Attributes
    ----------
    held
        Whether an operator holds the arm.
    gave_back_ns
        When the operator gave it back last; 0: never, as far as the present clock knows.
    newest
        The chunk of each source that was followed last.
    """

    def __init__(self) -> None:
        self.held = False
        self.newest: dict[ChunkSource, JointChunk] = {}
        self.gave_back_ns = 0

    def take(self) -> None:
        """The operator holds the arm from now on."""
        self.held = True

    def give_back(self, now_ns: int) -> None:
        """The policy may have the arm again, with what it sees from now on."""
        if self.held:
            self.held, self.gave_back_ns = False, now_ns

    def follow(self, chunk: JointChunk) -> None:
        """A chunk is followed from now on."""
        self.newest[chunk.source] = chunk
        self.held = self.held or chunk.source is ChunkSource.OPERATOR

    def forget_time(self) -> None:
        """Stamps that were noted are of another time; who holds the arm does not change."""
        self.newest.clear()
        self.gave_back_ns = 0
