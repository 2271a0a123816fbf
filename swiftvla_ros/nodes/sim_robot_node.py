# SPDX-License-Identifier: Apache-2.0
"""The simulated robot as a driver: cameras and joint states out, commands in, and a verdict on the task."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from geometry_msgs.msg import Point, Pose, PoseArray, Quaternion
from numpy.typing import NDArray
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState

from swiftvla_ros.msg import PolicyState, TaskVerdict
from swiftvla_ros.nodes.commands.inputs import Change, CommandInputs
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode, script_of
from swiftvla_ros.nodes.ros.messages import driver_state, header, rgb_message, to_time
from swiftvla_ros.nodes.ros.parameters import Allowed
from swiftvla_ros.sim.block_layout import BLOCK_HALF_M, SceneLayout

if TYPE_CHECKING:
    # MuJoCo, an extra, is imported at configure.
    from swiftvla_ros.sim.robots.real_time import Judgement, SimDriver

_NS = 1_000_000_000
_REPEAT_S = 5.0
_VERDICTS = {
    "PENDING": (TaskVerdict.PENDING, "not done yet"),
    "DONE": (TaskVerdict.DONE, "done"),
    "WRONG_BLOCK": (TaskVerdict.WRONG_OBJECT, "another block was lifted, shoved or touched"),
}


@dataclass
class SimRobotParts:
    """Its topics, and the simulation while the node is active.

    ``clock`` is None where others give the time, ``epoch_ns`` the ROS time at which the simulation began, ``told`` the
    instruction's id and text, ``failure`` why the physics thread ended.
    """

    make_driver: Callable[[], SimDriver]
    images: dict[str, Any]
    joints: Any
    blocks: Any
    verdicts: Any
    clock: Any
    driver: SimDriver | None = None
    epoch_ns: int = 0
    told: tuple[int, str] = (0, "")
    failure: Exception | None = None


class SimRobotNode(ManagedNode[SimRobotParts]):
    """Publishes what the contract's driver would.

    The executor's thread takes commands and hands them to the :class:`SimDriver`; its physics thread calls
    the methods of :class:`~swiftvla_ros.sim.robots.real_time.SimulationOutputs` here, which only publish,
    log, or set a field.
    """

    def __init__(self) -> None:
        super().__init__("sim_robot")
        self.describe("seed", 0, "scene to begin with", Allowed(least=0))
        self.describe("scene", "table", "which variant of the scene: a name of sim/tasks")
        self.describe("publish_clock", False, "publish /clock, and stamp with simulated time")

    def setup(self) -> SimRobotParts:
        """Open the topics of cameras, joints and commands."""
        from swiftvla_ros.sim.robots.real_time import SimDriver
        from swiftvla_ros.sim.tasks.registry import scene_for

        compressed = [camera.name for camera in self.contract.cameras if camera.transport != "raw"]
        if compressed:
            raise ValueError(
                f"{self.contract.path}: cameras {compressed}: the simulated robot publishes raw images only; "
                "write transport: raw"
            )
        if self.value("publish_clock") and self.value("use_sim_time"):
            raise ValueError("publish_clock and use_sim_time are both true; set one of them")
        self.fix("use_sim_time")
        self.subscribe(PolicyState, "policy_state", self._instruct, qos.LATCHED)
        self.button("~/reset", self._reset)
        self.timer(0.2, self._check)
        scene, seed = scene_for((), str(self.value("scene"))), int(self.value("seed"))
        inputs = CommandInputs(self, self._take, lambda: self.parts.epoch_ns)
        return SimRobotParts(
            lambda: SimDriver(self.contract, seed, self, inputs.joints, scene),
            images={c.name: self.publisher(Image, c.topic, qos.IMAGE) for c in self.contract.cameras},
            joints=self.publisher(JointState, self.contract.joint_states.topic, qos.STATE),
            blocks=self.publisher(PoseArray, "~/blocks", qos.STATE),
            verdicts=self.publisher(TaskVerdict, "task_verdict", qos.LATCHED),
            clock=self.publisher(Clock, "/clock", qos.CLOCK) if self.value("publish_clock") else None,
        )

    def start(self) -> None:
        """Build the scene and let time run."""
        self.parts.told = (0, "")
        self.parts.driver = self.parts.make_driver()
        self.parts.driver.start()

    def stop(self) -> None:
        """Stop time."""
        if self._parts is not None and self._parts.driver is not None:
            self._parts.driver.end()
            self._parts.driver = None

    def began(self) -> None:
        """Tie simulated time to the clock that stamps are on."""
        # With /clock, time begins at one second: a zero stamp means "not stamped".
        self.parts.epoch_ns = _NS if self.parts.clock is not None else self.now_ns()

    def clock(self, sim_ns: int) -> None:
        """Publish /clock."""
        if self.parts.clock is not None:
            self.parts.clock.publish(Clock(clock=to_time(self.parts.epoch_ns + sim_ns)))

    def joint_state(self, sim_ns: int, position: NDArray[np.float64], velocity: NDArray[np.float64]) -> None:
        """Publish measured joints in driver units."""
        self.parts.joints.publish(driver_state(self.contract, self.parts.epoch_ns + sim_ns, position, velocity))

    def image(self, sim_ns: int, camera: str, rgb: NDArray[np.uint8]) -> None:
        """Publish an image, stamped with the moment that it shows."""
        self.parts.images[camera].publish(rgb_message(rgb, self.parts.epoch_ns + sim_ns, f"{camera}_optical_frame"))

    def blocks(self, sim_ns: int, layout: SceneLayout) -> None:
        """Publish where blocks and then fixtures lie, for demonstrators and for those who judge; no policy reads it."""
        fixtures = np.zeros((0, 3)) if layout.fixtures is None else layout.fixtures
        places = [(*xy, BLOCK_HALF_M, yaw) for xy, yaw in zip(layout.xy, layout.yaw, strict=True)]
        places += [(x, y, 0.0, yaw) for x, y, yaw in fixtures]
        poses = [
            Pose(
                position=Point(x=float(x), y=float(y), z=z),
                orientation=Quaternion(z=math.sin(yaw / 2), w=math.cos(yaw / 2)),
            )
            for x, y, z, yaw in places
        ]
        self.parts.blocks.publish(
            PoseArray(header=header(self.parts.epoch_ns + sim_ns, self.contract.base_frame), poses=poses)
        )

    def judgement(self, sim_ns: int, judgement: Judgement) -> None:
        """Publish where the task stands."""
        if judgement.result is not None:
            verdict, text = _VERDICTS[judgement.result.name]
        elif judgement.instruction:
            verdict, text = TaskVerdict.FAILED, f"the simulator knows no task '{judgement.instruction}'"
        else:
            verdict, text = TaskVerdict.PENDING, "no instruction"
        self.parts.verdicts.publish(
            TaskVerdict(
                header=header(self.parts.epoch_ns + sim_ns),
                instruction=judgement.instruction,
                instruction_id=judgement.instruction_id,
                verdict=verdict,
                text=text,
            )
        )

    def lagging(self, lag_s: float) -> None:
        """Say that this machine is too slow, and keep stamps near the present."""
        if self.parts.clock is None:
            self.parts.epoch_ns += round(lag_s * _NS)
        self.get_logger().warning(
            f"the simulation is {lag_s:.2f} s behind real time and goes on from here", throttle_duration_sec=_REPEAT_S
        )

    def failed(self, error: Exception) -> None:
        """Remember why the physics thread ended."""
        self.parts.failure = error

    def _check(self) -> None:
        if self.parts.failure is not None:
            raise RuntimeError("the simulation failed") from self.parts.failure

    def _take(self, part: int, change: Change) -> None:
        if self.parts.driver is not None:
            self.parts.driver.command(part, change)

    def _instruct(self, message: PolicyState) -> None:
        parts, told = self.parts, (message.instruction_id, message.instruction)
        if told != parts.told and parts.driver is not None:
            parts.told = told
            parts.driver.instruct(message.instruction, message.instruction_id)

    def _reset(self) -> tuple[bool, str]:
        driver = self.parts.driver
        return (False, "the simulated robot is not active") if driver is None else (True, f"scene {driver.reset()}")


main = script_of(SimRobotNode)

if __name__ == "__main__":
    main()
