# SPDX-License-Identifier: Apache-2.0
"""What a node waits for in vain, and why: topics that are silent, and a simulated time that does not go on."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock

from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.topic_diagnosis import diagnose_topic

PERIOD_S = 0.5
# A driver may take a moment to start; later its silence is no accident.
_SILENT_S = 3.0
# What is known already needs no patience.
_TOLD_S = 0.5
# The graph is asked this often, and the log told this often, while nothing changes.
_ASK_S = 5.0
_REPEAT_S = 60.0
# A paused simulator is no fault, so its first second is not told; /clock itself comes ten times a second at least.
_CLOCK_STANDS_S = 1.5


@dataclass(frozen=True)
class Awaited:
    """A topic without which a node can't do its work.

    ``what`` is in plural, such as "images of camera 'front'". ``message_bytes`` is about how large they are. ``source``
    is what the node that publishes them waits for itself.
    """

    what: str
    topic: str
    kind: type
    profile: QoSProfile
    message_bytes: int = 0
    source: Awaited | None = None


class SilenceWatch:
    """Looks after the topics that one node awaits, and its clock; ``text`` says what is silent and why.

    All in the executor's thread; on the steady clock, since the node's own may be what stands still.
    """

    def __init__(self, node: Any) -> None:
        self._node = node
        self._clock = -1, 0.0
        self.clear()

    def clear(self) -> None:
        """Await nothing more."""
        self.awaited: list[Awaited] = []
        self.text = self.clock_text = ""
        self._heard_s: dict[str, float] = {}
        self._problems: dict[str, str] = {}
        self._active_since_s: float | None = None
        self._asked: tuple[str, ...] = ()
        self._asked_s = 0.0
        # When the log was told of a topic: one that comes and goes does not fill it.
        self._told_s: dict[str, float] = {}
        self._warned = False

    def heard(self, topic: str) -> None:
        """A message came."""
        self._heard_s[topic] = time.monotonic()

    def told(self, topic: str, problem: str) -> None:
        """What the node that publishes an awaited topic says of itself; empty where it is well."""
        self._problems[topic] = problem
        self._asked_s = 0.0

    def explain(self, reason: str) -> str:
        """A reason for doing nothing, with what is behind it; an empty one stays empty while time goes on."""
        if self.clock_text or not reason or not self.text:
            return self.clock_text or reason
        return f"{reason}; {self.text}"

    def look(self) -> None:
        """Look at the clock and the topics; log what is new, and now and again what lasts."""
        now_s = time.monotonic()
        self._active_since_s = (self._active_since_s or now_s) if self._node.active else None
        self.clock_text = self._clock_problem(now_s)
        silent = [
            each
            for each in self.awaited
            if self._silence_s(each, now_s) > (_TOLD_S if self._problems.get(each.topic) else _SILENT_S)
        ]
        about = ("/clock",) if self.clock_text else tuple(each.topic for each in silent)
        if about != self._asked or now_s - self._asked_s > _ASK_S:
            self._asked_s = now_s
            self.text = "; ".join(self._why(each, self._silence_s(each, now_s)) for each in silent)
        self._asked = about
        if any(now_s - self._told_s.get(topic, -_REPEAT_S) >= _REPEAT_S for topic in about):
            self._told_s |= dict.fromkeys(about, now_s)
            self._warned = True
            self._node.get_logger().warning(self.clock_text or self.text)
        elif self._warned and not about:
            self._warned = False
            self._node.get_logger().info("what was awaited comes")

    def _silence_s(self, awaited: Awaited, now_s: float) -> float:
        if self._active_since_s is None:
            return 0.0
        return now_s - max(self._active_since_s, self._heard_s.get(awaited.topic, 0.0))

    def _why(self, awaited: Awaited, silence_s: float) -> str:
        text = f"no {awaited.what} for {silence_s:.0f} s"
        if problem := self._problems.get(awaited.topic):
            return problem
        found = _diagnose(self._node, awaited)
        if awaited.source is not None and not found.publishers:
            return f"{text}: {found.expected.topic} has no publisher; its node of this package is not there, start it"
        if awaited.source is None or any(cause.code != "sender" for cause in found.causes):
            return f"{text}: {found.text}"
        # Who publishes it is there, and waits itself.
        publishers = ", ".join(sorted({p.node for p in found.publishers}))
        return f"{text} from {publishers}, which says why in its log: {_diagnose(self._node, awaited.source).text}"

    def _clock_problem(self, now_s: float) -> str:
        if not self._node.get_parameter("use_sim_time").value:
            return ""
        ns = self._node.now_ns()
        if ns != self._clock[0]:
            self._clock = ns, now_s
        if now_s - self._clock[1] < _CLOCK_STANDS_S:
            return ""
        if ns:
            return (
                f"use_sim_time is true and /clock stands still at {ns / 1e9:.2f} s: the simulator, or the bag, is "
                "paused or has ended"
            )
        found = diagnose_topic(self._node, "/clock", Clock, qos.CLOCK)
        return (
            f"use_sim_time is true and no time comes on /clock, so nothing is done: {found.text}; start the simulator, "
            "its bridge of /clock or `ros2 bag play --clock`, or set use_sim_time to false"
        )


def _diagnose(node: Any, awaited: Awaited) -> Any:
    return diagnose_topic(node, awaited.topic, awaited.kind, awaited.profile, awaited.message_bytes)
