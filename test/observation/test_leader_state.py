# SPDX-License-Identifier: Apache-2.0
"""Positions of a leader arm as targets."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from swiftvla_ros.contract import Contract, load_contract
from swiftvla_ros.contract.sections.demonstrations import Leader
from swiftvla_ros.observation.joint_state import JointStateError
from swiftvla_ros.observation.leader_state import leader_positions

ROBOT = load_contract("so101")
NAMES = ROBOT.joint_names


def says(names: list[str], positions: list[float]) -> SimpleNamespace:
    """Return a ``JointState``."""
    return SimpleNamespace(name=names, position=positions)


def mapped(joints: dict) -> Contract:
    """Return the robot with other joints of its leader."""
    return ROBOT.with_keys(leader=Leader.model_validate({"topic": "/leader", "joints": joints}))


def test_a_leader_with_the_arms_names_needs_no_section() -> None:
    """Protects the common arm: the same names in any order, more joints than needed, the contract's units and order."""
    values = dict(zip(NAMES, [0.1, -0.2, 0.3, 0.4, -0.5, 0.6], strict=True))
    names = ["thumb", *reversed(NAMES)]
    message = says(names, [math.nan, *(values[name] for name in reversed(NAMES))])
    np.testing.assert_allclose(leader_positions(message, ROBOT), list(values.values()))


def test_other_names_signs_and_zeros_are_mapped_in_si() -> None:
    """Protects from a mirrored leader: lines hold in SI, and joints left out keep their name."""
    robot = mapped({"base": {"joint": "shoulder_pan", "scale": -1.0, "offset": 0.5}})
    degrees = [joint.model_copy(update={"unit": "deg"}) for joint in robot.joints]
    robot = robot.with_keys(joints=tuple(degrees))
    read = leader_positions(says(["base", *NAMES[1:]], [90.0, 0, 0, 0, 0, 180.0]), robot)
    np.testing.assert_allclose(read, [0.5 - math.pi / 2, 0, 0, 0, 0, math.pi])


@pytest.mark.parametrize(
    ("names", "positions", "says_so"),
    [
        (NAMES[:5], [0.0] * 5, "leader/joint_states: no joint 'gripper' for gripper.*leader.joints"),
        (NAMES, [0.0] * 5, "6 names but 5 positions"),
        ((*NAMES, NAMES[0]), [0.0] * 7, "'shoulder_pan' is named twice"),
        (NAMES, [0.0] * 5 + [math.nan], "gripper = nan"),
    ],
)
def test_what_can_not_be_followed_is_refused_by_name(names: tuple, positions: list[float], says_so: str) -> None:
    """Protects the arm from half a leader: joint, topic and fix are named."""
    with pytest.raises(JointStateError, match=says_so):
        leader_positions(says(list(names), positions), ROBOT)
