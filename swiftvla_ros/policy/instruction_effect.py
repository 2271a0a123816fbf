# SPDX-License-Identifier: Apache-2.0
"""When an instruction began to move the arm: from its acceptance to the first command of a chunk computed with it."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, replace

from swiftvla_ros.policy.inference_thread import Instruction

_MRAD = 1e3


@dataclass(frozen=True)
class InstructionEffect:
    """An instruction and its times on the ROS clock, ns; those that are not known yet are 0.

    ``words_matter`` is how far its first chunk lies from the same without words, at most over rows and joints, rad or
    m; NaN where that was not computed.
    """

    instruction: Instruction
    accepted_ns: int
    first_stamp_ns: int = 0
    words_matter: float = math.nan
    command_ns: int = 0
    chunk_id: int = 0
    chunk_stamp_ns: int = 0

    @property
    def text(self) -> str:
        """The same for people."""
        text = f"'{self.instruction.text}' moves the arm since {(self.command_ns - self.accepted_ns) / 1e9:.2f} s after"
        text += " it was accepted"
        if math.isnan(self.words_matter):
            return text
        return f"{text}; without words its first chunk would differ by {_MRAD * self.words_matter:.0f} mrad"


class EffectWatch:
    """Follows one instruction at a time.

    ``computed`` and ``compared`` are called by the inference thread, the others by the node's. With ``compares`` an
    effect is told only once the chunk without words is known.
    """

    def __init__(self, *, compares: bool) -> None:
        self._compares = compares
        self._lock = threading.Lock()
        self._current: InstructionEffect | None = None
        self._told: Instruction | None = None

    def accept(self, instruction: Instruction | None, now_ns: int) -> None:
        """An instruction was accepted, or none is followed any more."""
        with self._lock:
            self._current = None if instruction is None else InstructionEffect(instruction, now_ns)

    def computed(self, instruction: Instruction, stamp_ns: int) -> bool:
        """A chunk of an observation is about to be published; whether it is the instruction's first."""
        with self._lock:
            current = self._current
            if current is None or current.instruction != instruction or current.first_stamp_ns:
                return False
            self._current = replace(current, first_stamp_ns=stamp_ns)
            return True

    def compared(self, instruction: Instruction, distance: float) -> None:
        """The first chunk was compared with one without words; infinite where that could not be computed."""
        with self._lock:
            if self._current is not None and self._current.instruction == instruction:
                self._current = replace(self._current, words_matter=distance)

    def effect_ns(self, instruction: Instruction) -> int:
        """When an instruction took effect; 0: not yet."""
        current = self._current
        return current.command_ns if current is not None and current.instruction == instruction else 0

    def followed(self, chunk_id: int, chunk_stamp_ns: int, first_command_ns: int) -> None:
        """The executor follows a chunk of this policy's since ``first_command_ns`` (0: not yet).

        Observations are used once and in order, so a chunk whose stamp is the first one's or newer is of these words.
        """
        with self._lock:
            current = self._current
            if current is None or current.command_ns or not current.first_stamp_ns:
                return
            if first_command_ns and chunk_stamp_ns >= current.first_stamp_ns:
                self._current = replace(
                    current, command_ns=first_command_ns, chunk_id=chunk_id, chunk_stamp_ns=chunk_stamp_ns
                )

    def untold(self) -> InstructionEffect | None:
        """The effect, once all of it is known and until it was asked for once."""
        with self._lock:
            current = self._current
            waits = self._compares and current is not None and math.isnan(current.words_matter)
            if current is None or not current.command_ns or waits or self._told == current.instruction:
                return None
            self._told = current.instruction
            return replace(current, words_matter=current.words_matter if current.words_matter < math.inf else math.nan)
