# SPDX-License-Identifier: Apache-2.0
"""One picture again and again: a frozen camera while the arm moves, a still scene while it rests (report F5)."""

import numpy as np
import pytest

from swiftvla_ros.contract import Contract, load_contract
from swiftvla_ros.observation.repeated_picture import RepeatedPicture

S = 1_000_000_000
SHOWN = b"a picture"


@pytest.fixture
def contract() -> Contract:
    """The simulated arm's."""
    return load_contract("so101_sim")


def film(judge: RepeatedPicture, begin: int, poses: np.ndarray, picture: bytes = SHOWN) -> list[float]:
    """One pose and one picture every 66 ms from ``begin`` on; what is said of each picture."""
    said = []
    for k, pose in enumerate(poses):
        judge.measured(pose)
        said.append(judge.frozen_s(picture, begin + k * S // 15))
    return said


def test_a_scene_in_which_nothing_moves_is_believed_for_ever(contract: Contract) -> None:
    """A still simulator with fresh stamps: the arm waits for the picture, so the picture must not wait for the arm."""
    judge = RepeatedPicture(contract, 1.0)
    rng = np.random.default_rng(0)
    assert not any(film(judge, 0, contract.rest + rng.normal(0, 2e-3, (600, 6))))


def test_a_picture_that_does_not_see_the_arm_move_is_refused_until_another_comes(contract: Contract) -> None:
    """A frozen camera stops the arm, and the stopped arm does not make it look right again."""
    judge = RepeatedPicture(contract, 1.0)
    moving = contract.rest + np.linspace(0, 0.6, 45)[:, None] * np.eye(6)[2]
    assert not any(film(judge, 0, np.tile(contract.rest, (150, 1))))
    said = film(judge, 10 * S, moving)
    first = next(k for k, seconds in enumerate(said) if seconds)
    assert np.abs(moving[first] - contract.rest).max() < 0.1
    assert all(said[first:])
    assert all(film(judge, 13 * S, np.tile(moving[-1], (150, 1))))
    assert not any(film(judge, 30 * S, np.tile(moving[-1], (150, 1)), b"another picture"))


def test_a_short_repetition_in_motion_is_no_fault(contract: Contract) -> None:
    """A driver that gives each picture twice or for half a second is slow, not frozen."""
    judge = RepeatedPicture(contract, 1.0)
    moving = contract.rest + np.linspace(0, 2.0, 150)[:, None] * np.eye(6)[0]
    for k in range(0, 150, 10):
        assert not any(film(judge, k * S // 15, moving[k : k + 10], b"%d" % k))
