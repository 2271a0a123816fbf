# SPDX-License-Identifier: Apache-2.0
"""Files that are whole or not there, and tensors of which each is accounted for."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

_PARTIAL = ".partial"
_SHOWN = 5
_DEPTH = 3
_LONGEST_REASON = 300
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


@contextmanager
def whole_file(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Write to the path that is given: what is written appears under its own name only when it is whole.

    The same tensors make the same bytes. ``durable``: it is on the disk before it appears, so that a machine that loses
    its power leaves no empty file under the name; that may take as long as everything else that waits for the disk.
    """
    # Not the process's number alone: two machines that share a disk may have the same.
    partial = path.with_name(f"{path.name}{_PARTIAL}{secrets.token_hex(4)}")
    yield partial
    if path.suffix == ".safetensors":
        # safetensors makes files that only their owner can read: whoever may read the folder may read these.
        partial.chmod(path.parent.stat().st_mode & 0o666)
        _sort_metadata(partial)
    if durable:
        with partial.open("rb") as file:
            os.fsync(file.fileno())
    partial.replace(path)


def partials(folder: Path) -> list[tuple[Path, Path]]:
    """Return what is being written in a folder, or was left there by processes that were killed.

    Beside each stands the path that it was to appear under.
    """
    found = folder.glob(f"*{_PARTIAL}*")
    return [(path, path.with_name(path.name.partition(_PARTIAL)[0])) for path in found]


def _sort_metadata(path: Path) -> None:
    """Put a safetensors file's metadata in order: the library writes them in another one in each process."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        if "__metadata__" not in header:
            return
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        assert len(text) <= length, "the same keys and values, written as the library does"
        file.seek(8)
        file.write(text.ljust(length))


def unreadable(path: Path, error: BaseException, fix: str) -> str:
    """Tell why a file can't be read, and what to do: ``fix``, where nothing better is known.

    Libraries say "header too large" of a Git LFS pointer; this says what it is.
    """
    # Unlike Path's, these say no of a name that is too long.
    if not os.path.exists(path):  # noqa: PTH110
        return f"{path}: no such file; {fix}"
    if os.path.isdir(path):  # noqa: PTH112
        return f"{path}: is a folder, not a file; {fix}"
    try:
        with path.open("rb") as file:
            start = file.read(len(_LFS_POINTER))
    except OSError as denied:
        return f"{path}: can't be read ({denied.strerror}); check its permissions"
    if start == _LFS_POINTER:
        return f"{path}: is a Git LFS pointer, not the file itself; run `git lfs pull` where it was cloned"
    if not start:
        return f"{path}: is empty; {fix}"
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"{path}: corrupt ({reason[:_LONGEST_REASON]}); {fix}"


def where_else(folder: Path, name: str) -> str:
    """Tell where a file that ``folder`` lacks may be: deeper down, or on the Hugging Face hub; empty if unknown."""
    if not folder.is_dir():
        if re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", str(folder)):
            return f"if that is an id of the Hugging Face hub, get it first: `hf download {folder} --local-dir FOLDER`"
        return ""
    levels = ("/".join(["*"] * deep) for deep in range(1, _DEPTH + 1))
    found = next((path for level in levels for path in sorted(folder.glob(f"{level}/{name}"))[:1]), None)
    return f"did you mean {found.parent}?" if found else ""


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON object; OSError or ValueError where there is none, or a key stands in it twice."""
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_each_key_once)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(data, dict):
        raise ValueError("it holds no JSON object")
    return data


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key '{next(name for name in names if names.count(name) > 1)}' stands in it twice")
    return found


class TensorPlace(NamedTuple):
    """Where a tensor's bytes lie in its file, and what they are."""

    dtype: str  # as the format says: F32, BF16, …
    shape: tuple[int, ...]
    begin: int
    end: int


def tensor_places(path: Path) -> dict[str, TensorPlace]:
    """Read from a safetensors file's header where its tensors lie; OSError, or ValueError where it has none."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            raise ValueError("its header is longer than the file")
        header = json.loads(file.read(length))
    try:
        return {
            name: TensorPlace(entry["dtype"], tuple(entry["shape"]), *(8 + length + n for n in entry["data_offsets"]))
            for name, entry in header.items()
            if name != "__metadata__"
        }
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"its header is of another format ({error!r})") from error


def tensor_problems(expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Name each tensor that is missing, unknown or of another shape, given the shapes of all."""
    problems = [f"missing {name}" for name in sorted(expected) if name not in found]
    problems += [f"unknown {name}" for name in sorted(found) if name not in expected]
    return problems + [
        f"{name} has shape {list(found[name])}, expected {list(shape)}"
        for name, shape in sorted(expected.items())
        if found.get(name, shape) != shape
    ]


def some_of(problems: list[str]) -> str:
    """Tell the first problems in one line, and how many more there are."""
    more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return "; ".join(problems[:_SHOWN]) + more
