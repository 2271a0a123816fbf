# SPDX-License-Identifier: Apache-2.0
"""Replay of the executor: from what executor_state tells, every command comes out again, bit for bit."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.bags.writer import BagWriter
from swiftvla_ros.replay.commands import CommandComparison, replay_commands
from swiftvla_ros.replay.recorded import read_run


@pytest.fixture
def record(tmp_path: Path, contract: Contract, request: pytest.FixtureRequest) -> Callable[..., CommandComparison]:
    """Record a story of the executor's and replay it, with the contract or another one."""
    run_class = request.getfixturevalue("run_class")

    def go(story: Callable[..., None], replayed_with: Contract = contract) -> CommandComparison:
        with BagWriter(tmp_path / "bag", contract) as writer:
            story(run_class(writer, contract))
        return replay_commands(read_run(Bag(tmp_path / "bag")), replayed_with)

    return go


def moving(run) -> None:
    """Wait, follow chunks from rest and over seams, run out of rows, hold."""
    run.spin(300)
    for offset in (0.2, 0.3, -0.1, 0.25):
        run.offer(run.contract.rest + offset)
        run.spin(160)
    run.spin(2500)


def slower(run) -> None:
    """The same at another speed from the second chunk on, and back."""
    run.spin(300)
    for k, offset in enumerate((0.2, 0.3, -0.1, 0.25, 0.1)):
        if k in (1, 3):
            run.scale(40.0 if k == 1 else 100.0)
        run.offer(run.contract.rest + offset)
        run.spin(200)
    run.spin(2500)


def monitored(run) -> None:
    """A monitor slows the arm, says so again, dies and is forgotten; the operator's slider moves beside it."""
    run.spin(300)
    for k, offset in enumerate((0.2, 0.3, -0.1, 0.25, 0.1)):
        run.offer(run.contract.rest + offset)
        if k in (1, 2):
            run.limit("hand watch", 30.0, 0.25, late_ms=40)
            run.spin(60)
            run.scale(80.0 if k == 1 else 100.0)
        run.spin(200)
    run.limit("door", 50.0)
    run.spin(2500)


def stopped(run) -> None:
    """Stop in motion, start again, follow another chunk; then an emergency stop and a reset."""
    run.spin(200)
    run.offer(run.contract.rest + 0.3)
    run.spin(300)
    run.core.stop()
    run.spin(1500)
    run.core.start()
    run.offer(run.contract.rest)
    run.spin(300)
    run.core.emergency_stop()
    run.spin(1000)
    assert run.core.reset()
    run.spin(200)
    run.offer(run.contract.rest + 0.1)
    run.spin(600)


def refused(run) -> None:
    """A chunk whose rows are all past, and one that begins far from the arm, beside good ones."""
    run.spin(200)
    assert not run.offer(run.contract.rest, age_ms=5000)
    run.spin(100)
    assert run.offer(run.contract.rest + 0.2)
    run.spin(150)
    assert not run.offer(run.contract.rest, age_ms=2000)
    run.spin(100)
    assert run.offer(run.contract.rest + 0.1)
    run.spin(1500)


def taken_over(run) -> None:
    """A person's chunks over the policy's, the policy's refused meanwhile; given back, and taken over again."""
    run.spin(200)
    assert run.offer(run.contract.rest + 0.3)
    run.spin(150)
    for k in range(10):
        assert run.operate(run.contract.rest + 0.1)
        run.spin(20)
        if k in (3, 7):
            assert not run.offer(run.contract.rest + 0.3)
        run.spin(20)
    assert run.operate(run.contract.rest + 0.1)
    run.core.give_back(run.ns + 2_000_000)  # in the same tick
    run.spin(20)
    assert not run.offer(run.contract.rest + 0.2), "its observation is of before"
    run.spin(110)
    assert run.offer(run.contract.rest + 0.2, age_ms=100)
    run.spin(200)
    run.core.take_over()
    run.spin(1000)
    assert run.operate(run.contract.rest)
    run.spin(800)
    run.core.give_back(run.ns)
    run.spin(100)
    run.core.take_over()
    run.spin(100)
    assert not run.offer(run.contract.rest, age_ms=10), "held again, though nothing moves"
    run.spin(100)


@pytest.mark.parametrize("story", [moving, slower, monitored, stopped, refused, taken_over])
def test_every_command_comes_out_again(record: Callable[..., CommandComparison], story: Callable[..., None]) -> None:
    """Protects the executor's determinism: the same inputs at the same times give the same bits, whatever happened."""
    found = record(story)
    assert len(found.times_ns) > 60
    assert found.difference.tolist() == [0.0] * 6, found.first_difference(0.0)
    assert found.mode_differences == 0, found.first_mode_difference
    assert not found.not_comparable
    for kind, count in found.clamps.items():
        np.testing.assert_array_equal(count, found.recorded_clamps[kind])
    assert (
        sum(found.refusals.values())
        == sum(found.recorded_refusals.values())
        == {refused: 2, taken_over: 4}.get(story, 0)
    )


def test_a_recording_may_begin_while_the_arm_is_held(
    tmp_path: Path, contract: Contract, run_class, record: Callable[..., CommandComparison]
) -> None:
    """Protects episode-wise bags: the arm holds where the last episode left it, and replay begins there."""

    def story(run) -> None:
        with BagWriter(tmp_path / "before", contract) as earlier:
            before = run_class(earlier, contract)
            moving(before)
        run.core, run.arm, run.ns, run.chunks = before.core, before.arm, before.ns, before.chunks
        run.spin(200)
        run.offer(run.contract.rest)
        run.spin(800)

    found = record(story)
    assert not found.not_comparable
    assert found.difference.tolist() == [0.0] * 6, found.first_difference(0.0)


def test_what_began_in_motion_is_counted(tmp_path: Path, contract: Contract, run_class) -> None:
    """Protects honesty: ticks before the first rest are counted and named, not compared and not left out silently."""
    with BagWriter(tmp_path / "before", contract) as earlier, BagWriter(tmp_path / "bag", contract) as writer:
        run = run_class(earlier, contract)
        run.spin(200)
        run.offer(contract.rest + 0.3)
        run.spin(200)
        run.writer = writer
        run.offer(contract.rest + 0.2)
        run.spin(3000)
    found = replay_commands(read_run(Bag(tmp_path / "bag")), contract)
    assert found.not_comparable["recording began while the arm moved"] > 50
    assert found.difference.tolist() == [0.0] * 6


def test_another_executor_is_caught(record: Callable[..., CommandComparison], contract: Contract) -> None:
    """Protects the gate: with other limits commands differ, and the first tick and joint that do are named."""
    joints = [j.model_copy(update={"acceleration": 3.0}) if j.name == "elbow_flex" else j for j in contract.joints]
    other = contract.with_keys(joints=tuple(joints))
    found = record(moving, other)
    assert found.difference.max() > 1e-4
    assert "joint '" in found.first_difference(1e-4)
