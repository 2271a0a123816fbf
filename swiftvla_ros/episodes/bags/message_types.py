# SPDX-License-Identifier: Apache-2.0
"""Message types of bags: this package's own, ROS's, and whatever a bag brings the definition of."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from swiftvla_ros.errors import UserError
from swiftvla_ros.resources import share_folders

# Distributions since Iron agree on the definitions of all messages that are recorded here.
_STORE = Stores.ROS2_JAZZY
# What a definition may ask for; nothing that a robot publishes comes near it.
_LONGEST_DEFINITION = 1 << 20
_LARGEST_FIXED_ARRAY = 1 << 20
_MOST_SLACK = 32


class BagError(UserError, ValueError):
    """A bag that can't be used; the message names the folder, what is wrong and the fix."""


@dataclass(frozen=True)
class Channel:
    """A topic as a file of a bag holds it.

    ``definition`` is the text of the type's definition, in ``language`` ``ros2msg`` or ``ros2idl``; empty where the bag
    brings none. ``digest`` is the type's RIHS01 hash where the bag names one.
    """

    topic: str
    msgtype: str
    definition: str = ""
    language: str = "ros2msg"
    digest: str = ""


class PassedOver(NamedTuple):
    """A topic that is not ROS 2's, how it is encoded (json, protobuf, ros1 and so on), and how many messages it has."""

    topic: str
    encoding: str
    messages: int


def message_types() -> Typestore:
    """Return the types that bags hold, this package's own included.

    Raises
    ------
    BagError
        The package's ``msg`` folder is not installed.
    """
    typestore = get_typestore(_STORE)
    folder = next((f / "msg" for f in share_folders() if (f / "msg").is_dir()), None)
    if folder is None:
        raise BagError("swiftvla_ros: the msg folder is not installed beside config; install the package again")
    for path in sorted(folder.glob("*.msg")):
        typestore.register(get_types_from_msg(path.read_text(encoding="utf-8"), f"swiftvla_ros/msg/{path.stem}"))
    return typestore


@cache
def known_types() -> Typestore:
    """Return :func:`message_types`, made once; not to be changed."""
    return message_types()


class Decoder:
    """Decodes the messages of one channel, by the definition that the bag brings or by the known one.

    Raises
    ------
    BagError
        The definition can't be read, is none of this type, or has another hash than the bag says.
    """

    def __init__(self, channel: Channel) -> None:
        self._msgtype = channel.msgtype
        self._store = _store_for(channel)
        if channel.digest:
            have = self._store.hash_rihs01(channel.msgtype)
            if have != channel.digest:
                raise BagError(
                    f"topic {channel.topic}: the bag's definition of {channel.msgtype} has hash {have}, but the bag "
                    f"says {channel.digest}; it was changed after the recording, or damaged"
                )

    def __call__(self, data: bytes) -> Any:
        """Decode one message; raises :class:`BagError` on bytes that are none of this type."""
        return self.decode(data)[0]

    def decode(self, data: bytes) -> tuple[Any, bytes]:
        """Decode one message; return it with its own bytes, without slack behind them.

        Fast CDR reckons with a gap before each list of doubles, also behind an empty one that needs none: messages with
        several such lists come with 8 bytes of nothing at their end, or more. Strict readers refuse these.

        Raises
        ------
        BagError
            The bytes are none of this type.
        """
        for slack in range(0, min(_MOST_SLACK, len(data)) + 1, 4):
            own = data[: len(data) - slack]
            try:
                return self._store.deserialize_cdr(own, self._msgtype), own
            except SerdeError as error:
                if "size mismatch" not in str(error):
                    raise self._refusal(data, error) from error
                mismatch = error
            except Exception as error:
                # Generated code meets foreign bytes: whatever it raises says the same.
                raise self._refusal(data, error) from error
        raise self._refusal(data, mismatch)

    def _refusal(self, data: bytes, error: Exception) -> BagError:
        return BagError(f"{len(data)} bytes are no {self._msgtype}: {type(error).__name__} {error}")


def _store_for(channel: Channel) -> Typestore:
    known, name = known_types(), channel.msgtype
    if not channel.definition:
        if name not in known.fielddefs:
            raise BagError(
                f"topic {channel.topic}: the bag brings no definition of {name}, and it is not known here; "
                "record again with a rosbag2 that stores definitions (Iron or later, or MCAP)"
            )
        return known
    if name in known.fielddefs and _definition(name) == channel.definition:
        return known
    return _foreign_store(name, channel.definition, channel.language, channel.topic)


@cache
def _definition(name: str) -> str:
    return known_types().generate_msgdef(name, ros_version=2)[0]


@cache
def _foreign_store(name: str, definition: str, language: str, topic: str) -> Typestore:
    sizes = [int(n) for n in re.findall(r"\[(?:<=)?(\d{1,30})\]|,\s*(\d{1,30})\s*>", definition) for n in n if n]
    if len(definition) > _LONGEST_DEFINITION or any(n > _LARGEST_FIXED_ARRAY for n in sizes):
        raise BagError(f"topic {topic}: the definition of {name} is too large to be one; the bag is damaged or hostile")
    store = get_typestore(Stores.EMPTY)
    try:
        types = get_types_from_msg(definition, name) if language == "ros2msg" else _types_from_idl(definition)
        store.register(types)
        # Fails here, with a name, and not at the first message.
        store.hash_rihs01(name)
    except Exception as error:
        # The parser meets foreign text: whatever it raises says the same.
        raise BagError(
            f"topic {topic}: the bag's definition of {name} can't be read: {type(error).__name__} {error}"
        ) from error
    return store


def _types_from_idl(definition: str) -> dict[str, Any]:
    separator = "=" * 80 + "\n"
    types: dict[str, Any] = {}
    if not definition.startswith(f"{separator}IDL: "):
        return dict(get_types_from_idl(definition))
    for part in definition.split(separator)[1:]:
        types.update(get_types_from_idl(part.split("\n", 1)[1]))
    return types
