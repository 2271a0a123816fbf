# SPDX-License-Identifier: Apache-2.0
"""Reads YAML that people write: every refusal is one sentence with file, line and fix, and no file takes long."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from swiftvla_ros.errors import UserError

# A contract of 64 joints and 8 cameras has 15 kB; PyYAML reads some 50 kB in a second.
_MOST_BYTES = 1 << 16
_MOST_VALUES = 20_000
_DEEPEST = 32
_MERGE = "tag:yaml.org,2002:merge"
# What PyYAML raises beside its own errors for `2026-13-45`, `!!int x`, `!!bool x` and the like.
_VALUE_ERRORS = (ValueError, KeyError, AttributeError, TypeError, IndexError, OverflowError)


class _Loader(yaml.SafeLoader):
    """Safe, and never slow: PyYAML's time grows with the square of the depth of brackets."""

    def fetch_flow_collection_start(self, token: type[yaml.Token]) -> None:
        """Begin a list or mapping in brackets."""
        if self.flow_level > _DEEPEST:
            line = self.get_mark().line + 1
            raise _UnusableError(f"line {line}: is nested more than {_DEEPEST} deep; write plain lists and keys")
        super().fetch_flow_collection_start(token)


class YamlError(UserError, ValueError):
    """A file that can't be read as YAML; the message names file, line and fix."""


def read_yaml_text(path: Path) -> str:
    """Return the UTF-8 text of a small file; raises :class:`YamlError`."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise YamlError(f"{path}: can't be read ({reason}); check the path and its permissions") from error
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise YamlError(f"{path}: is UTF-16 text; save it as UTF-8")
    if b"\0" in data:
        raise YamlError(f"{path}: is no text (it holds zero bytes); name a YAML file, saved as UTF-8")
    if len(data) > _MOST_BYTES:
        raise YamlError(f"{path}: is larger than {_MOST_BYTES >> 10} kB, as no such file is; name another one")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise YamlError(
            f"{path}: line {_line(data[: error.start].decode('latin-1'))}: the byte 0x{data[error.start]:02x} is not "
            "UTF-8 (Latin-1 perhaps); save the file as UTF-8"
        ) from error


def parse_yaml(text: str, path: Path | str, *, recorded: bool = False) -> Any:
    """Return the values in a text; raises :class:`YamlError`, which names ``path``.

    A key that stands twice is refused, but for ``recorded`` texts: what ran with the last one is read as it ran.
    """
    try:
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
            if root is None:
                return None
            _measure(root, {}, set(), 0)
            _check(loader, root, repeated=recorded)
            return loader.construct_document(root)
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as error:
        code = error.character if isinstance(error.character, int) else ord(error.character)
        what = f"line {_line(text[: error.position])}: holds the character U+{code:04X}; remove it"
        raise YamlError(f"{path}: {what}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        if error.problem and "'\\t'" in error.problem:
            raise YamlError(f"{path}: {where}a tab; indent with spaces") from error
        what = ": ".join(part for part in (error.context, error.problem) if part)
        raise YamlError(f"{path}: {where}not YAML ({what}); correct this line or the one before") from error
    except RecursionError as error:
        raise YamlError(f"{path}: is nested too deeply; write plain lists and keys") from error
    except _UnusableError as error:
        raise YamlError(f"{path}: {error}") from error


class _UnusableError(Exception):
    """What is wrong with a text that is YAML."""


def _measure(node: yaml.Node, sizes: dict[int, int], above: set[int], depth: int) -> int:
    """Count the values of a node as they would be written without aliases, which may multiply them."""
    if id(node) in above:
        raise _UnusableError(f"line {_line_of(node)}: an alias that holds itself; write the values out")
    if depth > _DEEPEST:
        raise _UnusableError(f"line {_line_of(node)}: is nested more than {_DEEPEST} deep; write plain lists and keys")
    if id(node) not in sizes:
        above.add(id(node))
        sizes[id(node)] = 1 + sum(_measure(child, sizes, above, depth + 1) for _, child in _children(node))
        above.remove(id(node))
    if sizes[id(node)] > _MOST_VALUES:
        raise _UnusableError(
            f"line {_line_of(node)}: holds more than {_MOST_VALUES} values, aliases counted; write fewer"
        )
    return sizes[id(node)]


def _children(node: yaml.Node) -> Iterator[tuple[str, yaml.Node]]:
    """Yield what a node holds, with the key or number of each; of a mapping the keys, too, which may hold anything."""
    if isinstance(node, yaml.SequenceNode):
        yield from ((str(k), child) for k, child in enumerate(node.value))
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield "", key
            yield str(key.value) if isinstance(key, yaml.ScalarNode) else "", value


def _check(loader: yaml.SafeLoader, root: yaml.Node, *, repeated: bool) -> None:
    """Refuse values that can't be read, and, but for ``repeated``, keys that stand twice."""
    waiting, seen = [("", root)], set()
    while waiting:
        place, node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.ScalarNode) and node.tag != _MERGE:
            _value(loader, node)
        elif isinstance(node, yaml.MappingNode) and not repeated:
            _refuse_repetitions(loader, node, place)
        waiting += [(f"{place}{step}." if step else place, child) for step, child in _children(node)]


def _value(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Any:
    try:
        return loader.construct_object(node)
    except _VALUE_ERRORS as error:
        if isinstance(error, yaml.YAMLError):
            raise
        given = node.value if len(node.value) <= 40 else f"{node.value[:37]}…"
        raise _UnusableError(
            f"line {_line_of(node)}: {given!a} can't be read; write a number, or a text in quotes"
        ) from error


def _refuse_repetitions(loader: yaml.SafeLoader, node: yaml.MappingNode, place: str) -> None:
    lines: dict[object, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _UnusableError(f"line {_line_of(key)}: a list or mapping as a key; write a plain word")
        # `yes` and `true`, 1 and 0x1 are the same key; `<<` is none.
        name = key.value if key.tag == _MERGE else _value(loader, key)
        if name in lines:
            first = f", first in line {lines[name]}" if lines[name] != _line_of(key) else ""
            raise _UnusableError(
                f"line {_line_of(key)}: {place}{key.value} is given twice{first}; remove one of the two"
            )
        lines[name] = _line_of(key)


def _line(before: str) -> int:
    return before.count("\n") + 1


def _line_of(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
