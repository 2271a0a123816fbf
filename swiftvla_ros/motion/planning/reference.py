# SPDX-License-Identifier: Apache-2.0
"""The motion to be followed: a plan, and what fades out of earlier plans and states."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Limits
from swiftvla_ros.motion.chunk import NS
from swiftvla_ros.motion.planning.motion_plan import MotionPlan
from swiftvla_ros.motion.planning.sampled_motion import SampledMotion, sample_times
from swiftvla_ros.motion.smooth_step import smooth_step

Array = NDArray[np.float64]

SEAM_S = 0.1
"""The shortest time in which a seam in motion is absorbed."""

LONGEST_SEAM_S = 2.0
"""The longest; the plan has then moved on, and what is left is the limiter's."""

SEAM_SHARE = np.array([0.8, 0.5, 0.5])[:, None]
"""Share of the velocity, acceleration and jerk limits that absorbing a seam may use; the rest is the plan's."""

# Peak velocity, acceleration and jerk (rows), over the duration's powers, when a unit of position, velocity or
# acceleration (columns) fades out: as the state that a quintic begins with, and under a quintic smooth step.
PEAKS_OF_A_STATE = np.array([(1.875, 1.0, 0.0), (5.78, 4.0, 0.0), (60.0, 36.0, 4.5)])
_OF_A_FADE = np.array([(1.875, 0.0, 0.0), (5.78, 3.75, 0.0), (60.0, 17.4, 5.7)])

_WORSE_THAN_USUAL = 1.5  # peak over root mean square of two paths' distance: 1 for an offset, up to 2 or so for noise


class Reference:
    """The motion to be followed: a ``plan``, and on top of it what fades out of earlier plans and states.

    From ``rest_ns`` on it rests.
    """

    def __init__(self, plan: MotionPlan, fading: SampledMotion) -> None:
        self.plan = plan
        end_ns = max(plan.rest_ns, fading.end_ns)
        times = sample_times(fading.begin_ns, end_ns)
        self._fading = fading
        states = plan.sample(times) + fading.sample_from(fading.begin_ns, len(times))
        states[-1, 1:] = 0.0  # but for rounding it is
        self._motion = SampledMotion(fading.begin_ns, states)
        self.rest_ns = self._motion.end_ns

    @classmethod
    def entered(cls, plan: MotionPlan, state: Array, now_ns: int, limits: Limits, shortest_s: float) -> Reference:
        """Enter ``plan`` from a ``state`` [3, J] that no reference led to: from rest, or out of a brake."""
        gap = state - plan.sample(np.array([now_ns]))[0]
        return cls(plan, _state_fade(now_ns, gap, limits, shortest_s))

    def sample(self, t_ns: int, fraction: float = 0.0) -> Array:
        """Position, velocity and acceleration [3, J] at a time, in ns and a fraction."""
        return self._motion.sample(t_ns, fraction)

    def replaced(
        self, plan: MotionPlan, state: Array, state_ns: int, limits: Limits, *, fade: bool = True
    ) -> Reference:
        """Go over to another plan from the last commanded ``state`` [3, J] at ``state_ns``.

        The old path fades into the new one, both read at the same time, so that chunks which agree join without a lag
        and noise between them is averaged. Where the old path ends too soon for that, or the last command was not on
        it, the difference at this moment is what fades. What was fading before goes on fading as it was: were it taken
        up into a fade that begins anew with each chunk, a fast stream of chunks would never get there. With ``fade``
        False nothing of the old path stays: only the difference at this moment fades.
        """
        left_s = self.plan.path.end - (state_ns - self.plan.path.origin_ns) / NS
        end_ns = max(self._fading.end_ns, state_ns + round(max(left_s, 0.0) * NS))
        times = sample_times(state_ns, end_ns)
        fading = self._fading.sample_from(state_ns, len(times))
        if fade and state_ns <= self.plan.slow_ns and left_s > SEAM_S:
            apart = self.plan.path.sample_at(times) - plan.path.sample_at(times)
            duration = _motion_fade_s(apart[(times - state_ns) < left_s * NS], limits, SEAM_S)
            fading += np.where(duration <= left_s, _motion_fade((times - state_ns) / NS, duration, apart), 0.0)
        missed = _state_fade(state_ns, state - plan.sample(times[:1])[0] - fading[0], limits, SEAM_S)
        return Reference(plan, missed.plus(fading))

    def slowed_from(self, t_ns: int, limits: Limits) -> Reference:
        """The same motion, but slowed along the path to rest from ``t_ns`` on."""
        plan = self.plan.slowed_from(t_ns, limits)
        return self if plan is self.plan else Reference(plan, self._fading)


def _state_fade(begin_ns: int, gap: Array, limits: Limits, shortest_s: float) -> SampledMotion:
    """Fade a state's difference ``gap`` [3, J] to nothing: per joint the quintic from there to zero."""
    duration = _duration_s(np.abs(gap), limits, shortest_s, PEAKS_OF_A_STATE)
    times = sample_times(begin_ns, begin_ns + round(duration.max() * NS))
    u = np.minimum((times - begin_ns)[:, None] / NS / duration, 1.0)
    p, v, a = gap[0], gap[1] * duration, gap[2] * duration**2
    b, c = 3 * p + v, 6 * p + 3 * v + a / 2
    # (1 - u)³ (p + b u + c u²) and its derivatives
    w, q, dq = 1.0 - u, p + u * (b + u * c), b + 2 * u * c
    velocity = w**2 * (w * dq - 3 * q) / duration
    acceleration = w * (2 * w**2 * c - 6 * w * dq + 6 * q) / duration**2
    states = np.stack([w**3 * q, velocity, acceleration], axis=1)
    states[-1] = 0.0  # but for rounding it is
    return SampledMotion(begin_ns, states)


def _motion_fade(t: Array, duration: Array, motion: Array) -> Array:
    """``motion`` [N, 3, J] at seconds ``t`` [N], faded out per joint by a quintic smooth step."""
    u = np.clip(t[:, None] / duration, 0.0, 1.0)
    f = 1.0 - smooth_step(u)
    df = -30.0 * (u * (1.0 - u)) ** 2 / duration
    ddf = -60.0 * u * (1.0 - u) * (1.0 - 2.0 * u) / duration**2
    p, v, a = np.moveaxis(motion, 1, 0)
    return np.stack([f * p, df * p + f * v, ddf * p + 2 * df * v + f * a], axis=1)


def _motion_fade_s(apart: Array, limits: Limits, shortest_s: float) -> Array:
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
