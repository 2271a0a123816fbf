# SPDX-License-Identifier: Apache-2.0
"""Finds the episodes of a bag: which instruction was followed from when to when, and how it ended.

No topic marks episodes of its own. ``policy_state`` says which instruction is followed, ``task_verdict`` whether it was
carried out, and the status of the action ``run_instruction`` how its goal ended where nobody gave a verdict.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from swiftvla_ros.contract.executor_codes import TaskVerdictCode
from swiftvla_ros.observation.message_fields import read_task_verdict, stamp_ns

Outcome = Literal["succeeded", "failed", "canceled", "unknown"]

STATUS_TOPIC = "run_instruction/_action/status"
STATUS_TYPE = "action_msgs/msg/GoalStatusArray"

_ENDING = (TaskVerdictCode.DONE, TaskVerdictCode.WRONG_OBJECT, TaskVerdictCode.FAILED)
_SUCCEEDED, _CANCELED, _ABORTED = 4, 5, 6
# Verdict, end of the goal and the next policy_state are messages of their own; this far apart they tell of one end.
_SAME_END_NS = 1_000_000_000


@dataclass(frozen=True)
class RecordedEpisode:
    """One instruction, from its acceptance until another one or none was followed."""

    name: str  # `episode_000000` and so on, in the order of time
    # What was to be done.
    instruction: str
    instruction_id: int
    # Header stamps of the first `policy_state` with it and of the first without it; of the last one in the bag where it
    # ends before the episode does.
    begin_ns: int
    end_ns: int
    # `succeeded` and `failed` by a verdict, or as the action ended; `canceled` by the caller, or replaced by another
    # instruction; `unknown` where nothing says it.
    outcome: Outcome
    text: str  # the same, for people


class _Messages(Protocol):
    def merged(self, names: Sequence[str]) -> Iterator[Any]: ...


@dataclass
class _Open:
    """The episode that is being read."""

    instruction: str
    instruction_id: int
    begin_ns: int
    end_ns: int
    # Time of reception of the end; None: not over at the bag's end.
    over_ns: int | None = None
    next_id: int = 0
    verdict: tuple[int, str] | None = None
    # (time of reception, status) of goals that ended.
    ended: tuple[int, int] | None = None


def find_episodes(bag: _Messages) -> list[RecordedEpisode]:
    """Return the episodes of a bag, in the order of time; none where no ``policy_state`` was recorded."""
    found: list[_Open] = []
    current: _Open | None = None
    ended_goals: dict[bytes, int] = {}
    for topic, received_ns, message in bag.merged(["policy_state", "task_verdict", STATUS_TOPIC]):
        if topic == "policy_state":
            ns = stamp_ns(message.header.stamp)
            if current is not None:
                current.end_ns = max(current.end_ns, ns)
                if message.instruction_id != current.instruction_id:
                    current.over_ns, current.next_id = received_ns, message.instruction_id
                    current = None
            if current is None and message.instruction_id:
                current = _Open(message.instruction, message.instruction_id, ns, ns)
                found.append(current)
        elif topic == "task_verdict":
            _judge(found, message, received_ns)
        else:
            # The status lists all goals of the last minutes, again and again: only what is new in it tells.
            for status in message.status_list:
                goal, how = bytes(status.goal_info.goal_id.uuid), int(status.status)
                if how >= _SUCCEEDED and goal not in ended_goals:
                    ended_goals[goal] = received_ns
                    _end(found, how, received_ns)
    return [_episode(number, entry) for number, entry in enumerate(found)]


def _recent(found: list[_Open], received_ns: int) -> Iterator[_Open]:
    """Yield the episodes that something received now may tell of, the older first."""
    for entry in found[-2:]:
        if entry.over_ns is None or received_ns - entry.over_ns <= _SAME_END_NS:
            yield entry


def _judge(found: list[_Open], message: Any, received_ns: int) -> None:
    verdict = read_task_verdict(message)
    for entry in _recent(found, received_ns):
        # A verdict is given again and again: the first one that ends it counts, as for the action.
        if entry.verdict is not None or verdict.instruction_id != entry.instruction_id:
            continue
        if verdict.verdict in _ENDING:
            entry.verdict = (verdict.verdict, verdict.text)


def _end(found: list[_Open], status: int, received_ns: int) -> None:
    for entry in _recent(found, received_ns):
        if entry.ended is None:
            entry.ended = (received_ns, status)
            return


def _episode(number: int, entry: _Open) -> RecordedEpisode:
    outcome, text = _outcome(entry)
    name = f"episode_{number:06d}"
    return RecordedEpisode(name, entry.instruction, entry.instruction_id, entry.begin_ns, entry.end_ns, outcome, text)


def _outcome(entry: _Open) -> tuple[Outcome, str]:
    if entry.verdict is not None:
        verdict, text = entry.verdict
        return ("succeeded", text) if verdict == TaskVerdictCode.DONE else ("failed", text)
    if entry.over_ns is None:
        return "unknown", "the recording ended before it did"
    status = entry.ended[1] if entry.ended is not None and abs(entry.ended[0] - entry.over_ns) <= _SAME_END_NS else None
    if status == _SUCCEEDED:
        return "succeeded", "the action succeeded"
    if status == _CANCELED:
        return "canceled", "cancelled by the caller"
    if entry.next_id:
        return "canceled", "replaced by another instruction"
    if status == _ABORTED:
        return "failed", "its time was over, or the policy stopped"
    return "unknown", "nobody said how it ended"
