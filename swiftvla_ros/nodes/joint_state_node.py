# SPDX-License-Identifier: Apache-2.0
"""Joint states of the driver in; the policy's state out: by name, in contract order, in SI units."""

from __future__ import annotations

import sys

from sensor_msgs.msg import JointState

from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode, run
from swiftvla_ros.nodes.ros.messages import header
from swiftvla_ros.observation.joint_state import JointStateError, JointStateMerger
from swiftvla_ros.observation.message_fields import stamp_ns
from swiftvla_ros.observation.stamp_clock import StampClock

_REPEAT_S = 5.0


class JointStateNode(ManagedNode):
    """Publishes ``observation/state``; everything runs in the executor's thread."""

    def __init__(self) -> None:
        super().__init__("joint_state")

    def setup(self) -> None:
        """Subscribe to the contract's topic."""
        self._topic = self.contract.joint_states.topic
        self._merger = JointStateMerger(self.contract.joint_names)
        self._stamps = StampClock(self._topic)
        self._max_age_ns = round(self.contract.policy.max_state_age_s * 1e9)
        self._output = self.publisher(JointState, "observation/state", qos.STATE)
        self.subscribe(JointState, self._topic, self._merge, qos.STATE_INPUT)
        self.timer(1.0, self._watch)

    def start(self) -> None:
        """Count silence from now on."""
        self._last_published_ns = self.now_ns()

    def _merge(self, message: JointState) -> None:
        now_ns = self.now_ns()
        if self.clock_jumped_back(now_ns):
            self._merger.clear()
            self._stamps.clear()
        ns = self._stamps.resolve(stamp_ns(message.header.stamp), now_ns)
        if warning := self._stamps.take_warning():
            self.get_logger().warning(warning)
        try:
            state = self._merger.update(message.name, message.position, ns, now_ns)
        except JointStateError as error:
            self.get_logger().error(
                f"joint states on {self._topic} are dropped: {error}", throttle_duration_sec=_REPEAT_S
            )
            return
        if state is None:
            return
        self._last_published_ns = now_ns
        self._output.publish(
            JointState(
                header=header(state.stamp_ns, self.contract.base_frame),
                name=list(self.contract.joint_names),
                position=self.contract.to_si(state.positions).tolist(),
            )
        )

    def _watch(self) -> None:
        silence_ns = self.now_ns() - self._last_published_ns if self.active else 0
        if silence_ns > self._max_age_ns:
            missing = self._merger.missing
            reason = f"joints {', '.join(missing)} never arrived" if missing else "no complete new state"
            self.get_logger().warning(
                f"{reason} on {self._topic} for {silence_ns / 1e9:.1f} s", throttle_duration_sec=_REPEAT_S
            )


def main(args: list[str] | None = None) -> None:
    """Run the node until SIGINT or SIGTERM."""
    sys.exit(run(JointStateNode, args))


if __name__ == "__main__":
    main()
