# SPDX-License-Identifier: Apache-2.0
"""A person's hand in, an operator's chunks out: a leader arm that is followed, or a jog."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from geometry_msgs.msg import TwistStamped
from numpy.typing import NDArray
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from swiftvla_ros.contract.executor_codes import Refusal
from swiftvla_ros.msg import ActionChunk, ExecutorState, TeleopState
from swiftvla_ros.nodes.parts.observation_topics import subscribe_to_state
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.diagnostics import Health, Level, publish_diagnostics
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode, script_of
from swiftvla_ros.nodes.ros.messages import doubles, header, set_time, to_duration
from swiftvla_ros.nodes.ros.parameters import Allowed
from swiftvla_ros.observation.joint_state import JointStateError
from swiftvla_ros.observation.leader_state import leader_positions
from swiftvla_ros.observation.message_fields import read_executor_state, stamp_ns
from swiftvla_ros.teleop.engagement import Engagement, Follower
from swiftvla_ros.teleop.hand import OperatorRows, TeleopPhase
from swiftvla_ros.teleop.jog import Jog
from swiftvla_ros.teleop.leader import SLOW_HZ, LeaderArm
from swiftvla_ros.teleop.tool_jog import joint_speeds

Array = NDArray[np.float64]

_REPEAT_S = 2.0
_WATCH_S, _TELL_S, _JOG_S = 0.05, 0.1, 0.02


@dataclass
class TeleopParts:
    """The hand, what it is allowed, where it speaks, and the executor's buttons."""

    engagement: Engagement
    leader: LeaderArm
    jog: Jog
    chunks: Any
    states: Any
    buttons: dict[str, Any]
    message: ActionChunk
    measured: Array | None = None
    sent_ns: int = 0
    count: int = 0
    told: tuple[TeleopPhase, str] | None = None
    told_s: float = 0.0


class TeleopNode(ManagedNode[TeleopParts]):
    """Feeds the :class:`~swiftvla_ros.teleop.engagement.Engagement`; all in the executor's one thread.

    A leader's pose becomes a chunk in its own callback, so that nothing waits for a timer.
    """

    def __init__(self) -> None:
        super().__init__("teleop")
        self.describe("hand", "leader", "what leads the arm", Allowed(one_of=("leader", "jog")))
        self.describe(
            "far_leader",
            "approach",
            "a leader farther than control.start_tolerance_rad is approached slowly, or refused",
            Allowed(one_of=("approach", "refuse")),
        )
        self.describe("rate_hz", 50.0, "most chunks a second; the leader may be faster", Allowed(above=0, most=200))

    def setup(self) -> TeleopParts:
        """Open the topics; nothing moves before ``~/engage``."""
        contract = self.contract
        leader, jog = LeaderArm(contract), Jog(contract)
        hand = leader if self.value("hand") == "leader" else jog
        engagement = Engagement(
            contract, hand, self.value("far_leader"), lambda: self._press("take_over"), lambda: self._press("give_back")
        )
        if hand is leader:
            self.subscribe(JointState, contract.leader.topic, self._take_leader, qos.STATE_INPUT)
            self.awaits("joint states of a leader", JointState, contract.leader.topic, qos.STATE_INPUT)
        else:
            self.subscribe(JointState, "jog", self._take_jog, qos.STATE_INPUT)
            self.subscribe(TwistStamped, "jog_twist", self._take_twist, qos.STATE_INPUT)
            self.steady_timer(_JOG_S, self._send)
        subscribe_to_state(self, self._take_state)
        self.subscribe(ExecutorState, "executor_state", self._take_executor, qos.STATE_INPUT)
        self.steady_timer(_WATCH_S, self._watch)
        self.button("~/engage", lambda: engagement.engage(self.now_ns()) if self.active else (False, "not active"))
        self.button("~/release", engagement.release)
        publish_diagnostics(self, self._health)
        buttons = {
            name: self.own(self.create_client(Trigger, f"trajectory_executor/{name}"), self.destroy_client)
            for name in ("take_over", "give_back")
        }
        chunk = ActionChunk(joint_names=list(contract.joint_names))
        chunk.header.frame_id = contract.base_frame
        states = self.publisher(TeleopState, "teleop_state", qos.LATCHED)
        chunks = self.publisher(ActionChunk, "operator_chunk", qos.CHUNK)
        return TeleopParts(engagement, leader, jog, chunks, states, buttons, chunk)

    def stop(self) -> None:
        """Lead no more; who has the arm does not change by that."""
        if self._parts is not None and self._parts.engagement.engaged:
            self._parts.engagement.hold("the node was deactivated")
            self._tell()

    # -- inputs --------------------------------------------------------------------------------------------------------

    def _take_leader(self, message: JointState) -> None:
        leader = self.parts.leader
        try:
            pose = leader_positions(message, self.contract)
        except JointStateError as error:
            leader.refuse(str(error))
        else:
            if leader.take(pose, stamp_ns(message.header.stamp), self.now_ns()):
                self._send()
                return
        self.get_logger().warning(f"left out: {leader.last_refusal}", throttle_duration_sec=_REPEAT_S)

    def _take_jog(self, message: JointState) -> None:
        self._jog(message.name, message.velocity)

    def _take_twist(self, message: TwistStamped) -> None:
        chain, jog, twist = self.contract.chain, self.parts.jog, message.twist
        linear, angular = (np.array([v.x, v.y, v.z]) for v in (twist.linear, twist.angular))
        if chain is None:
            jog.refuse(f"jog_twist: {self.contract.path} has no kinematics; name the URDF there, or use jog")
            self._warn()
        elif not self.parts.engagement.engaged:
            return
        elif not (np.isfinite(linear).all() and np.isfinite(angular).all()):
            jog.refuse("jog_twist: a number is not finite")
            self._warn()
        else:
            self._jog(self.contract.joint_names, joint_speeds(chain, jog.position, linear, angular))

    def _jog(self, names: Any, velocities: Any) -> None:
        if not self.parts.jog.take(names, velocities, self.now_ns()):
            self._warn()

    def _warn(self) -> None:
        text = f"left out: {self.parts.jog.last_refusal}"
        self.get_logger().warning(text, throttle_duration_sec=_REPEAT_S)

    def _take_state(self, _stamp: int, positions: Array) -> None:
        self.parts.measured = positions

    def _take_executor(self, message: ExecutorState) -> None:
        tick = read_executor_state(message)
        pose = tick.commanded if len(tick.commanded) == len(self.contract.joints) else self.parts.measured
        if pose is None:
            return
        text = tick.reason_text
        if tick.last_refusal not in (Refusal.NONE, Refusal.OPERATOR_HOLDS):
            text = f"{text}; the last chunk that it refused: {tick.last_refusal_text}"
        follower = Follower(pose, tick.mode, tick.reason, text, tick.chunk_source)
        self.parts.engagement.follower(follower, self.now_ns())

    # -- output --------------------------------------------------------------------------------------------------------

    def _send(self) -> None:
        """Publish what the hand wants from now on, where that is due."""
        if not self.active:
            return
        parts, now_ns = self.parts, self.now_ns()
        # A little early is in time: a leader of the same rate comes now earlier, now later.
        if 0 <= now_ns - parts.sent_ns < 0.8e9 / float(self.value("rate_hz")):
            return
        rows = parts.engagement.rows(now_ns)
        if rows is not None:
            parts.sent_ns = now_ns
            self._publish(rows, now_ns)

    def _publish(self, rows: OperatorRows, now_ns: int) -> None:
        parts, message = self.parts, self.parts.message
        parts.count += 1
        set_time(message.header.stamp, rows.stamp_ns)
        message.step = to_duration(rows.step_ns)
        message.rows, message.positions = len(rows.positions), doubles(rows.positions.ravel())
        message.chunk_id = parts.count
        for field in (message.observation_ready, message.inference_start, message.inference_end):
            set_time(field, now_ns)
        parts.chunks.publish(message)

    def _press(self, button: str) -> None:
        """Press a button of the executor's; its answer is seen in what it does."""
        client = self.parts.buttons[button]
        if not client.service_is_ready():
            self.get_logger().error(f"no service {client.srv_name}: is the trajectory executor running?")
            return
        client.call_async(Trigger.Request())

    def _watch(self) -> None:
        parts = self.parts
        if self.active:
            parts.engagement.watch(self.now_ns())
        told = (parts.engagement.phase, parts.engagement.reason)
        if told != parts.told or time.monotonic() - parts.told_s >= _TELL_S:
            self._tell()

    def _tell(self) -> None:
        parts, engagement, now_ns = self.parts, self.parts.engagement, self.now_ns()
        told = (engagement.phase, engagement.reason)
        if told != parts.told and engagement.phase is TeleopPhase.HELD:
            self.get_logger().warning(f"HELD: {engagement.reason}")
        elif told != parts.told:
            self.get_logger().info(f"{engagement.phase.name}: {engagement.reason}")
        parts.told, parts.told_s = told, time.monotonic()
        leads = self.value("hand") == "leader"
        hand: LeaderArm | Jog = parts.leader if leads else parts.jog
        distance = engagement.distance
        parts.states.publish(
            TeleopState(
                header=header(now_ns, self.contract.base_frame),
                engaged=engagement.engaged,
                source=str(self.value("hand")),
                phase=engagement.phase,
                reason=engagement.reason,
                joint_names=list(self.contract.joint_names),
                distance=[] if distance is None else distance.tolist(),
                age=parts.leader.age_s if leads else -1.0,
                input_rate=hand.rate_hz,
                approach_left=engagement.approach_left_s(now_ns),
                chunks=parts.count,
                inputs_refused=hand.refused,
                last_refusal=hand.last_refusal,
            )
        )

    def _health(self) -> Health:
        parts, engagement = self.parts, self.parts.engagement
        leads = self.value("hand") == "leader"
        hand: LeaderArm | Jog = parts.leader if leads else parts.jog
        level, text = Level.OK, engagement.reason
        if engagement.phase is TeleopPhase.HELD:
            level = Level.WARN
        elif leads and engagement.engaged and 0.0 < hand.rate_hz < SLOW_HZ:
            level, text = (
                Level.WARN,
                f"the leader speaks {hand.rate_hz:.0f} times a second; {SLOW_HZ:g} or more is smooth",
            )
        values = {
            "phase": engagement.phase.name,
            "inputs, Hz": f"{hand.rate_hz:.1f}",
            "inputs refused": hand.refused,
            "last refusal": hand.last_refusal,
            "chunks": parts.count,
        }
        return Health(level, text, values)


main = script_of(TeleopNode)

if __name__ == "__main__":
    main()
