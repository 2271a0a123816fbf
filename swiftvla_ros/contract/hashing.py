# SPDX-License-Identifier: Apache-2.0
"""SHA-256 of files and of what lies in them; 64 hexadecimal digits everywhere."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

_BLOCK = 1 << 20


def sha256(blocks: Iterable[bytes]) -> str:
    """Hash of bytes, one after the other."""
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()


def file_blocks(path: Path, begin: int = 0, end: int | None = None) -> Iterator[bytes]:
    """The bytes of a file from ``begin`` to ``end``, in blocks that fit any memory."""
    left = path.stat().st_size - begin if end is None else end - begin
    with path.open("rb") as file:
        file.seek(begin)
        while left > 0 and (block := file.read(min(left, _BLOCK))):
            left -= len(block)
            yield block


def files_sha256(folder: Path, names: Sequence[str]) -> str:
    """Hash of some files of a folder, with their names."""
    return sha256(block for name in names for block in itertools.chain([name.encode()], file_blocks(folder / name)))
