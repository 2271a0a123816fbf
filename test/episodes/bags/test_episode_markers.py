# SPDX-License-Identifier: Apache-2.0
"""Episodes are found in what was recorded anyway, and end as they did."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.bags.message_types import known_types
from swiftvla_ros.episodes.bags.writer import BagWriter

S = 10**9
SUCCEEDED, CANCELED, ABORTED = 4, 5, 6
DONE, WRONG_OBJECT = 1, 2


class Story:
    """Writes what a run leaves in a bag."""

    def __init__(self, folder: Path, contract: Contract, messages: Any) -> None:
        self.writer = BagWriter(folder, contract)
        self.messages = messages
        self._kinds = known_types().types
        self._goals: list[Any] = []

    def policy(self, seconds: float, number: int) -> None:
        """The policy follows an instruction; 0: none."""
        ns = round(seconds * S)
        self.writer.write_message("/policy_state", self.messages.policy_state(ns, number, f"instruction {number}"), ns)

    def verdict(self, seconds: float, number: int, verdict: int, text: str) -> None:
        """Somebody judges."""
        message = self._kinds["swiftvla_ros/msg/TaskVerdict"](
            self.messages.header(round(seconds * S)), "", number, verdict, text
        )
        self.writer.write_message("/task_verdict", message, round(seconds * S))

    def goal(self, seconds: float, status: int) -> None:
        """Another goal of the action has ended; the status lists all of them."""
        uuid = self._kinds["unique_identifier_msgs/msg/UUID"](np.full(16, len(self._goals), np.uint8))
        info = self._kinds["action_msgs/msg/GoalInfo"](uuid, self.messages.stamp(0))
        self._goals.append(self._kinds["action_msgs/msg/GoalStatus"](info, status))
        array = self._kinds["action_msgs/msg/GoalStatusArray"](list(self._goals))
        self.writer.write_message("/run_instruction/_action/status", array, round(seconds * S))


@pytest.fixture
def story(tmp_path: Path, contract: Contract, messages: Any) -> Story:
    """A bag to write into."""
    return Story(tmp_path / "bag", contract, messages)


def test_each_way_to_end(story: Story, tmp_path: Path) -> None:
    """Protects: failed demonstrations are not trained on, and cancelled ones are no failures."""
    with story.writer:
        story.policy(1, 0)
        story.policy(2, 1)
        story.verdict(3, 1, DONE, "lifted")
        story.policy(3.1, 0)
        story.goal(3.1, SUCCEEDED)
        story.policy(4, 2)
        story.verdict(5, 2, WRONG_OBJECT, "the green one")
        story.policy(5.1, 0)
        story.goal(5.1, ABORTED)
        story.policy(6, 3)
        story.goal(7, CANCELED)
        story.policy(7.1, 0)
        story.policy(8, 4)
        story.goal(9, ABORTED)
        story.policy(9, 5)
        story.goal(39, ABORTED)
        story.policy(39, 0)
        story.policy(40, 6)
        story.policy(41, 0)
        story.policy(42, 7)
        story.policy(43, 7)
    found = Bag(tmp_path / "bag").episodes()
    assert [(e.name, e.instruction_id, e.outcome) for e in found] == [
        ("episode_000000", 1, "succeeded"),
        ("episode_000001", 2, "failed"),
        ("episode_000002", 3, "canceled"),
        ("episode_000003", 4, "canceled"),  # replaced by the next
        ("episode_000004", 5, "failed"),  # its time was over
        ("episode_000005", 6, "unknown"),
        ("episode_000006", 7, "unknown"),  # the recording ended first
    ]
    assert (found[0].begin_ns, found[0].end_ns, found[0].text) == (2 * S, round(3.1 * S), "lifted")
    assert (found[6].begin_ns, found[6].end_ns) == (42 * S, 43 * S)


def test_numbers_begin_anew_with_a_new_policy(story: Story, tmp_path: Path) -> None:
    """Protects: a verdict is not given to an episode of the same number from before the policy died."""
    with story.writer:
        story.policy(1, 1)
        story.policy(5, 0)
        story.policy(20, 1)
        story.verdict(21, 1, DONE, "lifted")
        story.policy(21.1, 0)
    assert [e.outcome for e in Bag(tmp_path / "bag").episodes()] == ["unknown", "succeeded"]
