# SPDX-License-Identifier: Apache-2.0
"""What a policy takes sentences for, without an arm: the very sentences of a rollout's scenes, in a moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from swiftvla_ros.observation.observation import InstructionError
from swiftvla_ros.policy import Policy
from swiftvla_ros.sim.evaluation.first_step import task_of_episode
from swiftvla_ros.sim.evaluation.statistics import Share, wilson
from swiftvla_ros.sim.language import Task
from swiftvla_ros.sim.tasks.registry import canonical, parse, tasks_of
from swiftvla_ros.sim.wording.sentences import Wordings, meaningless, say


@dataclass(frozen=True)
class ReadingReport:
    """Shares of sentences, and those that were not read as they are meant: sentence → what it was taken for."""

    right: Share  # read as what they mean; of meaningless ones those that are not understood
    other_block: Share  # taken for a task with another block
    not_understood: Share
    mistaken: dict[str, str]


def read_sentences(policy: Policy, verbs: tuple[str, ...], wordings: Wordings, count: int, seed: int) -> ReadingReport:
    """Let a policy read what the scenes from ``seed`` on would ask for."""
    asked: list[tuple[str, Task]] = []
    for index in range(count):
        task = task_of_episode(index, verbs)
        asked.append((say(task, np.random.default_rng([seed + index, 4]), wordings, tasks_of(verbs)), task))
    return _report(policy, asked)


def read_meaningless(policy: Policy, verbs: tuple[str, ...], count: int, seed: int) -> ReadingReport:
    """Let a policy read what means none of its tasks."""
    return _report(policy, [(text, None) for text in meaningless(tasks_of(verbs), count, seed)])


def _report(policy: Policy, asked: Sequence[tuple[str, Task | None]]) -> ReadingReport:
    right = other = strange = 0
    mistaken = {}
    for text, task in asked:
        try:
            read = policy.check_instruction(text)
        except InstructionError:
            read = ""
        found = parse(read) if read else None
        strange += not read
        if found == task:
            right += 1
            continue
        other += bool(found and task and found.color != task.color)
        mistaken[text] = canonical(found) if found else read
    return ReadingReport(wilson(right, len(asked)), wilson(other, len(asked)), wilson(strange, len(asked)), mistaken)
