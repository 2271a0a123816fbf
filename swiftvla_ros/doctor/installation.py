# SPDX-License-Identifier: Apache-2.0
"""What is installed: Python, the packages that the project pins, its extras, and its generated messages."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from rosbags.typesys import get_types_from_msg

from swiftvla_ros.preflight.row import Row
from swiftvla_ros.resources import share_folder

PROJECT = "swiftvla_ros"
# Where the name of what is installed is not that of what is imported.
_MODULES = {"opencv-python-headless": "cv2", "pyyaml": "yaml", "pillow": "PIL", "rerun-sdk": "rerun"}
_FOR = {
    "torch": "the network",
    "train": "training and others' datasets",
    "sim": "the simulated robot",
    "view": "pictures, films and swiftvla view",
    "ros": "the nodes",
}
_PARTS = {"srv": ("Request", "Response"), "action": ("Goal", "Result", "Feedback")}


def check_installation() -> list[Row]:
    """Look at this installation."""
    try:
        metadata = importlib.metadata.metadata(PROJECT)
    except importlib.metadata.PackageNotFoundError:
        # Built by colcon, it has none, and rosdep has looked after the packages.
        python = Row("Python", "ok", _version_text(sys.version_info))
        return [python, Row("packages", "skipped", "this installation does not tell which versions it needs")]
    return [
        check_python(sys.version_info, metadata["Requires-Python"] or ""),
        *check_packages(importlib.metadata.requires(PROJECT) or [], installed_version, is_importable),
    ]


def check_python(version: Sequence[Any], wanted: str) -> Row:
    """Compare the running Python with ``requires-python``."""
    text = _version_text(version)
    if SpecifierSet(wanted).contains(text):
        return Row("Python", "ok", text)
    return Row("Python", "fail", f"{text}, and {wanted} is needed", "make a virtual environment with another Python")


def _version_text(version: Sequence[Any]) -> str:
    return ".".join(map(str, version[:3]))


def installed_version(distribution: str) -> str | None:
    """Return the version of what pip or the system has installed under this name."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def is_importable(distribution: str) -> bool:
    """Whether the package is there though no distribution has its name, as in a ROS installation."""
    module = _MODULES.get(distribution.lower(), distribution.removeprefix("ros-").replace("-", "_"))
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def check_packages(
    requirements: Iterable[str], version_of: Callable[[str], str | None], importable: Callable[[str], bool]
) -> list[Row]:
    """Compare what is installed with what ``pyproject.toml`` asks for: a row for the core, and for each extra."""
    groups: dict[str, list[Requirement]] = defaultdict(list)
    for text in requirements:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue  # written for a newer Python's tools than are here
        for extra in ("", *_FOR):
            if (requirement.marker is None) == (not extra) and (
                requirement.marker is None or requirement.marker.evaluate({"extra": extra})
            ):
                groups[extra].append(requirement)
    return [_check_group(extra, groups[extra], version_of, importable) for extra in ("", *_FOR)]


def install(extra: str) -> str:
    """What brings an extra."""
    return f"pip install 'swiftvla_ros[{extra}]'" + (", or source a ROS setup" if extra == "ros" else "")


def _check_group(
    extra: str,
    requirements: Sequence[Requirement],
    version_of: Callable[[str], str | None],
    importable: Callable[[str], bool],
) -> Row:
    own = [r for r in requirements if r.name.replace("-", "_") != PROJECT]
    versions = {r.name: version_of(r.name) for r in own}
    # A ROS installation has them all, in versions of its own.
    from_ros = extra == "ros" and versions.get("ros-rclpy") is None and importable("ros-rclpy")
    missing = [r for r in own if versions[r.name] is None and not from_ros and not importable(r.name)]
    wrong = [
        r
        for r in own
        if (version := versions[r.name]) is not None and not r.specifier.contains(version, prereleases=True)
    ]
    name = f"extra {extra}" if extra else "packages"
    if extra and len(missing) == len(own):
        return Row(name, "skipped", f"not installed; needed for {_FOR[extra]}", install(extra))
    if missing or wrong:
        found = [f"{r.name} is missing" for r in missing]
        found += [f"{r.name} is {versions[r.name]}, not {r.specifier}" for r in wrong]
        needed = " ".join(f"'{r.name}{r.specifier}'" for r in [*missing, *wrong])
        return Row(name, "fail", "; ".join(found), f"pip install {needed}")
    if from_ros:
        return Row(name, "ok", "of the ROS installation")
    return Row(name, "ok", f"{len(own)} as pinned" + (f": {_FOR[extra]}" if extra else ""))


def check_messages(folder: Path | None = None) -> Row:
    """Compare the generated messages, services and actions with the files that they were made of."""
    name, again = "messages", "build them again: make setup, or colcon build"
    folder = share_folder() if folder is None else folder
    files = sorted(path for kind in ("msg", "srv", "action") for path in (folder / kind).glob(f"*.{kind}"))
    if not files:
        return Row(name, "fail", f"{folder} has no interface files", "install the package again")
    old = []
    for path in files:
        kind = path.parent.name
        try:
            made = getattr(importlib.import_module(f"{PROJECT}.{kind}"), path.stem)
        except (ImportError, AttributeError) as error:
            return Row(name, "fail", f"{PROJECT}.{kind}.{path.stem} can't be imported: {error}", again)
        texts = path.read_text(encoding="utf-8").split("\n---")
        parts = [made] if kind == "msg" else [getattr(made, part) for part in _PARTS[kind]]
        if any(_differs(text, part) for text, part in zip(texts, parts, strict=True)):
            old.append(path.stem)
    if old:
        return Row(name, "fail", f"{', '.join(old)}: built from other files than those of {folder}", again)
    return Row(name, "ok", f"{len(files)} interfaces import, with the fields of their files")


def _differs(text: str, made: Any) -> bool:
    constants, fields = get_types_from_msg(text, f"{PROJECT}/msg/Part")[f"{PROJECT}/msg/Part"]
    # A part without fields is given one by ROS.
    have = [name for name in made.get_fields_and_field_types() if name != "structure_needs_at_least_one_member"]
    return [name for name, _ in fields] != have or any(
        getattr(made, name, None) != value for name, _type, value in constants
    )
