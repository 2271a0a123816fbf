# SPDX-License-Identifier: Apache-2.0
"""The names that ROS 2 accepts for topics and namespaces: the rules of rcl and rmw, without either installed."""

from __future__ import annotations

import re

from swiftvla_ros.errors import UserError

# Of rmw: 255 characters, less the prefix and what a namespace ends with.
_LONGEST_TOPIC = 247
_LONGEST_NAMESPACE = 245
_SUBSTITUTION = re.compile(r"\{(node|ns|namespace)\}")


class RosNameError(UserError, ValueError):
    """A name that ROS refuses; the message says why, and suggests another."""


def topic_fault(name: str) -> str | None:
    """Say why ROS refuses a topic or action of that name; None where it accepts it."""
    if not name:
        return "it is empty"
    if name.startswith("~") and not name.startswith("~/") and name != "~":
        return "'/' must follow '~'"
    plain = _SUBSTITUTION.sub("_", name.removeprefix("~"))
    return _fault(plain, _LONGEST_TOPIC, len(name)) if plain else None


def plain_namespace(namespace: str) -> str:
    """Return a namespace without slashes around it, empty for none; raises :class:`RosNameError`."""
    inside = namespace.strip("/")
    fault = _fault(f"/{inside}", _LONGEST_NAMESPACE, len(inside) + 1) if inside else None
    if fault:
        raise RosNameError(
            f"namespace {shown(namespace)} is none that ROS accepts: {fault}; write a name such as "
            f"'{accepted_name(inside).strip('/')}'"
        )
    return inside


def shown(name: str) -> str:
    """Return a name in quotes as a terminal can show it."""
    short = name if len(name) <= 80 else f"{name[:77]}…"
    return f"'{short}'" if short.isprintable() else ascii(short)


def accepted_name(name: str) -> str:
    """Return the name that is nearest to ``name`` and that ROS accepts: a suggestion."""
    words = [re.sub(r"[^A-Za-z0-9_]+", "_", word).strip("_") for word in name.split("/")]
    kept = ""
    for word in filter(None, words):
        # `/camera/0/image` is usually published as `/camera0/image`.
        joined = word[0].isdigit()
        kept += word if joined and kept else f"/_{word}" if joined else f"/{word}"
    kept = kept[:60].rstrip("_/") or "/name"
    return kept if name.startswith(("/", "~", "{")) else kept[1:]


def is_node_private(name: str) -> bool:
    """Whether each node has a topic of its own by that name: `~/x` and `{node}` stand for the node's."""
    return name.startswith("~") or bool(_SUBSTITUTION.search(name))


def _fault(name: str, longest: int, length: int) -> str | None:
    for character in name:
        if not (character.isascii() and (character.isalnum() or character in "_/")):
            return f"it holds {shown(character)}, but letters a–z, digits, '_' and '/' are all that is allowed"
    if name.endswith("/"):
        return "it ends with '/'"
    if "//" in name:
        return "it holds '//'"
    for word in name.split("/"):
        if word[:1].isdigit():
            return f"'{word}' begins with a digit"
    if length > longest:
        return f"it has {length} characters, and {longest} are the most"
    return None
