# SPDX-License-Identifier: Apache-2.0
"""Still scenes for grounding and a film's pictures, of a client that draws nothing; without LIBERO."""

from pathlib import Path

import numpy as np
import pytest
from libero_scene import THINGS, scene_text

from swiftvla_ros.contract import load_contract
from swiftvla_ros.episodes.datasets.store import load_scenes
from swiftvla_ros.sim.libero import collect, scenes
from swiftvla_ros.sim.libero.layouts import Assignment, assignment
from swiftvla_ros.sim.libero.process import OpenScene, SceneMoment, View
from swiftvla_ros.sim.libero.suites import read_scene_file

CONTRACT = load_contract("libero_panda")
SCENE = read_scene_file(scene_text())
SIGNS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
# Looks along x from one metre before the middle, from a height of 0.1 m.
FROM_FRONT = np.array([[0.0, 0, 1, -1.0], [-1, 0, 0, 0], [0, -1, 0, 0.1], [0, 0, 0, 1]])


class Client:
    """Puts things where it is told, and moves the hand as far as it is told."""

    def __init__(self) -> None:
        self.layouts: list[dict[str, tuple[float, float]]] = []
        self.hand, self.steps = np.zeros(3), 0

    def open(self, suite: str, task: str) -> OpenScene:
        """Things of 4 cm."""
        assert (suite, task) == ("libero_object", "pick")
        boxes = dict.fromkeys(THINGS, (SIGNS * 0.02)[None])
        return OpenScene("pick the milk", 1, ("milk_1", "basket_1"), boxes)

    def reset(self, *, places: dict[str, tuple[float, float]], **_: object) -> None:
        """Put things."""
        self.layouts.append(places)
        self.hand, self.steps = np.array([-0.15, 0.0, 0.26]), 0

    def step(self, action: np.ndarray, **_: object) -> SceneMoment:
        """Move the hand."""
        self.hand, self.steps = self.hand + 0.02 * action[:3], self.steps + 1
        return self.look()

    def look(self) -> SceneMoment:
        """One picture for all cameras."""
        picture = np.full((256, 256, 3), len(self.layouts), np.uint8)
        view = View(picture, np.zeros((256, 256), np.float32), FROM_FRONT, 45.0)
        things = {name: np.array([*self.layouts[-1][name], 0.02, 1, 0, 0, 0]) for name in THINGS}
        hand = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, -1]])
        return SceneMoment(False, np.array([*self.hand, *np.zeros(5)]), hand, things, {"agent": view, "wrist": view})


def test_every_thing_of_a_picture_has_its_sentence_and_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects grounding: each sentence's label is where its thing stands, in layouts that are not the evaluation's."""
    client, evaluated = Client(), {assignment(SCENE)}
    drawn: list[set[Assignment]] = []

    def draw(scene: object, left_out: set[Assignment], rng: np.random.Generator) -> dict[str, tuple[float, float]]:
        drawn.append(left_out)
        return original(scene, left_out, rng)  # type: ignore[arg-type]

    original = scenes.draw_layout
    monkeypatch.setattr(scenes, "draw_layout", draw)
    monkeypatch.setattr(scenes, "scene_files", lambda *_: {"pick": SCENE})
    monkeypatch.setattr(scenes, "evaluated_layouts", lambda *_: evaluated)
    monkeypatch.setattr(scenes, "kept_client", lambda *_: client)
    scenes.render_shard(tmp_path / "scenes_00000.safetensors", 0, 12, 0, CONTRACT.path)
    found = load_scenes(tmp_path / "scenes_00000.safetensors", CONTRACT)
    assert drawn == [evaluated] * 12
    assert found.target_uv.shape == (12, len(THINGS), 2)
    for number, layout in enumerate(client.layouts):
        for thing, (uv, words) in enumerate(zip(found.target_uv[number], found.instructions[number], strict=True)):
            x, y = layout[THINGS[thing]]
            # Mirrored: what is on the left, where y is, is seen on the right. The crop is 214 of 256 px wide.
            focal = 0.5 / np.tan(np.radians(22.5)) * 256 / 214
            np.testing.assert_allclose(uv[0], 0.5 + focal * y / (1 + x), atol=1e-5)
            assert words.replace("pick up", "pick") == (
                f"pick the {THINGS[thing].removesuffix('_1').replace('_', ' ')} and place it in the basket"
            )
    assert len({words for texts in found.instructions for words in texts}) == 2 * len(THINGS)
    moved = np.linalg.norm(found.state[:, :3] - [-0.15, 0.0, 0.26], axis=1) > 0.01
    assert 2 < moved.sum() < 10, "the hand begins where it begins in half of them"
    assert (found.images["agent"][:, 0, 0, 0] == np.arange(1, 13)).all()


def test_a_films_depth_is_of_its_pictures() -> None:
    """Protects a teacher: depth is cut as the picture is, turned back, and the field of view is what is left of it."""
    client = Client()
    client.reset(places=dict.fromkeys(THINGS, (0.0, 0.0)))
    moment, columns = client.look(), np.arange(256, dtype=np.float32)
    for name, view in moment.views.items():
        moment.views[name] = View(view.image, np.tile(columns, (256, 1)), FROM_FRONT, 45.0)
    film = collect._film([moment], CONTRACT)
    assert film.views == ("wrist", "agent")
    x, _, width, height = CONTRACT.camera("agent").crop or (0, 0, 0, 0)
    np.testing.assert_allclose(film.depth[0, 0, 1, 0, [-1, 0]], [x, x + width - 1], atol=3)
    np.testing.assert_allclose(film.depth[0, 0, 0, 0, [-1, 0]], [0, 255], atol=3)
    half = np.tan(np.radians(22.5))
    np.testing.assert_allclose(np.tan(film.fov[0, 0, 1] / 2), [half * height / 256, half * width / 256], rtol=1e-5)
    np.testing.assert_allclose(film.fov[0, 0, 0], np.radians(45.0), rtol=1e-6)
