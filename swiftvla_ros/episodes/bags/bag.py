# SPDX-License-Identifier: Apache-2.0
"""Bags of a running system: rosbag2 folders, readable by rosbag2, Foxglove, ``rosbags`` and ``mcap``.

The messages are stored as their serialized bytes, unchanged. The robot's contract lies in the bag's ``contract``
folder and, with the checkpoint's hash and every node's parameters, in its metadata: a bag alone says what its numbers
mean and where they came from. Bags of others, and what a killed recorder left, are read the same.
"""

from __future__ import annotations

import heapq
import json
import logging
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract, ContractError, load_contract
from swiftvla_ros.contract.checks.yaml_text import YamlError, parse_yaml
from swiftvla_ros.contract.executor_codes import Mode
from swiftvla_ros.contract.load import contract_from_text
from swiftvla_ros.contract.store import contract_digest, digest_of
from swiftvla_ros.episodes.bags import namespaces
from swiftvla_ros.episodes.bags.bag_files import find_files, foreign_topics, wrong_counts
from swiftvla_ros.episodes.bags.episode_markers import RecordedEpisode, find_episodes
from swiftvla_ros.episodes.bags.mcap_reader import McapFile
from swiftvla_ros.episodes.bags.message_types import BagError, Channel, Decoder
from swiftvla_ros.episodes.bags.sqlite_reader import SqliteFile
from swiftvla_ros.episodes.bags.unpacking import plain_message, unpacked
from swiftvla_ros.episodes.bags.writer import PROVENANCE_RECORD
from swiftvla_ros.observation.image_decoding import ImageDecodingError, compressed_topic, rgb_of
from swiftvla_ros.observation.message_fields import read_executor_state, stamp_ns

_JSON_KEYS = ("parameters", "recorder")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Commands:
    """What was commanded: ``t_ns`` int64 [N] (times of the control ticks), ``positions`` float64 [N, J], SI."""

    t_ns: NDArray[np.int64]
    positions: NDArray[np.float64]


class RawMessage(NamedTuple):
    """A message as it was stored: full topic name, type, time of reception (ns), CDR bytes."""

    topic: str
    msgtype: str
    received_ns: int
    data: bytes


class BagMessage(NamedTuple):
    """A decoded message: the topic as it was asked for, time of reception (ns), message."""

    topic: str
    received_ns: int
    message: Any


class Bag:
    """A recorded bag; reading needs no ROS.

    ``counts``, ``types`` and ``channels`` (the same with the definitions that the bag brings) are by full topic name;
    ``start_ns`` and ``end_ns`` are the times of reception of the first message and just after the last, equal for an
    empty bag. ``information`` is its metadata.yaml's. ``passed_over`` are its topics that are not ROS 2's; it is
    ``incomplete`` where something is known to be missing. Both are told to this module's logger, too.

    Parameters
    ----------
    path
        The bag's folder, or one ``.mcap`` or ``.db3`` file.
    contract
        The robot's, where the bag was recorded without one.
    salvage
        Read what can be read of a bag that is damaged before its end; ``damage`` says what is missing.
    namespace
        Of a bag with several robots: the ROS namespace of the one whose topics are read, ``/`` for the root.

    Raises
    ------
    BagError
        Not a bag, or a damaged one.
    """

    def __init__(
        self,
        path: str | Path,
        contract: Contract | None = None,
        *,
        salvage: bool = False,
        namespace: str | None = None,
    ) -> None:
        self.path = Path(path)
        self.folder = self.path if self.path.is_dir() else self.path.parent
        self._contract = contract
        self._wanted_namespace = namespace
        found = find_files(self.path, salvage=salvage)
        self.information = found.information
        self._files = [_open_file(file, salvage) for file in found.files]
        damage = [f"{file.path.name}: {file.damage}" for file in self._files if file.damage]
        self._notes = found.notes + damage
        self._check_digests()
        self.counts: dict[str, int] = {}
        self.types: dict[str, str] = {}
        self.channels: dict[str, Channel] = {}
        for file in self._files:
            counts = file.counts()
            for number, channel in file.channels.items():
                self.channels.setdefault(channel.topic, channel)
                self.counts[channel.topic] = self.counts.get(channel.topic, 0) + counts[number]
                if self.types.setdefault(channel.topic, channel.msgtype) != channel.msgtype:
                    types = f"{self.types[channel.topic]} and {channel.msgtype}"
                    raise BagError(f"{self.path}: topic {channel.topic} has two types, {types}; split the bag")
        spans = [span for file in self._files if (span := file.span()) is not None]
        self.start_ns = min((first for first, _ in spans), default=0)
        self.end_ns = max((last + 1 for _, last in spans), default=0)
        self.passed_over = [topic for file in self._files for topic in file.passed_over]
        if self.passed_over and not self.channels:
            raise BagError(f"{self.path}: {foreign_topics(self.passed_over)}; swiftvla reads bags of ROS 2, in CDR")
        miscounted = wrong_counts(found.information, self._all_counts())
        self._notes += miscounted
        self.incomplete = found.incomplete or bool(damage or miscounted)
        for line in self.warnings:
            _log.warning("%s: %s", self.path, line, extra={"incomplete": self.incomplete})

    @property
    def damage(self) -> str:
        """What is missing, for people; empty for a whole bag."""
        return "; ".join(self._notes)

    @property
    def warnings(self) -> list[str]:
        """What people have to know of the bag, a line each: its damage, and the topics that are not ROS 2's."""
        lines = [self.damage] if self._notes else []
        return [*lines, f"{foreign_topics(self.passed_over)}: passed over"] if self.passed_over else lines

    def _all_counts(self) -> dict[str, int]:
        counts = dict(self.counts)
        for topic in self.passed_over:
            counts[topic.topic] = counts.get(topic.topic, 0) + topic.messages
        return counts

    def _check_digests(self) -> None:
        """Tell the channels the hashes of their types that metadata.yaml names; the decoder compares."""
        topics = self.information.get("topics_with_message_count")
        digests = {}
        for entry in topics if isinstance(topics, list) else []:
            topic = entry.get("topic_metadata") if isinstance(entry, dict) else None
            if isinstance(topic, dict) and isinstance(topic.get("type_description_hash"), str):
                digests[topic.get("name")] = topic["type_description_hash"]
        for file in self._files:
            for number, channel in file.channels.items():
                if (digest := digests.get(channel.topic, "")).startswith("RIHS01_"):
                    file.channels[number] = replace(channel, digest=digest)

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """Where it all came from; ``{}`` for a bag that swiftvla did not record.

        ``contract`` and ``urdf`` (texts), ``contract_sha256``, ``checkpoint`` (folder), ``checkpoint_sha256``,
        ``package_version``, ``parameters`` (values by node and name) and ``recorder`` (its counts).
        """
        data = self.information.get("custom_data")
        if not isinstance(data, dict) or "package_version" not in data:
            records = (file.metadata.get(PROVENANCE_RECORD) for file in self._files)
            data = next((record for record in records if record), {})
        provenance: dict[str, Any] = {str(key): value for key, value in data.items()}
        for key in _JSON_KEYS:
            if key in provenance:
                try:
                    provenance[key] = json.loads(provenance[key])
                except (TypeError, ValueError, RecursionError) as error:
                    raise BagError(f"{self.path}: {key} in its metadata is not JSON: {error}") from error
        return provenance

    @cached_property
    def contract(self) -> Contract:
        """The contract given, or recorded with the bag.

        Raises
        ------
        BagError
            There is none, or it was changed after the recording.
        ContractError
            It can't be used.
        """
        if self._contract is not None:
            return self._contract
        files = sorted((self.folder / "contract").glob("*.yaml"))
        text, digest = self.provenance.get("contract"), self.provenance.get("contract_sha256")
        if files:
            contract = load_contract(files[0], recorded=True)
            if digest and digest_of(contract) != digest:
                raise BagError(
                    f"{files[0]}: not the contract that this bag was recorded with (its metadata has another hash); "
                    "restore it, or name a contract with --robot"
                )
            return contract
        if not isinstance(text, str):
            raise BagError(f"{self.path}: holds no contract (not recorded by swiftvla); name one with --robot")
        # A file without its folder: the contract's text names its URDF, so both need a place for a moment.
        urdf_text = str(self.provenance.get("urdf", ""))
        if digest and contract_digest(text, urdf_text) != digest:
            raise BagError(f"{self.path}: the contract in its metadata was changed; name a contract with --robot")
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "contract.yaml"
            urdf_name = _urdf_name(text)
            if urdf_name:
                (place.parent / urdf_name).write_text(urdf_text, encoding="utf-8")
            place.write_text(text, encoding="utf-8")
            return replace(contract_from_text(text, place, recorded=True), urdf_text=urdf_text)

    @cached_property
    def namespaces(self) -> list[str]:
        """The namespaces of the robots in it, in order; the root is ``""``."""
        if found := namespaces.find_namespaces(self.types, None):
            return found
        try:
            return namespaces.find_namespaces(self.types, self.contract)
        except (BagError, ContractError):
            return []

    @cached_property
    def namespace(self) -> str:
        """The namespace that is read; BagError where there are several and none was named, or not the one named."""
        return namespaces.choose_namespace(self._wanted_namespace, self.namespaces, self.counts, self.path)

    def topic(self, name: str) -> str | None:
        """Find the full name of a topic given without its namespace, such as ``action_chunk``; None when not there.

        A full name, as contracts have them, is the same for all robots; in a bag without it, it is the robot's own.
        """
        if name.startswith("/") and name in self.counts:
            return name
        return full if (full := f"{self.namespace}/{name.strip('/')}") in self.counts else None

    def lacks(self, wanted: Mapping[str, str]) -> str:
        """Name the topics (name without its namespace → type) that are missing, and what may be meant; empty: none."""

        def there(name: str, kind: str) -> bool:
            found = (self.topic(name), self.topic(compressed_topic(name)))
            return any(self.types[t] in namespaces.same_kind(kind) for t in found if t is not None)

        missing = {name: kind for name, kind in wanted.items() if not there(name, kind)}
        return namespaces.describe_missing(missing, self.types)

    def need(self, *names: str) -> None:
        """Raise BagError unless one of these topics of this package is there."""
        own = {name: namespaces.OWN[name] for name in names}
        if all(self.lacks({name: kind}) for name, kind in own.items()):
            raise BagError(f"{self.path}: holds no {self.lacks(own)}. {namespaces.RECORD}")

    def messages(self, name: str) -> Iterator[tuple[int, Any]]:
        """Yield (time of reception in ns, message) of one topic, in the order of reception."""
        for _, received_ns, message in self.merged([name]):
            yield received_ns, message

    def merged(
        self, names: Sequence[str], start_ns: int | None = None, end_ns: int | None = None
    ) -> Iterator[BagMessage]:
        """Yield the decoded messages of several topics in the order of reception; topics that are not there have none.

        Raises
        ------
        BagError
            A message can't be decoded, or the file is damaged there.
        """
        asked = {topic: name for name in names if (topic := self.topic(name)) is not None}
        decoders: dict[Channel, Decoder] = {}
        for ns, channel, data in self._merge(asked, start_ns, end_ns):
            try:
                if channel not in decoders:
                    decoders[channel] = Decoder(channel)
                message = decoders[channel](data)
            except BagError as error:
                raise BagError(f"{self.path}: {channel.topic} at {ns / 1e9:.3f} s: {error}") from error
            yield BagMessage(asked[channel.topic], ns, message)

    def raw(
        self, names: Collection[str] | None = None, start_ns: int | None = None, end_ns: int | None = None
    ) -> Iterator[RawMessage]:
        """Yield stored messages of some topics (None: of all) in the order of reception, without decoding them."""
        topics = set(self.counts) if names is None else {t for name in names if (t := self.topic(name)) is not None}
        for ns, channel, data in self._merge(topics, start_ns, end_ns):
            yield RawMessage(channel.topic, channel.msgtype, ns, data)

    def _merge(
        self, topics: Collection[str], start_ns: int | None, end_ns: int | None
    ) -> Iterator[tuple[int, Channel, bytes]]:
        def read(file: McapFile | SqliteFile, first_ns: int) -> Iterator[tuple[int, Channel | None, bytes]]:
            # Tells where the file begins before anything of it is read: parts of a long bag are read one by one.
            yield first_ns, None, b""
            wanted = [number for number, channel in file.channels.items() if channel.topic in topics]
            for ns, number, data in file.messages(wanted, start_ns, end_ns):
                yield ns, file.channels[number], data

        parts = [read(file, span[0]) for file in self._files if (span := file.span()) is not None]
        for ns, channel, data in heapq.merge(*parts, key=lambda entry: entry[0]):
            if channel is not None:
                try:
                    yield ns, channel, plain_message(data)
                except BagError as error:
                    raise BagError(f"{self.path}: {channel.topic} at {ns / 1e9:.3f} s: {error}") from None

    def image_topic(self, camera: str) -> str | None:
        """Find the full name of a camera's conditioned images, raw or else JPEG; None when there are none."""
        raw = self.topic(f"observation/{camera}")
        return raw if raw is not None else self.topic(compressed_topic(f"observation/{camera}"))

    def images(self, camera: str) -> Iterator[tuple[int, int, NDArray[np.uint8]]]:
        """Yield (time of reception ns, header stamp ns, RGB uint8 [H, W, 3]) of a camera's conditioned images."""
        topic = self.image_topic(camera)
        refused: Counter[str] = Counter()
        for received_ns, message in self.messages(topic) if topic is not None else ():
            try:
                image = rgb_of(message)
            except ImageDecodingError as error:
                refused[str(error)] += 1
                continue
            yield received_ns, stamp_ns(message.header.stamp), image
        for why, n in refused.items():
            _log.warning("%s: refused %d pictures of %s: %s", self.path, n, topic, why, extra={"incomplete": True})

    def episodes(self) -> list[RecordedEpisode]:
        """Return the instructions that were followed, in order: when, for how long, and how each ended."""
        return find_episodes(self)

    def received_ns(self) -> dict[str, list[int]]:
        """Return the times of reception (ns) of all messages, by full topic name."""
        times: dict[str, list[int]] = {topic: [] for topic in self.counts}
        for file in self._files:
            for number, channel in file.channels.items():
                times[channel.topic] += file.times(number).tolist()
        return {topic: sorted(values) for topic, values in times.items()}

    def commands(self) -> list[Commands]:
        """Return all commands, by the ticks that the executor reports: one piece for each time it was commanding.

        Forward commands carry no stamp, so ``executor_state`` is read: it says what was commanded at which tick. A new
        piece begins where the executor had let go of the arm, as somebody else may have moved it meanwhile.

        Raises
        ------
        BagError
            None was recorded, or with other joints than the contract's.
        """
        self.need("executor_state")
        names = self.contract.joint_names
        pieces: list[Commands] = []
        times: list[int] = []
        positions: list[NDArray[np.float64]] = []
        for _, message in self.messages("executor_state"):
            tick = read_executor_state(message)
            if tick.mode in (Mode.IDLE, Mode.RELEASED) or not len(tick.commanded):
                pieces += _piece(times, positions)
                times, positions = [], []
                continue
            if tick.joint_names != names:
                raise BagError(f"{self.folder}: executor_state has joints {tick.joint_names}, the contract {names}")
            if not times or tick.stamp_ns > times[-1]:
                times.append(tick.stamp_ns)
                positions.append(tick.commanded)
        pieces += _piece(times, positions)
        if not pieces:
            raise BagError(f"{self.folder}: no executor_state with a commanded position; was that topic recorded?")
        return pieces


def _piece(times: list[int], positions: list[NDArray[np.float64]]) -> list[Commands]:
    return [Commands(np.array(times, dtype=np.int64), np.array(positions))] if times else []


def _open_file(path: Path, salvage: bool) -> McapFile | SqliteFile:
    source = unpacked(path)
    is_database = source.path.suffix == ".db3"
    return SqliteFile(path, source) if is_database else McapFile(path, salvage=salvage, source=source)


def _urdf_name(contract_text: str) -> str:
    """Return the name of the URDF that a recorded contract lies beside; empty where it names none."""
    try:
        kinematics = parse_yaml(contract_text, "contract", recorded=True).get("kinematics")
        return PurePath(kinematics["urdf"]).name if kinematics else ""
    except (YamlError, AttributeError, KeyError, TypeError) as error:
        raise BagError(f"the contract in the bag's metadata can't be read: {error}") from error
