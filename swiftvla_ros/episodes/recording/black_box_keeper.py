# SPDX-License-Identifier: Apache-2.0
"""Keeps the black box of a running system: watches for triggers and writes the box in a thread of its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path

from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.bags.bag import Bag, RawMessage
from swiftvla_ros.episodes.bags.message_types import BagError
from swiftvla_ros.episodes.bags.writer import BagWriter
from swiftvla_ros.episodes.recording.black_box import ExecutorWatch, Pending, Ring, Trigger
from swiftvla_ros.episodes.recording.black_box_summary import summary_of
from swiftvla_ros.episodes.recording.recording import known_message

_STATE_TYPE = "swiftvla_ros/msg/ExecutorState"
# Longest wait for a box that is being written when the process ends.
_CLOSE_S = 30.0


class BlackBoxKeeper:
    """The ring, its triggers and the boxes, a bag each in ``folder``; all calls come from the node's thread.

    ``most_boxes`` may lie there: evidence is never deleted, so a fault that comes again and again fills it. ``ros`` is
    the distribution whose rosbag2 is to read them. ``say`` is called with a line for people and whether it is a
    problem, also from the writing thread.
    """

    def __init__(
        self,
        folder: Path,
        contract: Contract,
        ring: Ring,
        pending: Pending,
        *,
        most_boxes: int,
        ros: str,
        say: Callable[[str, bool], None],
    ) -> None:
        self._folder = folder
        self._contract = contract
        self._ring = ring
        self._pending = pending
        self._most = most_boxes
        self._ros = ros
        self._say = say
        self._watch = ExecutorWatch()
        self._rivals: frozenset[str] = frozenset()
        self._thread: threading.Thread | None = None
        self.provenance: dict[str, str] = {}
        self.problem = ""
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, message: RawMessage, *, latched: bool) -> None:
        """Take a message, and look whether it tells of a fault, a stop or somebody who takes over."""
        if latched:
            self._ring.latched.add(message.topic)
        self._ring.add(message)
        if message.msgtype == _STATE_TYPE:
            try:
                state = known_message(message.data, _STATE_TYPE)
            except BagError:
                return  # what is no state tells nothing, and is in the box as it came
            trigger = self._watch.look(state.mode, state.reason, state.reason_text)
            if trigger is not None:
                self.trigger(trigger, message.received_ns)

    def see_rivals(self, topics: Sequence[str], now_ns: int) -> None:
        """Take the command topics on which somebody beside the executor publishes: an operator's own device."""
        new = frozenset(topics) - self._rivals
        self._rivals = frozenset(topics)
        for topic in sorted(new):
            self.trigger(Trigger("take-over", f"somebody else publishes on {topic}, too"), now_ns)

    def trigger(self, trigger: Trigger, now_ns: int) -> None:
        """Have a box written soon."""
        self._say(f"black box: {trigger.kind}: {trigger.text}", False)
        self._pending.add(trigger, now_ns)

    def tick(self, now_ns: int) -> None:
        """Write the box that is due; called some times a second."""
        if self._thread is not None and self._thread.is_alive():
            return
        if triggers := self._pending.take(now_ns):
            self._start(triggers)

    def save(self, trigger: Trigger, now_ns: int) -> Path | None:
        """Write a box now; return its folder, None where none can be written."""
        self._join()
        self._pending.add(trigger, now_ns)
        return self._start(self._pending.take(now_ns, at_once=True))

    def close(self, now_ns: int) -> None:
        """Write what is pending, and wait for it."""
        self._join()
        if triggers := self._pending.take(now_ns, at_once=True):
            self._start(triggers)
            self._join()

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join(_CLOSE_S)

    def _start(self, triggers: Sequence[Trigger]) -> Path | None:
        if sum(1 for entry in self._folder.iterdir() if entry.is_dir()) >= self._most:
            self.problem = f"{self._folder} holds {self._most} boxes; move them away, none is written meanwhile"
            self._say(f"black box: {self.problem}", True)
            return None
        stamp = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S")
        name = f"{stamp}-{triggers[0].kind}"
        numbers = (f"-{i}" if i else "" for i in range(self._most + 1))
        folder = next(f for number in numbers if not (f := self._folder / f"{name}{number}").exists())
        arguments = (folder, self._ring.messages(), list(triggers), dict(self.provenance))
        self._thread = threading.Thread(target=self._write, args=arguments, name="black_box", daemon=True)
        self._thread.start()
        return folder

    def _write(
        self, folder: Path, messages: list[RawMessage], triggers: list[Trigger], provenance: dict[str, str]
    ) -> None:
        """Write one box; in a thread of its own."""
        reasons = json.dumps([{"kind": t.kind, "text": t.text} for t in triggers])
        try:
            with BagWriter(folder, self._contract, ros=self._ros, provenance=provenance) as bag:
                bag.tell({"black_box": reasons})
                for message in messages:
                    bag.write(message.topic, message.msgtype, message.received_ns, message.data)
                bag.flush()
                # Whoever presses the emergency stop may cut the power next.
                bag.sync()
            page = summary_of(Bag(folder), triggers)
            (folder / "summary.md").write_text(page, encoding="utf-8")
        except (OSError, ValueError) as error:
            self.problem = f"{folder.name} could not be written whole: {error}"
            self._say(f"black box: {self.problem}", True)
            return
        self.problem = ""
        self._say(f"black box: {folder} ({len(messages)} messages); read {folder / 'summary.md'}", False)
