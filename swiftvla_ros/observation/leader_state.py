# SPDX-License-Identifier: Apache-2.0
"""Positions of a leader arm as targets of the contract's joints."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.observation.joint_state import JointStateError


def leader_positions(message: Any, contract: Contract) -> NDArray[np.float64]:
    """Return where a ``sensor_msgs/JointState`` of the leader wants the arm: float64 [J], rad (m), contract order.

    Joints of the leader that move nothing are ignored.

    Raises
    ------
    JointStateError
        A joint is missing, named twice or not finite; the message names joint, topic and fix.
    """
    leader, names = contract.leader, list(message.name)
    if len(names) != len(message.position):
        raise JointStateError(
            f"{leader.topic}: {len(names)} names but {len(message.position)} positions; the leader's driver must "
            "publish one for each"
        )
    found = dict(zip(names, message.position, strict=True))
    own = [joint.name for joint in contract.leader_joints]
    for joint, name in zip(contract.joint_names, own, strict=True):
        if name not in found:
            raise JointStateError(
                f"{leader.topic}: no joint '{name}' for {joint}, it has {names}; name the leader's joints under "
                "leader.joints of the contract"
            )
        if names.count(name) > 1:
            raise JointStateError(f"{leader.topic}: joint '{name}' is named twice; publish each joint once")
    values = np.array([found[name] for name in own], np.float64)
    if not np.isfinite(values).all():
        bad = ", ".join(f"{name} = {value}" for name, value in zip(own, values, strict=True) if not np.isfinite(value))
        raise JointStateError(f"{leader.topic}: position is not finite: {bad}; check the leader's driver")
    lines = np.array([(joint.scale, joint.offset) for joint in contract.leader_joints])
    return contract.to_si(values) * lines[:, 0] + lines[:, 1]
