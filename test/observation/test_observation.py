# SPDX-License-Identifier: Apache-2.0
"""Which instructions are accepted, and as what they are read."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftvla_ros.errors import UserError
from swiftvla_ros.observation.observation import InstructionError, validate_instruction
from swiftvla_ros.policy.tokenizer import InstructionTokenizer
from swiftvla_ros.resources import model_path

PLAIN = "pick up the red block"
SAME = {
    "no-break space": "pick\u00a0up the red block",
    "ideographic space": "\u3000pick up the\u3000red block\u3000",
    "thin spaces": "pick\u2009up\u202fthe red block",
    "byte order mark": "\ufeffpick up the red block",
    "byte order mark inside": "pick up \ufeffthe red block\ufeff\n",
    "zero-width space": "pick up\u200b the red block",
    "soft hyphen": "pick up the red blo\u00adck",
    "marks of direction": "\u200epick up the red\u200f block",
    "joiner in a word": "pick\u200d up the r\u200ced block\u200d",
}


@pytest.mark.parametrize("case", SAME)
def test_what_is_seen_as_the_same_is_read_as_the_same(case: str) -> None:
    """NBSP, U+3000 and a BOM were "control characters" (report E): the tokens are those of plain text."""
    assert validate_instruction(SAME[case]) == PLAIN
    tokens = InstructionTokenizer(model_path("models/swiftvla-nano-so101") / "tokenizer.json", 64)
    assert tokens(SAME[case]).tolist() == tokens(PLAIN).tolist()


@pytest.mark.parametrize(
    "text",
    [
        "ask the 👩\u200d🌾",
        "❤️\u200d🔥",
        "wave 🏳️\u200d🌈 twice",
        "می\u200cخواهم",
        "क्\u200dष",
        "löffel  zwei",
        "e\u0301",
        "赤いブロックを取って",
        "\U0001fae8",
        "\U0001fadf",
    ],
)
def test_other_scripts_and_emoji_stay_as_they_are(text: str) -> None:
    """ZWJ emoji were "control characters" (report E): a joiner stays where it changes what is seen."""
    assert validate_instruction(text) == text
    InstructionTokenizer(model_path("models/swiftvla-nano-so101") / "tokenizer.json", 64)(text)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("pick\x00up", "U+0000"),
        ("pick\nup", "U+000A"),
        ("pick\tup", "U+0009"),
        ("pick\x1b[31mup", "U+001B"),
        ("pick\x85up", "U+0085"),
        ("pick\u2028up", "LINE SEPARATOR"),
        ("pick \u202eder", "RIGHT-TO-LEFT OVERRIDE"),
        ("pick \u2066up\u2069", "LEFT-TO-RIGHT ISOLATE"),
        ("pick \U000e0041", "TAG LATIN CAPITAL LETTER A"),
        ("pick \ud800", "U+D800"),
        ("pick \udcff", "byte 0xff"),
        ("pick \ue000", "U+E000"),
        ("pick \ufffe", "U+FFFE"),
        ("\u200b\ufeff", "empty"),
        ("a" * 257, "257 characters"),
    ],
)
def test_what_hides_or_controls_is_refused(text: str, named: str) -> None:
    """A byte that is no text ended in UnicodeEncodeError (report E): it is named in what any terminal prints."""
    with pytest.raises(InstructionError, match=re.escape(named)) as caught:
        validate_instruction(text)
    assert isinstance(caught.value, UserError)
    assert str(caught.value).encode()


@given(st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), min_size=1, max_size=40))
def test_printable_text_is_never_changed(text: str) -> None:
    """Protects recorded instructions and training: what was accepted before is read as before, and reading ends."""
    if text.isprintable() and text.strip():
        assert validate_instruction(text) == text.strip()


@given(st.text(max_size=40))
def test_reading_twice_changes_nothing(text: str) -> None:
    """Protects: the command line, the node, the bag and the tokenizer each read it, and all read the same."""
    try:
        read = validate_instruction(text)
    except InstructionError:
        return
    assert validate_instruction(read) == read
