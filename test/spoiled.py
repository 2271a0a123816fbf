# SPDX-License-Identifier: Apache-2.0
"""Ways to spoil the files of a checkpoint."""

import json
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file, save_file


def edit_json(name: str, edit: Callable[[dict], object]) -> Callable[[Path], None]:
    """Return what changes the content of a JSON file in a folder."""

    def spoil(folder: Path) -> None:
        data = json.loads((folder / name).read_text())
        edit(data)
        (folder / name).write_text(json.dumps(data))

    return spoil


def edit_weights(edit: Callable[[dict], object]) -> Callable[[Path], None]:
    """Return what changes the weights in a folder."""

    def spoil(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        edit(weights)
        save_file(weights, folder / "model.safetensors")

    return spoil


def pointer(name: str) -> Callable[[Path], object]:
    """Return what leaves of a file in a folder what ``git clone`` without LFS gives."""
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 1000\n"
    return lambda folder: (folder / name).write_text(text)
