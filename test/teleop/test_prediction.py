# SPDX-License-Identifier: Apache-2.0
"""Rows from a leader's poses: where it was, where it goes on to, and that they end at rest."""

import numpy as np

from swiftvla_ros.teleop.prediction import NS, LeaderPrediction, PredictionSettings


def test_a_steady_hand_is_met_where_it_is_and_rests_when_nothing_comes():
    """Protects both ends of a chunk: no lag behind a steady hand, and an end at rest that needs nobody to stop it."""
    settings = PredictionSettings()
    prediction = LeaderPrediction(settings)
    for k in range(15):
        prediction.take(np.array([0.5 * 0.02 * k, -1.0]), NS + k * 20_000_000)
    newest_ns = NS + 14 * 20_000_000
    stamp_ns, rows = prediction.rows(newest_ns + 30_000_000)
    times = (stamp_ns - newest_ns) / NS + settings.step_s * np.arange(len(rows))
    known = times <= settings.ahead_s + 0.03
    np.testing.assert_allclose(rows[known, 0], 0.14 + 0.5 * times[known], atol=1e-9)
    assert times[0] < 0 < times[-1]
    assert rows[-1, 0] == rows[-2, 0], "at rest"
    assert rows[-1, 0] - 0.14 < 0.5 * (settings.ahead_s + 0.03 + 0.5 * settings.rest_s) + 1e-9
    np.testing.assert_allclose(rows[:, 1], -1.0)


def test_a_first_pose_stands_still():
    """Protects the begin of an engagement: of one pose nobody knows the speed."""
    prediction = LeaderPrediction()
    prediction.take(np.array([0.3]), NS)
    _, rows = prediction.rows(NS)
    np.testing.assert_allclose(rows, 0.3)
