# SPDX-License-Identifier: Apache-2.0
"""Writes bags: rosbag2 folders with one MCAP file, the robot's contract and where everything came from."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.store import contract_digest, store_contract
from swiftvla_ros.episodes.bags.mcap_writer import McapWriter
from swiftvla_ros.episodes.bags.message_types import BagError, Channel, known_types
from swiftvla_ros.episodes.bags.metadata import (
    DEFAULT_ROS,
    METADATA_VERSIONS,
    OfferedQos,
    TopicSummary,
    bag_information,
    metadata_text,
    qos_text,
)
from swiftvla_ros.files import whole_file

# Name of the MCAP metadata record with the same texts as custom_data in metadata.yaml.
PROVENANCE_RECORD = "swiftvla_ros"
# Kept free inside the bag's own folder, so that a full disk still takes the last messages and the index.
RESERVE_FILE = ".reserve"
_RESERVE_BYTES = 32 << 20


class BagWriter:
    """Writes serialized messages into a new bag; a context manager.

    Parameters
    ----------
    folder
        The bag; must not exist yet.
    contract
        Copied into the bag; None for a bag of others, whose ``provenance`` may hold one.
    ros
        Distribution whose rosbag2 is to read it: ``humble``, ``jazzy`` or ``kilted``.
    compression
        Of the file's chunks: ``""``, ``"zstd"`` or ``"lz4"``.
    provenance
        Texts for the metadata, beside the contract and the package's version.
    min_free_bytes
        Space that stays free on the disk: what is written beyond it raises ``OSError`` (ENOSPC).

    Raises
    ------
    BagError
        The folder exists, an option is unknown, or the package's message definitions are not installed.
    """

    def __init__(
        self,
        folder: Path,
        contract: Contract | None,
        *,
        ros: str = DEFAULT_ROS,
        compression: str = "",
        provenance: Mapping[str, str] | None = None,
        min_free_bytes: int = 0,
    ) -> None:
        if folder.exists():
            raise BagError(f"{folder}: exists already; choose another folder, bags are never overwritten")
        if ros not in METADATA_VERSIONS:
            raise BagError(f"ROS distribution '{ros}' is unknown; write one of {', '.join(METADATA_VERSIONS)}")
        if compression not in ("", "zstd", "lz4"):
            raise BagError(f"compression '{compression}' is unknown; write zstd or lz4, or nothing")
        self.folder = folder
        self._contract = contract
        self._ros = ros
        self._version = METADATA_VERSIONS[ros]
        self._compression = compression
        self._provenance = dict(provenance or {})
        self._told: dict[str, str] = {}
        self._min_free = min_free_bytes
        self._typestore = known_types()
        self._channels: dict[str, tuple[int, TopicSummary]] = {}
        self._schemas: dict[str, int] = {}
        self._file: McapWriter | None = None

    def __enter__(self) -> BagWriter:
        self.folder.mkdir(parents=True)
        self._provenance = {**self._store_contract(), "package_version": package_version(), **self._provenance}
        library = f"swiftvla_ros {package_version()}"
        path = self.folder / f"{self.folder.name}.mcap"
        self._file = McapWriter(path, compression=self._compression, library=library)
        self._reserve()
        self._tell()
        return self

    def _store_contract(self) -> dict[str, str]:
        if self._contract is None:
            return {}
        (self.folder / "contract").mkdir()
        text, urdf = store_contract(self._contract, self.folder / "contract" / f"{self._contract.robot}.yaml")
        return {"contract": text, "urdf": urdf, "contract_sha256": contract_digest(text, urdf)}

    def __exit__(self, *_: object) -> None:
        # Also after an error: what was recorded until then is what explains it.
        self.close()

    @property
    def bytes_written(self) -> int:
        """Bytes in the file so far."""
        return self._open_file.written

    @property
    def _open_file(self) -> McapWriter:
        if self._file is None:
            raise BagError(f"{self.folder}: the bag is not open")
        return self._file

    def add_topic(
        self, topic: str, msgtype: str, qos: OfferedQos | None = None, definition: Channel | None = None
    ) -> None:
        """Add a topic; without it :meth:`write` adds topics of known types.

        Parameters
        ----------
        topic, msgtype
            Its full name and type.
        qos
            Quality of service that its publishers offer.
        definition
            A channel of another bag, for a type of others: its definition is copied.

        Raises
        ------
        BagError
            The type is not known, and no definition was given.
        """
        if topic in self._channels:
            return
        file = self._open_file
        if definition is not None and definition.definition:
            language, text, digest = definition.language, definition.definition, definition.digest
        elif msgtype in self._typestore.fielddefs:
            language, text = "ros2msg", self._typestore.generate_msgdef(msgtype, ros_version=2)[0]
            digest = self._typestore.hash_rihs01(msgtype)
        else:
            raise BagError(f"{self.folder}: topic {topic} has a type that is not known here: {msgtype}")
        if msgtype not in self._schemas:
            self._schemas[msgtype] = file.schema(msgtype, language, text)
        metadata = {"offered_qos_profiles": qos_text(qos, self._version), "topic_type_hash": digest}
        number = file.channel(self._schemas[msgtype], topic, metadata)
        self._channels[topic] = (number, TopicSummary(topic, msgtype, digest, qos, 0))

    def write(self, topic: str, msgtype: str, received_ns: int, data: bytes) -> None:
        """Append one message: its full topic name, type, time of reception (ns) and CDR bytes.

        Raises
        ------
        OSError
            The disk is full, or has less free than ``min_free_bytes``. The message is kept and written with the next
            one or at the end, if there is space then.
        """
        if topic not in self._channels:
            self.add_topic(topic, msgtype)
        self._open_file.message(self._channels[topic][0], received_ns, data)

    def write_message(self, topic: str, message: Any, received_ns: int) -> None:
        """Append one message made with :func:`message_types`."""
        kind = message.__msgtype__
        self.write(topic, kind, received_ns, bytes(self._typestore.serialize_cdr(message, kind)))

    def flush(self) -> None:
        """Put what was written into the file: from here on, killing the process loses none of it.

        Raises
        ------
        OSError
            As :meth:`write`.
        """
        if self._min_free and shutil.disk_usage(self.folder).free < self._min_free:
            raise OSError(errno.ENOSPC, f"less than {self._min_free >> 20} MB are free", str(self.folder))
        self._open_file.flush()

    def tell(self, provenance: Mapping[str, str]) -> None:
        """Add to what the metadata say; written at once, so that a killed recorder's bag says it, too."""
        self._provenance |= provenance
        self._tell()

    def counts(self) -> dict[str, int]:
        """Count the messages written so far, by topic."""
        return {topic: self._open_file.counts[number] for topic, (number, _) in self._channels.items()}

    def settle(self) -> dict[str, int]:
        """Write what waits, also into the space that was kept for it; return what was lost for lack of space, by topic.

        Only :meth:`close` may follow.
        """
        (self.folder / RESERVE_FILE).unlink(missing_ok=True)
        before = self.counts()
        try:
            self._open_file.flush()
        except OSError:
            self._open_file.forget_pending()
        return {topic: before[topic] - count for topic, count in self.counts().items() if before[topic] != count}

    def close(self, provenance: Mapping[str, str] | None = None) -> None:
        """Finish the bag, so that every tool reads it; may be called twice.

        A file without an index, for lack of space, is read by ``Bag`` all the same.
        """
        if self._file is None:
            return
        self.settle()
        self._provenance |= provenance or {}
        file = self._file
        # What does not fit any more is left out: the messages are there, and a scan of the file finds them.
        with suppress(OSError):
            self._tell()
            information = self._information(file)
            file.metadata("rosbag2", {"serialized_metadata": yaml.safe_dump(information, sort_keys=False)})
            file.close()
        file.abandon()
        with suppress(OSError), whole_file(self.folder / "metadata.yaml") as partial:
            partial.write_text(metadata_text(self._information(file)), encoding="utf-8")
        self._file = None

    def sync(self) -> None:
        """Have the system put what was written onto the disk: from here on, a power cut loses none of it."""
        self._open_file.sync()

    def _tell(self) -> None:
        if self._provenance != self._told:
            self._open_file.metadata(PROVENANCE_RECORD, self._provenance)
            self._told = dict(self._provenance)

    def _reserve(self) -> None:
        # Where the file system can't reserve, or has no space left, the index may not fit: a scan finds the messages.
        with suppress(OSError, AttributeError), (self.folder / RESERVE_FILE).open("wb") as reserve:
            os.posix_fallocate(reserve.fileno(), 0, _RESERVE_BYTES)

    def _information(self, file: McapWriter) -> dict[str, Any]:
        topics = [replace(summary, count=file.counts[number]) for number, summary in self._channels.values()]
        return bag_information(
            f"{self.folder.name}.mcap",
            topics,
            file.start_ns,
            file.end_ns,
            version=self._version,
            ros=self._ros,
            custom_data=self._provenance,
        )


def package_version() -> str:
    """Return this package's version; empty where it is not installed but only on the path."""
    try:
        return version("swiftvla_ros")
    except PackageNotFoundError:
        return ""
