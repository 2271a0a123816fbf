# SPDX-License-Identifier: Apache-2.0
"""The simulated SO-101 with its tasks in words, as a Gymnasium environment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict
from numpy.typing import NDArray

from swiftvla_ros.contract import load_contract
from swiftvla_ros.contract.sections.lerobot import IMAGES
from swiftvla_ros.resources import DEFAULT_ROBOT
from swiftvla_ros.sim.observe import policy_images
from swiftvla_ros.sim.tasks.registry import STANDARD_VERBS, phrase, scene_for, tasks_of, watch
from swiftvla_ros.sim.tasks.watcher import TaskResult, TaskWatcher
from swiftvla_ros.sim.world import SimWorld

# Looks of the watcher, s.
_WATCH_S = 0.02

Observation = dict[str, Any]


class SO101Env(gymnasium.Env[Observation, NDArray[np.float32]]):
    """One arm, three blocks, and a sentence that says which of them to do what with.

    A step is one of the contract's policy steps (0.1 s): the servos' set-points go to the action in a straight line.
    No executor limits them, unlike in ``swiftvla eval``.

    Parameters
    ----------
    tasks
        Verbs of ``swiftvla_ros/sim/tasks``; they and the three colours are asked for in turn, by the scene's seed.
    scene
        Name of the scenes' variant; None: the one that the tasks need.
    robot
        The simulated robot's contract: its cameras, their sizes, its step, and units and names of its datasets.
    timeout_s
        Simulated time after which an episode is truncated.
    render_mode
        ``rgb_array``, the front camera at 320×240, or None.

    Attributes
    ----------
    task_description
        What the arm is told, for the policy.
    task
        The verb that it is made of.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(
        self,
        tasks: Sequence[str] = STANDARD_VERBS,
        scene: str | None = None,
        robot: str = DEFAULT_ROBOT,
        timeout_s: float = 12.0,
        render_mode: str | None = "rgb_array",
    ) -> None:
        self.render_mode = render_mode
        self._contract = contract = load_contract(robot)
        self._tasks, self._scene = tasks_of(tasks), scene_for(tasks, scene)
        columns = contract.lerobot_joints.values()
        self._scale, self._offset = np.array([(column.scale, column.offset) for column in columns]).T
        self._cameras = {name: feature.removeprefix(IMAGES) for name, feature in contract.lerobot_cameras.items()}
        sizes = {self._cameras[camera.name]: camera.size for camera in contract.cameras}
        pixels = {key: Box(0, 255, (height, width, 3), np.uint8) for key, (width, height) in sizes.items()}
        limits = (self._units(contract.limits.min_position), self._units(contract.limits.max_position))
        low, high = np.sort(limits, axis=0).astype(np.float32)
        # The arm's own weight and the floor may push it past its limits, but not by as much as these are apart.
        measured = Box(low - (high - low), high + (high - low))
        self.observation_space = Dict({"pixels": Dict(pixels), "agent_pos": measured})
        self.action_space = Box(low, high)
        # LeRobot asks for this by name.
        self._max_episode_steps = round(timeout_s / contract.policy.step_s)
        self.task, self.task_description = "", ""
        self._world: SimWorld | None = None
        self._watcher: TaskWatcher | None = None
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin with the scene of ``seed``, a task of its own turn and a random wording, as ``swiftvla eval`` does."""
        super().reset(seed=seed, options=options)
        number = int(self.np_random.integers(2**31)) if seed is None else seed
        if self._world is None:
            self._world = SimWorld(self._contract, number, self._scene)
        self._world.reset(number)
        task = self._tasks[number % len(self._tasks)]
        self.task, self.task_description = task.verb, phrase(task, np.random.default_rng([number, 4]))
        self._watcher, self._steps = watch(self._world, task), 0
        return self._observe(), self._info()

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Move for one step; the reward is 1 where the task is done, and taking another block ends the episode."""
        world, watcher = self._world, self._watcher
        if world is None or watcher is None:
            raise RuntimeError("step was called before reset")
        begin = world.commanded()
        end = np.asarray(action, np.float64) * self._scale + self._offset
        looks = round(self._contract.policy.step_s / _WATCH_S)
        for look in range(looks):
            # Set-points at 100 Hz, as a controller gives them.
            for tick in range(2):
                world.command(begin + (end - begin) * (2 * look + tick + 1) / (2 * looks))
                world.advance(_WATCH_S / 2)
            watcher.update(_WATCH_S)
        self._steps += 1
        done = watcher.result is TaskResult.DONE
        over = watcher.result is not TaskResult.PENDING
        return self._observe(), float(done), over, not over and self._steps >= self._max_episode_steps, self._info()

    def render(self) -> NDArray[np.uint8] | None:
        """What the front camera sees: RGB uint8 [240, 320, 3]."""
        if self.render_mode is None or self._world is None:
            return None
        return self._world.render("front")

    def close(self) -> None:
        """Free the renderers."""
        if self._world is not None:
            self._world.close()
            self._world = None

    def _observe(self) -> Observation:
        assert self._world is not None
        images = policy_images(self._world)
        return {
            "pixels": {key: images[name] for name, key in self._cameras.items()},
            "agent_pos": self._units(self._world.state()).astype(np.float32),
        }

    def _info(self) -> dict[str, Any]:
        result = TaskResult.PENDING if self._watcher is None else self._watcher.result
        return {"is_success": result is TaskResult.DONE, "verdict": result.name}

    def _units(self, si: NDArray[np.float64]) -> NDArray[np.float64]:
        return (si - self._offset) / self._scale
