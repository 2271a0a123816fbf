# SPDX-License-Identifier: Apache-2.0
"""Files that are whole or not there, and tensors of which each is accounted for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_SHOWN = 5


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write to the path that is given: what is written appears under its own name only when it is whole."""
    partial = path.with_name(f"{path.name}.partial{os.getpid()}")
    yield partial
    if path.suffix == ".safetensors":
        # safetensors makes files that only their owner can read: whoever may read the folder may read these.
        partial.chmod(path.parent.stat().st_mode & 0o666)
    partial.replace(path)


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
