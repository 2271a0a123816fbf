# SPDX-License-Identifier: Apache-2.0
"""Layouts for demonstrations that are not the evaluation's: things change places, and places are wider.

The benchmark's own draws move a thing by one or two centimetres, so that a demonstration replayed blindly does most of
its tasks. Here every thing may stand in any of the scene's places.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from swiftvla_ros.sim.libero.suites import SceneFile

WIDER_M = 0.02
"""How far a place reaches beyond the benchmark's, on every side."""
_APART_M = 0.09
_TRIES = 2000

Assignment = frozenset[tuple[str, tuple[float, float]]]


def assignment(scene: SceneFile) -> Assignment:
    """Which thing is put where: what tells one layout of a scene from another."""
    return frozenset((thing, region.centre) for thing, region in scene.places.items())


def draw_layout(
    scene: SceneFile, evaluated: Iterable[Assignment], rng: np.random.Generator
) -> dict[str, tuple[float, float]]:
    """Draw where each thing is put, (x, y) in m; never as any of the ``evaluated`` layouts puts all of them.

    Raises ValueError where no layout is found, which no scene of the benchmark's Object suites is.
    """
    forbidden, things = set(evaluated), scene.things
    for _ in range(_TRIES):
        order = rng.permutation(len(things))
        regions = dict(zip(things, (scene.places[things[k]] for k in order), strict=True))
        regions |= {name: region for name, region in scene.places.items() if name not in things}
        if frozenset((thing, region.centre) for thing, region in regions.items()) in forbidden:
            continue
        drawn = {}
        for name, region in regions.items():
            x, y = rng.uniform(np.array(region.low) - WIDER_M, np.array(region.high) + WIDER_M)
            drawn[name] = float(x), float(y)
        places = np.array(list(drawn.values()))
        apart = np.linalg.norm(places[:, None] - places[None], axis=-1) + np.eye(len(places))
        if apart.min() >= _APART_M:
            return drawn
    raise ValueError(f"no layout of {list(things)} in which things stand {_APART_M} m apart")
