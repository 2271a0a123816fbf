# SPDX-License-Identifier: Apache-2.0
"""Copies what can be read of a bag into a new, whole one, for tools that refuse what a killed recorder left."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from swiftvla_ros.contract import ContractError
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.bags.message_types import BagError
from swiftvla_ros.episodes.bags.metadata import DEFAULT_ROS
from swiftvla_ros.episodes.bags.writer import BagWriter


def repair(
    broken: Bag,
    out: Path,
    *,
    ros: str = DEFAULT_ROS,
    compression: str = "",
    on_message: Callable[[], None] = lambda: None,
) -> int:
    """Write every message of ``broken`` into the new bag ``out``, with its contract and provenance; return how many.

    A bag without a contract, or with one that can't be used, is copied all the same, with the texts that it holds.
    ``broken`` was opened with ``salvage`` where it is damaged before its end; ``ros`` and ``compression`` are as
    :class:`~swiftvla_ros.episodes.bags.writer.BagWriter` takes them; ``on_message`` is called after each message.

    Raises
    ------
    BagError
        ``out`` exists.
    """
    kept = dict(broken.provenance)
    contract = None
    with suppress(BagError, ContractError):
        contract = broken.contract
        for key in ("contract", "urdf", "contract_sha256"):
            kept.pop(key, None)
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in kept.items()}
    count = 0
    with BagWriter(out, contract, ros=ros, compression=compression, provenance=texts) as writer:
        writer.tell({"repaired": broken.damage or "nothing was missing"})
        for topic, channel in broken.channels.items():
            writer.add_topic(topic, channel.msgtype, definition=channel)
        for message in broken.raw():
            writer.write(message.topic, message.msgtype, message.received_ns, message.data)
            count += 1
            on_message()
    return count
