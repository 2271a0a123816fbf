# SPDX-License-Identifier: Apache-2.0
"""What a policy reads, and which instructions it accepts."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.errors import UserError

MAX_INSTRUCTION_CHARACTERS = 256
NO_GUIDANCE = "none"
"""Chunk guidance that is none: every chunk is computed from its observation alone."""


class InstructionError(UserError, ValueError):
    """An instruction that is refused; the message says why."""


@dataclass(frozen=True)
class Observation:
    """One conditioned observation.

    Attributes
    ----------
    images
        Camera name → RGB uint8 [h, w, 3], of the contract's size.
    state
        Proprioceptive state: joint positions, float64 [J], rad (or m), contract order.
    instruction
        What the robot shall do.
    geometry
        For studies: the front view's pooled 4D features [64, dim]; only a policy loaded ``with_4d`` reads them.
    """

    images: dict[str, NDArray[np.uint8]]
    state: NDArray[np.float64]
    instruction: str
    geometry: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class RowsAhead:
    """What a chunk shall continue: the network's normalised rows [n, J] in the checkpoint's order, from row 0 on.

    So many will have been ``executed`` when the chunk arrives; the others are only planned.
    """

    rows: NDArray[np.float32]
    executed: int


# Marks that nobody sees and that say nothing: byte order mark, zero-width space, soft hyphen, word joiner and invisible
# operators, marks of direction. Copied texts hold them.
_UNSEEN = frozenset("\ufeff\u200b\u00ad\u2060\u2061\u2062\u2063\u2064\u180e\u200e\u200f\u061c")
_JOINERS = frozenset("\u200c\u200d")


def validate_instruction(text: str) -> str:
    """The instruction as the tokenizer reads it; InstructionError says why it is refused.

    White space around it is cut. What looks like a space becomes one (no-break, ideographic, thin …), what nobody sees
    is left out; a joiner stays inside an emoji or a word of another script, where it changes what is seen. Printable
    text stays as it is, character by character.
    """
    plain = "".join(_plain(text, k) for k in range(len(text))).strip()
    if not plain:
        raise InstructionError("the instruction is empty; write what the robot shall do, e.g. 'pick up the red block'")
    if len(plain) > MAX_INSTRUCTION_CHARACTERS:
        raise InstructionError(
            f"the instruction has {len(plain)} characters; write at most {MAX_INSTRUCTION_CHARACTERS}"
        )
    for character in plain:
        if not (character.isprintable() or character in _JOINERS or _is_new_emoji(character)):
            raise InstructionError(f"the instruction holds {_named(character)}; write one line of plain text")
    return plain


def _plain(text: str, k: int) -> str:
    """Character ``k`` as the policy reads it, or nothing."""
    character = text[k]
    if character in _UNSEEN:
        return ""
    if character in _JOINERS:
        around = text[k - 1 : k] + text[k + 1 : k + 2] if k else ""
        return character if len(around) == 2 and all(not c.isascii() and c.isprintable() for c in around) else ""
    return " " if unicodedata.category(character) == "Zs" else character


def _is_new_emoji(character: str) -> bool:
    """An emoji that this Python's table of characters does not know yet."""
    return 0x1F300 <= ord(character) <= 0x1FAFF and unicodedata.category(character) == "Cn"


def _named(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"the byte 0x{code - 0xDC00:02x}, which is no UTF-8"
    kind = {"Cc": "a control character", "Cs": "half of a character", "Co": "a character of private use"}
    return f"U+{code:04X} ({unicodedata.name(character, kind.get(unicodedata.category(character), 'no character'))})"
