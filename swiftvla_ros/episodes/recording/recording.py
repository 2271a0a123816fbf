# SPDX-License-Identifier: Apache-2.0
"""Records without keeping anybody waiting: messages go into a bounded queue, a thread of its own writes them.

Whatever is not recorded is counted and named: what the middleware lost on the way here, what did not fit into the queue
because the disk was too slow, and what came after the disk was full.
"""

from __future__ import annotations

import errno
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from typing import Any

import cv2
import numpy as np

from swiftvla_ros.episodes.bags.bag import RawMessage
from swiftvla_ros.episodes.bags.message_types import Channel, Decoder, known_types
from swiftvla_ros.episodes.bags.metadata import OfferedQos
from swiftvla_ros.episodes.bags.writer import BagWriter
from swiftvla_ros.observation.image_decoding import compressed_topic, jpeg_of, rgb_of

# What a killed recorder may lose.
_FLUSH_S = 0.5
# The writing thread sleeps until so much waits, or until the next flush.
_WAKE_BYTES = 4 << 20
# Longest wait for the last messages to be written at the end.
_CLOSE_S = 60.0
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
IMAGE = "sensor_msgs/msg/Image"
_FILM_WIDTH = 320
_FILM_QUALITY = 88


@dataclass(frozen=True)
class Conversion:
    """What is stored instead of a message: another topic and type, and the bytes that ``make`` makes of its bytes.

    ``make`` raises ``ValueError`` for what can't be converted.
    """

    topic: str
    msgtype: str
    make: Callable[[bytes], bytes]


@dataclass
class TopicCounts:
    """What became of a topic's messages."""

    recorded: int = 0  # in the bag
    lost_on_the_way: int = 0  # never came: gaps in the publisher's numbers
    lost_in_queue: int = 0  # came while the queue was full
    lost_on_disk: int = 0  # came after the disk was full, or did not fit any more

    @property
    def lost(self) -> int:
        """All that is missing in the bag."""
        return self.lost_on_the_way + self.lost_in_queue + self.lost_on_disk


@dataclass
class RecordingCounts:
    """Counts of a whole recording; ``stopped`` says why it ended before it was told to, else it is empty."""

    topics: dict[str, TopicCounts] = field(default_factory=dict)
    stopped: str = ""
    unconverted: int = 0
    most_queued_bytes: int = 0

    @property
    def recorded(self) -> int:
        """Messages in the bag."""
        return sum(t.recorded for t in self.topics.values())

    @property
    def lost(self) -> int:
        """Messages that are missing in it."""
        return sum(t.lost for t in self.topics.values())

    def of(self, topic: str) -> TopicCounts:
        """Return a topic's counts."""
        return self.topics.setdefault(topic, TopicCounts())

    def summary(self) -> str:
        """Tell it in one line, the losses by topic."""
        text = f"recorded {self.recorded} messages of {len(self.topics)} topics, lost {self.lost}"
        losses = []
        for topic, counts in self.topics.items():
            parts = {
                "on the way": counts.lost_on_the_way,
                "in the queue": counts.lost_in_queue,
                "on the disk": counts.lost_on_disk,
            }
            if counts.lost:
                losses.append(f"{topic}: " + ", ".join(f"{n} {where}" for where, n in parts.items() if n))
        if losses:
            text += f" ({'; '.join(losses)})"
        return text + (f"; stopped early: {self.stopped}" if self.stopped else "")


class SequenceWatch:
    """Counts the numbers that are missing between the messages of each publisher."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, bytes], int] = {}

    def missing(self, topic: str, publisher: bytes, number: int | None) -> int:
        """Return how many messages of this publisher did not come since its last one.

        ``number`` is the publisher's own count; None where the middleware gives none. A number that goes back is a
        publisher that began again.
        """
        if number is None:
            return 0
        key = (topic, publisher)
        last = self._last.get(key)
        self._last[key] = number
        return max(0, number - last - 1) if last is not None else 0


class Recording:
    """Writes messages into a bag from a thread of its own.

    Parameters
    ----------
    writer
        The bag, opened; closed by :meth:`close`, or when the disk is full.
    queue_bytes
        What may wait to be written.
    on_stop
        Called from the writing thread with the reason when the recording ends by itself.
    """

    def __init__(self, writer: BagWriter, *, queue_bytes: int, on_stop: Callable[[str], None]) -> None:
        self._writer = writer
        self._queue_bytes = queue_bytes
        self._on_stop = on_stop
        self._queue: deque[tuple[RawMessage, Conversion | None]] = deque()
        self._told: dict[str, str] = {}
        self._topics: list[tuple[str, str, OfferedQos | None]] = []
        self._queued = 0
        self._decoders: dict[str, Decoder] = {}
        self._closing = False
        self._wake = threading.Condition()
        self._counts = RecordingCounts()
        self._thread = threading.Thread(target=self._run, name="recording", daemon=True)
        self._thread.start()

    def put(self, message: RawMessage, conversion: Conversion | None = None, missing: int = 0) -> bool:
        """Queue a message; ``missing`` of its topic were lost on the way before it came.

        Returns
        -------
        bool
            False when it was not taken; it is counted.
        """
        with self._wake:
            counts = self._counts.of(conversion.topic if conversion is not None else message.topic)
            counts.lost_on_the_way += missing
            if self._counts.stopped or self._closing:
                counts.lost_on_disk += 1
                return False
            if self._queued + len(message.data) > self._queue_bytes:
                counts.lost_in_queue += 1
                return False
            self._queue.append((message, conversion))
            self._queued += len(message.data)
            self._counts.most_queued_bytes = max(self._counts.most_queued_bytes, self._queued)
            # The thread wakes by itself; only much to write is worth a switch of threads.
            if self._queued > _WAKE_BYTES:
                self._wake.notify()
            return True

    def add_topic(self, topic: str, msgtype: str, qos: OfferedQos | None) -> None:
        """Have the bag name a topic, also if no message comes."""
        with self._wake:
            self._topics.append((topic, msgtype, qos))

    def tell(self, provenance: Mapping[str, str]) -> None:
        """Add texts to the bag's metadata."""
        with self._wake:
            self._told |= provenance

    def counts(self) -> RecordingCounts:
        """Return the counts so far; a copy."""
        with self._wake:
            return deepcopy(self._counts)

    def close(self) -> RecordingCounts:
        """Write what waits, finish the bag and return the final counts; may be called twice."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(_CLOSE_S)
        return self.counts()

    # --- the writing thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._write_some():
                pass
        except Exception as error:  # noqa: BLE001
            # Whatever it is, the robot's operator must hear that nothing is recorded any more.
            self._stop(_reason(error))
        self._finish()

    def _write_some(self) -> bool:
        """Write what came within the time of one flush; False when that was the last."""
        flush_at = time.monotonic() + _FLUSH_S
        while True:
            with self._wake:
                left = flush_at - time.monotonic()
                if not self._closing and left > 0 and self._queued <= _WAKE_BYTES:
                    self._wake.wait(left)
                batch, self._queue = self._queue, deque()
                topics, self._topics = self._topics, []
                told, self._told = self._told, {}
                last = self._closing
            for topic, msgtype, qos in topics:
                self._writer.add_topic(topic, msgtype, qos)
            if told:
                self._writer.tell(told)
            self._write(batch)
            if last or time.monotonic() >= flush_at:
                self._writer.flush()
                return not last

    def _write(self, batch: deque[tuple[RawMessage, Conversion | None]]) -> None:
        while batch:
            message, conversion = batch.popleft()
            stored = self._stored(message, conversion)
            with self._wake:
                # Counted before: what the disk does not take now, the bag keeps for its end.
                self._counts.of(stored.topic).recorded += 1
            try:
                self._writer.write(stored.topic, stored.msgtype, stored.received_ns, stored.data)
            except Exception:
                with self._wake:
                    self._queue.extendleft(reversed(batch))
                raise
            with self._wake:
                self._queued -= len(message.data)

    def _stored(self, message: RawMessage, conversion: Conversion | None) -> RawMessage:
        """Return what is written of a message."""
        try:
            if conversion is not None:
                data = conversion.make(message.data)
                return RawMessage(conversion.topic, conversion.msgtype, message.received_ns, data)
            if message.msgtype.startswith("swiftvla_ros/"):
                # Messages of ours have several lists of doubles, behind which strict readers refuse Fast CDR's slack.
                decoder = self._decoders.setdefault(message.msgtype, Decoder(Channel(message.topic, message.msgtype)))
                return message._replace(data=decoder.decode(message.data)[1])
        except ValueError:
            # As it came: what can't be converted is what needs to be looked at.
            self._counts.unconverted += 1
        return message

    def _stop(self, reason: str) -> None:
        with self._wake:
            self._counts.stopped = reason
            for message, conversion in self._queue:
                self._counts.of(conversion.topic if conversion is not None else message.topic).lost_on_disk += 1
            self._queue.clear()
            self._queued = 0
        self._on_stop(reason)

    def _finish(self) -> None:
        for topic, lost in self._writer.settle().items():
            with self._wake:
                self._counts.of(topic).recorded -= lost
                self._counts.of(topic).lost_on_disk += lost
        self._writer.close({"recorder": json.dumps(self.report())})

    def report(self) -> dict[str, Any]:
        """Return the counts as the bag's metadata hold them."""
        counts = self.counts()
        return {
            "recorded": counts.recorded,
            "lost": counts.lost,
            "stopped": counts.stopped,
            "unconverted": counts.unconverted,
            "most_queued_bytes": counts.most_queued_bytes,
            "topics": {topic: asdict(entry) for topic, entry in counts.topics.items()},
        }


def jpeg_conversion(topic: str, quality: int) -> Conversion:
    """Store a topic of raw images as JPEGs of that quality, on the topic that ``image_transport`` would use."""
    return Conversion(
        compressed_topic(topic), COMPRESSED_IMAGE, lambda data: _jpeg(known_message(data, IMAGE), quality)
    )


def film_conversion(topic: str, msgtype: str) -> Conversion:
    """Store small JPEGs of a camera's raw images on ``topic``, for people."""
    return Conversion(
        topic, COMPRESSED_IMAGE, lambda data: _jpeg(known_message(data, msgtype), _FILM_QUALITY, _FILM_WIDTH)
    )


def known_message(data: bytes, msgtype: str) -> Any:
    """Decode a message of a known type; raises ``ValueError`` on bytes that are none."""
    return Decoder(Channel("", msgtype))(data)


def _jpeg(message: Any, quality: int, width: int | None = None) -> bytes:
    image = rgb_of(message)
    if width is not None:
        size = (width, max(1, round(width * image.shape[0] / image.shape[1])))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    kind = known_types().types[COMPRESSED_IMAGE]
    jpeg = np.frombuffer(jpeg_of(image, quality), np.uint8)
    stored = kind(header=message.header, format="jpeg", data=jpeg)
    return bytes(known_types().serialize_cdr(stored, COMPRESSED_IMAGE))


def _reason(error: Exception) -> str:
    """Tell why nothing is recorded any more, and what to do."""
    if isinstance(error, OSError):
        what = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk's quota is used up"}.get(error.errno or 0)
        return f"{what or 'the disk fails'}: {error}; the bag ends here and can be read. Make space and record anew"
    return f"{type(error).__name__}: {error}"
