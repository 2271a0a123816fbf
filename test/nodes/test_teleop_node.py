# SPDX-License-Identifier: Apache-2.0
"""A leader that does a task, through teleop_node and the executor."""

from pathlib import Path
from typing import Any

import pytest

# Not mujoco itself: the backend chooses OpenGL's platform before MuJoCo is imported.
pytest.importorskip("swiftvla_ros.sim.backend", reason="mujoco is not installed: pip install mujoco")

from executor_arm import check_commands
from std_srvs.srv import Trigger
from teleop_graph import CONTRACT, TeleopGraph

from swiftvla_ros.action import RunInstruction
from swiftvla_ros.episodes.datasets.bag_listing import open_bags


def test_a_leader_does_a_task_through_the_executor(graph: Any, tmp_path: Path) -> None:
    """Protects demonstrations without a policy: leader → teleop → executor → robot, recorded as steps to imitate."""
    rig = TeleopGraph(graph, "sim_robot_node")
    expert = rig.graph.start("expert_node", name="policy", robot="so101_sim", as_leader=True)
    action = rig.graph.action_client(RunInstruction, "run_instruction")
    rig.graph.wait_until(action.server_is_ready, "the demonstrator takes instructions", 60)
    recorder = rig.record(tmp_path / "run")
    rig.graph.wait_until(lambda: rig.teleop.messages and rig.teleop.last.distance, "a leader is there", 60)
    assert not len(rig.states.last.commanded_position), "nothing moves before somebody engages"
    rig.engage()
    goal = RunInstruction.Goal(instruction="touch the green block")
    goal.timeout.sec = 30
    sent = action.send_goal_async(goal)
    rig.graph.wait_until(sent.done, "the goal is answered", 20)
    result = sent.result().get_result_async()
    rig.lead_until(result.done, "the goal has ended", 60)
    assert result.result().result.outcome == RunInstruction.Result.SUCCEEDED, result.result().result.message
    assert recorder.end() == 0
    assert rig.graph.call(Trigger, "teleop/release", Trigger.Request()).success
    assert expert.end() == 0
    check_commands([state for state in rig.states.messages if len(state.commanded_position)])
    (handle,) = open_bags(tmp_path / "run", CONTRACT).episodes
    episode = handle.load()
    assert episode.expert.mean() > 0.2, "a machine that stands still ends engagements"
    assert episode.corrections is None, "nobody corrected a policy"
