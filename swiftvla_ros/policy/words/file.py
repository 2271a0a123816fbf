# SPDX-License-Identifier: Apache-2.0
"""``words.safetensors``: what reads a checkpoint's instructions, a few megabytes, and optional.

It is no part of the checkpoint's hash: it decides which sentence the policy gets, and that one stands in every chunk.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from swiftvla_ros.contract.hashing import files_sha256
from swiftvla_ros.errors import UserError, in_a_sentence
from swiftvla_ros.files import some_of, tensor_problems, unreadable, whole_file
from swiftvla_ros.policy.words.network import HEADS, ReadingNetwork
from swiftvla_ros.policy.words.reader import WordReader
from swiftvla_ros.policy.words.vocabulary import MOST_WORDS, Vocabulary

WORDS = "words.safetensors"
_AGAIN = "copy it again, or make it again with `swiftvla fit-words`"
_VECTORS, _SCALE, _TEXT = "vectors", "scale", "text"
_Share = Annotated[float, Field(ge=0, le=1)]
_Size = Annotated[int, Field(gt=0, le=1 << 16)]


class WordsError(UserError, ValueError):
    """A file that can't be used; the message names it, what is wrong and the fix."""


class Header(BaseModel):
    """What stands in the file's header, as JSON under the key "words"."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    format: Literal["swiftvla_ros/words/1"] = "swiftvla_ros/words/1"
    sentences: Annotated[list[str], Field(min_length=1)]
    known: list[str]
    familiar: list[str]
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    bound: _Share
    members: _Size
    width: _Size
    layers: _Size
    calibration: dict[str, float]  # what it was calibrated on, and what the bound does there
    made_from: str  # for people


def write_words(
    folder: Path, vocabulary: Vocabulary, vectors: NDArray[np.int8], scale: float, weights: dict[str, Any], head: Header
) -> Path:
    """Write the file into a checkpoint's folder.

    ``vectors`` [v, d] are of the vocabulary's words; one is ``scale`` times its integers.
    """
    text = np.frombuffer("\n".join(vocabulary.words).encode(), np.uint8)
    tensors: dict[str, NDArray[Any]] = {name: np.asarray(value, np.float16) for name, value in weights.items()}
    tensors |= {_VECTORS: vectors, _SCALE: np.array([scale], np.float32), _TEXT: text}
    path = folder / WORDS
    with whole_file(path) as partial:
        save_file(tensors, partial, {"words": head.model_dump_json()})
    return path


def read_words(folder: Path) -> WordReader | None:
    """The reader that lies in a checkpoint's folder; None where there is none.

    Raises
    ------
    WordsError
        It is damaged, or of another version.
    """
    path = folder / WORDS
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            head = Header.model_validate(json.loads((file.metadata() or {}).get("words", "{}")))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        words = tensors.pop(_TEXT).tobytes().decode().split("\n")
        integers, scale = tensors.pop(_VECTORS), tensors.pop(_SCALE)
    except ValidationError as error:
        raise WordsError(f"{path}: {in_a_sentence(error)}; {_AGAIN}") from None
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise WordsError(unreadable(path, error, _AGAIN)) from error
    expected = shapes(integers.shape[-1], head)
    found = {name: value.shape for name, value in tensors.items()}
    if (wrong := tensor_problems(expected, found)) or len(integers) != len(words):
        raise WordsError(f"{path}: {some_of(wrong or ['words and vectors are not as many'])}; {_AGAIN}")
    table = np.zeros((2 + len(integers), integers.shape[-1]), np.float32)
    np.multiply(integers, scale, out=table[2:])
    weights = {name: value.astype(np.float32) for name, value in tensors.items()}
    network = ReadingNetwork(table, weights, head.layers)
    vocabulary = Vocabulary(words, head.familiar)
    return WordReader(vocabulary, network, tuple(head.sentences), frozenset(head.known), head.temperature, head.bound)


def words_sha256(folder: Path) -> str | None:
    """What names the reader in a checkpoint's folder; None where there is none."""
    return files_sha256(folder, (WORDS,)) if (folder / WORDS).is_file() else None


def shapes(vector: int, head: Header) -> dict[str, tuple[int, ...]]:
    """The shapes of the network's weights, for vectors of so many numbers."""
    m, w = head.members, head.width
    found: dict[str, tuple[int, ...]] = {
        "unknown": (m, 1, vector),
        "input": (m, vector, w),
        "input_bias": (m, 1, w),
        "position": (m, MOST_WORDS, w),
        "norm": (m, 1, w),
        "norm_bias": (m, 1, w),
        "pool": (m, w, HEADS),
        "pool_bias": (m, 1, HEADS),
        "out": (m, HEADS * w, len(head.sentences) + 1),
        "out_bias": (m, 1, len(head.sentences) + 1),
    }
    for k in range(head.layers):
        for name, size in (("norm1", 0), ("norm2", 0), ("qkv", 3 * w), ("mix", w), ("up", 2 * w), ("down", w)):
            inner = 2 * w if name == "down" else w
            found[f"layer{k}_{name}"] = (m, inner, size) if size else (m, 1, w)
            found[f"layer{k}_{name}_bias"] = (m, 1, size or w)
    return found
