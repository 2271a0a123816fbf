# SPDX-License-Identifier: Apache-2.0
"""How far the arm is behind its commands, and the pictures behind the arm: by what fits best where something moves."""

from __future__ import annotations

import math

import numpy as np

from swiftvla_ros.episodes.quality.findings import Array, ExaminedEpisode, Finding

# Position controllers follow 0.05 to 0.2 s behind; a policy learns what to command now, and with more it overshoots.
SLOW_S = 0.35
# A state that is ahead of its command: the stamps are wrong, or the command is a copy of the state.
AHEAD_S = -0.03
# USB cameras are 0.03 to 0.1 s behind; more than a step of the policy and it acts on what was.
PICTURE_LAG_S = 0.15
# Correlations below these tell nothing: too little motion, or something else moves.
_COMMAND_FITS, _PICTURE_FITS = 0.6, 0.7
_LEAST_S, _LEAST_MOTION_RAD = 1.5, 0.05
_EARLIEST_S, _LATEST_S = -0.3, 1.0
# The search is wider than any lag that is told, so that what lies outside is not taken for something inside.
_WIDEST_S, _LARGEST_S = 0.8, 0.5
# Pictures for each joint that moves, so that what fits is no accident.
_PICTURES_A_JOINT = 6
# Grey values a second that change less are noise, as in the dark.
_LEAST_CHANGE = 2.0
# Encoders count in steps: velocities are averaged over so many states.
_SMOOTH = 5
# What the best lag leaves unexplained (1 - correlation) must be less than this share of what any lag leaves that is so
# far from it, or the motion is too even to tell.
_LEFT_SHARE, _APART_S = 0.7, 0.25


def check_lag(evidence: ExaminedEpisode) -> list[Finding]:
    """Judge an episode's lags, where its motion lets them be seen."""
    found = []
    lag_s = command_lag(evidence)
    if lag_s > SLOW_S:
        text = f"the arm is {1000 * lag_s:.0f} ms behind its commands"
        fix = "raise the driver's gains or speed limit, or write demonstrations.actions: measured"
        found.append(evidence.find("lag", "warning", "commands", lag_s, text, fix))
    elif lag_s < AHEAD_S:
        text = f"the arm is {-1000 * lag_s:.0f} ms ahead of its commands"
        fix = "stamp both on one clock, and name the topic that leads under demonstrations.actions"
        found.append(evidence.find("lag", "error", "commands", lag_s, text, fix))
    for camera in evidence.episode.images:
        lag_s = picture_lag(evidence, camera)
        if abs(lag_s) > PICTURE_LAG_S:
            side = "behind" if lag_s > 0 else "ahead of"
            text = f"its pictures show the arm {1000 * abs(lag_s):.0f} ms {side} the joint states of the same stamp"
            fix = "let the driver stamp when the picture is taken (usb_camera_node does), on the robot's clock"
            found.append(evidence.find("picture lag", "warning", camera, lag_s, text, fix))
    return found


def command_lag(evidence: ExaminedEpisode) -> float:
    """Return how far the measured joints are behind the commanded ones, s; NaN where it can't be told."""
    streams = evidence.streams
    times, state, commanded = streams.state_s, streams.state, streams.commanded
    known = np.isfinite(commanded).all(axis=1) if len(commanded) else np.zeros(0, bool)
    if known.sum() < _SMOOTH * 4 or times[known][-1] - times[known][0] < _LEAST_S:
        return math.nan
    step_s = float(np.median(np.diff(times)))
    commanded_s, index = np.unique(streams.commanded_s[known], return_index=True)
    commanded = commanded[known][index]
    even = np.arange(times[known][0], times[known][-1], step_s)
    moving = [j for j in range(state.shape[1]) if np.ptp(commanded[:, j]) > _LEAST_MOTION_RAD]
    if not moving:
        return math.nan
    pairs = []
    for joint in moving:
        wanted = _velocity(np.interp(even, commanded_s, commanded[:, joint]))
        done = _velocity(np.interp(even, times, state[:, joint]))
        spread = float(np.std(wanted))
        pairs.append((wanted / spread, done / spread) if spread else (wanted, done))
    lags = np.arange(math.floor(_EARLIEST_S / step_s), math.ceil(_LATEST_S / step_s) + 1)
    lags = lags[np.abs(lags) < len(even) // 2]
    fits = np.array([np.mean([_fit(wanted, done, int(lag)) for wanted, done in pairs]) for lag in lags])
    return _best(np.asarray(lags * step_s, np.float64), fits, _COMMAND_FITS)


def picture_lag(evidence: ExaminedEpisode, camera: str) -> float:
    """Return how far a camera's pictures are behind the joint states, s; NaN where it can't be told."""
    episode, streams = evidence.episode, evidence.streams
    shown_s, index = np.unique(episode.chosen_s.get(camera, episode.stamps_s), return_index=True)
    if len(shown_s) < 2 * _SMOOTH or len(streams.state_s) < 2 * _SMOOTH or shown_s[-1] - shown_s[0] < _LEAST_S:
        return math.nan
    images = episode.images[camera][index].astype(np.float32)
    changed = np.abs(np.diff(images, axis=0)).mean(axis=(1, 2, 3)) / np.diff(shown_s)
    # The way that each joint has gone, so that a picture's change is held against the very time between two. A camera
    # sees one joint more than another: how much, is what fits best.
    way = np.concatenate([np.zeros((1, streams.state.shape[1])), np.cumsum(np.abs(np.diff(streams.state, axis=0)), 0)])
    moving = [j for j in range(way.shape[1]) if way[-1, j] > _LEAST_MOTION_RAD]
    if not moving or len(changed) < _PICTURES_A_JOINT * len(moving) or changed.mean() < _LEAST_CHANGE:
        return math.nan
    lags = np.arange(-_WIDEST_S, _WIDEST_S, 0.01)
    fits = []
    for lag in lags:
        inside = (shown_s[:-1] - lag >= streams.state_s[0]) & (shown_s[1:] - lag <= streams.state_s[-1])
        gone = np.stack([np.interp(shown_s - lag, streams.state_s, way[:, j]) for j in moving], axis=1)
        speed = (np.diff(gone, axis=0) / np.diff(shown_s)[:, None])[inside]
        design = np.column_stack([speed, np.ones(len(speed))])
        weights = np.linalg.lstsq(design, changed[inside], rcond=None)[0]
        fits.append(_correlation(changed[inside], design @ weights))
    lag_s = _best(lags, np.array(fits), _PICTURE_FITS)
    return lag_s if abs(lag_s) <= _LARGEST_S else math.nan


def _velocity(values: Array) -> Array:
    box = np.ones(_SMOOTH) / _SMOOTH
    return np.convolve(np.diff(values), box, "valid")


def _fit(wanted: Array, done: Array, lag: int) -> float:
    a = wanted[: len(wanted) - lag] if lag >= 0 else wanted[-lag:]
    b = done[lag:] if lag >= 0 else done[: len(done) + lag]
    return _correlation(a, b)


def _correlation(a: Array, b: Array) -> float:
    if len(a) < 2 * _SMOOTH or a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _best(lags_s: Array, fits: Array, least: float) -> float:
    """The lag that fits best, between two samples by a parabola; NaN where none fits well, or many do."""
    k = int(np.argmax(fits))
    others = fits[np.abs(lags_s - lags_s[k]) > _APART_S]
    if fits[k] < least or k in (0, len(fits) - 1) or (len(others) and 1 - fits[k] > _LEFT_SHARE * (1 - others.max())):
        return math.nan
    left, middle, right = fits[k - 1 : k + 2]
    bend = left - 2 * middle + right
    shift = 0.5 * (left - right) / bend if bend else 0.0
    return float(lags_s[k] + shift * (lags_s[1] - lags_s[0]))
