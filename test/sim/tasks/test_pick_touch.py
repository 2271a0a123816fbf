# SPDX-License-Identifier: Apache-2.0
"""The two standard tasks: the expert that does them, and the watchers that judge."""

from collections.abc import Callable

import numpy as np
import pytest

from swiftvla_ros.contract.contract import Contract
from swiftvla_ros.sim.expert.expert import LIMIT_SHARE, TICK_S, Expert
from swiftvla_ros.sim.language import COLORS, Task
from swiftvla_ros.sim.tasks.registry import STANDARD_TASKS, STANDARD_VERBS, watch
from swiftvla_ros.sim.tasks.watcher import TaskResult, TaskWatcher
from swiftvla_ros.sim.world import Contact, SimWorld

Perform = Callable[[Task, TaskWatcher], TaskResult]


@pytest.mark.parametrize("verb", STANDARD_VERBS)
def test_expert_does_what_it_is_told(verb: str, world: SimWorld, perform: Perform) -> None:
    """Demonstrations show success."""
    for seed in range(6):
        world.reset(seed)
        task = Task(verb, COLORS[seed % 3])
        assert perform(task, watch(world, task)) is TaskResult.DONE, f"{task} in scene {seed}"


@pytest.mark.parametrize("verb", STANDARD_VERBS)
def test_the_wrong_block_is_noticed(verb: str, world: SimWorld, perform: Perform) -> None:
    """A policy that does the right thing with another block has failed."""
    world.reset(5)
    assert perform(Task(verb, "red"), watch(world, Task(verb, "blue"))) is TaskResult.WRONG_BLOCK


def test_touching_is_not_picking(world: SimWorld, perform: Perform) -> None:
    """Neither verb counts as the other."""
    world.reset(6)
    assert perform(Task("touch", "green"), watch(world, Task("pick", "green"))) is TaskResult.PENDING
    world.reset(6)
    assert perform(Task("pick", "green"), watch(world, Task("touch", "green"))) is not TaskResult.DONE


def test_a_touch_from_before_is_not_held_against_the_next_task(world: SimWorld, perform: Perform) -> None:
    """A change of mind while the hand rests on a block is not yet a mistake."""
    world.reset(6)
    first = Task("touch", "green")
    assert perform(first, watch(world, first)) is TaskResult.DONE
    then = Task("touch", "blue")
    watcher = watch(world, then)
    assert watcher.update(0.02) is TaskResult.PENDING
    assert perform(then, watcher) is TaskResult.DONE


def test_a_block_that_tilts_while_the_hand_leaves_it_is_not_touched_anew(
    world: SimWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the verdict after a change of mind: only who leaves a block and comes back has touched another one."""
    world.reset(6)
    contacts: list[Contact] = []
    monkeypatch.setattr(world, "contacts", lambda: contacts)
    monkeypatch.setattr(world, "state", lambda: world.contract.limits.min_position)  # the gripper is closed
    contacts[:] = [Contact("green", 0.015)]
    watcher = watch(world, Task("touch", "blue"))
    for height_m in (0.015, 0.009, 0.015):
        contacts[:] = [Contact("green", height_m)]
        assert watcher.update(0.02) is TaskResult.PENDING
    contacts.clear()
    assert watcher.update(0.02) is TaskResult.PENDING
    contacts[:] = [Contact("green", 0.015)]
    assert watcher.update(0.02) is TaskResult.WRONG_BLOCK


def test_a_still_arm_achieves_nothing(world: SimWorld) -> None:
    """No verdict comes from doing nothing."""
    for task in STANDARD_TASKS:
        world.reset(7)
        watcher = watch(world, task)
        for _ in range(50):
            world.advance(TICK_S)
            assert watcher.update(TICK_S) is TaskResult.PENDING


@pytest.mark.parametrize("after_s", [0.7, 1.4, 1.6])
@pytest.mark.parametrize("task", [Task("pick", "green"), Task("touch", "blue"), Task("touch", "red")], ids=str)
def test_expert_recovers_from_a_change_of_mind(world: SimWorld, contract: Contract, task: Task, after_s: float) -> None:
    """Told otherwise on the way, also with its jaws around a block, it lets go and turns: that teaches listening."""
    world.reset(8)
    expert = Expert(contract)
    expert.start(Task("pick", "red"), world.commanded())
    for _ in range(round(after_s / TICK_S)):
        world.command(expert.tick(world))
        world.advance(TICK_S)
    expert.change_task(task)
    watcher = watch(world, task)
    for _ in range(300):
        world.command(expert.tick(world))
        world.advance(TICK_S)
        if watcher.update(TICK_S) is not TaskResult.PENDING:
            break
    assert watcher.result is TaskResult.DONE


def test_expert_stays_within_its_share_of_the_limits(world: SimWorld, contract: Contract) -> None:
    """Demonstrated motion leaves the policy room in velocity and acceleration."""
    expert = Expert(contract)
    expert.start(Task("pick", "red"), world.commanded())
    commands = []
    for _ in range(150):
        commands.append(expert.tick(world))
        world.command(commands[-1])
        world.advance(TICK_S)
    velocity = np.diff(commands, axis=0) / TICK_S
    acceleration = np.diff(velocity, axis=0) / TICK_S
    assert (np.abs(velocity) <= LIMIT_SHARE * contract.limits.max_velocity * 1.001).all()
    assert (np.abs(acceleration) <= LIMIT_SHARE * contract.limits.max_acceleration * 1.05).all()


def test_expert_takes_over_a_held_block(world: SimWorld, contract: Contract) -> None:
    """An expert that takes over in the middle of a lift goes on; it does not drop the block and begin again."""
    task = Task("pick", "green")
    first = Expert(contract)
    first.start(task, world.commanded())
    watcher = watch(world, task)
    green = COLORS.index("green")
    while world.block_positions()[green, 2] < 0.03:
        world.command(first.tick(world))
        world.advance(TICK_S)
    second = Expert(contract)
    second.start(task, world.commanded())
    gripper = []
    while watcher.update(TICK_S) is TaskResult.PENDING:
        world.command(second.tick(world))
        gripper.append(world.commanded()[-1])
        world.advance(TICK_S)
        assert len(gripper) < 150
    assert watcher.result is TaskResult.DONE
    assert contract.gripper is not None
    assert max(gripper) < contract.gripper.closed + 0.05
