# SPDX-License-Identifier: Apache-2.0
"""The way of a chunk through the executor, as docs/architecture.md tells it."""

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import numpy as np

import swiftvla_ros.motion

ROOM = Path(swiftvla_ros.motion.__file__).parent
# Made by one step and read by those after it, as often as they like.
VALUES = {"chunk", "rows", "spline", "motion_plan", "sampled_motion", "path_clock"}
STEPS = [
    "executor.offer",
    "measured_state.stale",
    "chunk_acceptance.accept",
    "chunk_planner.plan",
    "gripper.shaped",
    "blend.blended",
    "follower.follow",
    "reference.replaced",
    "limiter.join",
    "operator_grip.follow",
    "state_machine.follow",
]


def _is_read(frame: FrameType) -> bool:
    """Whether a call only reads what something is."""
    owner = type(frame.f_locals.get("self"))
    return isinstance(inspect.getattr_static(owner, frame.f_code.co_name, None), property)


def _entered(action: Callable[[], object]) -> list[str]:
    """``file.function`` for each call from one file of the room into another, in order."""
    found: list[str] = []

    def look(frame: FrameType, event: str, _argument: object) -> None:
        here, before = Path(frame.f_code.co_filename), frame.f_back
        if event != "call" or ROOM not in here.parents or here.stem in VALUES or _is_read(frame):
            return
        if before is None or Path(before.f_code.co_filename) != here:
            found.append(f"{here.stem}.{frame.f_code.co_name}")

    sys.setprofile(look)
    try:
        action()
    finally:
        sys.setprofile(None)
    return found


def test_a_chunk_enters_each_file_once(make_bench):
    """Accept, plan and follow go down one after the other, and nobody comes back to a file that was left."""
    bench = make_bench(blend={"kind": "ensemble"})
    bench.seed(np.zeros(3))
    bench.stream(lambda t: np.tile(0.2 * t[:, None], 3), 0.5)
    chunk = bench.chunk(lambda t: np.tile(0.2 * t[:, None], 3))
    found = _entered(lambda: bench.executor.offer(chunk, bench.now_ns))
    assert bench.executor.chunk is chunk
    assert found == STEPS


def test_the_page_tells_the_same_way(repository):
    """docs/architecture.md names these steps in this order."""
    page = (repository / "docs" / "architecture.md").read_text(encoding="utf-8")
    walk = page[page.index("## A chunk goes out") :]
    places = [walk.find(f"{step.split('.')[0]}.py") for step in STEPS]
    assert -1 not in places, [step for step, place in zip(STEPS, places, strict=True) if place < 0]
    assert places == sorted(places)
