# SPDX-License-Identifier: Apache-2.0
"""The simulated robot in real time, without ROS."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.sim.robots.real_time import SimDriver
from swiftvla_ros.sim.world import SimWorld


class Seen:
    """What a driver told, of pictures alone."""

    def __init__(self) -> None:
        self.pictures: list[NDArray[np.uint8]] = []
        self.came = threading.Condition()

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return lambda *_: None

    def image(self, _sim_ns: int, camera: str, rgb: NDArray[np.uint8]) -> None:
        """Keep the front camera's."""
        if camera == "front":
            with self.came:
                self.pictures.append(rgb)
                self.came.notify()

    def failed(self, error: Exception) -> None:
        """Nothing may fail."""
        raise error

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait for more pictures until ``condition``."""
        with self.came:
            assert self.came.wait_for(condition, timeout=20)


def test_a_scene_at_rest_is_drawn_once_and_anew_when_something_moves(
    contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the processor of who waits, and the pictures of who moves: each shows the scene as it is."""
    drawn: list[str] = []
    render = SimWorld.render

    def counted(world: SimWorld, camera: str, *size: int) -> Any:
        drawn.append(camera)
        return render(world, camera, *size)

    monkeypatch.setattr(SimWorld, "render", counted)
    seen = Seen()
    driver = SimDriver(contract, 0, seen, (np.arange(len(contract.joints)),))
    driver.start()
    try:
        seen.wait_for(lambda: len(seen.pictures) > 5 and seen.pictures[-1] is seen.pictures[-2])
        at_rest, count = seen.pictures[-1], len(drawn)
        seen.wait_for(lambda: len(seen.pictures) > 12)
        assert len(drawn) == count
        moved = contract.rest.copy()
        moved[0] += 0.3
        driver.command(0, lambda setpoints, ns: setpoints.forward(ns, moved))
        seen.wait_for(lambda: (seen.pictures[-1] != at_rest).mean() > 0.01)
        before = seen.pictures[-1]
        driver.reset()
        seen.wait_for(lambda: (seen.pictures[-1] != before).mean() > 0.1)
    finally:
        driver.end()
