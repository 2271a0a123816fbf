# SPDX-License-Identifier: Apache-2.0
"""From sentences and what they mean to ``words.safetensors``: a network, and a bound from what it never saw."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from swiftvla_ros.cluster.engine import fresh_processes
from swiftvla_ros.policy.words.file import Header, shapes, write_words
from swiftvla_ros.policy.words.network import shares
from swiftvla_ros.policy.words.reader import plain
from swiftvla_ros.policy.words.vocabulary import PADDING, UNKNOWN, Vocabulary, words_of
from swiftvla_ros.training.words.network import ReadingMembers
from swiftvla_ros.training.words.vectors import WordVectors

Said = tuple[str, int | None]
"""A sentence, and the number of its meaning; None for none of them."""
_WIDTH, _LAYERS = 64, 2
_LEARNING_RATE, _WARMUP_STEPS, _WEIGHT_DECAY, _SMOOTHING = 2e-3, 50, 0.3, 0.02
# Spread of the noise on words' vectors, whose own is 1, so that what is near a word means the same; and share of words
# that are taken for unknown ones.
_NOISE, _DROPPED = 0.8, 0.04
# A word of so many training sentences is one that a slip of the finger may have been meant as.
_FAMILIAR_SENTENCES = 40
# So many batches are drawn at once, and sorted by length.
_POOL = 16
# The bound is where mistakes with unseen sentences cost least: one without a meaning that is taken for a task costs as
# much as so many tasks that are not understood.
_COST_OF_TAKEN = 1.0
_TEMPERATURES = np.geomspace(0.5, 4, 25)


@dataclass(frozen=True)
class FitOptions:
    """How to fit."""

    steps: int = 2000
    members: int = 5  # what they differ in shows what is strange
    batch: int = 64  # sentences a step, for each member
    seed: int = 0
    processes: int = 1  # members that are trained at the same time


def fit_words(
    folder: Path,
    sentences: Sequence[str],
    known: Sequence[str],
    trained: Sequence[Said],
    unseen: Sequence[Said],
    vectors: WordVectors,
    made_from: str,
    options: FitOptions = FitOptions(),
    progress: Callable[[int, float], None] = lambda _step, _loss: None,
) -> Header:
    """Fit and calibrate, fit again with all there is, and write the result into a checkpoint's folder.

    Parameters
    ----------
    folder
        Of the checkpoint.
    sentences
        The meanings: for each the sentence that the policy was trained on.
    known
        All sentences that it was trained on.
    trained
        What is trained on.
    unseen
        Sentences with parts that none of those has: the bound is chosen with networks that have not seen them.
    vectors
        Of the words that can be known at all.
    made_from
        Of what, for people.
    """
    counts = Counter(word for text, _ in trained for word in set(words_of(text)))
    own = frozenset(vectors.words)
    familiar = sorted(w for w, n in counts.items() if n >= _FAMILIAR_SENTENCES and w in own and len(w) > 2)
    vocabulary = Vocabulary(vectors.words, familiar)
    table = np.concatenate([np.zeros((2, vectors.vectors.shape[1])), vectors.vectors * vectors.scale])
    head = Header(
        sentences=list(sentences),
        known=sorted({plain(text) for text in known}),
        familiar=familiar,
        temperature=1.0,
        bound=0.5,
        members=options.members,
        width=_WIDTH,
        layers=_LAYERS,
        calibration={},
        made_from=made_from,
    )
    none = len(sentences)
    one = shapes(table.shape[1], head.model_copy(update={"members": 1}))
    vectors_of = torch.from_numpy(table).float()

    def fit(said: Sequence[Said], first_step: int) -> ReadingMembers:
        data = _encoded(said, vocabulary, none)
        calls = [_Member(vectors_of, one, data, options, k) for k in range(options.members)]
        members = _members(calls, lambda step, loss: progress(first_step + step, loss))
        network = ReadingMembers(vectors_of, shapes(table.shape[1], head), _LAYERS, options.seed)
        for name, weight in network.weights.items():
            weight.data.copy_(torch.from_numpy(np.concatenate([weights[name] for weights in members])))
        return network.eval()

    logits, meant = _logits(fit(trained, 0), _encoded(unseen, vocabulary, none))
    head = head.model_copy(update=calibrated(logits, meant, none, _COST_OF_TAKEN))
    network = fit([*trained, *unseen], options.steps * options.members)
    weights = {name: value.detach().numpy() for name, value in network.weights.items()}
    write_words(folder, vocabulary, vectors.vectors, vectors.scale, weights, head)
    return head


_Encoded = tuple[list[list[int]], NDArray[np.int64]]
_Tensors = dict[str, NDArray[np.float32]]


def _encoded(said: Sequence[Said], vocabulary: Vocabulary, none: int) -> _Encoded:
    meant = [none if meaning is None else meaning for _, meaning in said]
    return [vocabulary(text) for text, _ in said], np.array(meant)


def _padded(rows: Sequence[list[int]]) -> Tensor:
    padded = np.full((len(rows), max(map(len, rows))), PADDING)
    for row, words in enumerate(rows):
        padded[row, : len(words)] = words
    return torch.from_numpy(padded)


def _alike(lengths: NDArray[np.int64], count: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Batches of sentences that are about as long, so that little is computed for padding."""
    while True:
        drawn = rng.integers(len(lengths), size=_POOL * count)
        parts = np.split(drawn[np.argsort(lengths[drawn], kind="stable")], _POOL)
        for part in rng.permutation(_POOL):
            yield rng.permutation(parts[part])


@dataclass(frozen=True)
class _Member:
    """What one of them is trained with."""

    table: Tensor
    shapes: dict[str, tuple[int, ...]]
    data: _Encoded
    options: FitOptions
    number: int


def _members(calls: Sequence[_Member], progress: Callable[[int, float], None]) -> list[_Tensors]:
    if calls[0].options.processes <= 1:
        # So small a network is slower on several threads.
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return [_train(call, progress) for call in calls]
        finally:
            torch.set_num_threads(threads)
    # torch's threads would not survive a fork.
    with fresh_processes(calls[0].options.processes) as pool:
        found = []
        for number, weights in enumerate(pool.map(_train_alone, calls)):
            found.append(weights)
            progress((number + 1) * calls[0].options.steps, math.nan)
        return found


def _train_alone(call: _Member) -> _Tensors:
    torch.set_num_threads(1)
    return _train(call, lambda _step, _loss: None)


def _train(call: _Member, progress: Callable[[int, float], None]) -> _Tensors:
    """The weights of a member, [1, ...] each."""
    options, (rows, every) = call.options, call.data
    seed = 1000 * options.seed + call.number
    network = ReadingMembers(call.table, call.shapes, _LAYERS, seed)
    generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(network.parameters(), _LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    batches = _alike(np.array([len(row) for row in rows]), options.batch, rng)
    for step in range(options.steps):
        cosine = 0.5 * (1 + math.cos(math.pi * step / options.steps))
        for group in optimizer.param_groups:
            group["lr"] = _LEARNING_RATE * min(1, (step + 1) / _WARMUP_STEPS) * (0.02 + 0.98 * cosine)
        drawn = next(batches)
        words = _padded([rows[k] for k in drawn])[None]
        dropped = torch.rand(words.shape, generator=generator) < _DROPPED
        words = words.masked_fill(dropped & (words != PADDING), UNKNOWN)
        noise = _NOISE * torch.randn((*words.shape, call.table.shape[1]), generator=generator)
        loss = torch.nn.functional.cross_entropy(
            network(words, noise)[0], torch.from_numpy(every[drawn]), label_smoothing=_SMOOTHING
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        progress(call.number * options.steps + step + 1, loss.item())
    return {name: value.detach().numpy() for name, value in network.weights.items()}


@torch.no_grad()
def _logits(network: ReadingMembers, data: _Encoded) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """All members' logits [m, n, meanings + 1] of some sentences, and what they mean."""
    rows, meant = data
    parts = np.array_split(np.arange(len(rows)), max(1, len(rows) // 500))
    members = len(network.weights["out"])
    found = [network(_padded([rows[k] for k in part]).expand(members, -1, -1)).numpy() for part in parts]
    return np.concatenate(found, axis=1), meant


def calibrated(
    logits: NDArray[np.float32], meant: NDArray[np.int64], none: int, cost_of_taken: float
) -> dict[str, object]:
    """Temperature, bound, and what the bound does to sentences that were not trained on."""

    def surprise(temperature: float) -> float:
        return float(-np.log(shares(logits, temperature)[np.arange(len(meant)), meant] + 1e-9).mean())

    temperature = float(min(_TEMPERATURES, key=surprise))
    likely = shares(logits, temperature)[:, :-1]
    confidence, best = likely.max(1), likely.argmax(1)
    task = meant != none
    right = task & (best == meant)
    bounds = np.unique(confidence)
    cost = [
        cost_of_taken * np.mean(confidence[~task] >= b) - np.mean((confidence >= b) & right) / np.mean(task)
        for b in bounds
    ]
    bound = float(bounds[int(np.argmin(cost))])
    heard = confidence >= bound
    return {
        "temperature": temperature,
        "bound": bound,
        "calibration": {
            "sentences": float(len(meant)),
            "tasks understood": float(np.mean((heard & right)[task])),
            "tasks taken for another": float(np.mean(heard[task] & (best != meant)[task])),
            "others taken for a task": float(np.mean(heard[~task])),
        },
    }
