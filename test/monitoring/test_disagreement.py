# SPDX-License-Identifier: Apache-2.0
import numpy as np

from swiftvla_ros.monitoring.disagreement import LEAST, SAMPLES, SUCCESSIVE, DisagreementMeter, Rows, disagreement
from swiftvla_ros.monitoring.verdict import VerdictLevel

STEP_NS = 100_000_000


def line(stamp_ns: int, slope: float = 1.0, offset: float = 0.0, instruction: int = 1, step_ns: int = STEP_NS) -> Rows:
    """Rows of one motion: a slope over time."""
    times_s = (stamp_ns + step_ns * np.arange(10)) / 1e9
    return Rows(stamp_ns, step_ns, np.stack([slope * times_s + offset, np.zeros(10)], axis=1), instruction)


def meter() -> DisagreementMeter:
    """A meter with low bounds."""
    return DisagreementMeter(np.array([0.1, 0.1]), np.array([0.3, 0.3]), 50.0)


def test_chunks_of_one_motion_agree_wherever_their_rows_lie() -> None:
    """Protects: rows are compared at their times, between rows and at other steps, too."""
    found = disagreement(line(0), line(130_000_000, step_ns=70_000_000))
    assert found is not None
    np.testing.assert_allclose(found, 0.0, atol=1e-12)
    moved = disagreement(line(0), line(STEP_NS, offset=0.2))
    assert moved is not None
    np.testing.assert_allclose(moved, [0.2, 0.0])


def test_an_arm_that_is_slowed_or_held_does_not_contradict_its_plan() -> None:
    """Protects: a speed limit, be it this monitor's own, is taken for no contradiction, so no hold keeps itself up."""
    for done in (0.0, 0.5, 1.0):
        found = disagreement(line(0), line(2 * STEP_NS, offset=-0.2 * (1 - done)))
        assert found is not None
        np.testing.assert_allclose(found, 0.0, atol=1e-12)


def test_what_can_not_be_compared_is_no_disagreement() -> None:
    """Protects: a new instruction, or a gap, is no contradiction."""
    assert disagreement(line(0), line(STEP_NS, instruction=2)) is None
    assert disagreement(line(0), line(20 * STEP_NS)) is None
    assert disagreement(line(STEP_NS), line(0, step_ns=1)) is None


def test_contradiction_slows_holds_and_says_by_how_much() -> None:
    """Protects: the verdict's level, percent and text follow the measured distance, from the first whole second on."""
    watched = meter()
    verdicts = [watched.take(k, line(k * STEP_NS, slope=0.0, offset=0.6 * (k % 2))) for k in range(1, 14)]
    assert [v is None for v in verdicts] == [True] * 10 + [False] * 3
    last = verdicts[-1]
    assert last is not None
    assert last.level is VerdictLevel.HOLD
    assert last.percent == 0.0
    assert last.parts == (SUCCESSIVE,)
    assert "424 mrad" in last.text


def test_one_contradiction_is_none_and_many_small_ones_are() -> None:
    """Protects: what is judged is the mean of a second, and nothing older than that."""
    watched = meter()
    jump = [0.0] * 12 + [1.2] * 20
    once = [watched.take(k + 1, line((k + 1) * STEP_NS, slope=0.0, offset=offset)) for k, offset in enumerate(jump)]
    values = [float(v.values[0]) for v in once if v is not None]
    np.testing.assert_allclose(max(values), 1.2 / np.sqrt(2) / 10, rtol=1e-6)
    assert all(v.level is VerdictLevel.USUAL for v in once if v is not None)
    assert values[-1] == 0.0
    watched = meter()
    always = [watched.take(k, line(k * STEP_NS, slope=0.0, offset=0.16 * (k % 2))) for k in range(1, 14)]
    assert always[-1] is not None
    assert always[-1].level is VerdictLevel.SLOW


def test_a_slow_policy_is_judged_by_its_last_chunks() -> None:
    """Protects: where a second has too few chunks for a mean, the meter is not blind for ever."""
    watched = meter()
    verdicts = [watched.take(k, line(5 * k * STEP_NS, slope=0.0, offset=1.2 * (k % 2))) for k in range(1, 8)]
    assert [v is None for v in verdicts] == [True] * LEAST + [False] * (7 - LEAST)
    assert verdicts[-1] is not None
    assert verdicts[-1].level is VerdictLevel.HOLD


def test_how_often_the_policy_looks_changes_little() -> None:
    """Protects: one walk of a plan, looked at half as often, is about as much disagreement: one bound for all rates."""
    walk = 0.05 * np.random.default_rng(0).standard_normal(400).cumsum()
    means = []
    for every in (1, 2, 4):
        watched = meter()
        found = [watched.take(k, line(k * STEP_NS, slope=0.0, offset=walk[k])) for k in range(1, 400, every)]
        means.append(np.mean([v.values[0] for v in found if v is not None]))
    np.testing.assert_allclose(means, means[0], rtol=0.15)


def test_a_new_instruction_begins_anew() -> None:
    """Protects: what the policy wanted for other words counts no longer."""
    watched = meter()
    for k in range(1, 14):
        watched.take(k, line(k * STEP_NS, slope=0.0, offset=0.6 * (k % 2)))
    # A still arm shows the policy the same picture: that it agrees on it frees nothing, new words do.
    still = [watched.take(k, line(k * STEP_NS, slope=0.0)) for k in range(14, 50)]
    assert {v.level for v in still if v is not None} == {VerdictLevel.HOLD}
    after = [watched.take(k, line(k * STEP_NS, instruction=2)) for k in range(50, 62)]
    assert [v is None for v in after] == [True] * 10 + [False] * 2
    assert after[-1] is not None
    assert (after[-1].level, after[-1].values[0]) == (VerdictLevel.USUAL, 0.0)


def test_a_sample_counts_from_the_chunk_after_next_on() -> None:
    """Protects: whether a sample overtakes the next chunk changes no verdict, live or in a replay."""
    early, late = meter(), meter()
    for k in range(1, 13):
        early.take(k, line(k * STEP_NS))
        late.take(k, line(k * STEP_NS))
        if k == 11:
            early.take_sample(11, line(11 * STEP_NS, offset=0.2))
        if k == 12:
            late.take_sample(11, line(11 * STEP_NS, offset=0.2))
    for watched in (early, late):
        verdict = watched.take(13, line(13 * STEP_NS))
        assert verdict is not None
        assert verdict.parts == (SUCCESSIVE, SAMPLES)
        np.testing.assert_allclose(verdict.values, [0.0, 0.2 / np.sqrt(2)], atol=1e-12)
