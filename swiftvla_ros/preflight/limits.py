# SPDX-License-Identifier: Apache-2.0
"""Rows of the contract's limits: against the URDF, and against how the arm moved in training."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.action_coding import RELATIVE
from swiftvla_ros.contract.checks.questions import own_questions, urdf_questions
from swiftvla_ros.policy.checkpoint import Checkpoint
from swiftvla_ros.preflight.facts import CheckpointFolder
from swiftvla_ros.preflight.row import Row

Array = NDArray[np.float64]
# What noise and calibration may differ by, rad or m.
_SLACK = 0.02
_SHOWN = 3


def check_limits(contract: Contract, found: CheckpointFolder | None, *, edited: bool) -> Iterator[Row]:
    """Judge the contract's numbers by themselves, beside its URDF and beside the training data.

    ``edited``: its file is another than the one that was loaded.
    """
    asked = own_questions(contract)
    if edited:
        finding = f"{contract.path} was edited since it was loaded: the system runs with what it was"
        yield Row("contract", "fail", finding, "start the system again, or put the file back")
    elif asked:
        fix = f"correct {contract.path}, or leave it where it is meant"
        yield Row("contract", "warning", "; ".join(asked[:_SHOWN]), fix)
    else:
        yield Row("contract", "ok", f"{contract.path.name}: nothing odd")
    yield from _urdf(contract)
    if found is not None and found.checkpoint is not None:
        yield _trained_positions(contract, found)
        yield from _trained_speeds(contract, found, found.checkpoint)


def _urdf(contract: Contract) -> Iterator[Row]:
    name = "limits of the URDF"
    if contract.urdf_path is None:
        yield Row(name, "warning", "the contract names no URDF to compare with", "write kinematics.urdf")
        return
    asked = list(urdf_questions(contract))
    hard = [question.text.removesuffix("; is it meant?") for question in asked if question.limit != "velocity"]
    soft = [question.text for question in asked if question.limit == "velocity"]
    if hard:
        yield Row(name, "fail", "; ".join(hard[:_SHOWN]), "write what the arm can reach, or correct the URDF")
    elif soft:
        yield Row(name, "warning", "; ".join(soft[:_SHOWN]), "write a speed that the arm can keep")
    else:
        yield Row(name, "ok", f"none goes beyond {contract.urdf_path.name}")


def _trained_positions(contract: Contract, found: CheckpointFolder) -> Row:
    """Whether commands may go where the arm was in training."""
    name, wrong, rare = "training inside limits", [], []
    table, limits = found.statistics.get("state", {}), contract.limits
    for j, joint in enumerate(contract.joint_names):
        row = table.get(joint, {})
        low, high = limits.min_position[j] - _SLACK, limits.max_position[j] + _SLACK
        if "q01" in row and (row["q01"] < low or row["q99"] > high):
            ends = f"from {row['q01']:.3f} to {row['q99']:.3f}"
            wrong.append(f"{joint} was {ends} in training (98 % of it), its limits are {contract.joints[j].position}")
        elif "min" in row and (row["min"] < low or row["max"] > high):
            rare.append(f"{joint} was from {row['min']:.3f} to {row['max']:.3f} at times, beyond its limits")
    if wrong:
        fix = "correct `position` of these joints, or their unit; rows beyond a limit are cut off"
        return Row(name, "fail", "; ".join(wrong[:_SHOWN]), fix)
    if rare:
        return Row(name, "warning", "; ".join(rare[:_SHOWN]), "rows beyond a limit are cut off; is that meant?")
    return Row(name, "ok", "the limits allow all poses of the training data")


def _trained_speeds(contract: Contract, found: CheckpointFolder, checkpoint: Checkpoint) -> Iterator[Row]:
    """Whether commands may be as fast as training was, as far as its actions tell: at least so fast it went."""
    speeds = _least_speeds(found, checkpoint)
    name = "training speeds"
    if speeds is None:
        yield Row(name, "skipped", "actions are absolute positions: their statistics tell no speed")
        return
    order = [checkpoint.joint_names.index(joint) for joint in contract.joint_names if joint in checkpoint.joint_names]
    if len(order) != len(contract.joints):
        return  # told by the joints' row
    speeds = speeds[order]
    slow = [j for j in range(len(speeds)) if speeds[j] > contract.limits.max_velocity[j] + _SLACK]
    if slow:
        shown = ", ".join(
            f"{contract.joint_names[j]} at {speeds[j]:.2f}/s at least, allowed {contract.limits.max_velocity[j]:g}/s"
            for j in slow[:_SHOWN]
        )
        fix = "raise `velocity` of these joints as far as the arm allows, or demonstrate more slowly"
        yield Row(name, "fail", f"training moved faster than the limits let it: {shown}; motion will lag behind", fix)
        return
    part = (speeds / contract.limits.max_velocity).max()
    yield Row(name, "ok", f"the fastest joint of training needs {part:.0%} of its velocity limit at least")


def _least_speeds(found: CheckpointFolder, checkpoint: Checkpoint) -> Array | None:
    """The speed [J] that training's fastest 1 % of actions had at least, rad/s or m/s; None where they tell none.

    An offset to the observed state was gone within one horizon, one to the row before within a step.
    """
    table = found.statistics.get("action", {})
    if any("q01" not in table.get(name, {}) for name in checkpoint.joint_names):
        return None
    largest = np.array([max(abs(table[n]["q01"]), abs(table[n]["q99"])) for n in checkpoint.joint_names])
    step_s = checkpoint.step_s
    over_s = {
        RELATIVE: step_s * checkpoint.model.horizon,
        "delta_to_state": step_s * checkpoint.model.horizon,
        "delta_per_step": step_s,
        "velocity": 1.0,
    }.get(checkpoint.action_kind)
    return None if over_s is None else largest / over_s
