# SPDX-License-Identifier: Apache-2.0
"""``vectors.safetensors``: words and their vectors, which every reader of instructions starts from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from swiftvla_ros.errors import UserError
from swiftvla_ros.files import unreadable, where_else, whole_file

VECTORS = "vectors.safetensors"
# Of the first direction's: what is less is rounding, which must not be blown up.
_LEAST_SPREAD = 1e-3


class VectorsError(UserError, ValueError):
    """Vectors that can't be used; the message names the file and the fix."""


@dataclass(frozen=True)
class WordVectors:
    """Words and their vectors [v, d], standardised: as integers, and the scale that makes them numbers again."""

    words: tuple[str, ...]
    vectors: NDArray[np.int8]
    scale: float


def reduced(words: tuple[str, ...], vectors: NDArray[np.floating[Any]], dimensions: int) -> WordVectors:
    """Vectors [v, d] on their ``dimensions`` principal directions, each of mean 0 and spread 1.

    Directions in which they differ by next to nothing are left out.
    """
    centred = vectors.astype(np.float32) - vectors.mean(0, dtype=np.float32)
    _, directions = np.linalg.eigh(centred.T @ centred)
    found = centred @ directions[:, ::-1][:, :dimensions]
    spread = found.std(0)
    there = spread > _LEAST_SPREAD * spread.max()
    # In the order of memory that a file is written in.
    found = np.ascontiguousarray(found[:, there] / spread[there])
    scale = float(np.quantile(np.abs(found), 0.9999) / 127)
    return WordVectors(words, np.clip(np.rint(found / scale), -127, 127).astype(np.int8), scale)


def write_vectors(folder: Path, vectors: WordVectors) -> None:
    """Write the file into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    text = np.frombuffer("\n".join(vectors.words).encode(), np.uint8)
    with whole_file(folder / VECTORS) as partial:
        save_file({"text": text, "vectors": vectors.vectors, "scale": np.array([vectors.scale], np.float32)}, partial)


def read_vectors(folder: Path) -> WordVectors:
    """Read it; raises VectorsError where there is none."""
    path = folder / VECTORS
    if not path.is_file():
        hint = where_else(folder, VECTORS) or "make some with `swiftvla import-word-vectors`"
        raise VectorsError(f"{path}: missing; {hint}")
    try:
        tensors = load_file(path)
        words = tuple(tensors["text"].tobytes().decode().split("\n"))
        return WordVectors(words, tensors["vectors"], float(tensors["scale"][0]))
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise VectorsError(unreadable(path, error, "copy it again")) from error
