# SPDX-License-Identifier: Apache-2.0
"""The simulated robot in real time: a thread that steps the physics, renders, and reports. No ROS in here."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Camera, Contract
from swiftvla_ros.sim.block_layout import SceneLayout
from swiftvla_ros.sim.robots.setpoints import RobotSetpoints, Setpoints
from swiftvla_ros.sim.scene import TABLE, Scene
from swiftvla_ros.sim.tasks.registry import parse, watch
from swiftvla_ros.sim.tasks.watcher import TaskResult, TaskWatcher
from swiftvla_ros.sim.world import SimWorld

Array = NDArray[np.float64]
_NS = 1_000_000_000
# Commands take effect, and the clock moves, in slices of this length: two steps of the 500 Hz physics.
_SLICE_NS = 4_000_000
_WATCH_NS = 20_000_000
_BLOCKS_NS = 100_000_000
# Rendering both cameras takes 20 to 30 ms, which the physics catches up with. Further behind than this, the machine
# is too slow for real time: the backlog is given up, or stamps would grow older and older.
_MAX_LAG_NS = 250_000_000
# What moves by less than this, m or rad, from one picture to the next can't be seen: a pixel is a millimetre.
_SEEN = 1e-5


@dataclass(frozen=True)
class Judgement:
    """Where an instruction stands: ``result`` is None when the simulator does not know the task."""

    instruction: str
    instruction_id: int
    result: TaskResult | None


class SimulationOutputs(Protocol):
    """What the thread calls, with simulated time in ns since its start."""

    def began(self) -> None:
        """Simulated time 0 is now."""

    def clock(self, sim_ns: int) -> None:
        """Time has moved by a slice."""

    def joint_state(self, sim_ns: int, position: Array, velocity: Array) -> None:
        """Measured joints [J], SI, contract order."""

    def image(self, sim_ns: int, camera: str, rgb: NDArray[np.uint8]) -> None:
        """What a camera saw at ``sim_ns``."""

    def blocks(self, sim_ns: int, layout: SceneLayout) -> None:
        """Where things lie."""

    def judgement(self, sim_ns: int, judgement: Judgement) -> None:
        """A new instruction, or a new result."""

    def lagging(self, lag_s: float) -> None:
        """Real time was given up by this much."""

    def failed(self, error: Exception) -> None:
        """The thread ends because of an error."""


class SimDriver:
    """Owns the world and its thread, which alone touches the world after :meth:`start` and calls ``outputs``.

    Commands from another thread are queued with their time of arrival and take effect when the simulated time gets
    there: so the motion is the same whether or not the physics had to catch up after rendering. ``seed`` is the first
    scene's, each reset takes the next; ``parts`` are indices of the joints that are commanded together.
    """

    def __init__(
        self,
        contract: Contract,
        seed: int,
        outputs: SimulationOutputs,
        parts: tuple[NDArray[np.intp], ...],
        scene: Scene = TABLE,
    ) -> None:
        self._contract = contract
        self._outputs = outputs
        self._world = SimWorld(contract, seed, scene)
        self._setpoints = RobotSetpoints(self._world.state(), parts)
        self._lock = threading.Lock()
        self._queue: deque[tuple[int, Callable[[int], None]]] = deque()
        self._origin_ns = 0
        self._watcher: TaskWatcher | None = None
        self._pictures: dict[str, tuple[Array, NDArray[np.uint8]]] = {}
        self._judgement = Judgement("", 0, None)
        self._seed = seed
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="physics", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def end(self) -> None:
        """End the thread and free the renderers."""
        self._ending.set()
        self._thread.join()

    def command(self, part: int, change: Callable[[Setpoints, int], None]) -> None:
        """Take a command to a part of the joints: what it does to its set-points from a simulated time on."""
        self._enqueue(lambda ns: change(self._setpoints.parts[part], ns))

    def instruct(self, text: str, number: int) -> None:
        """Watch another instruction; an empty text: none."""
        self._enqueue(lambda ns: self._watch(ns, text, number))

    def reset(self) -> int:
        """Set up the next scene and return its seed."""
        self._seed += 1
        seed = self._seed
        self._enqueue(lambda ns: self._reset(ns, seed))
        return seed

    def _enqueue(self, action: Callable[[int], None]) -> None:
        with self._lock:
            self._queue.append((time.monotonic_ns() - self._origin_ns, action))

    def _reset(self, ns: int, seed: int) -> None:
        self._world.reset(seed)
        self._pictures.clear()
        self._setpoints.forward(ns, self._world.state())
        self._watch(ns, self._judgement.instruction, self._judgement.instruction_id)

    def _watch(self, ns: int, text: str, number: int) -> None:
        task = parse(text, self._world.scene)
        self._watcher = watch(self._world, task) if task else None
        self._judge(ns, Judgement(text, number, self._watcher.result if self._watcher else None))

    def _judge(self, ns: int, judgement: Judgement) -> None:
        self._judgement = judgement
        self._outputs.judgement(ns, judgement)

    def _run(self) -> None:
        try:
            # The first rendering builds the OpenGL contexts, which takes longer than real time allows.
            for camera in self._contract.cameras:
                self._world.render(camera.name, *camera.source_size)
            self._loop()
        except Exception as error:  # noqa: BLE001  (handed to the node, which ends the process with it)
            self._outputs.failed(error)
        finally:
            self._world.close()

    def _loop(self) -> None:
        contract = self._contract
        state_period_ns = round(_NS / contract.joint_states.rate_hz)
        camera_period_ns = {camera.name: round(_NS / camera.rate_hz) for camera in contract.cameras}
        next_state_ns = next_watch_ns = next_blocks_ns = sim_ns = 0
        next_image_ns = dict.fromkeys(camera_period_ns, 0)
        self._outputs.began()
        with self._lock:
            self._origin_ns = time.monotonic_ns()
            self._queue = deque((0, action) for _, action in self._queue)
        while not self._ending.is_set():
            behind_ns = time.monotonic_ns() - self._origin_ns - sim_ns
            if behind_ns < _SLICE_NS:
                self._ending.wait((_SLICE_NS - behind_ns) / _NS)
                continue
            if behind_ns > _MAX_LAG_NS:
                with self._lock:
                    self._origin_ns += behind_ns
                self._outputs.lagging(behind_ns / _NS)
            self._take_commands(sim_ns)
            self._world.command(self._setpoints.state(sim_ns)[0])
            self._world.advance(_SLICE_NS / _NS)
            sim_ns += _SLICE_NS
            self._outputs.clock(sim_ns)
            if sim_ns >= next_state_ns:
                next_state_ns = max(next_state_ns + state_period_ns, sim_ns)
                self._outputs.joint_state(sim_ns, self._world.state(), self._world.joint_velocity())
            if sim_ns >= next_blocks_ns:
                next_blocks_ns += _BLOCKS_NS
                self._outputs.blocks(sim_ns, self._world.layout_now())
            if sim_ns >= next_watch_ns:
                next_watch_ns += _WATCH_NS
                if self._watcher is not None and self._watcher.update(_WATCH_NS / _NS) is not self._judgement.result:
                    text, number = self._judgement.instruction, self._judgement.instruction_id
                    self._judge(sim_ns, Judgement(text, number, self._watcher.result))
            for camera in contract.cameras:
                if sim_ns >= next_image_ns[camera.name]:
                    next_image_ns[camera.name] += camera_period_ns[camera.name]
                    self._outputs.image(sim_ns, camera.name, self._picture(camera))

    def _picture(self, camera: Camera) -> NDArray[np.uint8]:
        """What a camera sees; drawn again only when something has moved, since it costs most of what the robot does."""
        positions, picture = self._world.positions(), self._pictures.get(camera.name)
        if picture is None or np.abs(positions - picture[0]).max() > _SEEN:
            picture = positions, self._world.render(camera.name, *camera.source_size)
            self._pictures[camera.name] = picture
        return picture[1]

    def _take_commands(self, sim_ns: int) -> None:
        while True:
            with self._lock:
                if not self._queue or self._queue[0][0] > sim_ns:
                    return
                _, action = self._queue.popleft()
            action(sim_ns)
