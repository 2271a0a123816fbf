# SPDX-License-Identifier: Apache-2.0
"""Rows of where the arm stands: in which unit that is told, inside the limits, as in training, where a chunk begins."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.schema import Joint
from swiftvla_ros.contract.turns import nearest
from swiftvla_ros.preflight.facts import PreflightFacts, TrialChunk
from swiftvla_ros.preflight.row import Row

Array = NDArray[np.float64]
# A stop gives, and calibrations differ.
_SLACK = 0.05
# Beyond the training states, as a share of their range: the policy guesses there.
_FAR_OUTSIDE = 0.25
# Radians that are told as degrees keep below this.
_SMALL_DEG = 3.2


def check_pose(facts: PreflightFacts) -> Iterator[Row]:
    """Judge the measured pose."""
    contract, measured, told = facts.contract, facts.measured(), facts.driver_positions()
    if measured is None:
        missing = [name for name in contract.joint_names if name not in told]
        finding = f"no joint state tells where {', '.join(missing)} stand"
        yield Row("pose", "fail", finding, f"see {contract.joint_states.topic} above")
        return
    unit = list(_units(contract, told))
    yield from unit or [Row("units", "ok", "positions are of the sizes that the contract's units and limits have")]
    if not any(row.status == "fail" for row in unit):
        yield _limits(contract, measured)
    if facts.checkpoint is not None and facts.checkpoint.checkpoint is not None:
        yield _trained(contract, facts.checkpoint.statistics.get("state", {}), measured)
    yield _start(contract, facts.trial, measured)


def _units(contract: Contract, told: Mapping[str, float]) -> Iterator[Row]:
    """Positions that only another unit explains."""
    wrong = [joint for joint in contract.joints if (unit := _better_unit(joint, told[joint.name])) is not None]
    if wrong:
        shown = ", ".join(f"{joint.name} at {told[joint.name]:.4g} {joint.unit}" for joint in wrong)
        unit = _better_unit(wrong[0], told[wrong[0].name])
        finding = f"{shown}: far outside the limits, and inside them as {unit}"
        yield Row(
            "units", "fail", finding, f"write unit: {unit} for these joints, or let the driver tell {wrong[0].unit}"
        )
        return
    turning = [joint for joint in contract.joints if joint.unit == "deg"]
    if turning and max(abs(told[joint.name]) for joint in turning) < _SMALL_DEG:
        finding = f"all joints are within ±{_SMALL_DEG:g} °: are these radians?"
        yield Row("units", "warning", finding, "move the arm by hand and look; write unit: rad where they are")


def _better_unit(joint: Joint, value: float) -> str | None:
    """The unit in which a position lies inside the limits, which it is far outside of in the contract's."""
    if joint.position is None:
        return "deg" if joint.unit == "rad" and abs(value) > 4 * math.pi else None
    low, high = joint.position
    scale, offset = joint.scale_and_offset
    far = max(0.5 * (high - low), _SLACK)
    if low - far <= scale * value + offset <= high + far:
        return None
    others = {"deg": math.pi / 180} if joint.unit == "rad" else {"mm": 1e-3} if joint.unit == "m" else {}
    return next((u for u, s in others.items() if low - _SLACK <= s * value <= high + _SLACK), None)


def _limits(contract: Contract, measured: Array) -> Row:
    limits, tolerance = contract.limits, contract.control.start_tolerance_rad
    outside = np.maximum(limits.min_position - measured, measured - limits.max_position)
    wrong = [j for j in range(len(measured)) if outside[j] > _SLACK]
    if not wrong:
        return Row("pose", "ok", "inside the contract's limits")
    shown = ", ".join(f"{contract.joint_names[j]} at {measured[j]:.3f} of {contract.joints[j].position}" for j in wrong)
    far = outside.max() > tolerance and contract.control.far_start == "refuse"
    fix = "move the arm inside, or correct `position` or the calibration"
    return Row("pose", "fail" if far else "warning", f"outside the limits: {shown}", fix)


def _trained(contract: Contract, table: Mapping[str, Any], measured: Array) -> Row:
    """Where the arm stands beside where it ever stood in training."""
    name, known = "pose as in training", 0
    far: list[str] = []
    near: list[str] = []
    for j, joint in enumerate(contract.joint_names):
        row = table.get(joint, {})
        if "min" not in row or contract.limits.continuous[j]:
            continue
        known += 1
        low, high = float(row["min"]), float(row["max"])
        beyond = max(low - measured[j], measured[j] - high)
        if beyond > _SLACK:
            text = f"{joint} at {measured[j]:.3f}, in training from {low:.3f} to {high:.3f}"
            (far if beyond > _FAR_OUTSIDE * (high - low) + _SLACK else near).append(text)
    fix = "move the arm to where demonstrations began, or record some that begin here"
    if far or near:
        return Row(name, "fail" if far else "warning", "; ".join([*far, *near]), fix)
    if not known:
        return Row(name, "warning", "the checkpoint does not say where the arm was in training", "train it again")
    return Row(name, "ok", f"{known} joints are where training had them")


def _start(contract: Contract, trial: TrialChunk, measured: Array) -> Row:
    """Whether the first row of a chunk begins where the arm stands, as the executor will ask."""
    name = "first chunk"
    if trial.problem:
        finding, _, fix = trial.problem.rpartition("; ")
        return Row(name, "warning", f"none was computed on trial: {finding or trial.problem}", fix if finding else "")
    # A gripper that is open or closed begins where it is, whatever the row says.
    switched = np.isin(contract.joint_names, [g.joint for g in contract.grippers if g.binary is not None])
    first = nearest(trial.rows[0], measured, contract.limits.continuous)
    first = np.clip(first, contract.limits.min_position, contract.limits.max_position)
    gap = np.where(switched, 0.0, np.abs(first - measured))
    j, tolerance = int(gap.argmax()), contract.control.start_tolerance_rad
    where = f"{contract.joint_names[j]} begins {gap[j]:.3f} from where it stands"
    if gap[j] <= tolerance:
        return Row(name, "ok", f"{where}, at most; control.start_tolerance_rad is {tolerance:g}")
    finding = f"{where} ({first[j]:.3f} and {measured[j]:.3f}); control.start_tolerance_rad is {tolerance:g}"
    if contract.control.far_start == "approach":
        return Row(name, "warning", f"{finding}: it is approached in {contract.control.approach_s:g} s or more", "")
    fix = "move the arm nearer, or see units, statistics and cameras above: a policy that sees well begins where it is"
    return Row(name, "fail", f"{finding}: the executor will refuse it", fix)
