# SPDX-License-Identifier: Apache-2.0
"""Joints that do not move, do not follow, jump, stand at a limit, and arms that wait."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.quality.findings import Digest, ExaminedEpisode, Finding

# Less than noise and backlash: half a degree (5 mm of a sliding joint would be 0.005, too).
STILL_RAD = 0.01
# A command that moves so far, while the joint is still, is not followed.
COMMANDED_RAD = 0.2
# Of a joint's range: so near to a limit is at it.
AT_LIMIT = 0.01
# Share of the steps at which a command may be at a limit; grippers are pressed against theirs on purpose.
LIMIT_SHARE = 0.05
# A measured position so far outside the limits is a calibration, not an overshoot.
OUTSIDE_RAD = 0.05
# Times the velocity limit, for the way between two states: commands are limited, hands and glitches are not.
JUMP_FACTOR = 3.0
# What a driver rounds or a state that came late explains.
_JUMP_RAD, _LEAST_PERIOD_S = 0.05, 0.01
# A policy learns to wait where the arm waits.
IDLE_BEGIN_S = 2.0
IDLE_SHARE = 0.5
_IDLE_SPEED = 0.02  # rad/s
# Of the way between open and closed that a gripper has to use, in one episode at least.
STROKE_SHARE = 0.2


def check_motion(evidence: ExaminedEpisode) -> list[Finding]:
    """Judge an episode's motion."""
    return [*_not_followed(evidence), *_jumps(evidence), *_limits(evidence), *_idle(evidence)]


def check_joints(digests: Sequence[Digest], contract: Contract) -> list[Finding]:
    """Name the joints that never move, and the grippers that never grip, in all episodes."""
    found = []
    way = np.max([digest.highest - digest.lowest for digest in digests], axis=0)
    for joint, name in enumerate(contract.joint_names):
        if way[joint] < STILL_RAD:
            text = f"never moves more than {way[joint]:.4f} rad in any episode"
            fix = "see whether its driver reads it, and whether `unit` in the contract is what it publishes"
            found.append(Finding("still", "warning", "", name, float(way[joint]), text, fix))
    for gripper in contract.grippers:
        joint = contract.joint_names.index(gripper.joint)
        share = float(way[joint] / abs(gripper.open - gripper.closed))
        if way[joint] >= STILL_RAD and share < STROKE_SHARE:
            text = f"uses {100 * share:.0f} % of the way between closed and open at most"
            fix = "write its real open and closed positions, or calibrate it"
            found.append(Finding("gripper", "warning", "", gripper.joint, share, text, fix))
    return found


def _not_followed(evidence: ExaminedEpisode) -> list[Finding]:
    streams, found = evidence.streams, []
    for joint, name in enumerate(evidence.contract.joint_names):
        known = streams.commanded[np.isfinite(streams.commanded[:, joint]), joint]
        if len(known) and np.ptp(known) > COMMANDED_RAD and np.ptp(streams.state[:, joint]) < STILL_RAD:
            text = (
                f"is commanded over {np.ptp(known):.2f} rad and measured at {streams.state[0, joint]:.3f} all the time"
            )
            fix = "its encoder or driver is stuck: leave the episode out"
            found.append(evidence.find("stuck", "error", name, np.ptp(known), text, fix))
    return found


def _jumps(evidence: ExaminedEpisode) -> list[Finding]:
    streams, contract, found = evidence.streams, evidence.contract, []
    if len(streams.state_s) < 2:
        return []
    periods = np.maximum(np.diff(streams.state_s), _LEAST_PERIOD_S)[:, None]
    step = np.diff(streams.state, axis=0)
    turns = contract.limits.continuous
    step[:, turns] = (step[:, turns] + np.pi) % (2 * np.pi) - np.pi
    beyond = np.abs(step) - (_JUMP_RAD + JUMP_FACTOR * contract.limits.max_velocity * periods)
    for joint, name in enumerate(contract.joint_names):
        count = int((beyond[:, joint] > 0).sum())
        if count:
            k = int(np.argmax(beyond[:, joint]))
            at_s = streams.state_s[k + 1] - evidence.episode.stamps_s[0]
            text = (
                f"jumps by {step[k, joint]:+.2f} rad at {at_s:.2f} s, {count} jumps in all, which "
                f"{contract.limits.max_velocity[joint]:g} rad/s can't explain"
            )
            fix = "a bad packet, two publishers, or another calibration: leave the episode out"
            found.append(evidence.find("jump", "error", name, abs(step[k, joint]), text, fix))
    return found


def _limits(evidence: ExaminedEpisode) -> list[Finding]:
    contract, episode, found = evidence.contract, evidence.episode, []
    low, high = contract.limits.min_position, contract.limits.max_position
    for joint, name in enumerate(contract.joint_names):
        if contract.limits.continuous[joint]:
            continue
        near = AT_LIMIT * (high[joint] - low[joint])
        action = episode.action[:, joint]
        share = float(((action < low[joint] + near) | (action > high[joint] - near)).mean())
        gripper = bool(contract.gripper_mask[joint])
        if share > (0.9 if gripper else LIMIT_SHARE):
            text = f"is commanded to a limit at {100 * share:.0f} % of the steps"
            fix = "the leader reaches further than the arm: map it under leader.joints, or widen the limits"
            check = "gripper" if gripper else "limit"
            found.append(evidence.find(check, "warning", name, share, text, fix))
        outside = float(
            max((low[joint] - episode.state[:, joint]).max(), (episode.state[:, joint] - high[joint]).max())
        )
        if outside > OUTSIDE_RAD:
            text = f"is measured {outside:.3f} rad outside its limits"
            fix = "calibrate it, or write the limits that it has"
            found.append(evidence.find("outside", "warning", name, outside, text, fix))
    return found


def _idle(evidence: ExaminedEpisode) -> list[Finding]:
    episode = evidence.episode
    if len(episode.state) < 3:
        return []
    speed = np.abs(np.diff(episode.state, axis=0)).max(axis=1) / np.diff(episode.stamps_s)
    idle = speed < _IDLE_SPEED
    moving = np.flatnonzero(~idle)
    begin_s = float(episode.stamps_s[moving[0]] - episode.stamps_s[0]) if len(moving) else evidence.seconds
    fix = "begin when the arm moves and end when it is done; a policy learns to wait, too"
    if begin_s > IDLE_BEGIN_S:
        return [evidence.find("idle", "warning", "arm", begin_s, f"stands still for the first {begin_s:.1f} s", fix)]
    share = float(idle.mean())
    if share > IDLE_SHARE:
        return [
            evidence.find("idle", "warning", "arm", share, f"stands still for {100 * share:.0f} % of the time", fix)
        ]
    return []
