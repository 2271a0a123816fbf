# SPDX-License-Identifier: Apache-2.0
"""The keys of a contract whose policy moves a hand by Cartesian steps, as benchmarks in simulation do.

The state's first three numbers are where the hand is, in ``base_frame``.
"""

from __future__ import annotations

from typing import Final

from pydantic import Field

from swiftvla_ros.contract.base import Positive, Strict

CARTESIAN = "cartesian_delta"
"""The kind of action, ``policy.actions``, that such a policy has."""
NO_OUTPUT: Final = "none"
"""The ``control.output`` of a robot that nothing on ROS commands."""
HAND_ACTIONS = ("move_x", "move_y", "move_z", "turn_x", "turn_y", "turn_z", "grip")
"""A row: three parts of a step, three of a turn about the base's axes, and the gripper (-1 opens, 1 closes)."""


class CartesianHand(Strict):
    """How far a row's number 1 moves the hand from where it is, in one policy step."""

    step_m: Positive = Field(description="of `cartesian_delta`: the way of a row's 1 along an axis, m")
    step_rad: Positive = Field(description="of `cartesian_delta`: the turn of a row's 1 about an axis, rad")


def check_hand(hand: CartesianHand | None, actions: str, output: object) -> None:
    """Raise ValueError unless hand, kind of action and output belong together."""
    moves = actions == CARTESIAN
    if moves and hand is None:
        raise ValueError(f"hand: missing; policy.actions '{CARTESIAN}' needs 'step_m' and 'step_rad'")
    if hand is not None and not moves:
        raise ValueError(f"hand: is of policy.actions '{CARTESIAN}', not '{actions}'; remove it, or write that")
    if moves and output != NO_OUTPUT:
        raise ValueError(
            f"control.output: '{output}' takes joints' positions, and policy.actions '{CARTESIAN}' gives steps of a "
            f"hand, which nothing on ROS takes; write '{NO_OUTPUT}'"
        )
    if output == NO_OUTPUT and not moves:
        raise ValueError(f"control.output: '{NO_OUTPUT}' is for policy.actions '{CARTESIAN}'; say where commands go")
