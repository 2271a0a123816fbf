# SPDX-License-Identifier: Apache-2.0
"""Rendered scenes in files of some hundreds each, as a work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from swiftvla_ros.cluster.work import Work
from swiftvla_ros.contract import Contract

Render = Callable[[Path, int, int, int, Path], None]
"""Renders one file, given its path, the number of its first scene, how many, the seed, and the contract's path."""


@dataclass(frozen=True)
class _File:
    path: Path
    first: int
    count: int


def rendered(
    render: Render, out_dir: Path, kind: str, count: int, size: int, *, seed: int, contract: Contract
) -> Work[_File, None]:
    """Describe ``count`` scenes in files ``<kind>_<number>.safetensors`` of ``size`` each; those there are kept.

    The same seed gives the same scenes, whoever renders them.
    """
    files = [
        _File(out_dir / f"{kind}_{index:05d}.safetensors", index * size, min(size, count - index * size))
        for index in range(-(-count // size))
    ]
    return Work(
        f"rendering {kind}",
        files,
        partial(_render, render, seed, contract.path),
        files=lambda file: [file.path],
        size=lambda file: file.count,
        unit=kind,
    )


def _render(render: Render, seed: int, contract: Path, file: _File) -> None:
    render(file.path, file.first, file.count, seed, contract)
