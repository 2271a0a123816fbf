# SPDX-License-Identifier: Apache-2.0
"""The sentence that a policy was trained on, for whatever it is told."""

from __future__ import annotations

from dataclasses import dataclass

from swiftvla_ros.observation.observation import InstructionError
from swiftvla_ros.policy.words.network import ReadingNetwork, shares
from swiftvla_ros.policy.words.vocabulary import Vocabulary


class NotUnderstoodError(InstructionError):
    """Words that mean nothing the policy was trained for; the message says so."""


@dataclass(frozen=True)
class Meaning:
    """What the words come closest to, and how sure that is (0…1): 1 for a sentence that was trained on as it is."""

    sentence: str
    confidence: float


def plain(text: str) -> str:
    """The same words whatever the case, the spacing and a final full stop: as sentences that are known are compared."""
    return " ".join(text.casefold().split()).rstrip(".")


@dataclass(frozen=True)
class WordReader:
    """Reads instructions for one policy.

    Attributes
    ----------
    sentences
        The meanings: for each the sentence that the policy gets.
    known
        Sentences that the policy was trained on, which it gets as they are.
    bound
        Less confidence than this is not understood.
    """

    vocabulary: Vocabulary
    network: ReadingNetwork
    sentences: tuple[str, ...]
    known: frozenset[str]
    temperature: float
    bound: float

    def meaning(self, text: str) -> Meaning:
        """What a text comes closest to, however far away."""
        if (same := plain(text)) in self.known:
            return Meaning(same, 1.0)
        likely = shares(self.network.logits(self.vocabulary(text)), self.temperature)[:-1]
        best = int(likely.argmax())
        return Meaning(self.sentences[best], float(likely[best]))

    def read(self, text: str) -> str:
        """The sentence that a text means.

        Raises
        ------
        NotUnderstoodError
            It means none, or that is not sure enough.
        """
        meaning = self.meaning(text)
        if meaning.confidence >= self.bound:
            return meaning.sentence
        every = max(1, len(self.sentences) // 2)
        such_as = "' or '".join(self.sentences[::every][:2])
        raise NotUnderstoodError(
            f"not understood: '{text}' ({meaning.confidence:.0%} sure that it means '{meaning.sentence}', where "
            f"{self.bound:.0%} are asked for); say it otherwise, such as '{such_as}'"
        )
