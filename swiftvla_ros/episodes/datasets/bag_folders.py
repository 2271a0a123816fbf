# SPDX-License-Identifier: Apache-2.0
"""Where bags lie: a lone file, a bag's folder, or a folder with bags in it; nothing is passed over unsaid.

A folder is a bag where rosbag2's ``metadata.yaml`` is in it, or the parts of one recording without it, as a recorder
that was killed leaves them. Files of several recordings side by side are a bag each.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from swiftvla_ros.episodes.bags.message_types import BagError

# What rosbag2 stores messages in; with FILE compression the packer's suffix comes behind.
_STORAGE = re.compile(r"\.(mcap|db3)(\.(zstd|zst|lz4))?$")
_ROS1 = re.compile(r"\.bag(\.active)?$")
_PART = re.compile(r"_\d+$")
_MARK = "rosbag2_bagfile_information"
# Far more than anybody's recordings have: a home folder, or the whole disk, was named.
_MOST_FOLDERS = 20_000
_NAMED = 5


@dataclass
class FoundBags:
    """The bags below a folder, in the order of names.

    ``problems`` are what may hold data and can't be read, a line each; ``notes`` what was left out on purpose.
    """

    bags: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_bags(path: Path) -> FoundBags:
    """Find the bags that a path names: itself, or those in the folder; links are followed, each folder is read once.

    Raises
    ------
    BagError
        There are too many folders to look through.
    """
    found = FoundBags()
    try:
        if path.is_file():
            found.bags.append(path)
        elif path.is_dir():
            _walk(path, found)
    except PermissionError as error:
        found.problems.append(_unreadable(path, error))
    found.bags.sort()
    return found


def the_bag(path: Path) -> Path:
    """Return the one bag that a path names, for commands that read one.

    A path that names none is returned as it is: whoever opens it says so.

    Raises
    ------
    BagError
        There are several, or one that can't be read.
    """
    found = find_bags(path)
    if path in found.bags or not (found.bags or found.problems):
        return path
    if found.problems:
        raise BagError("\n".join(found.problems))
    if len(found.bags) > 1:
        names = ", ".join(str(bag.relative_to(path)) for bag in found.bags[:_NAMED])
        more = ", …" if len(found.bags) > _NAMED else ""
        raise BagError(f"{path}: holds {len(found.bags)} bags; name one of them: {names}{more}")
    return found.bags[0]


def bag_labels(path: Path, bags: list[Path]) -> list[str]:
    """Names that tell bags of a folder apart: their own, or with the folders above where two are called the same.

    Raises
    ------
    BagError
        Two are called the same all the same.
    """
    # A link is called by its own name; `.` and `..` are called as what they are.
    own = [_STORAGE.sub("", (bag if bag.name.strip(".") else bag.resolve()).name) for bag in bags]
    if len(set(own)) == len(own):
        return own
    names = ["_".join(bag.relative_to(path).parts) or name for bag, name in zip(bags, own, strict=True)]
    if len(set(names)) != len(names):
        raise BagError(f"{path}: two bags are called the same ({', '.join(names)}); rename one")
    return names


def _walk(top: Path, found: FoundBags) -> None:
    seen: dict[str, Path] = {}
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        real = os.path.realpath(folder)
        if real in seen:
            found.notes.append(f"{folder}: the same folder as {seen[real]}, read once")
            continue
        seen[real] = folder
        if len(seen) > _MOST_FOLDERS:
            raise BagError(f"{top}: has more than {_MOST_FOLDERS} folders in it; name the one that holds the bags")
        try:
            entries = sorted(folder.iterdir())
            below = [entry for entry in entries if entry.is_dir()]
            _take(folder, entries, found)
            if folder != top and _holds_other_episodes(folder):
                found.notes.append(f"{folder}: holds episodes that are no bags; name it by itself to read them")
        except OSError as error:
            found.problems.append(_unreadable(folder, error))
            continue
        # The last comes first off the list: so names stay in order, and of two ways to a folder the first one counts.
        waiting += reversed(below)


def _unreadable(path: Path, error: OSError) -> str:
    return f"{path}: can't be looked into ({error.strerror}); change its permissions, or move it out"


def _take(folder: Path, entries: list[Path], found: FoundBags) -> None:
    """Take the bags that lie in a folder itself."""
    for entry in entries:
        if entry.is_symlink() and not entry.exists() and (_STORAGE.search(entry.name) or not entry.suffix):
            found.problems.append(f"{entry}: is a link to nothing; restore what it leads to, or delete the link")
        elif _ROS1.search(entry.name) and entry.is_file():
            found.problems.append(
                f"{entry}: is a bag of ROS 1; make one of ROS 2 with `rosbags-convert`, or move it out"
            )
    names = {entry.name for entry in entries}
    # A packed copy beside the file itself holds nothing more.
    files = [
        e for e in entries if (m := _STORAGE.search(e.name)) and e.is_file() and (not m[2] or _plain(e) not in names)
    ]
    if _has_metadata(folder, files) or len({_recording(file) for file in files}) == 1:
        found.bags.append(folder)
    else:
        found.bags += files


def _holds_other_episodes(folder: Path) -> bool:
    return (folder / "meta" / "info.json").is_file() or any(folder.glob("episode_*.safetensors"))


def _has_metadata(folder: Path, files: list[Path]) -> bool:
    file = folder / "metadata.yaml"
    if not file.is_file() or files:
        return file.is_file()
    # Other programs call their files so, too.
    try:
        with file.open("rb") as opened:
            return _MARK.encode() in opened.read(1 << 16)
    except OSError:
        return True


def _recording(file: Path) -> tuple[str, str]:
    """What the parts of one recording have in common: ``run_0.mcap`` and ``run_1.mcap``."""
    match = _STORAGE.search(file.name)
    assert match is not None
    return _PART.sub("", file.name[: match.start()]), match[1]


def _plain(file: Path) -> str:
    return file.name.removesuffix(file.suffix)
