# SPDX-License-Identifier: Apache-2.0
"""The instruction tokenizer, whole and cut."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from swiftvla_ros.policy.tokenizer import InstructionTokenizer, trim_tokenizer

FULL = Path(__file__).parents[2] / "models" / "smollm2-tokenizer" / "tokenizer.json"
WHOLE = Tokenizer.from_file(str(FULL))
CUT = Tokenizer.from_str(trim_tokenizer(FULL.read_text(), 6144))


def test_whole_tokenizer_gives_smollm2s_ids() -> None:
    """Protects the vocabulary: 49,280 ids, and the ids that SmolLM2 gives to a known sentence and its newline."""
    tokenizer = InstructionTokenizer(FULL, max_tokens=48)
    assert tokenizer.vocab_size == 49280
    assert tokenizer("pick up the red block").tolist() == [18188, 614, 260, 2382, 3608, 198]


def test_frequent_words_keep_their_ids() -> None:
    """Protects the cut: the words that matter are one token each, under the ids they had."""
    assert CUT.get_vocab_size() == 6144
    for word, whole in ((" red", 2382), (" green", 2654), (" blue", 4461), (" block", 3608), (" up", 614)):
        assert CUT.encode(word).ids == [whole]


@given(st.text(max_size=60))
@settings(max_examples=200)
def test_any_text_encodes_in_the_cut(text: str) -> None:
    """Protects the small vocabulary: it keeps of any text what the whole one keeps, down to single bytes."""
    kept = WHOLE.decode(WHOLE.encode(text).ids, skip_special_tokens=False)
    assert CUT.decode(CUT.encode(text).ids, skip_special_tokens=False) == kept


def test_ids_fit_the_network() -> None:
    """Protects the embedding table: no text gives an id beyond the cut."""
    assert max(CUT.encode("Grasp 日本 🤖 <image> crimson zyzzyva <|im_start|>").ids) < 6144


@pytest.mark.parametrize("size", [1000, 6144])
def test_the_cut_is_idempotent(size: int) -> None:
    """Protects checkpoints made from checkpoints: cutting twice is cutting once."""
    once = trim_tokenizer(FULL.read_text(), size)
    assert trim_tokenizer(once, size) == once
