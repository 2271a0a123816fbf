# SPDX-License-Identifier: Apache-2.0
"""What a session of demonstrations tells its operator: which topics it awaits, what is wrong, and how far it is."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.sections.demonstrations import ActionTopic
from swiftvla_ros.episodes.bags.topics import camera_type
from swiftvla_ros.episodes.session.session import DemonstrationSession, Phase
from swiftvla_ros.episodes.session.topic_rates import NeededTopic, TopicRates
from swiftvla_ros.msg import DemonstrationState, TeleopState
from swiftvla_ros.nodes.recording.episode_recording import EpisodeRecording
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode
from swiftvla_ros.nodes.ros.messages import header, message_class

_JOINT_STATE = "sensor_msgs/msg/JointState"
_MB = 1 << 20


class SessionReport:
    """Looks after what an episode can't do without; ``blocked`` says why none could begin now.

    Where the arm is ``led`` by teleop_node, somebody has to lead it. ``warnings`` are what the operator should know of
    the running episode, or of the next one, by what they are about.
    """

    def __init__(
        self,
        node: ManagedNode[Any],
        session: DemonstrationSession,
        recording: EpisodeRecording,
        folder: Path,
        min_free_mb: int,
        *,
        led: bool,
    ) -> None:
        self._node = node
        self._session = session
        self._recording = recording
        self._folder = folder
        self._min_free_mb = min_free_mb
        self._rates = TopicRates(_expect(node, node.contract))
        self._awaited = {node.resolve_topic_name(each.topic): each.topic for each in node.silence.awaited}
        self._hand: TeleopState | None = None
        self._led = led
        if led:
            node.subscribe(TeleopState, "teleop_state", self._take_hand, qos.LATCHED, always=True)
        self._output = node.publisher(DemonstrationState, "demonstration_state", qos.LATCHED)
        self.blocked = ""
        self.warnings: dict[str, str] = {}

    def heard(self, topic: str, now_ns: int) -> None:
        """A message came on a topic, by its full name."""
        self._rates.heard(topic, now_ns)
        if topic in self._awaited:
            self._node.silence.heard(self._awaited[topic])

    def _take_hand(self, state: TeleopState) -> None:
        self._hand = state

    def look(self) -> None:
        """Find out what is wrong, and what would keep an episode from beginning."""
        now_ns = self._node.now_ns()
        self._recording.look()
        silent = self._rates.silent(now_ns)
        problems = {topic: f"{what}: nothing on {topic} for a second" for topic, what in silent.items()}
        if silent and self._node.silence.text:
            problems = {"silence": self._node.silence.text}
        if self._led and (self._hand is None or self._hand.phase != TeleopState.FOLLOWING):
            reason = "teleop_node does not report" if self._hand is None else self._hand.reason
            problems["teleop"] = f"nobody leads the arm: {reason} (teleop/engage: key e of swiftvla demonstrate)"
        free_mb = self._free_bytes() // _MB
        # Twice: a bag that is open holds some of it back for its end.
        if free_mb < 2 * self._min_free_mb:
            problems["disk"] = f"{self._folder}: {free_mb} MB are free, too few for an episode; make space"
        self.blocked = "; ".join(problems.values())
        lost = {f"lost {topic}": f"{topic}: {count} messages lost" for topic, count in self._recording.lost.items()}
        self.warnings = (problems or self._rates.slow(now_ns)) | lost

    def publish(self) -> None:
        """Tell it."""
        session, now_ns = self._session, self._node.now_ns()
        rates, expected, counts = self._rates.rates_hz(now_ns), self._rates.expected, session.counts
        last = None if session.phase is Phase.RECORDING else session.record
        self._output.publish(
            DemonstrationState(
                header=header(now_ns),
                phase=int(session.phase),
                blocked=self.blocked,
                warnings=list(self.warnings.values()),
                instruction=session.instruction,
                episode=session.next_bag.name,
                succeeded=counts["succeeded"],
                wanted=session.wanted,
                failed=counts["failed"],
                discarded=counts["discarded"],
                unjudged=counts["unjudged"],
                last_episode="" if last is None or session.bag is None else session.bag.name,
                last_outcome="" if last is None else last.outcome,
                last_note="" if last is None else last.note,
                elapsed_s=session.elapsed_s(now_ns),
                reset_left_s=session.reset_left_s(now_ns),
                topics=list(rates),
                rates_hz=list(rates.values()),
                expected_hz=[expected[topic].rate_hz if topic in expected else 0.0 for topic in rates],
                lost=[self._recording.lost.get(topic, 0) for topic in rates],
                disk_free_bytes=self._free_bytes(),
            )
        )

    def _free_bytes(self) -> int:
        return shutil.disk_usage(self._folder).free


def _expect(node: ManagedNode[Any], contract: Contract) -> dict[str, NeededTopic]:
    """Look for what an episode can't do without, and have its silence explained."""
    needed = [(NeededTopic(f"camera {c.name}", c.rate_hz), c.topic, camera_type(c)) for c in contract.cameras]
    states = contract.joint_states
    needed.append((NeededTopic("joint states", states.rate_hz), states.topic, _JOINT_STATE))
    actions = contract.demonstrations.actions
    if actions == "leader":
        needed.append((NeededTopic("leader"), contract.leader.topic, _JOINT_STATE))
    elif isinstance(actions, ActionTopic):
        needed.append((NeededTopic("actions"), actions.topic, actions.msgtype))
    for each, topic, msgtype in needed:
        node.awaits(f"messages of {each.what}", message_class(msgtype), topic, qos.STATE_INPUT)
    return {node.resolve_topic_name(topic): each for each, topic, _ in needed}
