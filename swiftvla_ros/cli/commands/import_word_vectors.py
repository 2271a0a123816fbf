# SPDX-License-Identifier: Apache-2.0
"""``swiftvla import-word-vectors``: what a small language model knows of words, small enough to lie in a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    model: Annotated[
        Path, typer.Argument(help="Folder of a llama such as SmolLM2: config.json, model.safetensors, tokenizer.json.")
    ],
    words: Annotated[Path, typer.Argument(help="A text file, one word in lower case on each line.")],
    out: Annotated[Path, typer.Argument(help="Folder to write vectors.safetensors into.")],
    dimensions: Annotated[int, typer.Option(min=1, help="Numbers of a word, one byte each.")] = 256,
) -> None:
    """Turn a small language model into vectors of words, on their principal directions: what `fit-words` starts from.

    Then: swiftvla fit-words CHECKPOINT --vectors OUT
    """
    from swiftvla_ros.training.importers.word_vectors import encode_words
    from swiftvla_ros.training.words.vectors import reduced, write_vectors

    known = tuple(
        dict.fromkeys(line.strip() for line in words.read_text(encoding="utf-8").splitlines() if line.strip())
    )
    write_vectors(out, reduced(known, encode_words(model, known), dimensions))
    print(f"{out}: {len(known)} words")
