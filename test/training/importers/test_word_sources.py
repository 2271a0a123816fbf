# SPDX-License-Identifier: Apache-2.0
"""Where vectors of words come from: a small language model's layers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaModel

from swiftvla_ros.training.importers import word_vectors
from swiftvla_ros.training.importers.word_vectors import CONTEXTS, encode_words
from swiftvla_ros.training.words.vectors import VectorsError, reduced

WORDS = ("lift", "touch", "red", "lift red")
LAYERS = 4


@pytest.fixture
def language_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LlamaModel:
    """A small llama as published ones lie in a folder, in float32."""
    monkeypatch.setattr(word_vectors, "used_precision", lambda *_: "no")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=16, hidden_size=24, intermediate_size=32, num_hidden_layers=LAYERS, num_attention_heads=3,
        num_key_value_heads=1, rms_norm_eps=1e-5, rope_theta=1e5, initializer_range=0.3,
    )  # fmt: skip
    model = LlamaModel(config).eval()
    model.save_pretrained(tmp_path)
    words = ["[UNK]", "A", "robot", "can", "to", "lift", "touch", "red"]
    tokenizer = Tokenizer(models.WordLevel({word: k for k, word in enumerate(words)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return model


def test_a_word_is_what_the_model_makes_of_it_at_the_end_of_a_context(
    language_model: LlamaModel, tmp_path: Path
) -> None:
    """Vectors are transformers' own hidden states at three quarters of the depth, standardised, in the words' order."""
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    theirs = []
    for context in CONTEXTS:
        ids = [torch.tensor([tokenizer.encode(context.format(word)).ids]) for word in WORDS]
        with torch.no_grad():
            states = [language_model(row, output_hidden_states=True).hidden_states[LAYERS * 3 // 4] for row in ids]
        theirs.append(torch.stack([state[0, -1] for state in states]).numpy())
    together = np.concatenate(theirs, axis=1)
    expected = (together - together.mean(0)) / together.std(0)
    np.testing.assert_allclose(encode_words(tmp_path, WORDS), expected, atol=2e-4)


@pytest.mark.usefixtures("language_model")
def test_what_is_no_language_model_is_named(tmp_path: Path) -> None:
    """A folder without one, of another kind or with a damaged tokenizer says so, and what to name instead."""
    with pytest.raises(VectorsError, match=r"absent/config\.json: no such file; name the folder of a llama"):
        encode_words(tmp_path / "absent", WORDS)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(VectorsError, match=r"tokenizer\.json"):
        encode_words(tmp_path, WORDS)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(VectorsError, match="'bert', not 'llama'"):
        encode_words(tmp_path, WORDS)


def test_vectors_are_reduced_to_what_differs_most() -> None:
    """As many numbers as asked for, of spread 1, whatever the encoder's own size and mean were."""
    made = reduced(tuple("abcdefghij"), np.random.default_rng(0).normal(3, 5, (10, 6)), 4)
    found = made.vectors * made.scale
    assert found.shape == (10, 4)
    np.testing.assert_allclose(found.std(0), 1, atol=0.05)
    np.testing.assert_allclose(np.corrcoef(found.T), np.eye(4), atol=0.05)


def test_directions_without_differences_are_left_out() -> None:
    """Rounding is not blown up to meaning: of vectors in a plane two numbers are left, however many are asked for."""
    flat = np.random.default_rng(0).normal(0, 1, (20, 2)) @ np.random.default_rng(1).normal(0, 1, (2, 6))
    assert reduced(tuple("abcdefghijklmnopqrst"), flat, 5).vectors.shape == (20, 2)
