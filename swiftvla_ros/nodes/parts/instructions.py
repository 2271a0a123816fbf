# SPDX-License-Identifier: Apache-2.0
"""How a policy is told what to do, ``set_instruction`` and ``run_instruction``, and says what it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.task import Future

from swiftvla_ros.action import RunInstruction
from swiftvla_ros.contract.executor_codes import ChunkSource, Mode, TaskVerdictCode
from swiftvla_ros.msg import InstructionEffect, PolicyState
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode
from swiftvla_ros.nodes.ros.messages import header, to_time
from swiftvla_ros.observation.message_fields import ExecutorTick, TaskVerdictMessage, stamp_ns
from swiftvla_ros.observation.observation import InstructionError
from swiftvla_ros.policy.inference_thread import InferenceStatus, Instruction
from swiftvla_ros.policy.instruction_effect import EffectWatch
from swiftvla_ros.policy.words.reader import NotUnderstoodError
from swiftvla_ros.srv import SetInstruction

_NS = 1_000_000_000
# Feedback of the action, its time limit and policy_state.
_TICK_S = 0.2
_PHASES: dict[int | None, str] = {
    Mode.IDLE: "waiting for the first command",
    Mode.FRESH: "moving",
    Mode.TAIL: "following the rows that are left",
    Mode.DECELERATING: "slowing down",
    Mode.HOLD: "holding",
    Mode.RELEASED: "released",
    Mode.STOPPED: "stopped",
}


@dataclass(frozen=True)
class _Goal:
    """The goal being run; ``done`` resolves to (outcome, message)."""

    handle: Any
    instruction: Instruction
    accepted_ns: int
    timeout_ns: int
    chunks_before: int
    done: Future


class InstructionServer:
    """One instruction at a time: a newer one, by either way, replaces the older. All in the executor's thread.

    Words that are not understood replace it, too: whoever says something else wants something else, so nothing is
    followed any more, and ``policy_state`` says why until the next instruction. A text that is refused changes nothing.

    ``effect`` learns of chunks from whoever computes them; when the first of an instruction moved the arm goes out on
    ``instruction_effect``.

    Parameters
    ----------
    check
        Gives the text to follow, or raises InstructionError: the policy's own check.
    follow
        Called with each new instruction, and with None when a goal has ended.
    status
        What the inference is doing, for the feedback and ``policy_state``.
    compares_words
        Whether the first chunk of each instruction is compared with one without words.
    facts
        Fields of ``policy_state`` that stay what they are.
    """

    def __init__(
        self,
        node: ManagedNode[Any],
        check: Callable[[str], str],
        follow: Callable[[Instruction | None], None],
        status: Callable[[], InferenceStatus],
        *,
        compares_words: bool = False,
        **facts: Any,
    ) -> None:
        self._node = node
        self.effect = EffectWatch(compares=compares_words)
        self._check = check
        self._follow = follow
        self._status = status
        self._facts = facts
        self._count = 0
        self._goal: _Goal | None = None
        self._executor_mode: int | None = None
        self.accepting = False
        self.current: Instruction | None = None
        self._not_understood = ""
        self._states = node.publisher(PolicyState, "policy_state", qos.LATCHED)
        self._effects = node.publisher(InstructionEffect, "instruction_effect", qos.LATCHED)
        node.service(SetInstruction, "set_instruction", self._set)
        action = ActionServer(
            node,
            RunInstruction,
            "run_instruction",
            self._run,
            goal_callback=lambda _request: GoalResponse.ACCEPT,
            cancel_callback=self._cancel,
        )
        node.own(action, ActionServer.destroy)
        # steady, so that it is told when simulated time stands still
        node.steady_timer(_TICK_S, self._tick)

    def accept(self) -> None:
        """Take instructions from now on."""
        self.accepting = True
        self.publish_state()

    def refuse_all(self, reason: str) -> None:
        """Accept no instruction from now on, and end the running goal."""
        self.accepting = False
        self._end(RunInstruction.Result.FAILED, reason)
        if self.current is not None:
            self._change(None)

    def judge(self, verdict: TaskVerdictMessage) -> None:
        """Take a verdict; one of another instruction, or from before the goal, is ignored."""
        goal = self._goal
        if goal is None or verdict.instruction_id != goal.instruction.id:
            return
        if verdict.stamp_ns < goal.accepted_ns:
            return
        if verdict.verdict == TaskVerdictCode.DONE:
            self._end(RunInstruction.Result.SUCCEEDED, verdict.text)
        elif verdict.verdict != TaskVerdictCode.PENDING:
            self._end(RunInstruction.Result.FAILED, verdict.text)

    def watch(self, tick: ExecutorTick) -> None:
        """Remember what the executor does, for the feedback, and since when it follows which chunk."""
        self._executor_mode = tick.mode
        if tick.chunk_source != ChunkSource.OPERATOR:
            self.effect.followed(tick.chunk_id, tick.chunk_stamp_ns, tick.first_command_ns)

    def publish_state(self) -> None:
        """Publish ``policy_state``."""
        status, instruction = self._status(), self.current
        reason = self._not_understood or status.reason
        self._states.publish(
            PolicyState(
                header=header(self._node.now_ns()),
                ready=not reason,
                reason=reason,
                instruction=instruction.text if instruction else "",
                instruction_id=instruction.id if instruction else 0,
                latency_stages=list(status.latency_s),
                latency_s=list(status.latency_s.values()),
                chunks=status.chunks,
                dropped_stale=status.dropped_stale,
                dropped_unpaired=status.dropped_unpaired,
                dropped_invalid=status.dropped_invalid,
                **self._facts,
            )
        )

    def _tick(self) -> None:
        if self._node.active:
            self._tell_effect()
            if self._goal is not None:
                self._look_after(self._goal)
            self.publish_state()

    def _tell_effect(self) -> None:
        if (effect := self.effect.untold()) is not None:
            self._node.get_logger().info(effect.text)
            self._effects.publish(
                InstructionEffect(
                    header=header(effect.command_ns),
                    instruction=effect.instruction.text,
                    instruction_id=effect.instruction.id,
                    accepted=to_time(effect.accepted_ns),
                    chunk_id=effect.chunk_id,
                    chunk_stamp=to_time(effect.chunk_stamp_ns),
                    words_matter=effect.words_matter,
                    text=effect.text,
                )
            )

    def _look_after(self, goal: _Goal) -> None:
        """Publish feedback, or end the goal where its time is over."""
        elapsed_ns = self._node.now_ns() - goal.accepted_ns
        if 0 < goal.timeout_ns < elapsed_ns:
            self._end(RunInstruction.Result.TIMEOUT, f"not done within {goal.timeout_ns / _NS:g} s")
            return
        status, effect_ns = self._status(), self.effect.effect_ns(goal.instruction)
        phase = status.reason or _PHASES.get(self._executor_mode, "waiting for the trajectory executor")
        goal.handle.publish_feedback(
            RunInstruction.Feedback(
                phase=phase,
                elapsed_s=elapsed_ns / _NS,
                chunks=max(0, status.chunks - goal.chunks_before),
                in_effect=effect_ns > 0,
                effect=to_time(effect_ns),
            )
        )

    def _accept(self, text: str) -> Instruction:
        """A valid text as a new instruction; raises InstructionError."""
        if not self.accepting:
            raise InstructionError("the policy node is not active; activate it first")
        try:
            valid = self._check(text)
        except NotUnderstoodError as error:
            self._end(RunInstruction.Result.CANCELED, f"replaced by words that are {error}", stop=False)
            self._change(None)
            self._not_understood = str(error)
            self._node.get_logger().warning(self._not_understood)
            self.publish_state()
            raise
        self._count += 1
        return Instruction(valid, self._count)

    def _change(self, instruction: Instruction | None) -> None:
        self.current, self._not_understood = instruction, ""
        self.effect.accept(instruction, self._node.now_ns())
        self._follow(instruction)
        what = f"instruction {instruction.id}: '{instruction.text}'" if instruction else "no instruction"
        self._node.get_logger().info(what)

    def _set(self, request: SetInstruction.Request, response: SetInstruction.Response) -> SetInstruction.Response:
        try:
            instruction = self._accept(request.instruction)
        except InstructionError as error:
            response.message = str(error)
            return response
        self._end(RunInstruction.Result.CANCELED, f"replaced by '{instruction.text}'", stop=False)
        self._change(instruction)
        response.success = True
        response.instruction_id = instruction.id
        read = "" if instruction.text == request.instruction.strip() else f", as '{request.instruction}' is understood,"
        response.message = f"queued: '{instruction.text}'{read} from the next chunk on; instruction_effect tells when"
        return response

    async def _run(self, handle: Any) -> RunInstruction.Result:
        try:
            instruction = self._accept(handle.request.instruction)
        except InstructionError as error:
            handle.abort()
            return RunInstruction.Result(outcome=RunInstruction.Result.REFUSED, message=str(error))
        self._end(RunInstruction.Result.CANCELED, f"replaced by '{instruction.text}'", stop=False)
        timeout = handle.request.timeout
        now_ns, chunks = self._node.now_ns(), self._status().chunks
        self._goal = goal = _Goal(handle, instruction, now_ns, stamp_ns(timeout), chunks, Future())
        self._change(instruction)
        outcome, message = await goal.done
        if outcome == RunInstruction.Result.SUCCEEDED:
            handle.succeed()
        elif handle.is_cancel_requested:
            handle.canceled()
        else:
            handle.abort()
        return RunInstruction.Result(
            success=outcome == RunInstruction.Result.SUCCEEDED,
            outcome=outcome,
            message=message,
            instruction_id=instruction.id,
        )

    def _cancel(self, handle: Any) -> CancelResponse:
        if self._goal is not None and self._goal.handle == handle:
            self._end(RunInstruction.Result.CANCELED, "cancelled")
        return CancelResponse.ACCEPT

    def _end(self, outcome: int, message: str, *, stop: bool = True) -> None:
        """End the running goal, if any; with ``stop`` nothing is followed afterwards."""
        goal, self._goal = self._goal, None
        if goal is None:
            return
        if stop:
            self._change(None)
        goal.done.set_result((outcome, message))
