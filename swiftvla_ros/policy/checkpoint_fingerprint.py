# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint consists of, small enough to lie in a bag: so that replay can name what has changed since."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from swiftvla_ros.contract.hashing import file_blocks, sha256
from swiftvla_ros.files import tensor_places, unreadable, whole_file
from swiftvla_ros.policy.checkpoint import (
    CONFIG,
    CONTRACT,
    STATS,
    TOKENIZER,
    WEIGHTS,
    Checkpoint,
    CheckpointError,
    open_checkpoint,
    read_json,
)

# Enough that two tensors are never taken for the same by chance, and a bag's file stays small.
_DIGITS = 16
_FORMAT = "swiftvla_ros/fingerprint/1"
# In a folder that has graphs but not the weights that they were made from.
FINGERPRINT = "fingerprint.json"


@dataclass(frozen=True)
class Fingerprint:
    """A checkpoint's files that decide what the policy does."""

    sha256: str  # the hash that names the checkpoint, as chunks carry it
    files: dict[str, str]  # file name → SHA-256
    tensors: dict[str, str]  # name of a tensor of the weights → first digits of the SHA-256 of its bytes
    # `stats.json` and `config.json` themselves.
    statistics: dict[str, Any]
    config: dict[str, Any]
    contract: str  # the text of `contract.yaml`, which it was trained on

    def differences(self, other: Fingerprint) -> list[str]:
        """What ``other`` has otherwise, each with its file, key or tensor and both values; empty where nothing."""
        if self.sha256 == other.sha256:
            return []
        lines = changed_keys(STATS, self.statistics, other.statistics)
        lines += changed_keys(CONFIG, self.config, other.config)
        for name in (TOKENIZER, CONTRACT):
            if self.files[name] != other.files[name]:
                lines.append(f"{name}: SHA-256 {self.files[name][:12]} … → {other.files[name][:12]} …")
        if self.files[WEIGHTS] != other.files[WEIGHTS]:
            lines += _changed_tensors(self.tensors, other.tensors) or [f"{WEIGHTS}: metadata changed, no tensor"]
        # White space in a JSON file changes the hash and nothing else.
        return lines or [f"{name}: another layout, the same content" for name in self.files if self._other(name, other)]

    def _other(self, name: str, other: Fingerprint) -> bool:
        return self.files[name] != other.files.get(name)


def fingerprint(checkpoint: Checkpoint | Path | str) -> Fingerprint:
    """Read a checkpoint folder once from end to end.

    Raises CheckpointError where it is no checkpoint, or its weights are corrupt.
    """
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = open_checkpoint(checkpoint)
    folder = checkpoint.folder
    if not checkpoint.weights.is_file():
        return read_fingerprint(folder / FINGERPRINT)
    return Fingerprint(
        sha256=checkpoint.sha256,
        files={name: sha256(file_blocks(folder / name)) for name in (CONFIG, WEIGHTS, STATS, TOKENIZER, CONTRACT)},
        tensors=_tensors(folder / WEIGHTS),
        statistics=read_json(folder / STATS),
        config=read_json(folder / CONFIG),
        contract=_text(folder / CONTRACT),
    )


def write_fingerprint(checkpoint: Checkpoint | Path | str, file: Path) -> None:
    """Write a checkpoint's fingerprint as JSON, whole or not at all; raises CheckpointError and OSError."""
    data = {"format": _FORMAT, **asdict(fingerprint(checkpoint))}
    with whole_file(file) as partial:
        partial.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_fingerprint(file: Path) -> Fingerprint:
    """Read what :func:`write_fingerprint` wrote; raises CheckpointError where it is something else."""
    data = read_json(file)
    if data.pop("format", None) != _FORMAT:
        raise CheckpointError(f"{file}: no fingerprint of a checkpoint (format is not '{_FORMAT}')")
    try:
        found = Fingerprint(**data)
    except TypeError as error:
        raise CheckpointError(f"{file}: {error}; take the file out of the bag to replay without it") from error
    kinds = {"sha256": str, "contract": str, "files": dict, "tensors": dict, "statistics": dict, "config": dict}
    wrong = [key for key, kind in kinds.items() if not isinstance(getattr(found, key), kind)]
    wrong += [f"files.{name}" for name in (CONFIG, WEIGHTS, STATS, TOKENIZER, CONTRACT) if name not in found.files]
    if wrong:
        raise CheckpointError(f"{file}: {', '.join(wrong)}: missing or of the wrong type")
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise CheckpointError(unreadable(path, error, "copy it again, or train it again")) from error


def _tensors(path: Path) -> dict[str, str]:
    """Hash every tensor's bytes as they lie in the file; no library that would convert them is asked."""
    try:
        digests = {}
        for name, place in tensor_places(path).items():
            kind = f"{place.dtype}{list(place.shape)}".encode()
            digests[name] = sha256(itertools.chain([kind], file_blocks(path, place.begin, place.end)))[:_DIGITS]
    except (OSError, ValueError) as error:
        raise CheckpointError(unreadable(path, error, "copy it again, or train it again")) from error
    return dict(sorted(digests.items()))


def changed_keys(file: str, before: Any, after: Any) -> list[str]:
    """One line for each value of two trees of mappings and lists that differs, named by file and keys."""
    old, new = dict(_leaves("", before)), dict(_leaves("", after))
    return [
        f"{file}: {key.lstrip('.')}: {old.get(key, 'absent')} → {new.get(key, 'absent')}"
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    ]


def _leaves(key: str, tree: Any) -> Iterator[tuple[str, str]]:
    """Every value that is no mapping or list, shortened, with its keys; a whole tree, where it is empty."""
    if isinstance(tree, dict) and tree:
        for name, branch in tree.items():
            yield from _leaves(f"{key}.{name}", branch)
    elif isinstance(tree, list | tuple) and tree:
        for i, branch in enumerate(tree):
            # An entry with a name, such as a contract's joint, is found by it: its place may change.
            name = branch.get("name", i) if isinstance(branch, dict) else i
            yield from _leaves(f"{key}[{name}]", branch)
    else:
        yield key, repr(tree)


def _changed_tensors(before: dict[str, str], after: dict[str, str]) -> list[str]:
    lines = [f"{WEIGHTS}: tensor {name} is gone" for name in before if name not in after]
    lines += [f"{WEIGHTS}: tensor {name} is new" for name in after if name not in before]
    changed = (name for name in before if after.get(name, before[name]) != before[name])
    return lines + [f"{WEIGHTS}: tensor {name} differs" for name in changed]
