# SPDX-License-Identifier: Apache-2.0
"""Look for whatever breaks the promise in what an executor commanded.

The promise: inside the position, velocity, acceleration and jerk limits, and each command the continuation of the one
before in position, velocity and acceleration. Only where commanding begins anew from a measured pose a new segment
begins. There the pose that was measured last, at rest, is what the first command is compared with, wherever it lies:
outside the position limits a command may be no farther out than the one before.

(Until November 2026 the measured pose was drawn inside the limits before it was compared, as the executor drew it: a
first command a radian from the arm was right by definition. No story began outside, either, but for one kind of joint
state. What this check can't see even now: an arm that is not where its driver says, which is the node's to doubt; what
becomes of a command on its way to the motors; an arm that was moved by hand while it was held, since the held pose is
what it is commanded still.)
"""

import numpy as np
from numpy.typing import NDArray

from motion_playback import NS, ROUNDING, Array, Record, Violation
from motion_strategies import Story
from swiftvla_ros.contract import Limits
from swiftvla_ros.motion import Command, brake_trajectory, check_limits
from swiftvla_ros.motion.executor import LATE_TICK_S
from swiftvla_ros.motion.limit_check import TOLERANCE as DIFFERENCE_TOLERANCE

TOLERANCE = 1e-5
"""How far, as a share of it, a published derivative may pass its limit and still be rounding."""
_ARRIVES = 1e-8  # rad and rad/s: how well ruckig meets a target (its p_precision and v_precision)
_MARGIN = 1e-6  # rad: how far inside the position limits a pose at them is drawn


def violations(record: Record, story: Story, worst: dict[str, float] | None = None) -> list[Violation]:
    """Everything that is wrong with a record; ``worst`` takes up how much of each limit was used at most."""
    found = list(record.wrong)
    worst = {} if worst is None else worst
    if not record.commands:
        return found
    limits = story.limits
    told, segments = _with_begins(record, limits)
    p, v, a = (np.array([getattr(c, n) for c in told]) for n in ("position", "velocity", "acceleration"))
    if not (np.isfinite(p).all() and np.isfinite(v).all() and np.isfinite(a).all()):
        return [*found, Violation("not finite", "a command holds a number that is not finite")]
    stamps = np.array([c.stamp_ns for c in told])
    ratios = {
        "position": _range_used(p, segments, limits),
        "velocity": np.abs(v) / limits.max_velocity,
        "acceleration": np.abs(a) / limits.max_acceleration,
        **_steps(p, v, a, stamps, segments, limits, 1.0 / story.config.rate_hz),
    }
    for kind, ratio in ratios.items():
        worst[kind] = max(worst.get(kind, 0.0), float(ratio.max(initial=0.0)))
        found += _excess(kind, ratio, stamps[len(stamps) - len(ratio) :])
    found += _begins(record, story)
    steps = np.diff(stamps)
    report = check_limits(stamps, p, limits, story.joint_names, tick_s=1.0 / story.config.rate_hz, segments=segments)
    over = report.ratios > 1.0 + DIFFERENCE_TOLERANCE + _rounding_of_differences(steps, limits)
    # An arm that is stopped before it moved stays outside: the positions are looked at above.
    if not over[1:].any():
        return found
    return found + [Violation("divided differences", line) for line in report.violations()[:3]]


def _rounding_of_differences(steps: NDArray[np.int64], limits: Limits) -> Array:
    """What ruckig's rounding of positions makes of their differences of order 0 … 3 at most, as shares [4, J]."""
    order = np.arange(4)[:, None]
    shortest_s = steps[steps > 0].min(initial=NS) / NS
    by_order = np.stack([np.ones_like(limits.max_jerk), limits.max_velocity, limits.max_acceleration, limits.max_jerk])
    return (order > 0) * _ARRIVES * 2.0**order / shortest_s**order / by_order


def stops_outside(record: Record, limits: Limits, every: int = 50) -> list[Violation]:
    """Whether from each ``every``-th command the fastest stop leaves the position limits or does not end at rest."""
    for command in record.commands[::every]:
        stop = brake_trajectory(command, limits)
        low = np.minimum(limits.min_position, command.position - ROUNDING)
        high = np.maximum(limits.max_position, command.position + ROUNDING)
        inside = (stop.positions >= low).all() and (stop.positions <= high).all()
        if not inside or stop.velocities[-1].any() or not (np.diff(stop.times_s, prepend=0.0) > 0).all():
            return [
                Violation("no stop", f"the fastest stop from the command at {command.stamp_ns} ns leaves the limits")
            ]
    return []


def _steps(
    p: Array, v: Array, a: Array, stamps: NDArray[np.int64], segments: NDArray[np.int64], limits: Limits, tick_s: float
) -> dict[str, Array]:
    """Each command against the Taylor series of the one before: what a jerk inside its limit can make of it at most."""
    dt = np.diff(stamps) / NS
    dt = np.where((dt > 0.0) & (dt <= LATE_TICK_S), dt, tick_s)[:, None]
    same = (segments[1:] == segments[:-1])[:, None]
    jerk = limits.max_jerk
    missed = {
        "jerk": (np.diff(a, axis=0), jerk * dt),
        "velocity step": (np.diff(v, axis=0) - a[:-1] * dt, jerk * dt**2 / 2),
        "position step": (np.diff(p, axis=0) - v[:-1] * dt - a[:-1] * dt**2 / 2, jerk * dt**3 / 6),
    }
    rounding = {"jerk": ROUNDING, "velocity step": _ARRIVES, "position step": _ARRIVES}
    return {
        kind: np.where(same, np.maximum(np.abs(miss) - rounding[kind], 0.0) / allowed, 0.0)
        for kind, (miss, allowed) in missed.items()
    }


def _with_begins(record: Record, limits: Limits) -> tuple[list[Command], NDArray[np.int64]]:
    """All commands, and before the first of each segment the arm at rest where it was measured; and their segments."""
    told, segments = [], []
    for command, segment in zip(record.commands, record.segments, strict=True):
        if (not segments or segments[-1] != segment) and segment in record.begins:
            begin = record.begins[segment]
            if not begin.moved and begin.stamp_ns < command.stamp_ns:
                still = np.zeros(len(begin.pose))
                told.append(Command(begin.stamp_ns, _at_limits(begin.pose, limits), still, still))
                segments.append(segment)
        told.append(command)
        segments.append(segment)
    return told, np.array(segments)


def _begins(record: Record, story: Story) -> list[Violation]:
    """Each segment has to begin where the arm was measured, at rest; so near to it as a tick leads if it was moved."""
    limits = story.limits
    reach = limits.max_velocity * (1.0 + TOLERANCE) / story.config.rate_hz
    for number, begin in record.begins.items():
        command = record.commands[record.segments.index(number)]
        apart = np.abs(command.position - _at_limits(begin.pose, limits))
        if begin.moved:  # a little, and the arm may begin where it was
            turned = np.abs(apart - 2 * np.pi * np.round(apart / (2 * np.pi)))
            wrong = (np.where(limits.continuous, turned, apart) > reach).any()
        elif begin.stamp_ns == command.stamp_ns:
            wrong = apart.max() > ROUNDING or command.velocity.any() or command.acceleration.any()
        else:
            continue  # the steps are looked at
        if wrong:
            return [Violation("begin", f"segment {number} begins {apart.max():.3g} from the arm's pose")]
    return []


def _at_limits(pose: Array, limits: Limits) -> Array:
    """A measured pose, a little inside where it is at the limits; outside it stays."""
    low, high = limits.min_position + _MARGIN, limits.max_position - _MARGIN
    inside = (pose >= low - _MARGIN) & (pose <= high + _MARGIN)
    return np.where(inside, np.clip(pose, low, high), pose)


def _range_used(p: Array, segments: NDArray[np.int64], limits: Limits) -> Array:
    """How much of the way to its limit each position uses; beyond, over how far the one before was: never farther."""
    beyond = np.maximum(np.maximum(limits.min_position - p, p - limits.max_position), 0.0)
    before = np.zeros_like(beyond)
    same = (segments[1:] == segments[:-1])[:, None]
    before[1:] = np.where(same, beyond[:-1], 0.0)
    first = np.concatenate([[True], segments[1:] != segments[:-1]])
    before[first] = beyond[first]
    half = np.where(limits.continuous, 1.0, limits.max_position - limits.min_position) / 2
    middle = np.where(limits.continuous, 0.0, limits.min_position) + half
    inside = np.where(limits.continuous, 0.0, np.minimum(np.abs(p - middle) / half, 1.0))
    return np.where(beyond > 0.0, (half + beyond) / (half + before), inside)


def _excess(kind: str, ratio: Array, stamps: NDArray[np.int64], tolerance: float = TOLERANCE) -> list[Violation]:
    over = ratio > 1.0 + tolerance
    if not over.any():
        return []
    k, j = np.argwhere(over)[0]
    text = f"{over.sum()} times, first joint_{j} at {stamps[k]} ns; worst {ratio.max():.6g} of what is allowed"
    return [Violation(kind, text)]
