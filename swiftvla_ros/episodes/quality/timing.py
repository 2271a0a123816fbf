# SPDX-License-Identifier: Apache-2.0
"""Topics that come too seldom, unevenly, or not at all for a while."""

from __future__ import annotations

import numpy as np

from swiftvla_ros.episodes.quality.findings import Array, ExaminedEpisode, Finding

# A camera at 80 % of the rate that the contract says dims its pictures or shares its USB bus.
RATE_SHARE = 0.8
# Of the usual period: how far the 95th percentile of the periods may be from it. Cameras have 10 %, a busy bus 50 %.
JITTER_SHARE = 0.75
# Share of the steps that may be missing before an episode is more gap than motion.
LEFT_OUT_SHARE = 0.1
_ENOUGH = 10


def check_timing(evidence: ExaminedEpisode) -> list[Finding]:
    """Judge an episode's rates and gaps."""
    contract, found = evidence.contract, []
    for camera in contract.cameras:
        found += _topic(evidence, camera.name, evidence.streams.image_s[camera.name], camera.rate_hz)
    found += _topic(evidence, contract.joint_states.topic, evidence.streams.state_s, contract.joint_states.rate_hz)
    by_topic = evidence.episode.metadata.get("left_out_by_topic", {})
    steps = len(evidence.episode.state) + sum(by_topic.values())
    for topic, count in by_topic.items():
        share = count / steps
        text = f"{count} of {steps} steps are missing since nothing fresh came ({100 * share:.0f} %)"
        fix = "see what its driver logged then; a longer gap cuts the episode for LeRobot"
        found.append(evidence.find("gaps", "error" if share > LEFT_OUT_SHARE else "warning", topic, share, text, fix))
    return found


def _topic(evidence: ExaminedEpisode, where: str, times_s: Array, rate_hz: float) -> list[Finding]:
    if len(times_s) < _ENOUGH:
        return []
    periods = np.diff(times_s)
    usual = float(np.median(periods))
    # Steps alone tell of no rate that is higher than theirs.
    step_s = evidence.contract.policy.step_s
    if usual > 1 / (RATE_SHARE * rate_hz) and usual < 0.95 * step_s:
        text = f"comes at {1 / usual:.1f} Hz, the contract says {rate_hz:g}"
        fix = "more light, a lower resolution or another USB port; or write what it is in the contract"
        return [evidence.find("rate", "warning", where, 1 / usual, text, fix)]
    jitter = float(np.quantile(np.abs(periods - usual), 0.95) / usual)
    if jitter > JITTER_SHARE and usual < 0.95 * step_s:
        text = f"comes unevenly: one period in twenty is {100 * jitter:.0f} % off the usual {1000 * usual:.0f} ms"
        return [
            evidence.find("jitter", "warning", where, jitter, text, "see what else keeps the machine or the bus busy")
        ]
    return []
