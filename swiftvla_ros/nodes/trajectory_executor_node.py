# SPDX-License-Identifier: Apache-2.0
"""Action chunks in, limited joint commands out, at the control rate."""

from __future__ import annotations

import sys
import threading
from collections import deque

import numpy as np
from builtin_interfaces.msg import Time
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64
from std_srvs.srv import Trigger

from swiftvla_ros.motion import ChunkExecutor, Command, JointChunk, Mode, Reason
from swiftvla_ros.motion.speed_limits import OPERATOR, SpeedLimit
from swiftvla_ros.msg import ActionChunk, ExecutorState
from swiftvla_ros.msg import SpeedLimit as SpeedLimitMessage
from swiftvla_ros.nodes.commands.outputs import CommandOutput, ContractOutputs
from swiftvla_ros.nodes.commands.shadow import ShadowOutput
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.control_loop import ControlLoop
from swiftvla_ros.nodes.ros.diagnostics import Health, Level, publish_diagnostics
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode, run
from swiftvla_ros.nodes.ros.messages import counts, doubles
from swiftvla_ros.observation.joint_state import JointStateError
from swiftvla_ros.observation.message_fields import measured_positions, read_chunk, stamp_ns

_REPEAT_S = 2.0
# At rest, executor_state comes this often.
_STATE_PERIOD_NS = 50_000_000
_UNWELL = {
    **dict.fromkeys((Mode.TAIL, Mode.DECELERATING, Mode.HOLD, Mode.RELEASED), Level.WARN),
    Mode.STOPPED: Level.ERROR,
}
_FAULTS = (Reason.STATE_STALE, Reason.STATE_INVALID, Reason.TRACKING_ERROR, Reason.JOINT_FROZEN)
# The control thread takes one chunk a tick: of a flood, the newest.
_MOST_WAITING = 2
# Python passes its lock on after so long when the control thread waits for it; its default is 5 ms.
_LOCK_S = 0.0005


class TrajectoryExecutorNode(ManagedNode):
    """Ticks the :class:`~swiftvla_ros.motion.ChunkExecutor`.

    The control thread ticks it and publishes, and between two ticks takes in a chunk, which costs as much as ten ticks.
    The executor's thread runs all callbacks: it keeps the chunks that came and gives joint states and an operator's
    wishes to the core. A lock guards the core.

    The control thread runs from configure on: a node that is deactivated in motion slows the arm down first, and then
    commands no more.
    """

    def __init__(self) -> None:
        super().__init__("trajectory_executor")
        self.describe("shadow", False, "command nothing: publish what would be, beside what the arm does")
        self.describe("state_rate_hz", 0.0, "most executor_state messages a second in motion; 0: one a tick")
        self.describe("realtime_priority", 0, "SCHED_FIFO priority of the control thread, 1 to 99; 0: none")
        self._core: ChunkExecutor | None = None
        self._shadow: ShadowOutput | None = None
        self._loop: ControlLoop | None = None
        self._lock = threading.Lock()
        self._waiting: deque[JointChunk] = deque(maxlen=_MOST_WAITING)
        self._resting = True

    def setup(self) -> None:
        """Open the topics; nothing is commanded yet."""
        control, state_rate_hz = self.contract.control, float(self.value("state_rate_hz"))
        if not 0.0 <= state_rate_hz < float("inf"):
            raise ValueError(f"parameter state_rate_hz is {state_rate_hz}; write 0 (one message a tick) or more")
        self._state_gap_ns = round(1e9 / state_rate_hz) if state_rate_hz else 0
        self._core = ChunkExecutor.from_contract(self.contract, shadow=bool(self.value("shadow")))
        self._output: CommandOutput
        if self.value("shadow"):
            self._output = self._shadow = ShadowOutput(self, self._core.plan_rows)
            self.get_logger().warning("shadow mode: nothing is commanded")
        else:
            self._output = ContractOutputs(self)
        self._command: Command | None = None
        self._binding: SpeedLimit | None = None
        self._told: tuple[Mode, Reason, int, int, int] | None = None
        self._told_ns = 0
        self._ticked_ns = self._longest_ns = 0
        self._message = ExecutorState(joint_names=list(self.contract.joint_names), shadow=self._shadow is not None)
        self._message.header.frame_id = self.contract.base_frame
        self._state = self.publisher(ExecutorState, "executor_state", qos.EXECUTOR_STATE)
        self.subscribe(ActionChunk, "action_chunk", self._keep, qos.CHUNK)
        self.subscribe(JointState, "observation/state", self._measure, qos.STATE_INPUT)
        # A limit that was set while nobody listened, or this node was inactive, holds all the same.
        self.subscribe(Float64, "speed_scale", self._scale, qos.LATCHED, always=True)
        self.subscribe(SpeedLimitMessage, "speed_limit", self._limit, qos.SPEED_LIMIT, always=True)
        self.service(Trigger, "~/start", self._serve_start)
        self.service(Trigger, "~/stop", self._serve_stop)
        self.service(Trigger, "~/emergency_stop", self._serve_emergency_stop)
        self.service(Trigger, "~/reset", self._serve_reset)
        publish_diagnostics(self, self._health)
        sys.setswitchinterval(_LOCK_S)
        self._loop = ControlLoop(
            self.get_clock(),
            1.0 / control.rate_hz,
            self._control,
            self._end_with,
            priority=int(self.value("realtime_priority")),
        )

    def start(self) -> None:
        """Wait for a chunk, wherever the arm was moved meanwhile."""
        with self._lock:
            if self._core is not None and self._core.mode is not Mode.STOPPED and not self._core.reset():
                # Activated again while it was still slowing down.
                self._core.start()

    def stop(self) -> None:
        """Slow down and hold; the control thread goes on until the arm rests."""
        with self._lock:
            self._waiting.clear()
            if self._core is not None and not self.at_rest():
                self._core.stop(Reason.DEACTIVATED)

    def at_rest(self) -> bool:
        """Whether the last command, if any, was to stand still."""
        return self._resting

    def teardown(self) -> None:
        """End the control thread and forget the motion."""
        if self._loop is not None:
            self._loop.end()
        self._core = self._command = self._shadow = self._loop = None
        self._resting = True

    def _end_with(self, error: Exception) -> None:
        """Called by the control thread: end the process, as an exception in a callback would."""

        def raise_it() -> None:
            raise error

        assert self.executor is not None
        self.executor.create_task(raise_it)

    def _keep(self, message: ActionChunk) -> None:
        chunk = read_chunk(message)
        self._waiting.append(
            JointChunk(
                stamp_ns=chunk.stamp_ns,
                step_ns=chunk.step_ns,
                positions=chunk.positions,
                chunk_id=chunk.chunk_id,
                instruction_id=chunk.instruction_id,
                checkpoint=chunk.checkpoint_sha256,
                joint_names=chunk.joint_names,
            )
        )

    def _control(self) -> None:
        """One tick, and then what has time until the next; the control thread's."""
        with self._lock:
            self._tick()
            if self._waiting:
                self._offer(self._waiting.popleft())

    def _offer(self, chunk: JointChunk) -> None:
        assert self._core is not None
        if self._told_ns != self._ticked_ns:
            # A chunk is joined to the last tick's command, so a replay has to know of that tick.
            self._publish_state(self._ticked_ns)
        verdict = self._core.offer(chunk, self.now_ns())
        if not verdict.accepted:
            self.get_logger().warning(f"chunk refused: {verdict.text}", throttle_duration_sec=_REPEAT_S)

    def _measure(self, message: JointState) -> None:
        try:
            # The executor itself says what it does about a number that is not finite.
            position = measured_positions(message, self.contract.joint_names, finite=False)
        except JointStateError as error:
            self.get_logger().error(str(error), throttle_duration_sec=_REPEAT_S)
            return
        ns = stamp_ns(message.header.stamp)
        with self._lock:
            assert self._core is not None
            self._core.measured(position, ns, self.now_ns())
            if self._shadow is not None:
                self._shadow.measured(position, ns)

    def _scale(self, message: Float64) -> None:
        self._take(SpeedLimit(OPERATOR, message.data / 100.0, "the operator's speed_scale"))

    def _limit(self, message: SpeedLimitMessage) -> None:
        if message.source == OPERATOR:
            self.get_logger().warning(f"speed_limit: the source '{OPERATOR}' is the topic speed_scale; nothing changes")
            return
        ns = stamp_ns(message.header.stamp) or self.now_ns()
        self._take(SpeedLimit(message.source, message.percent / 100.0, message.reason, ns, message.valid_for))

    def _take(self, limit: SpeedLimit) -> None:
        with self._lock:
            assert self._core is not None
            speed_limits = self._core.speed_limits
            taken, before = speed_limits.set(limit), self._binding
            self._binding = binding = speed_limits.binding
        if not taken:
            self.get_logger().warning(f"speed limit of '{limit.source}': {limit.problem}; nothing changes")
        elif binding != before:
            by = f", {binding.source}: {binding.reason}" if binding else ""
            self.get_logger().info(f"speed scale: {100 * speed_limits.scale:g} %{by}", throttle_duration_sec=0.1)

    def _tick(self) -> None:
        assert self._core is not None
        now_ns = self.now_ns()
        if now_ns == self._ticked_ns:
            return  # before the first /clock, simulated time stands still
        if self._ticked_ns:
            self._longest_ns = max(self._longest_ns, now_ns - self._ticked_ns)
        self._ticked_ns = now_ns
        moved = not self._resting
        self._command = command = self._core.tick(now_ns)
        self._resting = command is None or not (command.velocity.any() or command.acceleration.any())
        if command is not None and (self.active or moved):
            self._output.send(command, now_ns)
        core = self._core
        told = (core.mode, core.reason, core.accepted, core.refused, core.speed_limits.taken)
        gap_ns = _STATE_PERIOD_NS if self._resting and not moved else self._state_gap_ns
        if told != self._told or not 0 <= now_ns - self._told_ns < gap_ns:
            if self._told is None or told[:2] != self._told[:2]:
                self.get_logger().info(f"{core.mode.name}: {core.reason_text}")
            self._told = told
            self._publish_state(now_ns)

    def _publish_state(self, now_ns: int) -> None:
        core, command, message = self._core, self._command, self._message
        assert core is not None
        self._told_ns = now_ns
        # One message for all ticks: making one anew costs more than filling it in.
        _set(message.header.stamp, now_ns)
        # Deactivated and at rest, the core still holds, but nothing is sent any more.
        let_go = not self.active and self._resting and core.mode is not Mode.STOPPED
        message.mode = Mode.RELEASED if let_go else core.mode
        message.reason, message.reason_text = core.reason, core.reason_text
        message.chunk_id, message.row = core.chunk_id, core.row
        message.chunk_age_s = core.age_s(now_ns)
        _set(message.chunk_stamp, core.chunk.stamp_ns if core.chunk is not None else 0)
        _set(message.chunk_first_command, core.first_command_ns or 0)
        _set(message.chunk_taken, core.taken_ns)
        _set(message.measured_stamp, core.measured_ns)
        message.chunks_accepted, message.chunks_refused = core.accepted, core.refused
        message.last_refusal, message.last_refusal_text = core.last_refusal.code, core.last_refusal.text
        message.position_clamps = counts(core.position_clamps)
        message.velocity_clamps = counts(core.velocity_clamps)
        message.acceleration_clamps = counts(core.acceleration_clamps)
        message.limit_excess = doubles(core.limit_excess)
        message.speed_scale = float(core.speed_scale)
        limit = core.speed_limits.binding
        message.speed_limit_source, message.speed_limit_reason = (limit.source, limit.reason) if limit else ("", "")
        message.speed_limits_taken = core.speed_limits.taken
        message.commanded_position = doubles(command.position if command is not None else np.zeros(0))
        message.tracking_error = doubles(core.tracking_error)
        self._state.publish(message)

    def _health(self) -> Health:
        with self._lock:
            core = self._core
            assert core is not None
            longest_ns, self._longest_ns = self._longest_ns, 0
            level = Level.ERROR if core.reason in _FAULTS else _UNWELL.get(core.mode, Level.OK)
            text = f"{core.mode.name}: {core.reason_text}"
            values = {
                "mode": core.mode.name,
                "reason": core.reason.name,
                "chunks accepted": core.accepted,
                "chunks refused": core.refused,
                "last refusal": core.last_refusal.text,
                "speed limit": f"{limit.source}: {limit.reason}" if (limit := core.speed_limits.binding) else "",
                "speed scale, %": f"{100 * core.speed_scale:.0f}",
                "longest time between ticks, ms": f"{longest_ns / 1e6:.2f}",
                "shadow": self._shadow is not None,
            }
        if rivals := self._output.rivals():
            level, text = (
                Level.ERROR,
                (f"somebody else publishes on {', '.join(rivals)}, too: nothing limits what the arm is told"),
            )
            self.get_logger().error(text, throttle_duration_sec=_REPEAT_S)
        return Health(level, text, values)

    def _serve_start(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        with self._lock:
            assert self._core is not None
            self._core.start()
        return _answer(response, True, "chunks are accepted")

    def _serve_stop(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        with self._lock:
            assert self._core is not None
            self._core.stop()
        return _answer(response, True, "slowing down to rest; ~/start accepts chunks again")

    def _serve_emergency_stop(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        with self._lock:
            assert self._core is not None
            self._core.emergency_stop()
        return _answer(response, True, "braking; ~/reset leads out once the arm rests")

    def _serve_reset(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        with self._lock:
            assert self._core is not None
            done = self._core.reset()
        if done:
            return _answer(response, True, "nothing is commanded; the next chunk starts from the measured pose")
        return _answer(response, False, "the arm still moves; call ~/stop and wait for HOLD first")


def _set(stamp: Time, ns: int) -> None:
    stamp.sec, stamp.nanosec = divmod(ns, 1_000_000_000)


def _answer(response: Trigger.Response, success: bool, message: str) -> Trigger.Response:
    response.success = success
    response.message = message
    return response


def main(args: list[str] | None = None) -> None:
    """Run the node until SIGINT or SIGTERM."""
    sys.exit(run(TrajectoryExecutorNode, args))


if __name__ == "__main__":
    main()
