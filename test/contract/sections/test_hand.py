# SPDX-License-Identifier: Apache-2.0
"""Contracts whose policy moves a hand: what they say, and that nothing on ROS is driven by one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from swiftvla_ros.bringup.processes import describe
from swiftvla_ros.bringup.system_options import SystemOptions
from swiftvla_ros.cli.main import app
from swiftvla_ros.contract import ActionCoding, ContractError, contract_from_text, load_contract, load_robot
from swiftvla_ros.contract.sections.hand import HAND_ACTIONS

ROBOT = "libero_panda"
REFUSAL = r"policy\.actions: 'cartesian_delta' moves the hand of a benchmark's robot, which nothing on ROS commands"


def changed(**changes: Any) -> str:
    """The shipped contract with other values; None leaves a key out."""
    data = yaml.safe_load(load_contract(ROBOT).text) | changes
    return yaml.safe_dump({key: value for key, value in data.items() if value is not None})


def test_state_and_rows_have_numbers_of_their_own() -> None:
    """Protects training: eight numbers in, seven out, each as it is; a robot with joints has the same on both sides."""
    contract = load_contract(ROBOT)
    assert (len(contract.joint_names), contract.action_names) == (8, HAND_ACTIONS)
    assert contract.command_parts == ()
    joints = load_contract("so101_sim")
    assert joints.action_names == joints.joint_names
    rows, state = np.random.default_rng(0).uniform(-1, 1, (2, 10, 7)), np.zeros((2, 8))
    coding = ActionCoding.of(contract)
    np.testing.assert_array_equal(coding.decode(rows, state), rows)
    np.testing.assert_array_equal(coding.encode(rows, state), rows)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"hand": None}, "hand: missing"),
        ({"policy": {"step_s": 0.05}}, "hand: is of policy.actions 'cartesian_delta', not 'absolute'"),
        (
            {"control": {"rate_hz": 100.0, "output": "forward_position", "topic": "/c/commands"}},
            "control.output: 'forward_position' takes joints' positions",
        ),
        ({"control": {"rate_hz": 100.0, "output": "none", "topic": "/c"}}, "sends no commands; remove 'topic'"),
        ({"policy": {"step_s": 0.05}, "hand": None}, "control.output: 'none' is for policy.actions 'cartesian_delta'"),
    ],
)
def test_what_does_not_belong_together_is_refused(changes: dict[str, Any], told: str) -> None:
    """Protects from a contract that half moves a hand: kind of action, steps and output come together."""
    with pytest.raises(ContractError) as caught:
        contract_from_text(changed(**changes), Path("mine.yaml"))
    assert told in str(caught.value)


def test_nothing_on_ros_is_driven_by_it(tmp_path: Path) -> None:
    """Protects arms: the system, its nodes and the simulated arm refuse it in one sentence, and say what it is for."""
    with pytest.raises(ContractError, match=REFUSAL):
        load_robot(ROBOT)
    with pytest.raises(ContractError, match="use it with `swiftvla benchmark`"):
        describe(SystemOptions(robot=ROBOT))
    for command in (["eval", "swiftvla-nano-so101"], ["collect", str(tmp_path)], ["demo", "pick up the red block"]):
        result = CliRunner().invoke(app, [*command, "--robot", ROBOT], env={"COLUMNS": "400", "TERM": "dumb"})
        assert result.exit_code == 2, command
        assert "nothing on ROS commands" in result.output, command
