# SPDX-License-Identifier: Apache-2.0
"""Where vectors of words come from: a sentence encoder's layers, and WordNet's files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from swiftvla_ros.training.importers.word_vectors import encode_words
from swiftvla_ros.training.importers.wordnet import kinds
from swiftvla_ros.training.words.vectors import VectorsError, reduced

WIDTH, INNER, LAYERS, HEADS = 16, 32, 2, 4
WORDS = ("lift", "touch", "red")


def _wordnet(folder: Path) -> None:
    """Lift and raise are kinds of moving, touch is none; red and crimson are alike."""
    data = {
        "verb": [
            "  1 this is the licence",
            "00000001 30 v 01 move 0 000 | change place",
            "00000002 30 v 01 lift 0 001 @ 00000001 v 0000 | up",
            "00000003 30 v 01 raise 0 001 @ 00000001 v 0000 | up, too",
            "00000004 30 v 01 touch 0 000 | feel",
        ],
        "noun": ["00000005 03 n 02 block 0 brick 1 000 | a solid piece"],
        "adj": ["00000006 00 a 01 red 0 000 | of the colour", "00000007 00 s 01 crimson 0 001 & 00000006 a 0000 | red"],
    }
    index = {
        "verb": [f"{word} v 1 0 1 0 0000000{k}" for k, word in enumerate(("move", "lift", "raise", "touch"), 1)],
        "noun": ["block n 1 0 1 0 00000005", "brick n 1 0 1 0 00000005"],
        "adj": ["red a 1 0 1 0 00000006", "crimson a 1 0 1 0 00000007"],
    }
    for name, lines in data.items():
        (folder / f"data.{name}").write_text("\n".join(lines) + "\n")
        (folder / f"index.{name}").write_text("\n".join(index[name]) + "\n")


def test_words_of_a_kind_lie_near_each_other(tmp_path: Path) -> None:
    """Lifting is nearer to raising than to touching, a brick is a block, in the plural, too; unknown words are zero."""
    _wordnet(tmp_path)
    words = ("lifts", "raise", "touch", "block", "bricks", "crimson", "red", "zzz")
    near = (vectors := kinds(tmp_path, words)) @ vectors.T
    place = {word: k for k, word in enumerate(words)}
    assert near[place["lifts"], place["raise"]] > 0.1 + abs(near[place["lifts"], place["touch"]])
    assert near[place["block"], place["bricks"]] == pytest.approx(1, abs=1e-5)
    assert near[place["crimson"], place["red"]] > 0.3
    assert not vectors[place["zzz"]].any()
    with pytest.raises(VectorsError, match="wordnet-base"):
        kinds(tmp_path / "absent", words)


def _encoder(folder: Path) -> None:
    torch.manual_seed(0)
    shapes = {
        f"embeddings.{name}_embeddings.weight": (n, WIDTH)
        for name, n in (("word", 8), ("position", 16), ("token_type", 2))
    }
    norms = ["embeddings.LayerNorm"]
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        dense = {f"attention.self.{part}": (WIDTH, WIDTH) for part in ("query", "key", "value")}
        dense |= {
            "attention.output.dense": (WIDTH, WIDTH),
            "intermediate.dense": (INNER, WIDTH),
            "output.dense": (WIDTH, INNER),
        }
        for part, shape in dense.items():
            shapes |= {f"{name}.{part}.weight": shape, f"{name}.{part}.bias": shape[:1]}
        norms += [f"{name}.attention.output.LayerNorm", f"{name}.output.LayerNorm"]
    for norm in norms:
        shapes |= {f"{norm}.weight": (WIDTH,), f"{norm}.bias": (WIDTH,)}
    save_file({name: torch.randn(shape) * 0.3 for name, shape in shapes.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"num_hidden_layers": LAYERS, "num_attention_heads": HEADS}))
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokenizer = Tokenizer(
        models.WordLevel({"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "lift": 3, "touch": 4, "red": 5}, "[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def test_a_word_is_the_mean_of_what_the_encoder_makes_of_it(tmp_path: Path) -> None:
    """Vectors have length 1, differ, and don't depend on what else is encoded beside them; no encoder is named."""
    _encoder(tmp_path)
    together = encode_words(tmp_path, (*WORDS, "lift touch red"))
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(encode_words(tmp_path, WORDS), together[:3], atol=1e-5)
    assert abs(together[0] - together[1]).max() > 1e-3
    with pytest.raises(VectorsError, match=r"tokenizer\.json"):
        encode_words(tmp_path / "absent", WORDS)


def test_sources_are_reduced_side_by_side() -> None:
    """Each source gets as many numbers, of the same spread."""
    rng = np.random.default_rng(0)
    made = reduced(tuple("abcdefghij"), [rng.normal(3, 5, (10, 6)), rng.normal(0, 0.1, (10, 8))], 4)
    found = made.vectors * made.scale
    assert found.shape == (10, 8)
    np.testing.assert_allclose([found[:, :4].std(), found[:, 4:].std()], 1, atol=0.05)
