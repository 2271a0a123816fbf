# SPDX-License-Identifier: Apache-2.0
"""What a scene file says, and which layouts demonstrations are shown on."""

import numpy as np
import pytest
from libero_scene import PLACES, THINGS, scene_text

from swiftvla_ros.contract import load_contract
from swiftvla_ros.sim.libero.collect import shown_scenes
from swiftvla_ros.sim.libero.drivers import camera_pose
from swiftvla_ros.sim.libero.layouts import WIDER_M, assignment, draw_layout
from swiftvla_ros.sim.libero.process import View
from swiftvla_ros.sim.libero.suites import another_task, read_scene_file, spoken, standard_suite, told_apart


def test_a_scene_file_says_what_stands_where() -> None:
    """Protects the layouts: places by thing, the target, and the place it goes to."""
    scene = read_scene_file(scene_text())
    assert scene.target == "milk_1"
    assert scene.things == THINGS
    assert scene.places["milk_1"].centre == (-0.12, -0.24)
    assert scene.places["basket_1"].centre == (0.0, 0.26)
    assert spoken("tomato_sauce_1") == "tomato sauce"
    assert (standard_suite("object_swap"), standard_suite("spatial")) == ("object", "spatial")
    with pytest.raises(ValueError, match="without regions"):
        read_scene_file("(define)")


def test_another_target_changes_sentence_and_goal_alike() -> None:
    """Protects against demonstrations whose words ask for another thing than the one that success is judged by."""
    scene = read_scene_file(read_scene_file(scene_text()).for_target("butter_1"))
    assert scene.target == "butter_1"
    assert "(:language Pick the butter and place it in the basket)" in scene.text
    assert "(In butter_1 basket_1_contain_region)" in scene.text
    assert scene.places == read_scene_file(scene_text()).places


def test_layouts_are_never_the_evaluations() -> None:
    """Protects the numbers: no demonstration has all things where an evaluated scene has them; places are wider."""
    scene = read_scene_file(scene_text())
    swapped = read_scene_file(scene_text((THINGS[1], THINGS[0], *THINGS[2:])))
    centres, rng = np.array(list(PLACES.values())), np.random.default_rng(0)
    evaluated, seen, drawn = {assignment(scene), assignment(swapped)}, set(), []
    for _ in range(300):
        layout = draw_layout(scene, evaluated, rng)
        places = np.array([layout[thing] for thing in THINGS])
        nearest = np.linalg.norm(places[:, None] - centres[None], axis=-1).argmin(axis=1)
        assert np.abs(places - centres[nearest]).max() <= 0.025 + WIDER_M
        seen.add(tuple(nearest.tolist()))
        drawn.append(places[0])
        assert min(np.linalg.norm(a - b) for k, a in enumerate(places) for b in places[:k]) >= 0.09
    assert not seen & {(0, 1, 2, 3), (1, 0, 2, 3)}
    assert len(seen) == 22
    assert np.ptp(drawn, axis=0).min() > 0.25


def test_no_layout_at_all_is_said() -> None:
    """Protects from looking for ever where things can't stand apart."""
    text = scene_text().replace("(-0.145 -0.265", "(0.025 -0.125")
    things = read_scene_file(text)
    crowded = things.places | dict.fromkeys(THINGS, things.places["butter_1"])
    with pytest.raises(ValueError, match="no layout"):
        draw_layout(type(things)(text, crowded, things.of_interest), (), np.random.default_rng(0))


def test_the_wrong_sentence_is_one_that_could_be_done() -> None:
    """Protects the control: another task's thing stands in the scene, so a policy that listens goes for it."""
    scenes = {
        "milk": read_scene_file(scene_text()),
        "soup": read_scene_file(scene_text(("soup_1", *THINGS[1:]), "soup_1")),
        "butter": read_scene_file(scene_text(target="butter_1")),
    }
    assert another_task("milk", scenes) == "butter"
    assert another_task("butter", scenes) == "milk"


def test_tasks_are_told_apart_by_what_differs() -> None:
    """Protects the tables: what all names share is left out, and no name is left empty."""
    assert told_apart(["pick_the_tomato_sauce_up", "pick_the_milk_up"]) == ["tomato sauce", "milk"]
    assert told_apart(["pick_the_milk", "pick_the_milk_up"]) == ["milk", "milk up"]
    assert told_apart(["pick_the_milk"]) == ["pick the milk"]


def test_a_hand_is_found_in_the_mirrored_picture() -> None:
    """Protects the labels: what is on the right of a camera's true view is on the left of the benchmark's picture."""
    towards_x = np.array([[0.0, 0, 1, -1.0], [-1, 0, 0, 0], [0, -1, 0, 0.5], [0, 0, 0, 1]])
    view = View(np.zeros((128, 128, 3), np.uint8), None, towards_x, 45.0)
    seen = load_contract("libero_panda").with_camera_pose("agent", camera_pose(view))
    uv = seen.project("agent", np.array([[0.0, -0.1, 0.5], [0.0, 0.0, 0.6]]))
    half = 0.5 / np.tan(np.radians(22.5)) * 0.1
    x, y, width, height = seen.camera("agent").crop or (0, 0, 256, 256)
    whole = np.array([[0.5 - half, 0.5], [0.5, 0.5 - half]]) * 256
    np.testing.assert_allclose(uv, (whole - [x, y]) / [width, height], atol=1e-9)


def test_words_decide_in_collected_scenes() -> None:
    """Protects listening: every task's scene is shown with each of its things, and the same episodes are the same."""
    shown = shown_scenes(["a", "b"], 3, 45)
    assert [(s.task, s.thing) for s in shown] == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert [e for s in shown for e in s.episodes] == list(range(45))
    assert shown_scenes(["a", "b"], 3, 60)[:5] == shown[:5]
