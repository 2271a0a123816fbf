# SPDX-License-Identifier: Apache-2.0
"""Action chunks in, limited joint commands out, at the control rate."""

from __future__ import annotations

import gc
import sys
import threading
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64, String

from swiftvla_ros.contract.executor_codes import ChunkSource
from swiftvla_ros.motion import ChunkExecutor, JointChunk, Mode, Reason
from swiftvla_ros.motion.speed_limits import OPERATOR, SourceLimit
from swiftvla_ros.msg import ActionChunk, SpeedLimit
from swiftvla_ros.nodes.commands.controller_order import ControllerOrders
from swiftvla_ros.nodes.commands.outputs import ContractOutputs
from swiftvla_ros.nodes.commands.preflight_gate import PreflightGate
from swiftvla_ros.nodes.commands.shadow import ShadowOutput
from swiftvla_ros.nodes.parts.executor_buttons import ExecutorButtons
from swiftvla_ros.nodes.parts.executor_report import ExecutorReport
from swiftvla_ros.nodes.parts.joint_state_gate import JointStateGate
from swiftvla_ros.nodes.parts.observation_topics import await_state
from swiftvla_ros.nodes.parts.operator_presence import SOURCE, PresenceWatch
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.control_loop import ControlLoop
from swiftvla_ros.nodes.ros.diagnostics import Health, Level, publish_diagnostics
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode, script_of
from swiftvla_ros.nodes.ros.parameters import Allowed
from swiftvla_ros.observation.joint_state import JointStateError
from swiftvla_ros.observation.message_fields import measured_positions, read_chunk, read_speed_limit, stamp_ns

_REPEAT_S = 2.0
# The control thread takes one chunk a tick, an operator's first: of a flood of one source's, the newest.
_MOST_WAITING = 2
_BY_RANK = (ChunkSource.OPERATOR, ChunkSource.POLICY)
# Modes in which the arm is told to move.
_COMMANDING = (Mode.FRESH, Mode.TAIL, Mode.DECELERATING)
# Python passes its lock on after so long when the control thread waits for it; its default is 5 ms.
_LOCK_S = 0.0005


@dataclass
class ExecutorParts:
    """The core, where its commands go, and what is told of it.

    ``waiting`` are the chunks that came since the last tick, ``resting`` says whether the last command, if any, was to
    stand still, ``upstream_problem`` what keeps the joint states back before they come here.
    """

    core: ChunkExecutor
    output: ContractOutputs | ShadowOutput
    report: ExecutorReport
    gate: JointStateGate
    orders: ControllerOrders | None
    preflight: PreflightGate | None
    loop: ControlLoop | None = None
    waiting: dict[ChunkSource, deque[JointChunk]] = field(
        default_factory=lambda: {source: deque(maxlen=_MOST_WAITING) for source in _BY_RANK}
    )
    resting: bool = True
    ticked_ns: int = 0
    longest_ns: int = 0
    upstream_problem: str = ""


class TrajectoryExecutorNode(ManagedNode[ExecutorParts]):
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
        self.describe(
            "state_rate_hz", 200.0, "most executor_state messages a second in motion; 0: one a tick", Allowed(least=0)
        )
        self.describe(
            "realtime_priority",
            0,
            "SCHED_FIFO priority of the control thread, 1 to 99, and one less of the thread of callbacks; 0: none",
            Allowed(least=0, most=99),
        )
        self._lock = threading.Lock()

    def setup(self) -> ExecutorParts:
        """Open the topics; nothing is commanded yet."""
        shadow = bool(self.value("shadow"))
        core = ChunkExecutor.from_contract(self.contract, shadow=shadow)
        report = ExecutorReport(self, core, float(self.value("state_rate_hz")), shadow=shadow)
        parts = self._parts = ExecutorParts(
            core,
            ShadowOutput(self, core.plan_rows) if shadow else ContractOutputs(self),
            report,
            JointStateGate(self, "observation/state"),
            None if shadow else ControllerOrders(self, self._refuse_order),
            None if shadow else PreflightGate(self),
        )
        if shadow:
            self.get_logger().warning("shadow mode: nothing is commanded")
        for topic, source in (("action_chunk", ChunkSource.POLICY), ("operator_chunk", ChunkSource.OPERATOR)):
            self.subscribe(ActionChunk, topic, partial(self._keep, source), qos.CHUNK)
        self.subscribe_with_info(JointState, "observation/state", self._measure, qos.STATE_INPUT)
        self.subscribe(String, "observation/state_problem", self._hear_problem, qos.LATCHED, always=True)
        await_state(self)
        # A limit that was set while nobody listened, or this node was inactive, holds all the same.
        self.subscribe(Float64, "speed_scale", self._scale, qos.LATCHED, always=True)
        self.subscribe(SpeedLimit, "speed_limit", self._limit, qos.SPEED_LIMIT, always=True)
        if (presence := self.contract.control.operator) is not None:
            PresenceWatch(self, presence, self._take_message)
        ExecutorButtons(self, core, self._lock, lambda: report.catch_up(parts.ticked_ns))
        publish_diagnostics(self, self._health)
        sys.setswitchinterval(_LOCK_S)
        # What is there by now stays: collections no longer go through it, which would hold up a tick for milliseconds.
        gc.collect()
        gc.freeze()
        parts.loop = ControlLoop(
            self.get_clock(),
            1.0 / self.contract.control.rate_hz,
            lambda: self._control(parts),
            self._end_with,
            priority=int(self.value("realtime_priority")),
        )
        return parts

    def start(self) -> None:
        """Wait for a chunk, wherever the arm was moved meanwhile."""
        if self.parts.orders is not None and self.parts.orders.problem:
            raise ValueError(self.parts.orders.problem)
        with self._lock:
            core = self.parts.core
            if core.mode is Mode.STOPPED:
                core.let_go()
            elif not core.reset():
                # Activated again while it was still slowing down.
                core.start()

    def stop(self) -> None:
        """Slow down and hold; the control thread goes on until the arm rests."""
        with self._lock:
            if self._parts is not None:
                for waiting in self._parts.waiting.values():
                    waiting.clear()
                if not self._parts.resting:
                    self._parts.core.stop(Reason.DEACTIVATED)

    def at_rest(self) -> bool:
        """Whether the last command, if any, was to stand still."""
        return self._parts is None or self._parts.resting

    def teardown(self, parts: ExecutorParts) -> None:
        """End the control thread."""
        if parts.loop is not None:
            parts.loop.end()

    def _end_with(self, error: Exception) -> None:
        """Called by the control thread: end the process, as an exception in a callback would."""

        def raise_it() -> None:
            raise error

        assert self.executor is not None
        self.executor.create_task(raise_it)

    def _keep(self, source: ChunkSource, message: ActionChunk) -> None:
        chunk = read_chunk(message)
        self.parts.waiting[source].append(
            JointChunk(
                stamp_ns=chunk.stamp_ns,
                step_ns=chunk.step_ns,
                positions=chunk.positions,
                chunk_id=chunk.chunk_id,
                instruction_id=chunk.instruction_id,
                checkpoint=chunk.checkpoint_sha256,
                joint_names=chunk.joint_names,
                source=source,
            )
        )

    def _control(self, parts: ExecutorParts) -> None:
        """One tick, and then what has time until the next; the control thread's."""
        with self._lock:
            self._tick(parts)
            if (waiting := next(filter(None, parts.waiting.values()), None)) is not None:
                self._offer(parts, waiting.popleft())

    def _offer(self, parts: ExecutorParts, chunk: JointChunk) -> None:
        if parts.core.mode not in _COMMANDING and (doubt := self._doubt(parts, chunk)):
            self.get_logger().warning(f"chunk refused: {doubt}", throttle_duration_sec=_REPEAT_S)
            return
        # A chunk is joined to the last tick's command, so a replay has to know of that tick.
        parts.report.catch_up(parts.ticked_ns)
        answer = parts.core.offer(chunk, self.now_ns())
        if not answer.accepted:
            self.get_logger().warning(f"chunk refused: {answer.text}", throttle_duration_sec=_REPEAT_S)

    def _doubt(self, parts: ExecutorParts, chunk: JointChunk) -> str:
        """Why no motion may begin with a chunk; empty where one may."""
        if parts.orders is not None and parts.orders.doubt:
            return parts.orders.doubt
        return parts.preflight.doubt(chunk) if parts.preflight is not None else ""

    def _refuse_order(self) -> None:
        """A controller takes the joints in another order: slow down and command nothing more."""
        assert self.parts.orders is not None
        self.get_logger().fatal(f"{self.parts.orders.problem}. Nothing is commanded until it is activated again")
        if self.active:
            self.trigger_deactivate()

    def _measure(self, message: JointState, info: Any) -> None:
        try:
            # The executor itself says what it does about a number that is not finite.
            position = measured_positions(message, self.contract.joint_names, finite=False)
        except JointStateError as error:
            self.get_logger().error(str(error), throttle_duration_sec=_REPEAT_S)
            return
        ns, gate, core = stamp_ns(message.header.stamp), self.parts.gate, self.parts.core
        if position.shape == core.tracking_error.shape and np.isfinite(position).all():
            gate.heard(message.name, ns, info)
            commanded = core.mode in _COMMANDING and not isinstance(self.parts.output, ShadowOutput)
            passes = gate.passes(position, ns, commanding=commanded)
            self.parts.report.state_problem = gate.problem or self.parts.upstream_problem
            if not passes:
                return
        with self._lock:
            self.parts.core.measured(position, ns, self.now_ns())
            if isinstance(self.parts.output, ShadowOutput):
                self.parts.output.measured(position, ns)

    def _hear_problem(self, message: String) -> None:
        """What keeps the joint states back before they come here; it is told with their silence."""
        self.parts.upstream_problem = self.parts.report.state_problem = message.data

    def _scale(self, message: Float64) -> None:
        self._take(SourceLimit.of_percent(OPERATOR, message.data, "the operator's speed_scale"))

    def _limit(self, message: SpeedLimit) -> None:
        if message.source == OPERATOR:
            self.get_logger().warning(f"speed_limit: the source '{OPERATOR}' is the topic speed_scale; nothing changes")
        # What this node itself said was taken before it was published.
        elif message.source != SOURCE:
            self._take_message(message)

    def _take_message(self, message: SpeedLimit) -> None:
        self._take(SourceLimit.of_percent(**vars(read_speed_limit(message, self.now_ns()))))

    def _take(self, limit: SourceLimit) -> None:
        limits = self.parts.core.speed_limits
        with self._lock:
            problem, before = limits.problem(limit), limits.text
            limits.set(limit)
        if problem:
            self.get_logger().warning(f"speed limit of '{limit.source}': {problem}; nothing changes")
        elif limits.text != before:
            self.get_logger().info(f"speed scale: {limits.text}", throttle_duration_sec=0.1)

    def _tick(self, parts: ExecutorParts) -> None:
        now_ns = self.now_ns()
        if now_ns == parts.ticked_ns:
            return  # before the first /clock, simulated time stands still
        if parts.ticked_ns:
            parts.longest_ns = max(parts.longest_ns, now_ns - parts.ticked_ns)
        parts.ticked_ns = now_ns
        moved = not parts.resting
        command = parts.core.tick(now_ns)
        parts.resting = command is None or not (command.velocity.any() or command.acceleration.any())
        if command is not None and (self.active or moved):
            parts.output.send(command, now_ns)
        parts.report.tick(command, now_ns, resting=parts.resting)

    def _health(self) -> Health:
        with self._lock:
            longest_ns, self.parts.longest_ns = self.parts.longest_ns, 0
            health = self.parts.report.health(longest_ns)
        if rivals := self.parts.output.rivals():
            text = f"somebody else publishes on {', '.join(rivals)}, too: nothing limits what the arm is told"
            self.get_logger().error(text, throttle_duration_sec=_REPEAT_S)
            return Health(Level.ERROR, text, health.values)
        return health


main = script_of(TrajectoryExecutorNode)

if __name__ == "__main__":
    main()
