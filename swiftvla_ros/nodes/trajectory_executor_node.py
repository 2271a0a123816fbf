# SPDX-License-Identifier: Apache-2.0
"""Action chunks in, limited joint commands out, at the control rate."""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from swiftvla_ros.motion import Chunk, ChunkExecutor, Command, Mode, Reason, brake_trajectory
from swiftvla_ros.msg import ActionChunk, ExecutorState
from swiftvla_ros.nodes import qos
from swiftvla_ros.nodes.lifecycle import ManagedNode, run
from swiftvla_ros.nodes.messages import header, stamp_ns, to_duration, to_time

_REPEAT_S = 2.0
# At rest, executor_state comes this often; while the arm moves, at every tick.
_STATE_PERIOD_NS = 50_000_000


class TrajectoryExecutorNode(ManagedNode):
    """Ticks the :class:`~swiftvla_ros.motion.ChunkExecutor`; everything runs in the executor's thread.

    The control timer runs from configure on: a node that is deactivated in motion slows the arm down first, and then
    commands no more.
    """

    def __init__(self) -> None:
        super().__init__("trajectory_executor")
        self._core: ChunkExecutor | None = None
        self._resting = True

    def setup(self) -> None:
        """Open the topics; nothing is commanded yet."""
        control = self.contract.control
        self._core = ChunkExecutor.from_contract(self.contract)
        self._command: Command | None = None
        self._told: tuple[Mode, Reason, int, int] | None = None
        self._told_ns = 0
        kind = Float64MultiArray if control.output == "forward_position" else JointTrajectory
        self._commands = self.publisher(kind, control.topic, qos.COMMAND)
        self._state = self.publisher(ExecutorState, "executor_state", qos.EXECUTOR_STATE)
        self.subscribe(ActionChunk, "action_chunk", self._offer, qos.CHUNK)
        self.subscribe(JointState, "observation/state", self._measure, qos.STATE_INPUT)
        self.service(Trigger, "~/start", self._serve_start)
        self.service(Trigger, "~/stop", self._serve_stop)
        self.service(Trigger, "~/emergency_stop", self._serve_emergency_stop)
        self.service(Trigger, "~/reset", self._serve_reset)
        self.timer(1.0 / control.rate_hz, self._tick)

    def start(self) -> None:
        """Wait for a chunk, wherever the arm was moved meanwhile."""
        if self._core is not None and self._core.mode is not Mode.STOPPED and not self._core.reset():
            # Activated again while it was still slowing down.
            self._core.start()

    def stop(self) -> None:
        """Slow down and hold; the timer goes on until the arm rests."""
        if self._core is not None and not self.at_rest():
            self._core.stop(self.now_ns(), Reason.DEACTIVATED)

    def at_rest(self) -> bool:
        """Whether the last command, if any, was to stand still."""
        return self._resting

    def teardown(self) -> None:
        """Forget the motion."""
        self._core = self._command = None
        self._resting = True

    def _offer(self, message: ActionChunk) -> None:
        assert self._core is not None
        positions = np.array(message.positions, dtype=np.float64)
        if positions.size == message.rows * len(message.joint_names):
            positions = positions.reshape(message.rows, -1)
        chunk = Chunk(
            stamp_ns=stamp_ns(message.header.stamp),
            step_ns=message.step.sec * 1_000_000_000 + message.step.nanosec,
            positions=positions,
            chunk_id=message.chunk_id,
            instruction_id=message.instruction_id,
            checkpoint=message.checkpoint_sha256,
            joint_names=tuple(message.joint_names),
        )
        verdict = self._core.offer(chunk, self.now_ns())
        if not verdict.accepted:
            self.get_logger().warning(f"chunk refused: {verdict.text}", throttle_duration_sec=_REPEAT_S)

    def _measure(self, message: JointState) -> None:
        assert self._core is not None
        if tuple(message.name) != self.contract.joint_names:
            self.get_logger().error(
                f"observation/state: got joints {list(message.name)}, expected {list(self.contract.joint_names)}",
                throttle_duration_sec=_REPEAT_S,
            )
            return
        self._core.measured(np.array(message.position), stamp_ns(message.header.stamp))

    def _tick(self) -> None:
        assert self._core is not None
        now_ns = self.now_ns()
        moved = not self._resting
        self._command = command = self._core.tick(now_ns)
        self._resting = command is None or not (command.velocity.any() or command.acceleration.any())
        if command is not None and (self.active or moved):
            self._send(command, now_ns)
        core = self._core
        told = (core.mode, core.reason, core.accepted, core.refused)
        due = not 0 <= now_ns - self._told_ns < _STATE_PERIOD_NS
        if due or told != self._told or moved or not self._resting:
            if self._told is None or told[:2] != self._told[:2]:
                self.get_logger().info(f"{core.mode.name}: {core.reason_text}")
            self._told, self._told_ns = told, now_ns
            self._publish_state(now_ns)

    def _send(self, command: Command, now_ns: int) -> None:
        if self.contract.control.output == "forward_position":
            self._commands.publish(Float64MultiArray(data=self.contract.from_si(command.position).tolist()))
            return
        # The command is reached one tick from now, when the next message takes over. Should this be the last one that
        # the driver gets, the tail brings the arm to rest inside the limits.
        tick_s = 1.0 / self.contract.control.rate_hz
        stop = brake_trajectory(command, self.contract.limits)
        points = [self._point(tick_s, command.position, command.velocity)]
        for after_s, position, velocity in zip(stop.times_s, stop.positions, stop.velocities, strict=True):
            points.append(self._point(tick_s + after_s, position, velocity))
        self._commands.publish(
            JointTrajectory(header=header(now_ns), joint_names=list(self.contract.joint_names), points=points)
        )

    def _point(
        self, from_start_s: float, position: NDArray[np.float64], velocity: NDArray[np.float64]
    ) -> JointTrajectoryPoint:
        return JointTrajectoryPoint(
            positions=self.contract.from_si(position).tolist(),
            velocities=self.contract.velocity_from_si(velocity).tolist(),
            time_from_start=to_duration(round(from_start_s * 1e9)),
        )

    def _publish_state(self, now_ns: int) -> None:
        core, command = self._core, self._command
        assert core is not None
        # Deactivated and at rest, the core still holds, but nothing is sent any more.
        mode = core.mode if self.active or not self._resting or core.mode is Mode.STOPPED else Mode.RELEASED
        self._state.publish(
            ExecutorState(
                header=header(now_ns, self.contract.base_frame),
                mode=mode,
                reason=core.reason,
                reason_text=core.reason_text,
                chunk_id=core.chunk_id,
                row=core.row,
                chunk_age_s=core.age_s(now_ns),
                chunk_stamp=to_time(core.chunk.stamp_ns if core.chunk is not None else 0),
                chunk_first_command=to_time(core.first_command_ns or 0),
                chunks_accepted=core.accepted,
                chunks_refused=core.refused,
                last_refusal=core.last_refusal.code,
                last_refusal_text=core.last_refusal.text,
                joint_names=list(self.contract.joint_names),
                position_clamps=core.position_clamps.tolist(),
                velocity_clamps=core.velocity_clamps.tolist(),
                acceleration_clamps=core.acceleration_clamps.tolist(),
                speed_scale=1.0,
                commanded_position=[] if command is None else command.position.tolist(),
                tracking_error=core.tracking_error.tolist(),
            )
        )

    def _serve_start(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        assert self._core is not None
        self._core.start()
        return _answer(response, True, "chunks are accepted")

    def _serve_stop(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        assert self._core is not None
        self._core.stop(self.now_ns())
        return _answer(response, True, "slowing down to rest; ~/start accepts chunks again")

    def _serve_emergency_stop(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        assert self._core is not None
        self._core.emergency_stop()
        return _answer(response, True, "braking; ~/reset leads out once the arm rests")

    def _serve_reset(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        assert self._core is not None
        if self._core.reset():
            return _answer(response, True, "nothing is commanded; the next chunk starts from the measured pose")
        return _answer(response, False, "the arm still moves; call ~/stop and wait for HOLD first")


def _answer(response: Trigger.Response, success: bool, message: str) -> Trigger.Response:
    response.success = success
    response.message = message
    return response


def main(args: list[str] | None = None) -> None:
    """Run the node until SIGINT or SIGTERM."""
    sys.exit(run(TrajectoryExecutorNode, args))


if __name__ == "__main__":
    main()
