# SPDX-License-Identifier: Apache-2.0
"""The registry: what files of the folder say is found, and a file more changes nothing of what was measured."""

import numpy as np
import pytest
from first_scenes import first_scenes

from swiftvla_ros.contract.contract import Contract
from swiftvla_ros.sim.language import COLORS, Task
from swiftvla_ros.sim.scene import TABLE
from swiftvla_ros.sim.tasks.registry import (
    DEFINITIONS,
    SCENES,
    STANDARD_TASKS,
    UnknownTaskError,
    canonical,
    definition_of,
    parse,
    phrase,
    scene_for,
    tasks_of,
)
from swiftvla_ros.sim.world import SimWorld


def test_every_wording_means_its_task() -> None:
    """What is said in training is understood by the watcher of a live run; no sentence means two tasks."""
    rng = np.random.default_rng(0)
    said = []
    for task in tasks_of(DEFINITIONS):
        wordings = definition_of(task.verb).wordings[task.where]
        assert len(wordings) >= 6
        assert parse(canonical(task)) == task
        assert all(parse(phrase(task, rng)) == task for _ in range(20))
        said += [wording.format(color=task.color) for wording in wordings]
    assert len(set(said)) == len(said)


def test_wordings_are_read_forgivingly_and_others_not_at_all() -> None:
    """Case, spacing and a full stop don't matter; an unknown sentence has no task."""
    assert parse("  Pick up  the RED block. ") == Task("pick", "red")
    assert parse("touch the purple block") is None
    assert parse("") is None


def test_names_that_there_are_not_are_refused_with_those_that_there_are() -> None:
    """A typing error on a command line is answered with what can be typed."""
    with pytest.raises(UnknownTaskError, match=r"pick.*touch"):
        tasks_of(("juggle",))
    with pytest.raises(UnknownTaskError, match=r"table.*stands"):
        scene_for((), "moon")
    assert scene_for(("pick", "touch")) is TABLE
    assert scene_for(("pick",), "stands") is SCENES["stands"]


def test_scenes_and_sentences_of_a_seed_are_those_that_were_measured(contract: Contract) -> None:
    """Published success rates name their seeds: no new task or scene may change what these show."""
    assert [(t.verb, t.color) for t in STANDARD_TASKS] == [(v, c) for v in ("pick", "touch") for c in COLORS]
    assert [scene.observation.instruction for scene in first_scenes(contract, 6, 10_000)] == [
        "raise the red cube",
        "pick the green block up",
        "grab the blue block",
        "tap the red block",
        "poke the green cube",
        "press on the blue block",
    ]
    with SimWorld(contract, 10_000, SCENES["stands"]) as world:
        blocks = [[0.225, 0.1027], [0.2239, -0.0385], [0.236, -0.1404]]
        np.testing.assert_allclose(world.layout.xy, blocks, atol=1e-4)
        np.testing.assert_allclose(world.stands, [0.0397, 0.03, 0.0291], atol=1e-4)
