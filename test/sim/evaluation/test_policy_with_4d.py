# SPDX-License-Identifier: Apache-2.0
"""A policy fed from a geometry stream: the stream advances as it did in training."""

import numpy as np
import pytest
from numpy.typing import NDArray

from swiftvla_ros.episodes.teacher.stream import CameraImages
from swiftvla_ros.policy import Observation, Policy
from swiftvla_ros.sim.evaluation.policy_driver import PolicyDriver
from swiftvla_ros.sim.evaluation.policy_with_4d import PolicyWith4D
from swiftvla_ros.sim.evaluation.rollout import Conditions, roll_out
from swiftvla_ros.sim.language import COLORS, Task
from swiftvla_ros.sim.world import SimWorld


class CountingStream:
    """Features that tell how many images the stream saw since its reset; notes when it saw them, too."""

    def __init__(self, world: SimWorld) -> None:
        self._world = world
        self.resets, self.times = 0, [0.0]

    def reset(self) -> None:
        self.resets += 1
        self.times = []

    def observe(self, images: CameraImages) -> NDArray[np.float32]:
        assert set(images) == set(self._world.contract.camera_names)
        self.times.append(self._world.time_s)
        return np.full((64, 8), len(self.times), np.float32)


class StillWith4D(Policy):
    """Stays where it is, and notes the features that it is given."""

    step_s = 0.1

    def __init__(self) -> None:
        self.seen: list[float] = []

    def infer(self, observation: Observation, **_: object) -> NDArray[np.float64]:
        assert observation.geometry is not None
        self.seen.append(float(observation.geometry[0, 0]))
        return np.tile(observation.state, (10, 1))


def test_the_stream_advances_once_per_policy_step(world: SimWorld) -> None:
    """Also while the policy is busy: features learned from images 0.1 s apart must not come from others."""
    policy, stream = StillWith4D(), CountingStream(world)
    driver = PolicyDriver(PolicyWith4D(policy, stream), world, "pick up the red block", latency_s=0.15)
    for _ in range(100):
        driver.tick()
    np.testing.assert_allclose(stream.times, 0.1 * np.arange(10), atol=1e-6)
    assert policy.seen == [1, 3, 5, 7, 9], "an inference of 0.15 s misses every second look, the stream none"


def test_each_rollout_begins_a_new_stream(world: SimWorld) -> None:
    """What was seen of the last scene is forgotten, and the first look isn't counted twice."""
    policy, stream = StillWith4D(), CountingStream(world)
    for seed in (1, 2):
        policy.seen.clear()
        roll_out(PolicyWith4D(policy, stream), world, Task("pick", "red"), seed, Conditions(0.05, timeout_s=0.25))
        assert policy.seen == [1.0] * len(COLORS) + [1, 2, 3]
    assert stream.resets == 4


def test_features_of_another_rate_are_refused(world: SimWorld) -> None:
    """A stream can't be shown more or fewer images than it was trained with by mistake, nor none at all."""
    policy = PolicyWith4D(StillWith4D(), CountingStream(world))
    with pytest.raises(ValueError, match=r"one look each 0\.1 s"):
        PolicyDriver(policy, world, "pick up the red block", period_s=0.2)
    policy.reset()
    with pytest.raises(ValueError, match="call watch first"):
        policy.infer(Observation({}, world.state(), "pick up the red block"))
