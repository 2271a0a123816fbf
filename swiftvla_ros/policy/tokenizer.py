# SPDX-License-Identifier: Apache-2.0
"""The SmolLM2 tokenizer, whole or cut to its first tokens."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.files import unreadable
from swiftvla_ros.observation.observation import InstructionError, validate_instruction
from swiftvla_ros.policy.checkpoint import CheckpointError


class InstructionTokenizer:
    """Instruction → token ids, as SmolVLA prompts: the text and a newline; a damaged file is a CheckpointError."""

    def __init__(self, path: Path, max_tokens: int) -> None:
        from tokenizers import Tokenizer

        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises no class of its own
            raise CheckpointError(unreadable(path, error, "copy it again")) from error
        self._max_tokens = max_tokens

    @classmethod
    def from_text(cls, text: str, max_tokens: int) -> InstructionTokenizer:
        """The same from a file's text."""
        with NamedTemporaryFile("w", encoding="utf-8", suffix=".json") as file:
            file.write(text)
            file.flush()
            return cls(Path(file.name), max_tokens)

    @property
    def vocab_size(self) -> int:
        """Number of ids, special tokens included, up to the last that is used."""
        return int(max(self._tokenizer.get_vocab().values(), default=-1)) + 1

    def __call__(self, instruction: str) -> NDArray[np.int64]:
        """Token ids [n], of an empty text those of no words; InstructionError for one that is refused or too long."""
        ids = self._tokenizer.encode((instruction and validate_instruction(instruction)) + "\n").ids
        if len(ids) > self._max_tokens:
            raise InstructionError(
                f"the instruction has {len(ids)} tokens; this policy reads at most {self._max_tokens}"
            )
        return np.array(ids, dtype=np.int64)


def trim_tokenizer(full: str, size: int) -> str:
    """Cut the text of a byte-level BPE ``tokenizer.json`` to its first ``size`` ids; any text still encodes.

    SmolLM2 numbers its tokens as special tokens, the 256 bytes, then merges in the order in which they were learned: so
    a prefix of the ids is itself a byte-level BPE vocabulary, and frequent words keep their ids.
    """
    data = json.loads(full)
    vocab = {token: i for token, i in data["model"]["vocab"].items() if i < size}
    merges = [pair if isinstance(pair, list) else pair.split(" ") for pair in data["model"]["merges"]]
    data["model"]["vocab"] = vocab
    data["model"]["merges"] = [[a, b] for a, b in merges if a in vocab and b in vocab and a + b in vocab]
    data["added_tokens"] = [token for token in data["added_tokens"] if token["id"] < size]
    return json.dumps(data, ensure_ascii=False)
