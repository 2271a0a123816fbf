# SPDX-License-Identifier: Apache-2.0
"""How large a contract's numbers are: beyond what any arm has they are refused, beyond the usual they are asked about.

Most such numbers were written in another unit: degrees for radians, mm for m, ms for s, a period for a rate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel

from swiftvla_ros.contract.schema import ContractFile, Joint


@dataclass(frozen=True)
class Magnitude:
    """What a number usually is at most, and the least and most that is accepted."""

    usual: float
    most: float
    least: float = 0.0


# By the key as `swiftvla check-contract --keys` prints it; a test holds every key in s, rad and Hz to have one.
MAGNITUDES = {
    "cameras[].rate_hz": Magnitude(240, 1000, least=0.1),
    "joint_states.rate_hz": Magnitude(2000, 20_000, least=1),
    "policy.step_s": Magnitude(0.5, 5),
    "policy.max_image_age_s": Magnitude(2, 30),
    "policy.max_state_age_s": Magnitude(2, 30),
    "policy.pair_slop_s": Magnitude(0.5, 5),
    "hand.step_rad": Magnitude(math.pi / 2, math.pi),
    "lerobot.step_s": Magnitude(0.5, 5),
    "control.rate_hz": Magnitude(1000, 1000, least=100),
    "control.blend.over_s": Magnitude(5, 60),
    "control.start_tolerance_rad": Magnitude(math.pi / 2, 2 * math.pi),
    "control.approach_s": Magnitude(30, 300),
    "control.soft_start_s": Magnitude(5, 60),
    "control.fresh_s": Magnitude(5, 60),
    "control.tail_timeout_s": Magnitude(30, 120),
    "control.hold_timeout_s": Magnitude(3600, 1e6),
    "control.max_chunk_s": Magnitude(60, 600),
    "control.tracking.tolerance_rad": Magnitude(math.pi / 2, 2 * math.pi),
    "control.tracking.for_s": Magnitude(5, 60),
    "control.frozen_joint.moved_rad": Magnitude(math.pi / 2, 2 * math.pi),
    "control.frozen_joint.for_s": Magnitude(5, 60),
    "control.operator.lost_after_s": Magnitude(10, 120),
}

# The fastest wrists of small industrial arms turn four times a second.
_TURNING = {
    "position": Magnitude(2 * math.pi + 0.1, 4 * math.pi),
    "velocity": Magnitude(10, 8 * math.pi),
    "acceleration": Magnitude(100, 500),
    "jerk": Magnitude(10_000, 100_000),
}
_SLIDING = {
    "position": Magnitude(2, 10),
    "velocity": Magnitude(2, 10),
    "acceleration": Magnitude(20, 100),
    "jerk": Magnitude(1000, 10_000),
}
_PER = {"position": "", "velocity": "/s", "acceleration": "/s²", "jerk": "/s³"}


def impossible_numbers(file: ContractFile) -> Iterator[str]:
    """Yield a sentence for each number that no arm has."""
    for key, shown, value in _numbers(file):
        allowed = MAGNITUDES.get(key)
        if allowed is not None and value > allowed.most:
            yield f"{shown}: {value:g} is more than the {allowed.most:g} that are accepted; {_unit_hint(key, value)}"
        elif allowed is not None and value < allowed.least:
            yield f"{shown}: {value:g} is less than {allowed.least:g}; {_unit_hint(key, value)}"
    if file.control.max_chunk_s <= file.policy.step_s <= MAGNITUDES["policy.step_s"].most:
        yield (
            f"control.max_chunk_s: {file.control.max_chunk_s:g} s is no longer than policy.step_s "
            f"{file.policy.step_s:g}, so every chunk would be refused; raise it"
        )
    for joint in file.joints:
        for key, value, allowed in _limits(joint):
            if value > allowed.most:
                yield (
                    f"joints.{joint.name}.{key}: {value:g} {_unit(joint)}{_PER[key]} is more than any arm has; "
                    f"{_limit_hint(joint, key, value)}"
                )


def unusual_numbers(file: ContractFile) -> Iterator[str]:
    """Yield a question for each number that few arms have."""
    for key, shown, value in _numbers(file):
        allowed = MAGNITUDES.get(key)
        if allowed is not None and value > allowed.usual:
            yield f"{shown}: is {value:g} meant, where up to {allowed.usual:.3g} is usual? {_unit_hint(key, value)}"
    for joint in file.joints:
        for key, value, allowed in _limits(joint):
            if value > allowed.usual:
                yield (
                    f"joints.{joint.name}.{key}: is {value:g} {_unit(joint)}{_PER[key]} meant, where up to "
                    f"{allowed.usual:.3g} is usual? {_limit_hint(joint, key, value)}"
                )
        tick_s = 1 / file.control.rate_hz
        if joint.velocity / joint.acceleration < tick_s:
            yield (
                f"joints.{joint.name}.acceleration: {joint.acceleration:g} reaches velocity {joint.velocity:g} within "
                f"one command ({tick_s:g} s), so it limits nothing; is it meant? "
                f"{_limit_hint(joint, 'acceleration', joint.acceleration)}"
            )


def _limits(joint: Joint) -> Iterator[tuple[str, float, Magnitude]]:
    table = _SLIDING if joint.unit in ("m", "mm") else _TURNING
    if joint.position is not None:
        yield "position", max(map(abs, joint.position)), table["position"]
    for key in ("velocity", "acceleration", "jerk"):
        yield key, getattr(joint, key), table[key]


def _unit(joint: Joint) -> str:
    return "m" if joint.unit in ("m", "mm") else "rad"


def _limit_hint(joint: Joint, key: str, value: float) -> str:
    per = _PER[key]
    if _unit(joint) == "m":
        return f"limits are in m{per} whatever the driver's unit: {value:g} mm{per} are {value / 1000:.4g}"
    return f"limits are in rad{per} whatever the driver's unit: {value:g} °{per} are {math.radians(value):.4g}"


def _unit_hint(key: str, value: float) -> str:
    if key.endswith("_s"):
        return f"it is in seconds: {value:g} ms are {value / 1000:.4g}"
    if key.endswith("_rad"):
        return f"it is in radians: {value:g}° are {math.radians(value):.4g}"
    if value < 1:
        return f"it is in Hz: a period of {value:g} s is {1 / value:.4g}"
    return f"it is in Hz: a period of {value:g} ms is {1000 / value:.4g}"


def _numbers(model: BaseModel, key: str = "", shown: str = "") -> Iterator[tuple[str, str, float]]:
    """Yield all single numbers with their key in the table of keys, and as a person finds it in the file."""
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _numbers(value, f"{key}{name}.", f"{shown}{name}.")
        elif isinstance(value, tuple):
            for k, entry in enumerate(value):
                if isinstance(entry, BaseModel):
                    label = getattr(entry, "name", None) or getattr(entry, "joint", None) or str(k)
                    yield from _numbers(entry, f"{key}{name}[].", f"{shown}{name}.{label}.")
        elif isinstance(value, float | int) and not isinstance(value, bool):
            yield f"{key}{name}", f"{shown}{name}", value
