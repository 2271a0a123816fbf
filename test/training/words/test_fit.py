# SPDX-License-Identifier: Apache-2.0
"""What reads instructions: fitted in torch, computed without; what it was not told about is not understood."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from swiftvla_ros.policy.words.file import WORDS, WordsError, read_words
from swiftvla_ros.policy.words.network import shares
from swiftvla_ros.policy.words.reader import NotUnderstoodError, WordReader
from swiftvla_ros.training.words.fit import FitOptions, Said, calibrated, fit_words
from swiftvla_ros.training.words.network import ReadingMembers
from swiftvla_ros.training.words.vectors import VectorsError, WordVectors, read_vectors, reduced, write_vectors

SENTENCES = ("pick up the block", "touch the block")
GRABS, TAPS, STRANGE = ("grab", "lift", "take"), ("tap", "poke", "press"), ("sing", "cook", "sleep", "paint")
# Words of one meaning lie near each other: grab, lift, take and hoist; tap, poke, press and prod.
KINDS = {"a": (*GRABS, "hoist"), "b": (*TAPS, "prod"), "c": (*STRANGE, "dance"), "d": ("the", "block", "please", "now")}


def _vectors() -> WordVectors:
    rng = np.random.default_rng(0)
    words = [word for kind in KINDS.values() for word in kind]
    centres = {kind: rng.normal(0, 1, 16) for kind in KINDS}
    made = [centres[kind] + rng.normal(0, 0.4 if kind == "d" else 0.1, 16) for kind in KINDS for _ in KINDS[kind]]
    # More directions than kinds differ in would be chance, blown up.
    return reduced(tuple(words), np.array(made), 3)


def _said(count: int, seed: int, grabs: tuple[str, ...] = GRABS, taps: tuple[str, ...] = TAPS) -> list[Said]:
    rng, said = np.random.default_rng(seed), []
    for k in range(count):
        verb = (grabs, taps, STRANGE)[k % 3][int(rng.integers(len((grabs, taps, STRANGE)[k % 3])))]
        text = f"{verb} the block" + ("", " please", " now")[int(rng.integers(3))]
        said.append((text, (0, 1, None)[k % 3]))
    return said


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small reader."""
    out = tmp_path_factory.mktemp("words")
    head = fit_words(
        out,
        SENTENCES,
        SENTENCES,
        _said(300, 0),
        _said(60, 1),
        _vectors(),
        "a test",
        FitOptions(steps=100, batch=16, members=2),
    )
    assert head.calibration["others taken for a task"] <= 0.05
    return out


def _reader(folder: Path) -> WordReader:
    reader = read_words(folder)
    assert reader is not None
    return reader


def test_words_that_were_never_told_are_read_by_what_they_are_near(folder: Path) -> None:
    """A verb of no training sentence means what its neighbours mean; one of nothing that is known isn't understood."""
    reader = _reader(folder)
    assert reader.read("hoist the block") == SENTENCES[0]
    assert reader.read("Prod the block, please!") == SENTENCES[1]
    assert reader.read("Pick up  the block.") == SENTENCES[0], "known as it is, whatever the network says"
    with pytest.raises(NotUnderstoodError, match=r"not understood: 'dance the block'.*such as 'pick up the block'"):
        reader.read("dance the block")


@pytest.mark.parametrize("cost_of_taken", [1.0, 4.0])
def test_the_bound_is_where_mistakes_cost_least(cost_of_taken: float) -> None:
    """Protects the arm from talk, and the operator from being refused: no other bound is better."""
    rng = np.random.default_rng(2)
    none = rng.random(400) < 0.5
    logits = np.stack([np.where(none, rng.normal(0, 1, 400), rng.normal(1, 1, 400)), np.zeros(400)], axis=1)[None]
    found = calibrated(logits.astype(np.float32), np.where(none, 1, 0), 1, cost_of_taken)
    confidence = shares(logits, float(found["temperature"]))[:, 0]  # type: ignore[arg-type]

    def cost(bound: float) -> float:
        taken, refused = np.mean(confidence[none] >= bound), np.mean(confidence[~none] < bound)
        return float(cost_of_taken * taken + refused)

    assert cost(float(found["bound"])) <= min(map(cost, np.linspace(0, 1, 101))) + 1e-9  # type: ignore[arg-type]
    stricter = calibrated(logits.astype(np.float32), np.where(none, 1, 0), 1, 2 * cost_of_taken)
    assert stricter["bound"] > found["bound"]  # type: ignore[operator]


def test_numpy_computes_what_torch_does(folder: Path) -> None:
    """The network that runs is the one that was fitted."""
    reader = _reader(folder)
    with safe_open(folder / WORDS, framework="numpy") as file:
        head = json.loads(file.metadata()["words"])
    tensors = load_file(folder / WORDS)
    vectors = tensors.pop("vectors") * tensors.pop("scale")
    del tensors["text"]
    table = np.concatenate([np.zeros((2, vectors.shape[1])), vectors])
    network = ReadingMembers(
        torch.from_numpy(table).float(), {k: v.shape for k, v in tensors.items()}, head["layers"], seed=0
    )
    network.load_state_dict(
        {"table": network.table, **{f"weights.{k}": torch.from_numpy(v).float() for k, v in tensors.items()}}
    )
    for text in ("grab the block", "poke it now", "? unknown", "the " * 40):
        words = reader.vocabulary(text)
        expected = network(torch.tensor(words)[None, None].repeat(head["members"], 1, 1))[:, 0].detach().numpy()
        np.testing.assert_allclose(reader.network.logits(words), expected, atol=1e-4)


def test_damaged_files_are_named(folder: Path, tmp_path: Path) -> None:
    """A file that is cut, or of other shapes, is refused in a sentence with the fix; no file is no reader."""
    assert read_words(tmp_path) is None
    whole = (folder / WORDS).read_bytes()
    (tmp_path / WORDS).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WordsError, match=r"words\.safetensors.*fit-words"):
        read_words(tmp_path)
    tensors = load_file(folder / WORDS)
    with safe_open(folder / WORDS, framework="numpy") as file:
        metadata = file.metadata()
    save_file({**tensors, "out": tensors["out"][:, :-1]}, tmp_path / WORDS, metadata)
    with pytest.raises(WordsError, match="out"):
        read_words(tmp_path)
    save_file(tensors, tmp_path / WORDS, {"words": "{}"})
    with pytest.raises(WordsError, match="sentences"):
        read_words(tmp_path)


def test_vectors_are_kept_and_missed(tmp_path: Path) -> None:
    """Vectors come back as they were written, to a hundredth of their spread; a missing file is named."""
    vectors = _vectors()
    write_vectors(tmp_path, vectors)
    again = read_vectors(tmp_path)
    assert again.words == vectors.words
    np.testing.assert_array_equal(again.vectors, vectors.vectors)
    assert abs((again.vectors * again.scale).std() - 1) < 0.01
    with pytest.raises(VectorsError, match="import-word-vectors"):
        read_vectors(tmp_path / "absent")
