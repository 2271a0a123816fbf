# SPDX-License-Identifier: Apache-2.0
"""What will be commanded without a newer chunk, from the policy's chunks and the executor's word."""

import dataclasses

import numpy as np
import pytest

from swiftvla_ros.policy.continuation.committed_rows import Following, RowsToCome

MS = 1_000_000
T = 5_000 * MS
# Ten rows of 0.1 s; joint 0 counts rows, joint 1 counts them backwards.
ROWS = np.stack([np.arange(10.0), -np.arange(10.0)], axis=1)


def rows_to_come() -> RowsToCome:
    """Return what knows chunk 4, published 60 ms after its observation at T, and followed since."""
    rows = RowsToCome(0.1)
    rows.published(4, T, ROWS, instruction_id=1, now_ns=T + 60 * MS)
    rows.following(Following(T + 200 * MS, chunk_id=4, row=2.0, moving=True))
    return rows


def test_rows_are_those_of_the_followed_chunk() -> None:
    """Protects the alignment: row i of the new chunk is what the followed one has at the same time."""
    executed, planned = rows_to_come().at(T + 250 * MS, 1, executed=3)
    np.testing.assert_allclose(executed[:, 0], [2.5, 3.5, 4.5])
    np.testing.assert_allclose(planned[:, 0], [5.5, 6.5, 7.5, 8.5])
    np.testing.assert_allclose(executed[:, 1], -executed[:, 0])


def test_the_executors_place_counts_and_not_the_clock() -> None:
    """Protects a start from rest and a slow path: where the executor is in a chunk is not where the clock would be."""
    rows = rows_to_come()
    rows.following(Following(T + 400 * MS, chunk_id=4, row=1.0, moving=True, speed_scale=0.5))
    executed, planned = rows.at(T + 400 * MS, 1, executed=2)
    np.testing.assert_allclose(executed[:, 0], [1.0, 1.5])
    np.testing.assert_allclose(planned[:, 0], np.arange(2.0, 9.1, 0.5))


def test_a_chunk_just_sent_is_what_will_be_followed() -> None:
    """Protects the next inference, which begins before the executor has told that it took the last chunk."""
    rows = rows_to_come()
    rows.published(5, T + 200 * MS, ROWS + 100.0, instruction_id=1, now_ns=T + 210 * MS)
    executed, _ = rows.at(T + 220 * MS, 1, executed=1)
    np.testing.assert_allclose(executed[0], [100.2, 99.8])


def test_a_chunk_that_was_refused_is_not_followed() -> None:
    """Protects against a plan that never was: what the executor still doesn't follow later, it didn't take."""
    rows = rows_to_come()
    rows.published(5, T + 200 * MS, ROWS + 100.0, instruction_id=1, now_ns=T + 210 * MS)
    rows.following(Following(T + 400 * MS, chunk_id=4, row=4.0, moving=True))
    executed, _ = rows.at(T + 400 * MS, 1, executed=1)
    np.testing.assert_allclose(executed[0], [4.0, -4.0])


def test_another_instruction_keeps_only_what_is_executed() -> None:
    """Protects listening: a plan made for other words doesn't lead the new chunk."""
    executed, planned = rows_to_come().at(T + 200 * MS, 2, executed=3)
    assert len(executed) == 3
    assert len(planned) == 0


def test_fewer_rows_than_the_delay_are_all_there_is() -> None:
    """Protects against made-up rows: beyond the followed chunk's end nothing is told."""
    executed, planned = rows_to_come().at(T + 450 * MS, 1, executed=7)
    np.testing.assert_allclose(executed[:, 0], [4.5, 5.5, 6.5, 7.5, 8.5])
    assert len(planned) == 0
    executed, planned = rows_to_come().at(T + 490 * MS + 300 * MS, 1, executed=7)
    assert len(executed) + len(planned) == 0


@pytest.mark.parametrize("change", [{"moving": False}, {"chunk_id": 77}, {"speed_scale": 0.0}])
def test_an_arm_that_follows_nothing_has_nothing_ahead(change: dict[str, object]) -> None:
    """Protects a start from rest: while the arm holds, or follows somebody else's chunk, nothing is known."""
    rows = rows_to_come()
    rows.following(dataclasses.replace(Following(T + 200 * MS, 4, 2.0, True), **change))  # type: ignore[arg-type]
    executed, planned = rows.at(T + 200 * MS, 1, executed=2)
    assert len(executed) + len(planned) == 0


def test_clear_forgets() -> None:
    """Protects clock jumps: rows of another time are nobody's plan."""
    rows = rows_to_come()
    rows.clear()
    executed, _ = rows.at(T + 200 * MS, 1, executed=2)
    assert len(executed) == 0


def test_an_arm_that_is_not_on_its_rows_yet_comes_from_where_it_is() -> None:
    """Protects the seam: after a change of mind the arm is far from the new rows at first, and no jump is planned."""
    rows = rows_to_come()
    rows.following(Following(T + 200 * MS, 4, 2.0, moving=True, position=np.array([2.5, -2.0])))
    executed, planned = rows.at(T + 200 * MS, 1, executed=2)
    np.testing.assert_allclose(executed[0], [2.5, -2.0])
    assert 3.0 < executed[1, 0] < 3.5
    np.testing.assert_allclose(executed[1, 1], -3.0)
    np.testing.assert_allclose(planned[-1], [9.0, -9.0])
    # The same holds for a chunk that it was just sent.
    rows.published(5, T + 200 * MS, ROWS + 1.0, instruction_id=1, now_ns=T + 210 * MS)
    executed, _ = rows.at(T + 200 * MS, 1, executed=1)
    np.testing.assert_allclose(executed[0], [2.5, -2.0])
