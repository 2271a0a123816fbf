# SPDX-License-Identifier: Apache-2.0
"""From chunks to one reference motion: joined by stamp, started from the last commanded state, ended at rest."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Limits
from swiftvla_ros.motion.chunk import NS, Chunk
from swiftvla_ros.motion.planning.sampled_motion import INTERVAL_NS, Table
from swiftvla_ros.motion.planning.spline import Path, smoothed

Array = NDArray[np.float64]

PAST_ROWS = 3
"""Rows before the seam that still shape the curve: a row bends a cubic spline by 0.27³ = 2 % three rows further on."""

SEAM_S = 0.1
"""The shortest time in which a seam in motion is absorbed."""

LONGEST_SEAM_S = 2.0
"""The longest; the plan has then moved on, and what is left is the limiter's."""

SEAM_SHARE = np.array([0.8, 0.5, 0.5])[:, None]
"""Share of the velocity, acceleration and jerk limits that absorbing a seam may use; the rest is the plan's."""

LONGEST_SLOW_DOWN_S = 0.5
"""The slow-down along the path reaches rest this long after its begin at most, half of it after the last row."""

SMOOTH_AT_MOST = 0.02
"""How far noisy rows may be moved to be drawable, as a share of the joint's range."""

# Peak velocity, acceleration and jerk (rows), over the duration's powers, when a unit of position, velocity or
# acceleration (columns) fades out: as the state that a quintic begins with, and under a quintic smooth step.
_OF_A_STATE = np.array([(1.875, 1.0, 0.0), (5.78, 4.0, 0.0), (60.0, 36.0, 4.5)])
_OF_A_FADE = np.array([(1.875, 0.0, 0.0), (5.78, 3.75, 0.0), (60.0, 17.4, 5.7)])

_WORSE_THAN_USUAL = 1.5  # peak over root mean square of two paths' distance: 1 for an offset, up to 2 or so for noise
_SLOW_DOWN_SHARE = 0.6
_DRAWN_SHARE = 0.9
_STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


@dataclass(frozen=True)
class Rows:
    """Rows at absolute times, of one chunk or of a chunk and the tail of an older one.

    ``positions`` [K, J] lie inside the limits, ``times_ns`` [K] rise strictly. ``first_ns`` is the time of the chunk's
    row 0, past or not.
    """

    times_ns: NDArray[np.int64]
    positions: Array
    chunk: Chunk
    first_ns: int

    @property
    def end_ns(self) -> int:
        """Time of the last row."""
        return int(self.times_ns[-1])


def same_source(one: Chunk, other: Chunk) -> bool:
    """Whether rows of both belong to one intention: the same instruction, and the same checkpoint."""
    return (one.instruction_id, one.checkpoint) == (other.instruction_id, other.checkpoint)


def join_rows(
    chunk: Chunk,
    positions: Array,
    older: Rows | None,
    now_ns: int,
    *,
    first_ns: int | None = None,
    blend: Callable[[NDArray[np.int64], Array], Array] | None = None,
) -> Rows:
    """Put a chunk's rows where their stamps say, and behind them what an older chunk knows beyond their end.

    Rows that are past are dropped but for the last few, which shape the curve at the seam. The older tail stays only
    where it belongs to the same instruction and checkpoint. ``first_ns`` is the time of row 0 where that is not the
    stamp; ``blend`` has the rows [K, J] at times [K] that remain before they are joined.
    """
    first_ns = chunk.stamp_ns if first_ns is None else first_ns
    first_usable = (now_ns - first_ns) // chunk.step_ns + 1
    first = min(max(first_usable - PAST_ROWS, 0), len(positions) - 1)
    times = first_ns + np.arange(first, len(positions), dtype=np.int64) * chunk.step_ns
    positions = positions[first:]
    if blend is not None:
        positions = blend(times, positions)
    if older is not None and same_source(older.chunk, chunk):
        # half a step of distance: two rows next to each other in time would be a spike in the velocity
        tail = older.times_ns > times[-1] + chunk.step_ns // 2
        times = np.concatenate([times, older.times_ns[tail]])
        positions = np.concatenate([positions, older.positions[tail]])
    return Rows(times, positions, chunk, first_ns)


def rows_from_rest(chunk: Chunk, positions: Array, now_ns: int) -> Rows:
    """All rows of a chunk, from now on: an arm that stood still has nothing of the plan behind it."""
    return Rows(now_ns + np.arange(len(positions), dtype=np.int64) * chunk.step_ns, positions, chunk, now_ns)


def rows_to_approach(chunk: Chunk, target: Array, now_ns: int, duration_s: float) -> Rows:
    """Stay at ``target`` [J] for a time in which the way there fades out."""
    times = now_ns + np.array([0, round(duration_s * NS)], dtype=np.int64)
    return Rows(times, np.stack([target, target]), chunk, now_ns)


def approach_duration_s(gap: Array, limits: Limits, shortest_s: float) -> float:
    """How long the way over a distance [J] from rest to rest takes with a share of the limits."""
    share = SEAM_SHARE[:, 0]
    peaks = _OF_A_STATE[:, 0]
    v, a, j = (
        float((peak * np.abs(gap) / (part * limit)).max())
        for peak, part, limit in zip(
            peaks, share, (limits.max_velocity, limits.max_acceleration, limits.max_jerk), strict=True
        )
    )
    return max(shortest_s, v, math.sqrt(a), j ** (1 / 3))


@dataclass(frozen=True)
class Plan:
    """The motion that rows ask for, for all time: along the path through them, slowed along it to rest.

    Attributes
    ----------
    rows
        What the path was drawn through.
    path
        The curve.
    slow_from_s
        Where on the path the slow-down begins, s after the path's origin.
    slow_for_s
        How long it takes; it covers half of that on the path.
    """

    rows: Rows
    path: Path
    slow_from_s: float
    slow_for_s: float

    @classmethod
    def through(cls, rows: Rows, limits: Limits, *, now_ns: int, until_ns: int) -> Plan:
        """Slow down so that the last row is the place of rest, or from ``until_ns`` on where that is earlier."""
        origin_ns = int(rows.times_ns[0])
        # rows beyond what can be followed before another chunk comes would only cost time; two more shape the curve
        needed = int(np.searchsorted(rows.times_ns, until_ns + round(LONGEST_SLOW_DOWN_S / 2 * NS))) + 3
        times = (rows.times_ns[:needed] - origin_ns) / NS
        path = _drawable(origin_ns, times, rows.positions[:needed], limits)
        slow_for = _slow_down_s(path, path.end, limits)
        slow_from, until = path.end - slow_for / 2, (until_ns - origin_ns) / NS
        if until < slow_from:
            slow_from, slow_for = until, _slow_down_s(path, until + LONGEST_SLOW_DOWN_S / 2, limits)
        return cls(rows, path, max(slow_from, (now_ns - origin_ns) / NS), slow_for)

    @property
    def slow_ns(self) -> int:
        """When the slow-down begins."""
        return self.path.origin_ns + round(self.slow_from_s * NS)

    @property
    def path_end_ns(self) -> int:
        """When the place of rest would have been reached without the slow-down: the last usable row's time."""
        return self.path.origin_ns + round((self.slow_from_s + self.slow_for_s / 2) * NS)

    @property
    def rest_ns(self) -> int:
        """From when on it rests."""
        return self.path.origin_ns + math.ceil((self.slow_from_s + self.slow_for_s) * NS)

    def slowed_from(self, t_ns: int, limits: Limits) -> Plan:
        """The same motion, but slowed to rest from ``t_ns`` on, unless it slows already."""
        s = (t_ns - self.path.origin_ns) / NS
        if s >= self.slow_from_s:
            return self
        return replace(self, slow_from_s=s, slow_for_s=_slow_down_s(self.path, s + LONGEST_SLOW_DOWN_S / 2, limits))

    def path_time_s(self, t_ns: NDArray[np.int64]) -> Array:
        """Where on the path [N], s after its origin, times [N] are."""
        return self._along(t_ns)[0]

    def sample(self, t_ns: NDArray[np.int64]) -> Array:
        """Position, velocity and acceleration [N, 3, J] at times [N]."""
        s, rate, slowing = self._along(t_ns)
        p, v, a = np.moveaxis(self.path.sample(s), 1, 0)
        rate, slowing = rate[:, None], slowing[:, None]
        return np.stack([p, rate * v, rate * rate * a + slowing * v], axis=1)

    def _along(self, t_ns: NDArray[np.int64]) -> tuple[Array, Array, Array]:
        s = (t_ns - self.path.origin_ns) / NS
        before, u = np.minimum(s, self.slow_from_s), np.clip((s - self.slow_from_s) / self.slow_for_s, 0.0, 1.0)
        place = before + self.slow_for_s * u * (1.0 - u * u * (1.0 - u / 2))
        return place, 1.0 - u * u * (3.0 - 2.0 * u), -6.0 * u * (1.0 - u) / self.slow_for_s


def _drawable(origin_ns: int, times: Array, rows: Array, limits: Limits) -> Path:
    """The curve through the rows; where noise makes it sharper than the limits, through rows smoothed a little.

    Only joints that need it are smoothed, as little as does it, and never by more than ``SMOOTH_AT_MOST``: a plan that
    wants to be elsewhere is the limiter's to slow, not this function's to redraw.
    """
    path = Path(origin_ns, times, rows)
    if len(times) <= 3:
        return path
    most = SMOOTH_AT_MOST * (limits.max_position - limits.min_position)
    for strength in _STRENGTHS:
        acceleration, jerk = path.peaks()
        sharp = (acceleration > _DRAWN_SHARE * limits.max_acceleration) | (jerk > _DRAWN_SHARE * limits.max_jerk)
        if not sharp.any():
            break
        softer = smoothed(times, rows, strength)
        sharp &= np.abs(softer - rows).max(axis=0) <= most
        path = Path(origin_ns, times, np.where(sharp, softer, path.rows))
    return path


def _slow_down_s(path: Path, end: float, limits: Limits) -> float:
    """How long coming to rest takes from the speed that the path has before ``end``, with a share of the limits."""
    speed = np.abs(path.sample(np.linspace(end - LONGEST_SLOW_DOWN_S / 2, end, 8))[:, 1]).max(axis=0)
    by_acceleration = 1.5 * speed / (_SLOW_DOWN_SHARE * limits.max_acceleration)
    by_jerk = np.sqrt(6.0 * speed / (_SLOW_DOWN_SHARE * limits.max_jerk))
    return float(np.clip(np.maximum(by_acceleration, by_jerk).max(), 0.02, LONGEST_SLOW_DOWN_S))


class Reference:
    """The motion to be followed: a plan, and on top of it what fades out of earlier plans and states.

    Attributes
    ----------
    plan
        What remains when everything faded.
    rest_ns
        From when on it rests.
    """

    def __init__(self, plan: Plan, fading: Table) -> None:
        self.plan = plan
        end_ns = max(plan.rest_ns, fading.end_ns)
        times = _times(fading.begin_ns, end_ns)
        self._fading = fading
        states = plan.sample(times) + fading.sample_from(fading.begin_ns, len(times))
        states[-1, 1:] = 0.0  # but for rounding it is
        self._motion = Table(fading.begin_ns, states)
        self.rest_ns = self._motion.end_ns

    @classmethod
    def entered(cls, plan: Plan, state: Array, now_ns: int, limits: Limits, shortest_s: float) -> Reference:
        """Enter ``plan`` from a ``state`` [3, J] that no reference led to: from rest, or out of a brake."""
        gap = state - plan.sample(np.array([now_ns]))[0]
        return cls(plan, _absorb(now_ns, gap, limits, shortest_s))

    def sample(self, t_ns: int, fraction: float = 0.0) -> Array:
        """Position, velocity and acceleration [3, J] at a time, in ns and a fraction."""
        return self._motion.sample(t_ns, fraction)

    def replaced(self, plan: Plan, state: Array, state_ns: int, limits: Limits, *, fade: bool = True) -> Reference:
        """Go over to another plan from the last commanded ``state`` [3, J] at ``state_ns``.

        The old path fades into the new one, both read at the same time, so that chunks which agree join without a lag
        and noise between them is averaged. Where the old path ends too soon for that, or the last command was not on
        it, the difference at this moment is what fades. What was fading before goes on fading as it was: were it taken
        up into a fade that begins anew with each chunk, a fast stream of chunks would never get there. With ``fade``
        False nothing of the old path stays: only the difference at this moment fades.
        """
        left_s = self.plan.path.end - (state_ns - self.plan.path.origin_ns) / NS
        end_ns = max(self._fading.end_ns, state_ns + round(max(left_s, 0.0) * NS))
        times = _times(state_ns, end_ns)
        fading = self._fading.sample_from(state_ns, len(times))
        if fade and state_ns <= self.plan.slow_ns and left_s > SEAM_S:
            apart = self.plan.path.sample_at(times) - plan.path.sample_at(times)
            duration = _fade_s(apart[(times - state_ns) < left_s * NS], limits, SEAM_S)
            fading += np.where(duration <= left_s, _fade((times - state_ns) / NS, duration, apart), 0.0)
        missed = _absorb(state_ns, state - plan.sample(times[:1])[0] - fading[0], limits, SEAM_S)
        return Reference(plan, missed.plus(fading))

    def slowed_from(self, t_ns: int, limits: Limits) -> Reference:
        """The same motion, but slowed along the path to rest from ``t_ns`` on."""
        plan = self.plan.slowed_from(t_ns, limits)
        return self if plan is self.plan else Reference(plan, self._fading)


def _times(begin_ns: int, end_ns: int) -> NDArray[np.int64]:
    return begin_ns + INTERVAL_NS * np.arange(max(-(-(end_ns - begin_ns) // INTERVAL_NS), 1) + 1, dtype=np.int64)


def _absorb(begin_ns: int, gap: Array, limits: Limits, shortest_s: float) -> Table:
    """Fade a state's difference ``gap`` [3, J] to nothing: per joint the quintic from there to zero."""
    duration = _duration_s(np.abs(gap), limits, shortest_s, _OF_A_STATE)
    times = _times(begin_ns, begin_ns + round(duration.max() * NS))
    u = np.minimum((times - begin_ns)[:, None] / NS / duration, 1.0)
    p, v, a = gap[0], gap[1] * duration, gap[2] * duration**2
    b, c = 3 * p + v, 6 * p + 3 * v + a / 2
    # (1 - u)³ (p + b u + c u²) and its derivatives
    w, q, dq = 1.0 - u, p + u * (b + u * c), b + 2 * u * c
    velocity = w**2 * (w * dq - 3 * q) / duration
    acceleration = w * (2 * w**2 * c - 6 * w * dq + 6 * q) / duration**2
    states = np.stack([w**3 * q, velocity, acceleration], axis=1)
    states[-1] = 0.0  # but for rounding it is
    return Table(begin_ns, states)


def _fade(t: Array, duration: Array, motion: Array) -> Array:
    """``motion`` [N, 3, J] at seconds ``t`` [N], faded out per joint by a quintic smooth step."""
    u = np.clip(t[:, None] / duration, 0.0, 1.0)
    f = 1.0 - u**3 * (10.0 + u * (6.0 * u - 15.0))
    df = -30.0 * (u * (1.0 - u)) ** 2 / duration
    ddf = -60.0 * u * (1.0 - u) * (1.0 - 2.0 * u) / duration**2
    p, v, a = np.moveaxis(motion, 1, 0)
    return np.stack([f * p, df * p + f * v, ddf * p + 2 * df * v + f * a], axis=1)


def _fade_s(apart: Array, limits: Limits, shortest_s: float) -> Array:
    """How long [J] fading out a motion [N, 3, J] takes."""
    usual = _WORSE_THAN_USUAL * np.sqrt((apart**2).mean(axis=0))
    usual[2] = 0.0  # of rows' noise; both paths have it already, and the limiter has the last word
    return _duration_s(usual, limits, shortest_s, _OF_A_FADE)


def _duration_s(gap: Array, limits: Limits, shortest_s: float, peaks: Array) -> Array:
    """How long [J] fading out a difference ``gap`` [3, J] takes with a share of the limits."""
    t = np.geomspace(shortest_s, max(LONGEST_SEAM_S, shortest_s), 20)[:, None, None]
    by_derivative = np.stack([limits.max_velocity, limits.max_acceleration, limits.max_jerk])
    needed = sum(peaks[:, k : k + 1] * gap[k] / t ** (np.arange(1, 4)[:, None] - k) for k in range(3))
    fits = (needed <= SEAM_SHARE * by_derivative).all(axis=1)
    return np.asarray(t[np.where(fits.any(axis=0), fits.argmax(axis=0), len(t) - 1), 0, 0])
