# SPDX-License-Identifier: Apache-2.0
import numpy as np

from swiftvla_ros.monitoring.calibration import FalseAlarms, calibrate
from swiftvla_ros.monitoring.principal import PrincipalDirections


def cloud(rng: np.random.Generator, count: int = 400) -> np.ndarray:
    """Vectors that vary in three directions, and a little beside them."""
    return rng.normal(size=(count, 3)) @ rng.normal(size=(3, 20)) + 0.05 * rng.normal(size=(count, 20)) + 4.0


def test_a_cloud_s_own_are_near_and_others_are_far_along_and_beside() -> None:
    """Protects: both kinds of unlike are seen: too far in a usual direction, and a little in one that never varies."""
    rng = np.random.default_rng(0)
    vectors = cloud(rng)
    found = PrincipalDirections.of(vectors)
    assert len(found.directions) <= 3
    assert np.quantile(found.distance(vectors), 0.99) < 3
    along = found.centre + 8 * found.spread[0] * found.directions[0]
    beside = found.centre + 20 * found.residual * np.linalg.svd(found.directions)[2][-1]
    assert found.distance(along) > 4
    assert found.distance(beside) > 10


def test_what_never_varies_is_far_as_soon_as_it_does() -> None:
    """Protects: a cloud of one point has distances, and no division by zero."""
    found = PrincipalDirections.of(np.ones((5, 4)))
    assert found.distance(np.ones(4)) == 0
    assert found.distance(np.ones(4) + 0.1) > 100


def test_bounds_keep_the_stated_rate_on_other_runs() -> None:
    """Protects: the drawn-out tail gives about as many false alarms as it was asked for."""
    rng = np.random.default_rng(1)

    def runs(count: int) -> list[np.ndarray]:
        return [np.abs(rng.normal(size=(50, 4))) for _ in range(count)]

    least = np.zeros((2, 4))
    hours = 50 * 0.1 / 3600
    bounds = calibrate(runs(200), 0.1, least, looks=1, alarms=FalseAlarms(0.05 / hours, 0.005 / hours))
    later = np.array([run.max(axis=0) for run in runs(4000)])
    assert 0.01 < (later > bounds.slow_at).any(axis=1).mean() < 0.10
    assert (later > bounds.hold_at).any(axis=1).mean() < 0.02
    assert (bounds.hold_at > bounds.slow_at).all()
