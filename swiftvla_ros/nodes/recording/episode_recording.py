# SPDX-License-Identifier: Apache-2.0
"""One episode after another into bags of their own: what came just before each, its marks, and what was lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from rclpy.serialization import serialize_message
from std_msgs.msg import String

from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.bags.bag import RawMessage
from swiftvla_ros.episodes.bags.writer import BagWriter
from swiftvla_ros.episodes.recording.black_box import Ring
from swiftvla_ros.episodes.recording.recording import IMAGE, Conversion, Recording, RecordingCounts, jpeg_conversion
from swiftvla_ros.episodes.session.session_folder import EpisodeRecord
from swiftvla_ros.nodes.recording.topic_taps import Tap

# Step 0 of an episode sees what was stamped before it began.
_PAST_S = 1.0
_PAST_BYTES = 256 << 20
_STRING = "std_msgs/msg/String"
_MB = 1 << 20


class EpisodeRecording:
    """The bag of the running episode, and the second before it. All in the node's thread, but for ``Recording``'s own.

    ``marks_topic`` (full name) gets the marks that tell readers where in the bag the episode lies.
    """

    def __init__(
        self,
        contract: Contract,
        marks_topic: str,
        *,
        jpeg_quality: int,
        ros: str,
        queue_mb: int,
        min_free_mb: int,
        say: Callable[[str], None],
    ) -> None:
        self._contract = contract
        self._marks_topic = marks_topic
        self._jpeg_quality = jpeg_quality
        self._ros = ros
        self._queue_mb, self._min_free_mb = queue_mb, min_free_mb
        self._say = say
        self._past = Ring(_PAST_S, _PAST_BYTES)
        self._taps: dict[str, tuple[Tap, Conversion | None]] = {}
        self._recording: Recording | None = None
        self.lost: dict[str, int] = {}
        """What the running or last episode lost, by topic."""

    def add_topic(self, tap: Tap) -> None:
        """Record a topic, raw images as JPEGs where a quality was given; an episode that runs takes it, too."""
        is_jpeg = tap.msgtype == IMAGE and self._jpeg_quality
        conversion = jpeg_conversion(tap.name, self._jpeg_quality) if is_jpeg else None
        self._taps[tap.name] = tap, conversion
        if tap.offered.latched:
            self._past.latched.add(tap.name)
        self._name_topic(tap, conversion)

    def take(self, message: RawMessage, missing: int) -> None:
        """Take a message, into the running episode and into what may come before the next one."""
        # Also while an episode runs: the next one may begin at once.
        self._past.add(message)
        if self._recording is not None:
            self._recording.put(message, self._taps[message.topic][1], missing)

    @property
    def stopped(self) -> str:
        """Why the running episode's bag ended by itself; empty while it goes on."""
        return "" if self._recording is None else self._recording.counts().stopped

    def begin(self, bag: Path, record: EpisodeRecord) -> None:
        """Open the bag; raises ``BagError`` or ``OSError``."""
        writer = BagWriter(
            bag,
            self._contract,
            ros=self._ros,
            provenance={"task": record.instruction, "operator": record.operator},
            min_free_bytes=self._min_free_mb * _MB,
        )
        writer.__enter__()
        self._recording = Recording(writer, queue_bytes=self._queue_mb * _MB, on_stop=self._say)
        self.lost = {}
        for tap, conversion in self._taps.values():
            self._name_topic(tap, conversion)
        for message in self._past.messages():
            self._recording.put(message, self._taps[message.topic][1])
        self._mark(f"begin {record.instruction}", record.began_ns)

    def end(self, mark: str, now_ns: int) -> RecordingCounts:
        """Write the last mark, and close the bag."""
        assert self._recording is not None
        self._mark(mark, now_ns)
        counts = self._recording.close()
        self._recording = None
        self.look(counts)
        return counts

    def look(self, counts: RecordingCounts | None = None) -> None:
        """Learn what was lost so far."""
        if counts is None and self._recording is not None:
            counts = self._recording.counts()
        if counts is None:
            return
        stored = {
            name: name if conversion is None else conversion.topic for name, (_, conversion) in self._taps.items()
        }
        self.lost = {name: lost for name, topic in stored.items() if (lost := counts.of(topic).lost)}

    def _mark(self, text: str, now_ns: int) -> None:
        assert self._recording is not None
        self._recording.put(RawMessage(self._marks_topic, _STRING, now_ns, serialize_message(String(data=text))))

    def _name_topic(self, tap: Tap, conversion: Conversion | None) -> None:
        if self._recording is not None:
            topic, msgtype = (tap.name, tap.msgtype) if conversion is None else (conversion.topic, conversion.msgtype)
            self._recording.add_topic(topic, msgtype, tap.offered)


def counts_by_topic(counts: RecordingCounts) -> dict[str, dict[str, int]]:
    """Return what was recorded and lost, as ``episode.json`` has it."""
    return {topic: asdict(each) for topic, each in counts.topics.items()}
