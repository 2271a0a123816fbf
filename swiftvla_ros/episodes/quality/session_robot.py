# SPDX-License-Identifier: Apache-2.0
"""Whether a session that goes on has the robot that it began with: a policy learns from all of its episodes at once."""

from __future__ import annotations

from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.bags.message_types import BagError
from swiftvla_ros.episodes.quality.agreement import differences
from swiftvla_ros.episodes.session.session_folder import SessionError, SessionFolder

# What steps are made of. Where actions are read from, and by which clock, is decided when the bags are read.
_SECTIONS = ("joints", "cameras", "joint_states", "gripper")


def check_same_robot(folder: SessionFolder, contract: Contract) -> None:
    """Compare the contract of the newest readable bag with the one that would record now.

    Raises
    ------
    SessionError
        They differ; the message names bag and key.
    """
    for bag in reversed(folder.bags()):
        try:
            recorded = Bag(bag).contract
        except (BagError, OSError):
            continue  # a bag that was cut off at its first byte says nothing
        for key, then, now in differences(recorded, contract):
            if key.partition(".")[0] in _SECTIONS:
                raise SessionError(
                    f"{bag}: was recorded with {key}: {then} (robot {recorded.robot}), and the contract of "
                    f"{contract.robot} has {now}; name another folder, or the contract of this session"
                )
        return
