# SPDX-License-Identifier: Apache-2.0
"""Joint states that the velocity limits can't explain never reach policy or executor (report F3)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swiftvla_ros.contract import load_contract
from swiftvla_ros.observation.state_check import SETTLE_STATES, StateCheck

CONTRACT = load_contract("so101_sim")
REST, SPEED = CONTRACT.rest, CONTRACT.limits.max_velocity
MS = 1_000_000
TEN = 10 * MS
ZERO = np.zeros_like(REST)


def settled(period_ns: int = TEN, place: np.ndarray = REST) -> tuple[StateCheck, int]:
    """A check that believes in a place, and the time."""
    check, ns = StateCheck(CONTRACT), 1_000 * MS
    while not check.take(place, ns, ns):
        ns += period_ns
    return check, ns


def test_a_second_publisher_of_zeros_is_never_believed() -> None:
    """Zeros between the true states, as of a joint_state_publisher beside the broadcaster: neither reaches the arm."""
    check, ns = StateCheck(CONTRACT), 0
    passed = []
    for k in range(400):
        ns += 5 * MS
        passed.append(check.take(ZERO if k % 2 else REST, ns, ns))
    assert not any(passed)
    assert "contradict" in check.problem
    assert "went from" in check.problem


def test_a_second_publisher_that_comes_later_stops_the_states() -> None:
    """Its states are refused from the first on; after a few, the true ones are held back, too, until it is gone."""
    check, ns = settled()
    passed = []
    for k in range(200):
        ns += 5 * MS
        state = ZERO if k % 2 == 0 else REST
        if check.take(state, ns, ns, commanding=True):
            passed.append(state)
    assert len(passed) == 2
    assert all(state is REST for state in passed)
    assert check.problem
    taken = [check.take(REST, ns + k * TEN, ns + k * TEN, commanding=True) for k in range(1, 130)]
    assert taken[-1]
    assert not check.problem


@settings(max_examples=40)
@given(
    period_ms=st.sampled_from([1, 2, 10, 33, 100]),
    read_ms=st.sampled_from([1, 10, 30]),
    lost=st.sets(st.integers(30, 199), max_size=30),
    glitches=st.dictionaries(st.sampled_from([40, 41, 120, 160, 199]), st.sampled_from([0.0, 1.7, -1.6]), max_size=2),
    joint=st.integers(0, len(REST) - 1),
    commanding=st.booleans(),
)
def test_motion_passes_and_glitches_do_not(
    period_ms: int, read_ms: int, lost: set[int], glitches: dict[int, float], joint: int, commanding: bool
) -> None:
    """Whatever the rate, with lost messages and motors that are read seldom: motion passes, glitches don't."""
    check, ns = settled(period_ms * MS)
    begin_ns, largest, wrong = ns, 0.0, 0
    low, high = CONTRACT.limits.min_position[joint], CONTRACT.limits.max_position[joint]
    for k in range(200):
        ns += period_ms * MS
        if k in lost and (k - 1) not in lost:
            continue
        read_s = (ns - begin_ns) // (read_ms * MS) * read_ms * MS / 1e9
        state, sweep = REST.copy(), min(0.3, (high - low) / 4)
        state[joint] += sweep * np.sin(read_s * SPEED[joint] / sweep)
        bad = glitches.get(k)
        usual = max(period_ms, 30) / 1e3
        jumps = bad is not None and abs(bad - state[joint]) > 0.06 + 2 * SPEED[joint] * 3 * usual + 2 * sweep
        if jumps:
            state[joint] = bad
            wrong += 1
            assert not check.take(state, ns, ns, commanding=commanding)
            assert CONTRACT.joint_names[joint] in check.last_refusal
        else:
            assert check.take(state, ns, ns, commanding=commanding), (k, check.last_refusal)
        largest = max(largest, abs(state[joint]))
    assert check.refused == wrong


def test_a_driver_that_starts_with_zeros_is_not_believed_at_first() -> None:
    """Zeros until the motors are read: the policy's and executor's first state is a true one."""
    check, ns, first = StateCheck(CONTRACT), 0, None
    for k in range(60):
        ns += TEN
        state = ZERO if k < 12 else REST
        if check.take(state, ns, ns) and first is None:
            first = state
    assert first is REST


@pytest.mark.parametrize("commanding", [False, True])
def test_another_place_is_believed_only_while_nothing_is_commanded(commanding: bool) -> None:
    """An arm moved by hand, or a reset simulator, is taken on where it stands; in motion it stops the states, named."""
    check, ns = settled()
    taken = []
    for _ in range(60):
        ns += TEN
        taken.append(check.take(ZERO, ns, ns, commanding=commanding))
    assert not any(taken[: SETTLE_STATES - 1])
    assert taken[-1] is not commanding
    if commanding:
        assert "went from" in check.problem
        assert not any(taken)
        ns += TEN
        assert check.take(ZERO, ns, ns), "the arm rests meanwhile"
    assert not check.problem


def test_a_glitch_after_a_gap_is_no_motion() -> None:
    """The time that a failed read took explains no jump: the first state after a gap has to be followed by its like."""
    check, ns = settled()
    ns += 290 * MS
    assert not check.take(ZERO, ns, ns, commanding=True)
    assert check.take(REST, ns + TEN, ns + TEN, commanding=True)
    moved = REST + 0.2 * SPEED
    ns += 210 * MS
    taken = [check.take(moved, ns + k * TEN, ns + k * TEN, commanding=True) for k in range(SETTLE_STATES)]
    assert taken == [False] * (SETTLE_STATES - 1) + [True], "an arm that went on during a gap"


@given(
    st.lists(
        st.tuples(st.integers(0, 3_000), st.sampled_from([0.0, 0.05, 1.5]), st.booleans(), st.integers(0, 3_000)),
        max_size=60,
    )
)
def test_whatever_comes_believed_stamps_rise(messages: list[tuple[int, float, bool, int]]) -> None:
    """Equal stamps, stamps out of order and of the future: what passes is newer than all that passed before."""
    check, last = StateCheck(CONTRACT), -1
    for stamp_ms, offset, commanding, now_ms in messages:
        if check.take(REST + offset, stamp_ms * MS, now_ms * MS, commanding=commanding):
            assert stamp_ms > last or last > now_ms
            last = stamp_ms


def test_after_the_clock_went_back_states_are_believed_again() -> None:
    """A bag loops: states of the old time block nothing."""
    check, ns = settled()
    assert ns > 900 * MS
    taken = [check.take(REST, k * TEN, k * TEN) for k in range(60)]
    assert taken[-1]
