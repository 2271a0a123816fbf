# SPDX-License-Identifier: Apache-2.0
"""What sentences are taken for: of the shipped policy, and counted as it should be."""

from pathlib import Path

import pytest

from swiftvla_ros.policy import Policy
from swiftvla_ros.policy.words.file import read_words
from swiftvla_ros.policy.words.reader import NotUnderstoodError, WordReader
from swiftvla_ros.sim.evaluation.reading import read_meaningless, read_sentences
from swiftvla_ros.sim.tasks.registry import STANDARD_VERBS


class Reader(Policy):
    """Only reads."""

    def __init__(self, words: WordReader) -> None:
        self._words = words

    def check_instruction(self, text: str) -> str:
        return self._words.read(text)


class Nodding(Policy):
    """Takes everything for one task, and what has a question mark for nothing."""

    def check_instruction(self, text: str) -> str:
        if "?" in text:
            raise NotUnderstoodError("not understood")
        return "touch the blue block"


@pytest.fixture(scope="module")
def shipped(checkpoint: Path) -> Reader:
    """What reads for the policy of the demo."""
    words = read_words(checkpoint)
    assert words is not None
    return Reader(words)


def test_the_shipped_policy_reads_what_people_wrote_by_hand(shipped: Reader) -> None:
    """Other people's wordings are read in 85 of 100 at least, and never as another block's."""
    report = read_sentences(shipped, STANDARD_VERBS, "free", 144, 7)
    assert report.right.share >= 0.85, report.mistaken
    assert report.other_block.count == 0, report.mistaken


def test_known_wordings_are_always_read(shipped: Reader) -> None:
    """What demonstrations are told in goes to the policy as it is."""
    assert read_sentences(shipped, STANDARD_VERBS, "known", 120, 7).right.share == 1


def test_other_languages_and_nonsense_are_not_understood(shipped: Reader) -> None:
    """Nothing moves for them; words that do name a task, a block and another wish may be taken for it, one in ten."""
    strange = ("nimm den blauen Block", "Coge el bloque verde", "拿起蓝色方块", "asdf qwer", "purple monkey dishwasher")
    for text in (*strange, "make me a sandwich", "What's the weather?", "the the the", "42", "pick up", "???"):
        with pytest.raises(NotUnderstoodError):
            shipped.check_instruction(text)
    report = read_meaningless(shipped, STANDARD_VERBS, 100, 7)
    assert report.right.share >= 0.9, report.mistaken


def test_what_is_misread_is_counted_and_named() -> None:
    """A policy that nods is right by chance alone."""
    report = read_sentences(Nodding(), STANDARD_VERBS, "free", 72, 3)
    assert report.right.count < 24
    assert report.other_block.count > 36
    assert 0 < report.not_understood.count < 24
    assert len(report.mistaken) >= 36
    assert read_meaningless(Nodding(), STANDARD_VERBS, 40, 3).right.count <= 6
