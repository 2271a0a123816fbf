# SPDX-License-Identifier: Apache-2.0
"""Words of a sentence: read whatever the case and the punctuation, and with a slip of the finger."""

from swiftvla_ros.policy.words.vocabulary import MOST_WORDS, UNKNOWN, Vocabulary, words_of

VOCABULARY = Vocabulary(["touch", "the", "red", "block", "blocks", "rouge"], {"touch", "block", "blocks", "red"})


def test_words_are_read_without_case_and_punctuation() -> None:
    """What people type around words changes nothing."""
    assert VOCABULARY("Touch the RED block!") == VOCABULARY("touch the red block") == [2, 3, 4, 5]
    assert words_of("don\u2019t, please") == ["don't", "please"]


def test_one_slip_is_mended_towards_familiar_words_only() -> None:
    """Swapped, doubled, missing and wrong letters are read; short words and other languages are left alone."""
    for typed in ("tuoch", "toouch", "touc", "touxh"):
        assert VOCABULARY(typed) == VOCABULARY("touch")
    assert VOCABULARY("rde roug 块 42") == [UNKNOWN] * 4
    assert VOCABULARY("blokc") == VOCABULARY("block"), "of several words the first by the alphabet"


def test_nothing_and_much_are_read() -> None:
    """A sentence without words is one unknown word, and a very long one is cut."""
    assert VOCABULARY("?!") == [UNKNOWN]
    assert len(VOCABULARY("red " * 100)) == MOST_WORDS
