# SPDX-License-Identifier: Apache-2.0
"""Recording keeps nobody waiting, loses nothing without saying so, and leaves a readable bag whatever happens."""

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.bags.bag import Bag, RawMessage
from swiftvla_ros.episodes.bags.message_types import known_types
from swiftvla_ros.episodes.bags.writer import BagWriter
from swiftvla_ros.episodes.recording.recording import IMAGE, Recording, SequenceWatch, jpeg_conversion
from swiftvla_ros.observation.message_fields import header_stamp_ns

STATE = "swiftvla_ros/msg/ExecutorState"


@pytest.fixture
def state(messages: Any) -> Callable[[int], RawMessage]:
    """Make serialized executor states."""

    def make(i: int) -> RawMessage:
        ns = 10**9 + i * 10**7
        data = bytes(known_types().serialize_cdr(messages.executor_state(ns, np.full(6, float(i))), STATE))
        return RawMessage("/executor_state", STATE, ns, data)

    return make


def open_bag(folder: Path, contract: Contract) -> BagWriter:
    """Open a new bag."""
    bag = BagWriter(folder, contract)
    bag.__enter__()
    return bag


def test_everything_is_written_and_counted(contract: Contract, state: Any, tmp_path: Path) -> None:
    """Protects: a recording that lost nothing says so, and the bag itself says it, too."""
    recording = Recording(open_bag(tmp_path / "bag", contract), queue_bytes=1 << 20, on_stop=pytest.fail)
    recording.tell({"checkpoint_sha256": "abc"})
    for i in range(200):
        assert recording.put(state(i))
    counts = recording.close()
    assert (counts.recorded, counts.lost, counts.stopped) == (200, 0, "")
    bag = Bag(tmp_path / "bag")
    assert bag.counts == {"/executor_state": 200}
    assert bag.damage == ""
    assert bag.provenance["checkpoint_sha256"] == "abc"
    assert bag.provenance["recorder"]["topics"]["/executor_state"]["recorded"] == 200


class SlowBag:
    """A bag on a disk that takes nothing for a while."""

    def __init__(self, bag: BagWriter, go_on: threading.Event, started: threading.Event) -> None:
        self._bag, self._go_on, self._started = bag, go_on, started

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bag, name)

    def write(self, *arguments: Any) -> None:
        self._started.set()
        assert self._go_on.wait(20)
        self._bag.write(*arguments)


def test_a_slow_disk_loses_the_newest_and_says_how_many(contract: Contract, state: Any, tmp_path: Path) -> None:
    """Protects: what the queue does not take is counted by topic, and memory stays bounded."""
    go_on, started = threading.Event(), threading.Event()
    slow: Any = SlowBag(open_bag(tmp_path / "bag", contract), go_on, started)
    size = len(state(0).data)
    recording = Recording(slow, queue_bytes=10 * size, on_stop=pytest.fail)
    recording.put(state(0))
    assert started.wait(20)
    taken = [recording.put(state(i)) for i in range(1, 21)]
    assert taken == [True] * 9 + [False] * 11
    go_on.set()
    counts = recording.close()
    assert (counts.recorded, counts.of("/executor_state").lost_in_queue) == (10, 11)
    assert counts.most_queued_bytes <= 10 * size
    assert "/executor_state: 11 in the queue" in counts.summary()


def test_a_full_disk_ends_it_with_a_whole_bag(
    contract: Contract, state: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects: what was written before the disk was full can be read, by every tool, and the reason is told."""
    reasons: list[str] = []
    stopped = threading.Event()
    bag = open_bag(tmp_path / "bag", contract)
    limit = bag.bytes_written + 40_000
    write = os.write

    def full(number: int, data: Any) -> int:
        # As a file system does: some bytes of a write may still fit. What is kept free is given back for the end.
        if not (tmp_path / "bag" / ".reserve").exists():
            return write(number, data)
        if os.lseek(number, 0, os.SEEK_CUR) + len(data) > limit:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(number, data)

    monkeypatch.setattr("swiftvla_ros.episodes.bags.mcap_writer.os.write", full)
    recording = Recording(bag, queue_bytes=1 << 30, on_stop=lambda reason: (reasons.append(reason), stopped.set()))
    sent = 0
    while not stopped.wait(0.001):  # Python's lock is the writer's, too
        recording.put(state(sent))
        sent += 1
    counts = recording.close()
    assert "the disk is full" in reasons[0]
    assert counts.recorded + counts.lost == sent
    read = Bag(tmp_path / "bag")
    assert read.damage == ""
    assert read.counts["/executor_state"] == counts.recorded > 0
    assert read.provenance["recorder"]["stopped"] == reasons[0]


KILLED = """
import os, sys, time
from pathlib import Path
from swiftvla_ros.contract import load_contract
from swiftvla_ros.episodes.bags.bag import RawMessage
from swiftvla_ros.episodes.bags.writer import BagWriter
from swiftvla_ros.observation.message_fields import header_stamp_ns
from swiftvla_ros.episodes.recording.recording import Recording

bag = BagWriter(Path(sys.argv[1]), load_contract("so101_sim"))
bag.__enter__()
recording = Recording(bag, queue_bytes=1 << 28, on_stop=print)
recording.tell({"checkpoint_sha256": "abc"})
count = 0
while True:
    recording.put(RawMessage("/speed_scale", "std_msgs/msg/Float64", count, b"\\0\\1\\0\\0" + bytes(8)))
    count += 1
    time.sleep(0.001)
    if count % 100 == 0:
        print(count, bag.bytes_written, flush=True)
"""


def test_a_killed_recorder_loses_the_last_moments_only(tmp_path: Path) -> None:
    """Protects: after kill -9 all but half a second is there, with the contract and where it came from."""
    folder = tmp_path / "bag"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(folder)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = written = count = 0
        while written == first or count < 1500:
            count, written = map(int, process.stdout.readline().split())
            first = first or written
        process.send_signal(signal.SIGKILL)
    bag = Bag(folder)
    # Half a second between flushes, and as long again for a machine that was busy with something else.
    assert bag.counts["/speed_scale"] >= count - 1000
    assert "metadata.yaml is missing" in bag.damage
    assert bag.contract.robot == "so101_sim"
    assert bag.provenance["checkpoint_sha256"] == "abc"


def test_images_become_jpegs_on_the_topic_of_image_transport(contract: Contract, messages: Any, tmp_path: Path) -> None:
    """Protects: a tenth of the space, stamps kept, and read by the same call as raw images."""
    kinds = known_types().types
    y, x = np.mgrid[:96, :128]
    picture = np.stack([x, y, x + y], axis=-1).astype(np.uint8)
    image = kinds[IMAGE](messages.header(7), 96, 128, "rgb8", 0, 384, picture.ravel())
    data = bytes(known_types().serialize_cdr(image, IMAGE))
    assert header_stamp_ns(data) == 7
    recording = Recording(open_bag(tmp_path / "bag", contract), queue_bytes=1 << 20, on_stop=pytest.fail)
    conversion = jpeg_conversion("/observation/front", 95)
    recording.put(RawMessage("/observation/front", IMAGE, 10, data), conversion)
    recording.put(RawMessage("/observation/front", IMAGE, 11, b"no image"), conversion)
    assert recording.close().unconverted == 1
    bag = Bag(tmp_path / "bag")
    assert bag.counts == {"/observation/front/compressed": 1, "/observation/front": 1}
    with BagWriter(tmp_path / "jpeg", contract) as writer:
        for message in bag.raw(["observation/front/compressed"]):
            writer.write(*message)
    ((received, stamp, read),) = Bag(tmp_path / "jpeg").images("front")
    assert (received, stamp, read.shape) == (10, 7, (96, 128, 3))
    assert np.abs(read.astype(int) - picture).mean() < 3


def test_gaps_in_a_publishers_numbers_are_losses() -> None:
    """Protects: what the middleware dropped is counted; a second publisher or a restarted one is no loss."""
    watch = SequenceWatch()
    seen = [("a", 5), ("a", 6), ("b", 1), ("a", 9), ("b", 2), ("a", 1), ("a", 2)]
    assert [watch.missing("/t", p.encode(), n) for p, n in seen] == [0, 0, 0, 2, 0, 0, 0]
    assert watch.missing("/t", b"", None) == 0
