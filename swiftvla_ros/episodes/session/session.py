# SPDX-License-Identifier: Apache-2.0
"""Which episode of a session is recorded when: begin, end with a verdict, discard, again, and a reset time between.

It decides; whoever holds it records: :meth:`DemonstrationSession.begin` names the bag to open, ``end`` says that it is
to be closed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path

from swiftvla_ros.episodes.session.session_folder import (
    EpisodeOutcome,
    EpisodeRecord,
    SessionError,
    SessionFolder,
    write_episode_record,
)
from swiftvla_ros.observation.observation import validate_instruction

_NS = 1_000_000_000


class Phase(IntEnum):
    """Where a session is, as in ``msg/DemonstrationState``."""

    READY = 0
    RECORDING = 1
    RESETTING = 2
    ENDED = 3


class DemonstrationSession:
    """One sitting: ``wanted`` episodes of an instruction that may change between them.

    Parameters
    ----------
    folder
        A new one, or an earlier session's: its episodes count.
    instruction
        What is shown, until :meth:`set_instruction` changes it.
    wanted
        How many episodes that succeeded the folder shall hold.
    reset_s
        Time after an episode in which the scene is put back; then the next one begins by itself. 0: it waits for
        :meth:`begin`.
    longest_s
        An episode that lasts longer ends by itself, unjudged.
    template
        What each record says beside its instruction: operator, contract, versions.

    Raises
    ------
    SessionError
        The folder can't be used.
    InstructionError
        The instruction is none.
    """

    def __init__(
        self,
        folder: SessionFolder,
        instruction: str,
        *,
        wanted: int,
        reset_s: float,
        longest_s: float,
        template: Callable[[], EpisodeRecord],
    ) -> None:
        self._folder = folder
        self.instruction = validate_instruction(instruction)
        self.wanted = wanted
        self.reset_s = reset_s
        self.longest_s = longest_s
        self._template = template
        self.cut_off = folder.recover()
        self.counts = Counter[str](record.outcome for record in folder.records().values())
        self.bag: Path | None = None
        """The bag of the running episode, or of the last one."""
        self.record: EpisodeRecord | None = None
        self.phase = Phase.READY
        self._since_ns = 0
        self._end_if_done()

    @property
    def next_bag(self) -> Path:
        """The bag of the running episode, or of the next one."""
        return self.bag if self.phase is Phase.RECORDING and self.bag is not None else self._folder.next_bag()

    def elapsed_s(self, now_ns: int) -> float:
        """Time since the running episode began, s; 0 where none runs."""
        return (now_ns - self._since_ns) / _NS if self.phase is Phase.RECORDING else 0.0

    def reset_left_s(self, now_ns: int) -> float:
        """Time until the next episode begins by itself, s; 0 where none does."""
        if self.phase is not Phase.RESETTING or not self.reset_s:
            return 0.0
        return max(0.0, self.reset_s - (now_ns - self._since_ns) / _NS)

    def is_due(self, now_ns: int) -> bool:
        """Whether the next episode is to begin by itself now."""
        return self.phase is Phase.RESETTING and self.reset_s > 0 and self.reset_left_s(now_ns) == 0

    def is_overdue(self, now_ns: int) -> bool:
        """Whether the running episode has lasted for too long."""
        return self.phase is Phase.RECORDING and self.elapsed_s(now_ns) > self.longest_s

    def begin(self, now_ns: int) -> Path:
        """Begin an episode; return the bag to open.

        Raises
        ------
        SessionError
            One runs, or the session has ended.
        """
        if self.phase is Phase.RECORDING:
            raise SessionError(f"{self.next_bag.name} is being recorded; end or discard it first")
        if self.phase is Phase.ENDED:
            raise SessionError(f"the session has ended: {self.counts['succeeded']} of {self.wanted} episodes")
        self.bag = self._folder.next_bag()
        self.record = self._template()
        self.record.instruction, self.record.began_ns = self.instruction, now_ns
        self.phase, self._since_ns = Phase.RECORDING, now_ns
        return self.bag

    def opened(self) -> None:
        """Write the record of the running episode: its bag is there, and a killed recorder leaves it marked."""
        assert self.bag is not None
        assert self.record is not None
        write_episode_record(self.bag, self.record)

    def not_opened(self) -> None:
        """Take the beginning back: there is no bag."""
        self.bag = self.record = None
        self.phase = Phase.READY

    def end(self, outcome: EpisodeOutcome, note: str, now_ns: int) -> EpisodeRecord:
        """End the running episode, its bag being closed, with ``outcome``; a discarded one is moved away."""
        if self.phase is not Phase.RECORDING or self.record is None:
            raise SessionError("no episode is being recorded; begin one first")
        self.record.ended_ns = now_ns
        self.phase, self._since_ns = Phase.RESETTING, now_ns
        return self._write(outcome, note)

    def judge(self, outcome: EpisodeOutcome, note: str) -> EpisodeRecord:
        """Change the verdict of the last episode, or its note.

        Raises
        ------
        SessionError
            There is none, or it was discarded.
        """
        if self.record is None or self.bag is None:
            raise SessionError("no episode was recorded yet")
        if self.record.outcome == "discarded":
            raise SessionError(f"{self.bag.name} was discarded; it lies in {self.bag.parent}")
        self.counts[self.record.outcome] -= 1
        return self._write(outcome, note or self.record.note)

    def set_instruction(self, text: str) -> None:
        """Choose what the next episodes show; an episode that runs keeps its own.

        Raises
        ------
        InstructionError
            It is no instruction.
        """
        self.instruction = validate_instruction(text)

    def finish(self) -> str:
        """End the session between two episodes; return what was done."""
        if self.phase is Phase.RECORDING:
            raise SessionError(f"{self.next_bag.name} is being recorded; end or discard it first")
        self.phase = Phase.ENDED
        return "the session has ended"

    def _write(self, outcome: EpisodeOutcome, note: str) -> EpisodeRecord:
        assert self.bag is not None
        assert self.record is not None
        self.record.outcome, self.record.note = outcome, note
        self.counts[outcome] += 1
        write_episode_record(self.bag, self.record)
        if outcome == "discarded":
            self.bag = self._folder.discard(self.bag)
        self._end_if_done()
        return self.record

    def _end_if_done(self) -> None:
        if self.counts["succeeded"] >= self.wanted and self.phase is not Phase.RECORDING:
            self.phase = Phase.ENDED
        elif self.phase is Phase.ENDED:
            # The last verdict was taken back.
            self.phase = Phase.RESETTING
