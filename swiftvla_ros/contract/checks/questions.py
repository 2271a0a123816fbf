# SPDX-License-Identifier: Apache-2.0
"""What a contract may say, and seldom means: ``swiftvla check-contract`` asks about it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from swiftvla_ros.contract.checks.magnitudes import unusual_numbers
from swiftvla_ros.contract.checks.topics import unusual_topics
from swiftvla_ros.contract.contract import Contract
from swiftvla_ros.contract.kinematics import urdf_limits
from swiftvla_ros.contract.schema import ContractFile

# A picture that is on its way for a fifth of its period is nothing unusual.
_LATE = 1.2
_SLACK = 1e-3
# Drivers' URDFs are written with nominal speeds; twice that is another unit, or another arm.
_FASTER_THAN_URDF = 2.0


def questions(contract: Contract) -> list[str]:
    """Return a sentence for each thing that is possible, and odd: key, value, and what was meant perhaps."""
    return [*own_questions(contract), *(question.text for question in urdf_questions(contract))]


def own_questions(contract: Contract) -> list[str]:
    """Return those that the contract's file raises by itself, without its URDF."""
    file = contract.file
    return [
        *unusual_numbers(file),
        *unusual_topics(file),
        *_pairing(file),
        *_ages(file),
        *_hands(file),
        *_names(file),
        *_poses(file),
    ]


def _pairing(file: ContractFile) -> Iterator[str]:
    """The slowest camera's newest picture is paired with the nearest of each other one: half a period away at most."""
    slop_s, by_rate = file.policy.pair_slop_s, sorted(file.cameras, key=lambda camera: camera.rate_hz)
    for camera in by_rate[1:2]:
        apart_s = 0.5 / camera.rate_hz
        if apart_s > slop_s + _SLACK:
            yield (
                f"policy.pair_slop_s: {slop_s:g} s may never pair cameras '{by_rate[0].name}' "
                f"({by_rate[0].rate_hz:g} Hz) and '{camera.name}' ({camera.rate_hz:g} Hz), whose pictures are up to "
                f"{apart_s:.3g} s apart unless both are triggered together; write at least {apart_s:.3g}, or raise "
                "the rates"
            )


def _ages(file: ContractFile) -> Iterator[str]:
    for camera in file.cameras:
        if _LATE / camera.rate_hz > file.policy.max_image_age_s:
            yield (
                f"policy.max_image_age_s: {file.policy.max_image_age_s:g} s is hardly longer than the "
                f"{1 / camera.rate_hz:.3g} s between two pictures of '{camera.name}' ({camera.rate_hz:g} Hz), so one "
                "that is late stops the policy; is it meant?"
            )
    rate_hz = file.joint_states.rate_hz
    if _LATE / rate_hz > file.policy.max_state_age_s:
        yield (
            f"policy.max_state_age_s: {file.policy.max_state_age_s:g} s is hardly longer than the {1 / rate_hz:.3g} s "
            "between two joint states, so one that is late stops the arm; is it meant?"
        )


def _hands(file: ContractFile) -> Iterator[str]:
    for gripper in file.gripper:
        if gripper.open == gripper.closed:
            yield f"gripper: '{gripper.joint}' is open and closed at {gripper.open:g}; are two positions meant?"
    for joint in file.joints:
        if joint.percent_of is not None and joint.position is not None:
            (low, high), (first, last) = joint.position, sorted(joint.percent_of)
            if low > last or high < first:
                yield (
                    f"joints.{joint.name}.percent_of: {list(joint.percent_of)} has nothing in common with position "
                    f"{list(joint.position)}; are both in the same unit?"
                )


def _names(file: ContractFile) -> Iterator[str]:
    """A name that was copied with a space that nobody sees is another name than the driver's."""
    named = {f"joints.{k}.name": joint.name for k, joint in enumerate(file.joints)}
    for key, name in {"base_frame": file.base_frame, **named}.items():
        if name != name.strip() or not name.isprintable():
            yield f"{key}: {name!a} holds what can't be seen; is it meant? The driver's name is compared as it is"
    if file.base_frame.startswith("/"):
        yield f"base_frame: tf2 accepts no '/' at the start; did you mean '{file.base_frame.lstrip('/')}'?"


def _poses(file: ContractFile) -> Iterator[str]:
    for camera in file.cameras:
        if camera.pose is None:
            continue
        farthest = max(map(abs, camera.pose.position_m))
        if farthest > 5:
            yield (
                f"cameras.{camera.name}.pose.position_m: is a camera {farthest:g} m away meant? "
                f"{farthest:g} mm are {farthest / 1000:g}"
            )
        if camera.pose.fovy_deg < 4:
            yield (
                f"cameras.{camera.name}.pose.fovy_deg: is {camera.pose.fovy_deg:g}° meant? "
                f"{camera.pose.fovy_deg:g} rad are {math.degrees(camera.pose.fovy_deg):.3g}"
            )


class UrdfQuestion(NamedTuple):
    """A ``limit`` (unit, position or velocity) that is not the URDF's, asked about."""

    limit: str
    text: str


def urdf_questions(contract: Contract) -> Iterator[UrdfQuestion]:
    """Yield where limits are not the URDF's."""
    if contract.urdf_path is None:
        return
    known = urdf_limits(contract.urdf_path)
    for joint in contract.joints:
        urdf = known.get(joint.name)
        if urdf is None:
            continue
        key, name, slides = f"joints.{joint.name}", contract.urdf_path.name, joint.unit in ("m", "mm")
        if joint.unit != "percent" and slides != urdf.slides:
            does = "slides" if urdf.slides else "turns"
            yield UrdfQuestion("unit", f"{key}.unit: '{joint.unit}', but the joint {does} in {name}; is it meant?")
            continue
        if joint.continuous and not urdf.continuous:
            yield UrdfQuestion(
                "position", f"{key}.continuous: the joint has ends in {name}; is it meant? Else write its 'position'"
            )
        elif urdf.continuous and not joint.continuous:
            yield UrdfQuestion(
                "position",
                f"{key}.position: the joint is continuous in {name}; are limits meant? If its driver wraps angles, "
                "write 'continuous: true' instead",
            )
        low, high = joint.lowest, joint.highest
        if (
            urdf.range is not None
            and not joint.continuous
            and (low < urdf.range[0] - _SLACK or high > urdf.range[1] + _SLACK)
        ):
            yield UrdfQuestion(
                "position",
                f"{key}.position: [{low:g}, {high:g}] goes beyond [{urdf.range[0]:g}, {urdf.range[1]:g}] of {name}; "
                "is it meant?",
            )
        if urdf.velocity is not None and joint.velocity > _FASTER_THAN_URDF * urdf.velocity:
            yield UrdfQuestion(
                "velocity",
                f"{key}.velocity: {joint.velocity:g} is far above {urdf.velocity:g} of {name}; is it meant?",
            )
