# SPDX-License-Identifier: Apache-2.0
"""Who may move the arm: the policy, until an operator takes it, and again once that operator gives it back."""

from __future__ import annotations

from swiftvla_ros.contract.executor_codes import ChunkSource, Refusal
from swiftvla_ros.motion.chunk import NS, ChunkRefused, JointChunk


class OperatorGrip:
    """Whether an operator holds the arm, and the newest chunk that was followed of each source.

    It is held from the operator's first chunk, or :meth:`take`, until :meth:`give_back`: silence gives nothing back. A
    person who took over has a hand near the arm, and an end of the operator's node must not let the policy loose.

    Attributes
    ----------
    held
        Whether an operator holds the arm.
    gave_back_ns
        When the operator gave it back last; 0: never, as far as the present clock knows.
    """

    def __init__(self) -> None:
        self.held = False
        self._newest: dict[ChunkSource, JointChunk] = {}
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
        self._newest[chunk.source] = chunk
        self.held = self.held or chunk.source is ChunkSource.OPERATOR

    def forget_time(self) -> None:
        """Stamps that were noted are of another time; who holds the arm does not change."""
        self._newest.clear()
        self.gave_back_ns = 0

    def newest(self, source: ChunkSource) -> JointChunk | None:
        """The chunk of a source that was followed last."""
        return self._newest.get(source)

    def check(self, chunk: JointChunk) -> None:
        """Refuse the policy's chunks while an operator holds the arm, and what is older than the giving back.

        Raises
        ------
        ChunkRefused
            It is not to be followed.
        """
        name = chunk.name
        if self.held and chunk.source is not ChunkSource.OPERATOR:
            raise ChunkRefused(
                Refusal.OPERATOR_HOLDS,
                f"{name}: an operator holds the arm; the policy has it again after ~/give_back, which "
                "`teleop/release` calls",
            )
        if chunk.stamp_ns > self.gave_back_ns:
            return
        before_s = (self.gave_back_ns - chunk.stamp_ns) / NS
        if chunk.source is ChunkSource.OPERATOR:
            text = f"{name} is {before_s:.3f} s older than the giving back of the arm"
            raise ChunkRefused(Refusal.OLDER_THAN_CURRENT, text)
        text = f"{name}: its observation is {before_s:.3f} s older than the operator's giving back of the arm"
        raise ChunkRefused(Refusal.OPERATOR_HOLDS, text)
