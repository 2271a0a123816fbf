# SPDX-License-Identifier: Apache-2.0
"""The simulated robot as it stands at somebody else's: no two scenes look alike, and the same blocks are in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.sim.backend import mujoco
from swiftvla_ros.sim.block_layout import SceneLayout
from swiftvla_ros.sim.scene import SceneSetup, moved_camera
from swiftvla_ros.sim.world import SimWorld

Array = NDArray[np.float64]

SHIFT_M = 0.01
"""How far the front camera is from its place along each axis, at most."""
TURN_RAD = np.radians(1.5)
"""How far it is turned about each of its axes, at most."""
MOST_DISTRACTORS = 3
_LIGHT = (0.7, 1.4)
_LIGHT_ASIDE = 0.25
_AMBIENT = (0.25, 0.5)
_TABLE_SHADE = (0.25, 0.9)
_TABLE_TINT = (0.8, 1.0)
_SHELL = (0.5, 1.1)
_TEXTURE_PX = 64
_TEXTURED = 0.6
_TEXTURE_TILES = (2.0, 12.0)


class PatternedWorld(SimWorld):
    """A world that has patterns to cover surfaces with."""

    def _spec(self) -> mujoco.MjSpec:
        spec = super()._spec()
        for name, pattern in _textures().items():
            texture = spec.add_texture(
                name=name, type=mujoco.mjtTexture.mjTEXTURE_2D, width=_TEXTURE_PX, height=_TEXTURE_PX, nchannel=3
            )
            texture.data = np.repeat((255 * pattern).astype(np.uint8)[..., None], 3, axis=-1).tobytes()
            material = spec.add_material(name=name, texuniform=True)
            material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
        return spec

    def _cover(self, geoms: Sequence[int], rng: np.random.Generator) -> None:
        """Put random patterns on most of some surfaces, and none on any other."""
        model = self._model
        model.geom_matid[:] = -1
        for geom in geoms:
            if rng.random() < _TEXTURED:
                model.geom_matid[geom] = rng.integers(model.nmat)
        model.mat_texrepeat[:] = rng.uniform(*_TEXTURE_TILES, (model.nmat, 1))


class VariedWorld(PatternedWorld):
    """A world whose every scene has its own light, table, distractors and place of the front camera.

    Blocks lie where they lie in :class:`~swiftvla_ros.sim.world.SimWorld`'s scene of the same seed, and their hues vary
    no more than there.
    """

    def reset(
        self,
        seed: int,
        *,
        layout: SceneLayout | None = None,
        arm: Array | None = None,
        distractors: int | None = None,
        setup: SceneSetup | None = None,
    ) -> None:
        """As the world's; what isn't given is drawn from the seed, distractors and the front camera's place, too."""
        rng = np.random.default_rng([seed, 9])
        shift, turn = rng.uniform(-SHIFT_M, SHIFT_M, 3), rng.uniform(-TURN_RAD, TURN_RAD, 3)
        count = int(rng.integers(MOST_DISTRACTORS + 1))
        setup = self.scene.sample(self.nominal_contract, seed) if setup is None else setup
        nominal = self.nominal_contract.camera("front").pose
        if setup.front_pose is None and nominal is not None:
            setup = replace(setup, front_pose=moved_camera(nominal, shift, turn))
        super().reset(
            seed, layout=layout, arm=arm, distractors=count if distractors is None else distractors, setup=setup
        )

    def _paint(self, rng: np.random.Generator) -> None:
        super()._paint(rng)
        model = self._model
        rgba, table = model.geom_rgba, model.geom("table").id
        rgba[table, :3] = rng.uniform(*_TABLE_SHADE) * rng.uniform(*_TABLE_TINT, 3)
        arm = model.body_rootid[model.geom_bodyid] == model.body("base").id
        rgba[arm, :3] *= rng.uniform(*_SHELL)
        self._cover([table], rng)
        model.light_diffuse[:] *= rng.uniform(*_LIGHT, (model.nlight, 1))
        model.light_dir[:] = self._plain_light_direction + rng.uniform(-_LIGHT_ASIDE, _LIGHT_ASIDE, (model.nlight, 3))
        model.vis.headlight.ambient[:] = rng.uniform(*_AMBIENT)


def _textures() -> dict[str, NDArray[np.floating]]:
    """Grey patterns [h, w] in 0…1 that colours shade: stripes, squares, dots and noise of several grains."""
    rng = np.random.default_rng(0)
    v, u = np.mgrid[:_TEXTURE_PX, :_TEXTURE_PX] / _TEXTURE_PX
    patterns = {
        "stripes": 0.5 + 0.5 * np.sin(2 * np.pi * 2 * u),
        "squares": ((u > 0.5) ^ (v > 0.5)).astype(float),
        "dots": ((u - 0.5) ** 2 + (v - 0.5) ** 2 < 0.06).astype(float),
    }
    for grain in (1, 4, 16):
        cells = rng.random((_TEXTURE_PX // grain, _TEXTURE_PX // grain))
        patterns[f"noise_{grain}"] = np.kron(cells, np.ones((grain, grain)))
    return {name: 0.45 + 0.55 * pattern for name, pattern in patterns.items()}
