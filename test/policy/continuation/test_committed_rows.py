# SPDX-License-Identifier: Apache-2.0
"""What will be commanded without a newer chunk: the executor's word, and the policy's own rows until it has spoken."""

import dataclasses
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from swiftvla_ros.contract.executor_codes import Mode
from swiftvla_ros.policy.continuation.chunk_delay import MeasuredDelay
from swiftvla_ros.policy.continuation.committed_rows import CommittedRows, Following

MS = 1_000_000
T = 5_000 * MS
# Ten rows of 0.1 s; joint 0 counts rows, joint 1 counts them backwards.
ROWS = np.stack([np.arange(10.0), -np.arange(10.0)], axis=1)
# It follows chunk 4, and tells nothing of its plan.
STATE = Following(T + 200 * MS, Mode.FRESH, chunk_id=4, row=2.0)
# On its way to the rows it is somewhere else, and it will brake after row 7.
TOLD = dataclasses.replace(STATE, planned=ROWS[:8] + 0.25)


def committed(delay_s: float = 0.25, state: Following = STATE, most: int = 9) -> CommittedRows:
    """Return what knows chunk 4, published 60 ms after its observation at T, and followed since."""
    rows = CommittedRows(0.1, most, MeasuredDelay(warm_up=0))
    rows.published(4, T, ROWS, instruction_id=1, now_ns=T + 60 * MS)
    rows.following(state, delay_s)
    return rows


def ahead(rows: CommittedRows, ms: int, instruction_id: int = 1) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what is executed and planned for an observation, where something is."""
    executed, planned = rows.ahead(T + ms * MS, instruction_id)
    assert executed is not None
    assert planned is not None
    return executed, planned


def test_rows_are_those_of_the_followed_chunk() -> None:
    """Protects the alignment: row i of the new chunk is what the followed one has at the same time."""
    executed, planned = ahead(committed(), 250)
    np.testing.assert_allclose(executed[:, 0], [2.5, 3.5, 4.5])
    np.testing.assert_allclose(planned[:, 0], [5.5, 6.5, 7.5, 8.5])
    np.testing.assert_allclose(executed[:, 1], -executed[:, 0])


def test_what_the_executor_tells_counts_and_not_the_chunk() -> None:
    """Protects the truth: rows are as the executor commands them, and the chunk's own only behind what it tells."""
    rows = committed(state=TOLD)
    executed, planned = ahead(rows, 250)
    np.testing.assert_allclose(executed[:, 0], [2.75, 3.75, 4.75])
    np.testing.assert_allclose(planned[:, 0], [5.75, 6.75, 7.625, 8.5])
    # It tells now and then; in between its place is enough.
    rows.following(dataclasses.replace(STATE, stamp_ns=T + 300 * MS, row=2.5), None)
    np.testing.assert_allclose(ahead(rows, 300)[0][:, 0], [2.75, 3.75, 4.75])


def test_the_executors_place_counts_and_not_the_clock() -> None:
    """Protects a start from rest and a slow path: rows stay the path's, of which fewer pass in the meantime."""
    state = dataclasses.replace(STATE, stamp_ns=T + 400 * MS, row=1.0, speed_scale=0.5)
    executed, planned = ahead(committed(state=state), 500)
    np.testing.assert_allclose(executed[:, 0], [1.5, 2.5])
    np.testing.assert_allclose(planned[:, 0], np.arange(3.5, 8.6))


def test_the_fallback_leads_over_to_a_chunk_that_was_just_sent() -> None:
    """Protects the next inference, which waits for nobody: it begins before the executor tells of the last chunk."""
    rows = committed()
    rows.published(5, T + 200 * MS, ROWS + 100.0, instruction_id=1, now_ns=T + 210 * MS)
    np.testing.assert_allclose(ahead(rows, 220)[0][0], [100.2, 99.8])
    # Where the plan before is known the arm comes from there, and no jump is planned; also when the state that tells
    # of the new plan is lost.
    rows.following(TOLD, None)
    for state in (TOLD, dataclasses.replace(STATE, stamp_ns=T + 230 * MS, chunk_id=5, row=0.3)):
        rows.following(state, None)
        executed, planned = ahead(rows, 220)
        assert executed[0, 0] == pytest.approx(2.45)
        assert 3.45 < executed[1, 0] < 0.5 * (3.45 + 101.2) < planned[0, 0] < 103.2
        np.testing.assert_allclose(planned[1, 0], 104.2)


def test_a_chunk_that_was_refused_is_not_followed() -> None:
    """Protects against a plan that never was: what the executor still doesn't follow later, it didn't take."""
    rows = committed()
    rows.published(5, T + 200 * MS, ROWS + 100.0, instruction_id=1, now_ns=T + 210 * MS)
    rows.following(dataclasses.replace(STATE, stamp_ns=T + 400 * MS, row=4.0), None)
    np.testing.assert_allclose(ahead(rows, 400)[0][0], [4.0, -4.0])


def test_another_instruction_keeps_only_what_is_executed() -> None:
    """Protects listening: a plan made for other words doesn't lead the new chunk."""
    executed, planned = ahead(committed(), 200, instruction_id=2)
    assert len(executed) == 3
    assert len(planned) == 0


def test_fewer_rows_than_the_delay_are_all_there_is() -> None:
    """Protects against made-up rows: beyond the followed chunk's end nothing is told."""
    rows = committed(delay_s=0.7)
    executed, planned = ahead(rows, 450)
    np.testing.assert_allclose(executed[:, 0], [4.5, 5.5, 6.5, 7.5, 8.5])
    assert len(planned) == 0
    assert rows.ahead(T + 790 * MS, 1) == (None, None)


@pytest.mark.parametrize(
    "change",
    [{"mode": Mode.HOLD}, {"row": -1.0}, {"row": math.nan}, {"chunk_id": 77}, {"speed_scale": 0.0}],
)
def test_an_arm_that_follows_nothing_has_nothing_ahead(change: dict[str, float]) -> None:
    """Protects a start from rest: while the arm holds, or follows somebody else's chunk, nothing is known."""
    state = dataclasses.replace(TOLD, **change)  # type: ignore[arg-type]
    assert committed(state=state).ahead(T + 200 * MS, 1) == (None, None)


def test_without_guidance_or_before_a_delay_was_measured_nothing_is_told() -> None:
    """Protects plain policies, and the first chunks: nobody knows yet which rows will have been executed."""
    assert committed(most=0).ahead(T + 200 * MS, 1) == (None, None)
    assert committed(delay_s=math.nan).ahead(T + 200 * MS, 1) == (None, None)


def test_clear_forgets() -> None:
    """Protects clock jumps: rows of another time are nobody's plan."""
    rows = committed()
    rows.clear()
    assert rows.ahead(T + 200 * MS, 1) == (None, None)
