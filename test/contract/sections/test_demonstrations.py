# SPDX-License-Identifier: Apache-2.0
"""The contract's sections ``leader`` and ``demonstrations``."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from swiftvla_ros.contract import Contract, ContractError, contract_from_text
from swiftvla_ros.contract.sections.demonstrations import Demonstrations, Leader


def contract(repository: Path, **sections: Any) -> Contract:
    """Return a shipped contract with more sections."""
    path = repository / "config" / "robots" / "so101.yaml"
    return contract_from_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | sections), path)


def test_both_sections_are_read_and_may_be_left_out(repository: Path) -> None:
    """Protects contracts of before, and that a word or a topic is taken for actions."""
    plain = contract(repository)
    assert (plain.demonstrations, plain.leader) == (Demonstrations(), Leader())
    assert (plain.demonstrations.actions, plain.leader.topic) == ("commands", "leader/joint_states")
    assert [joint.name for joint in plain.leader_joints] == list(plain.joint_names)
    topic = {"topic": "/targets", "type": "Float64MultiArray", "joints": list(reversed(plain.joint_names))}
    full = contract(
        repository, leader={"joints": {"a": {"joint": "gripper", "scale": -2}}}, demonstrations={"actions": topic}
    )
    assert full.leader_joints[-1] == ("a", -2.0, 0.0)
    assert full.demonstrations.actions.model_dump() == {**topic, "unit": "driver", "joints": (*topic["joints"],)}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({"leader": {"joints": {"a": {"joint": "griper"}}}}, "leader.joints.a.joint.*did you mean 'gripper'"),
        ({"leader": {"joints": {n: {"joint": "gripper"} for n in "ab"}}}, "'gripper' is moved by two"),
        ({"leader": {"joints": {"a": {"joint": "gripper", "scale": 0}}}}, "scale: 0 moves nothing"),
        ({"leader": {"topic": "/joint_states"}}, "leader.topic: '/joint_states' is that of joint_states.topic"),
        ({"demonstrations": {"actions": "command"}}, "demonstrations.actions.*did you mean 'commands'"),
        ({"demonstrations": {"actions": {"topic": "/x", "type": "Image"}}}, "demonstrations.actions.type"),
        (
            {"demonstrations": {"actions": {"topic": "/x", "type": "Float64MultiArray", "joints": ["gripper"]}}},
            "demonstrations.actions.joints: .* are not the robot's joints",
        ),
        (
            {"demonstrations": {"actions": {"topic": "/x", "type": "JointState", "joints": ["gripper"]}}},
            "names its joints itself",
        ),
    ],
)
def test_a_broken_section_is_refused_with_key_and_fix(repository: Path, sections: dict, says: str) -> None:
    """Protects the operator: a mapping that can't be meant never reaches an arm or a dataset."""
    with pytest.raises(ContractError, match=says):
        contract(repository, **sections)
