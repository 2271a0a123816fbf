# SPDX-License-Identifier: Apache-2.0
"""The benchmark's suites as they are called here, its protocol, and what the text of a scene file says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

SUITES = {
    "object": "libero_object",
    "object_swap": "libero_object_swap",
    "object_task": "libero_object_task",
    "spatial": "libero_spatial",
    "spatial_swap": "libero_spatial_swap",
}
"""Our names of the suites, and LIBERO's: `_swap` and `_task` are LIBERO-PRO's."""
OFFICIAL_STATES = 50
LIMIT_STEPS = 280
"""Steps that an episode may have, beside those in which things come to rest; of Object and of Spatial."""
_NUMBER = r"-?[0-9.]+(?:e-?[0-9]+)?"
_REGION = re.compile(
    rf"\((\w+)\s*\(:target (\w+)\)\s*\(:ranges \(\s*\(({_NUMBER}) ({_NUMBER}) ({_NUMBER}) ({_NUMBER})\)"
)
_ON = re.compile(r"\(On (\w+) (\w+)\)")


def standard_suite(suite: str) -> str:
    """The suite of which it is a variant: where demonstrations for a blind replay come from."""
    return suite.partition("_")[0]


@dataclass(frozen=True)
class Region:
    """Where a thing is put: x from ``low[0]`` to ``high[0]``, y from ``low[1]`` to ``high[1]``, m."""

    low: tuple[float, float]
    high: tuple[float, float]

    @property
    def centre(self) -> tuple[float, float]:
        """The middle, to the millimetre: what tells places apart."""
        return round((self.low[0] + self.high[0]) / 2, 3), round((self.low[1] + self.high[1]) / 2, 3)


@dataclass(frozen=True)
class SceneFile:
    """What a scene's file says of its layout and its task."""

    text: str
    places: dict[str, Region]  # thing → where it is put; what stands on or in another thing is left out
    of_interest: tuple[str, ...]

    @property
    def target(self) -> str:
        """The thing to move."""
        return self.of_interest[0]

    @property
    def things(self) -> tuple[str, ...]:
        """The things that could be meant: all but the place."""
        return tuple(name for name in self.places if name != self.of_interest[-1])

    def for_target(self, target: str) -> str:
        """The text with another of the things to move."""
        words = spoken(target)
        text = self.text.replace(f"(In {self.target} ", f"(In {target} ")
        text = re.sub(r"\(:language [^)]*\)", f"(:language Pick the {words} and place it in the basket)", text)
        return re.sub(r"(\(:obj_of_interest\s+)\w+", rf"\g<1>{target}", text)


def read_scene_file(text: str) -> SceneFile:
    """Read the text of a scene's file; ValueError where it is none."""
    regions = {
        f"{target}_{name}": Region((float(a), float(b)), (float(c), float(d)))
        for name, target, a, b, c, d in _REGION.findall(text)
    }
    interest = re.search(r"\(:obj_of_interest([^)]*)\)", text)
    if not regions or interest is None or not interest.group(1).split():
        raise ValueError("a scene file without regions, or without what it is about")
    places = {thing: regions[region] for thing, region in _ON.findall(text) if region in regions}
    return SceneFile(text, places, tuple(interest.group(1).split()))


def spoken(thing: str) -> str:
    """``alphabet_soup_1`` → alphabet soup."""
    return re.sub(r"_\d+$", "", thing).replace("_", " ")


def worded(thing: str, rng: np.random.Generator) -> str:
    """A sentence that asks for a thing of an Object scene: as its file says it, or as the benchmark's datasets do."""
    return f"pick {'up ' * (rng.random() >= 0.5)}the {spoken(thing)} and place it in the basket"


def another_task(task: str, scenes: Mapping[str, SceneFile]) -> str:
    """The next task whose thing stands in this task's scene, too: what its sentence asks for could be done here."""
    names, own = list(scenes), scenes[task]
    after = names.index(task) + 1
    others = [name for name in (*names[after:], *names[: after - 1]) if scenes[name].target != own.target]
    here = [name for name in others if scenes[name].target in own.places]
    return (here or others or [names[after % len(names)]])[0]


def told_apart(tasks: Sequence[str]) -> list[str]:
    """The tasks' names without the words that all of them begin and end with."""
    words = [task.split("_") for task in tasks]
    most = min(map(len, words)) - 1 if len(words) > 1 else 0
    front = next((k for k in range(most) if len({name[k] for name in words}) > 1), most)
    back = next((k for k in range(most - front) if len({name[-1 - k] for name in words}) > 1), most - front)
    return [" ".join(name[front : len(name) - back]) for name in words]
