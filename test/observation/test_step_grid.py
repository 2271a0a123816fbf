# SPDX-License-Identifier: Apache-2.0
"""The grid of policy steps: the same steps live and from a bag, and never a look into the future."""

import numpy as np
import pytest

from swiftvla_ros.contract import Contract
from swiftvla_ros.observation.step_grid import GridStep, StepGrid

MS = 1_000_000
BEGIN = 10_000 * MS


def messages(seconds: float = 3.0) -> list[tuple[int, str]]:
    """Stamps of two cameras at 15 Hz with jitter, and of joint states at 50 Hz, from before the begin on."""
    rng = np.random.default_rng(0)
    out = [
        (BEGIN - 200 * MS + i * 66_666_667 + offset * MS + int(rng.integers(0, 8 * MS)), camera)
        for camera, offset in (("front", 0), ("wrist", 21))
        for i in range(round(seconds * 15))
    ]
    out += [(BEGIN - 200 * MS + i * 20 * MS, "") for i in range(round(seconds * 50))]
    return sorted(out)


def feed(grid: StepGrid, stamp_ns: int, source: str) -> None:
    """Hand a message over; an image's pixels tell its stamp."""
    if source:
        grid.add_image(source, stamp_ns, np.array([stamp_ns % 251], np.uint8))
    else:
        grid.add_state(stamp_ns, np.array([float(stamp_ns)]))


def told(steps: list[GridStep]) -> list[tuple[int, dict[str, int] | None]]:
    """What tells steps apart: their times and the stamps that they see."""
    return [(s.time_ns, s.observation and s.observation.image_stamps_ns) for s in steps]


def test_steps_do_not_depend_on_the_order_of_arrival(contract: Contract) -> None:
    """Protects live == offline: messages in the order of stamps, or late and topic by topic, give the same steps."""
    in_order, late = StepGrid(contract, BEGIN), StepGrid(contract, BEGIN)
    a: list[GridStep] = []
    for stamp_ns, source in messages():
        feed(in_order, stamp_ns, source)
        a += in_order.settled()
    b: list[GridStep] = []
    delay = {"front": 90 * MS, "wrist": 5 * MS, "": 160 * MS}
    for stamp_ns, source in sorted(messages(), key=lambda m: m[0] + delay[m[1]]):
        feed(late, stamp_ns, source)
        b += late.settled(now_ns=stamp_ns + delay[source])
    end_ns = BEGIN + 2500 * MS
    assert told(a + list(in_order.finish(end_ns))) == told(b + list(late.finish(end_ns)))
    assert len(a) > 20


def test_steps_are_even_and_see_no_future(contract: Contract) -> None:
    """Protects the spacing that the 4D cache was trained with, and against looking ahead: newest before the step."""
    grid = StepGrid(contract, BEGIN)
    for stamp_ns, source in messages():
        feed(grid, stamp_ns, source)
    steps = list(grid.finish(BEGIN + 2000 * MS))
    assert [s.time_ns for s in steps] == [BEGIN + k * 100 * MS for k in range(21)]
    for step in steps:
        assert step.observation is not None, step.reason
        for camera, stamp_ns in step.observation.image_stamps_ns.items():
            assert stamp_ns <= step.time_ns
            assert step.observation.images[camera][0] == stamp_ns % 251
        assert step.time_ns - step.observation.stamp_ns < 100 * MS


@pytest.mark.parametrize("silent", ["front", ""])
def test_a_source_that_stops_leaves_a_gap(contract: Contract, silent: str) -> None:
    """Protects against features of a frozen picture: steps of a silent camera have no observation, and say why."""
    grid, steps = StepGrid(contract, BEGIN), []
    for stamp_ns, source in messages():
        if source == silent and stamp_ns > BEGIN + 500 * MS:
            continue
        feed(grid, stamp_ns, source)
        steps += grid.settled(now_ns=stamp_ns)
    assert len(steps) > 15, "a silent source must not hold the grid up for ever"
    assert steps[3].observation is not None
    assert steps[-1].observation is None
    assert "stopped" in steps[-1].reason
