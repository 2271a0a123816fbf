# SPDX-License-Identifier: Apache-2.0
"""Joint states of the driver in; the policy's state out: by name, in contract order, in SI units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sensor_msgs.msg import JointState
from std_msgs.msg import String

from swiftvla_ros.nodes.parts.joint_state_gate import JointStateGate
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode, script_of
from swiftvla_ros.nodes.ros.messages import header
from swiftvla_ros.observation.joint_state import JointStateError, JointStateMerger
from swiftvla_ros.observation.message_fields import stamp_ns
from swiftvla_ros.observation.stamp_clock import StampClock

_REPEAT_S = 5.0


@dataclass
class JointStateParts:
    """What is known of the driver's messages, and where the states go."""

    merger: JointStateMerger
    stamps: StampClock
    gate: JointStateGate
    output: Any
    problems: Any
    problem: str = ""
    last_published_ns: int = 0


class JointStateNode(ManagedNode[JointStateParts]):
    """Publishes ``observation/state``, or ``observation/state_problem``; everything runs in the executor's thread."""

    def __init__(self) -> None:
        super().__init__("joint_state")

    def setup(self) -> JointStateParts:
        """Subscribe to the contract's topic."""
        topic = self.contract.joint_states.topic
        self.subscribe_with_info(JointState, topic, self._merge, qos.STATE_INPUT)
        self.awaits("joint states", JointState, topic, qos.STATE_INPUT)
        self.timer(1.0, self._watch)
        output = self.publisher(JointState, "observation/state", qos.STATE)
        return JointStateParts(
            JointStateMerger(self.contract.joint_names),
            StampClock(topic),
            JointStateGate(self, topic),
            output,
            self.publisher(String, "observation/state_problem", qos.LATCHED),
        )

    def start(self) -> None:
        """Count silence from now on."""
        self.parts.last_published_ns = self.now_ns()

    def _merge(self, message: JointState, info: Any) -> None:
        parts, now_ns = self.parts, self.now_ns()
        if not (wanted := parts.merger.wanted(message.name)):
            return
        if self.clock_jumped_back(now_ns):
            parts.merger.clear()
            parts.stamps.clear()
            parts.gate.clear()
        ns = parts.stamps.resolve(stamp_ns(message.header.stamp), now_ns)
        if warning := parts.stamps.take_warning():
            self.get_logger().warning(warning)
        parts.gate.heard(wanted, ns, info)
        try:
            state = parts.merger.update(message.name, message.position, ns, now_ns)
        except JointStateError as error:
            self.get_logger().error(
                f"joint states on {self.contract.joint_states.topic} are dropped: {error}",
                throttle_duration_sec=_REPEAT_S,
            )
            return
        if state is None:
            return
        positions = self.contract.to_si(state.positions)
        passes = parts.gate.passes(positions, state.stamp_ns)
        self._tell(parts.gate.problem)
        if not passes:
            return
        parts.last_published_ns = now_ns
        parts.output.publish(
            JointState(
                header=header(state.stamp_ns, self.contract.base_frame),
                name=list(self.contract.joint_names),
                position=positions.tolist(),
            )
        )

    def _tell(self, problem: str) -> None:
        """Publish what keeps the states back, where that changed."""
        if problem != self.parts.problem:
            self.parts.problem = problem
            self.parts.problems.publish(String(data=problem))

    def _watch(self) -> None:
        if self.silence.text:
            self._tell(self.silence.text)
        silence_s = (self.now_ns() - self.parts.last_published_ns) / 1e9 if self.active else 0.0
        if silence_s > self.contract.policy.max_state_age_s:
            missing = self.parts.merger.missing
            reason = f"joints {', '.join(missing)} never arrived" if missing else "no complete new state"
            self.get_logger().warning(
                f"{reason} on {self.contract.joint_states.topic} for {silence_s:.1f} s", throttle_duration_sec=_REPEAT_S
            )


main = script_of(JointStateNode)

if __name__ == "__main__":
    main()
