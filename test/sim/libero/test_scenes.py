# SPDX-License-Identifier: Apache-2.0
"""The benchmark itself: scenes, resets, pictures, the expert; where an interpreter that has it is named."""

import os
from collections.abc import Iterator

import numpy as np
import pytest

from swiftvla_ros.contract.sections.hand import CartesianHand
from swiftvla_ros.sim.libero.evaluation import roll_out
from swiftvla_ros.sim.libero.expert import LiberoExpert
from swiftvla_ros.sim.libero.geometry import corners_in_world
from swiftvla_ros.sim.libero.process import PYTHON, LiberoClient, LiberoError
from swiftvla_ros.sim.libero.suites import read_scene_file

pytestmark = [
    pytest.mark.skipif(not os.environ.get(PYTHON), reason=f"{PYTHON} names no interpreter that has LIBERO"),
    pytest.mark.timeout(900),
]
HAND = CartesianHand(step_m=0.05, step_rad=0.5)
SOUP = "pick_up_the_alphabet_soup_and_place_it_in_the_basket"


@pytest.fixture(scope="module")
def client() -> Iterator[LiberoClient]:
    """One process for all tests."""
    with LiberoClient() as asked:
        yield asked


def test_an_official_state_is_done_by_the_expert_twice_alike(client: LiberoClient) -> None:
    """Protects evaluations: one initial state gives one episode, after others, too; its pictures are the datasets'."""
    scene = client.open("libero_object", SOUP)
    assert (scene.language, scene.initial_states) == ("pick the alphabet soup and place it in the basket", 50)
    first = client.reset(initial=3, seed=10, look=True, depth=True)
    one = roll_out(client, LiberoExpert(scene, HAND), 3, 7)
    again = client.reset(initial=3, seed=10, look=False)
    np.testing.assert_array_equal(first.state, again.state)
    assert one == roll_out(client, LiberoExpert(scene, HAND), 3, 7)
    assert one[0]
    assert one[1] < 150
    view = first.views["agent"]
    assert view.depth_m is not None
    assert view.world_from_camera is not None
    # Points of the true view, so turned over from left to right: the basket's must lie where the basket is.
    depth = view.depth_m[:, ::-1].astype(float)
    side = len(depth)
    v, u = np.mgrid[:side, :side] + 0.5
    focal = side / 2 / np.tan(np.radians(view.fovy_deg) / 2)
    rays = np.stack([(u - side / 2) / focal, (v - side / 2) / focal, np.ones_like(u)], axis=-1)
    world = (rays * depth[..., None]) @ view.world_from_camera[:3, :3].T + view.world_from_camera[:3, 3]
    basket = corners_in_world(scene.boxes["basket_1"], first.things["basket_1"]).reshape(-1, 3)
    inside = ((world > basket.min(0)) & (world < basket.max(0) + 0.02) & (world[..., 2:] > 0.05)).all(axis=-1)
    assert inside.sum() > 50
    assert u[inside].mean() > side / 2, "in the true view the basket is on the right, in the datasets' on the left"


def test_the_sentence_is_the_scene_files(client: LiberoClient) -> None:
    """Protects the language probe: what is asked for in `_task` is not what the task's name says."""
    assert client.open("libero_object_task", SOUP).language == "pick the cream cheese and place it in the basket"


def test_things_on_fixtures_stay_as_high(client: LiberoClient) -> None:
    """Protects from a fault of soft resets, which doubled the height of what stands on a stove or a cabinet."""
    task = next(name for name in client.tasks("libero_spatial") if "on_the_stove" in name)
    scene = client.open("libero_spatial", task)
    heights = [client.reset(initial=None, seed=k, look=False).things[scene.of_interest[0]][2] for k in range(3)]
    assert np.ptp(heights) < 0.01


def test_another_target_and_layout_are_what_was_asked_for(client: LiberoClient) -> None:
    """Protects demonstrations: words, goal and places are ours, and success is the benchmark's own check."""
    text = read_scene_file(client.tasks("libero_object")[SOUP]).for_target("milk_1")
    scene = client.open("libero_object", SOUP, text)
    assert scene.language == "pick the milk and place it in the basket"
    moment = client.reset(
        initial=None, seed=0, look=False, places={"milk_1": (0.1, 0.02), "tomato_sauce_1": (0.1, -0.2)}
    )
    np.testing.assert_allclose(moment.things["milk_1"][:2], [0.1, 0.02], atol=0.02)
    with pytest.raises(LiberoError, match="places: 'beer_1' is none of"):
        client.reset(initial=None, seed=0, look=False, places={"beer_1": (0.0, 0.0)})
    with pytest.raises(LiberoError, match="initial: 50 is not one of the 50 states"):
        client.reset(initial=50, seed=0, look=False)
    with pytest.raises(LiberoError, match="no names of a suite and a task"):
        client.open("../libero_object", SOUP)
