# SPDX-License-Identifier: Apache-2.0
"""Which files a bag consists of: what lies in its folder, and what ``metadata.yaml`` says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from swiftvla_ros.episodes.bags.message_types import BagError, PassedOver
from swiftvla_ros.episodes.bags.metadata import parse_metadata

_STORAGES = (".mcap", ".db3")
# What rosbag2 (compression mode FILE) and the zstd program add to a file's name.
_PACKED = (".zstd", ".zst")
_MOST_NAMED = 5


@dataclass
class BagFiles:
    """A bag's ``files`` in order, what ``metadata.yaml`` holds, and ``notes`` of what is wrong, for people.

    ``incomplete``: some of what was recorded is known to be left out.
    """

    files: list[Path]
    information: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    incomplete: bool = False


def storage_files(folder: Path) -> list[Path]:
    """Return the files in a folder that hold messages, packed ones too: MCAP, or else SQLite; none: it is no bag."""
    found: dict[str, dict[str, Path]] = {storage: {} for storage in _STORAGES}
    # In this order, so that a file and its packed copy are one part, and the unpacked one is read.
    for path in sorted(folder.iterdir(), key=lambda path: (path.suffix not in _PACKED, path.name)):
        name = _unpacked(path.name)
        if (storage := PurePath(name).suffix) in found and path.is_file():
            found[storage][name] = path
    parts = next((parts for parts in found.values() if parts), {})
    return [parts[name] for name in sorted(parts)]


def find_files(path: Path, *, salvage: bool) -> BagFiles:
    """Find the files of the bag at ``path``, a folder or one file.

    With ``salvage`` a part that is missing is noted, and parts that ``metadata.yaml`` does not list are read.

    Raises
    ------
    BagError
        There is no bag, or (without ``salvage``) a part of it is missing.
    """
    if path.is_file():
        return BagFiles([path])
    if not path.is_dir():
        raise BagError(f"{path}: no such folder; write the bag's folder, or its .mcap file")
    try:
        found = storage_files(path)
    except OSError as error:
        raise BagError(f"{path}: can't be read: {error.strerror}") from error
    yaml_file = path / "metadata.yaml"
    if not yaml_file.is_file():
        if not found:
            raise BagError(f"{path}: not a bag: neither metadata.yaml nor an .mcap or .db3 file is in it")
        note = "metadata.yaml is missing: its recorder was ended, or it was not copied"
        return BagFiles(found, notes=[note])
    try:
        information = parse_metadata(yaml_file.read_text(encoding="utf-8"))
        names = information["relative_file_paths"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("relative_file_paths is no list of names")
    except (OSError, KeyError, ValueError) as error:
        if not found:
            raise BagError(f"{path}: metadata.yaml can't be read: {error}") from error
        return BagFiles(found, notes=[f"metadata.yaml can't be read: {error}"])
    mode, packing = str(information.get("compression_mode") or "").lower(), information.get("compression_format")
    if mode in ("file", "message") and packing not in ("zstd", "", None):
        raise BagError(f"{path}: compressed with '{packing}', which is unknown; convert it with `ros2 bag convert`")
    return _listed(path, information, names, found, salvage)


def _listed(path: Path, information: dict[str, Any], names: list[str], found: list[Path], salvage: bool) -> BagFiles:
    """Compare the files that metadata.yaml lists with those that are there."""
    by_name = {_unpacked(file.name): file for file in found}
    bag = BagFiles([], information)
    listed, missing = set(), []
    for name in names:
        # Names only: a bag reads no file outside of its folder. A file that was packed or unpacked since is the same.
        own = PurePath(name).name
        file = next((f for f in (path / own, by_name.get(_unpacked(own))) if f is not None and f.is_file()), None)
        listed.add(_unpacked(own))
        if file is None:
            missing.append(own)
        else:
            bag.files.append(file)
    if missing:
        if not salvage:
            raise BagError(
                f"{path}: {_some(missing)} is missing, which metadata.yaml lists; copy it here, or the rest into a new "
                f"bag: swiftvla record NEW --repair {path}"
            )
        bag.notes.append(f"{_some(missing)} is missing")
    others = [file for name, file in by_name.items() if name not in listed]
    if others:
        what = f"metadata.yaml lists {len(names)} of the {len(names) + len(others)} files"
        fate = "is not listed and was read" if salvage else "is not read"
        bag.notes.append(f"{what}: {_some([file.name for file in others])} {fate}; `ros2 bag reindex` lists them all")
        if salvage:
            bag.files += others
    bag.incomplete = bool(missing or (others and not salvage))
    return bag


def wrong_counts(information: dict[str, Any], counts: dict[str, int]) -> list[str]:
    """Compare the numbers of messages that metadata.yaml tells with those that were found; say what differs."""
    expected, found = information.get("message_count"), sum(counts.values())
    if isinstance(expected, int) and expected != found:
        return [f"metadata.yaml counts {expected} messages, there are {found}"]
    told: dict[str, int] = {}
    entries = information.get("topics_with_message_count")
    for entry in entries if isinstance(entries, list) else []:
        topic = entry.get("topic_metadata") if isinstance(entry, dict) else None
        name = topic.get("name") if isinstance(topic, dict) else None
        count = entry.get("message_count") if isinstance(entry, dict) else None
        if isinstance(name, str) and isinstance(count, int):
            told[name] = told.get(name, 0) + count
    found_of = {name: counts.get(name, 0) for name in told}
    differing = [f"{name}: {n}, there are {found_of[name]}" for name, n in told.items() if n != found_of[name]]
    return [f"metadata.yaml counts by topic {_some(differing)}"] if differing else []


def foreign_topics(topics: Sequence[PassedOver]) -> str:
    """Name topics that are not ROS 2's, with their encodings, for people."""
    return f"not of ROS 2: {_some([f'{t.topic} ({t.encoding}, {t.messages} messages)' for t in topics])}"


def _unpacked(name: str) -> str:
    """Return a file's name without what packing added."""
    return next((name.removesuffix(suffix) for suffix in _PACKED if name.endswith(suffix)), name)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
