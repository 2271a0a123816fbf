# SPDX-License-Identifier: Apache-2.0
"""The simulated robot as a driver: cameras and joint states out, commands in, and a verdict on the task."""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from swiftvla_ros.msg import PolicyState, TaskVerdict
from swiftvla_ros.nodes import qos
from swiftvla_ros.nodes.lifecycle import ManagedNode, run
from swiftvla_ros.nodes.messages import header, rgb_message, stamp_ns, to_time
from swiftvla_ros.nodes.sim_driver import Judgement, SimDriver
from swiftvla_ros.sim.tasks import Verdict

_NS = 1_000_000_000
_REPEAT_S = 5.0
_VERDICTS = {
    Verdict.PENDING: (TaskVerdict.PENDING, "not done yet"),
    Verdict.DONE: (TaskVerdict.DONE, "done"),
    Verdict.WRONG_BLOCK: (TaskVerdict.WRONG_OBJECT, "another block was lifted, shoved or touched"),
}


class SimRobotNode(ManagedNode):
    """Publishes what the contract's driver would.

    The executor's thread takes commands and hands them to the :class:`SimDriver`; its physics thread calls
    the methods of :class:`~swiftvla_ros.nodes.sim_driver.Outputs` here, which only publish, log, or set a field.
    """

    def __init__(self) -> None:
        super().__init__("sim_robot")
        self.describe("seed", 0, "scene to begin with")
        self.describe("publish_clock", False, "publish /clock, and stamp with simulated time")
        self._driver: SimDriver | None = None
        self._failure: Exception | None = None

    def setup(self) -> None:
        """Open the topics of cameras, joints and commands."""
        compressed = [camera.name for camera in self.contract.cameras if camera.transport != "raw"]
        if compressed:
            raise ValueError(
                f"{self.contract.path}: cameras {compressed}: the simulated robot publishes raw images only; "
                "write transport: raw"
            )
        if self.value("publish_clock") and self.value("use_sim_time"):
            raise ValueError("publish_clock and use_sim_time are both true; set one of them")
        self._seed = int(self.value("seed"))
        self._images = {c.name: self.publisher(Image, c.topic, qos.IMAGE) for c in self.contract.cameras}
        self._joints = self.publisher(JointState, self.contract.joint_states.topic, qos.STATE)
        self._verdicts = self.publisher(TaskVerdict, "task_verdict", qos.LATCHED)
        self._clock_output = self.publisher(Clock, "/clock", qos.CLOCK) if self.value("publish_clock") else None
        if self.contract.control.output == "forward_position":
            self.subscribe(Float64MultiArray, self.contract.control.topic, self._forward, qos.COMMAND)
        else:
            self.subscribe(JointTrajectory, self.contract.control.topic, self._follow, qos.COMMAND)
        self.subscribe(PolicyState, "policy_state", self._instruct, qos.LATCHED)
        self.service(Trigger, "~/reset", self._reset)
        self.timer(0.2, self._check)

    def start(self) -> None:
        """Build the scene and let time run."""
        self._instruction: tuple[int, str] = (0, "")
        self._driver = SimDriver(self.contract, self._seed, self)
        self._driver.start()

    def stop(self) -> None:
        """Stop time."""
        if self._driver is not None:
            self._driver.end()
            self._driver = None

    def began(self) -> None:
        """Tie simulated time to the clock that stamps are on."""
        # With /clock, time begins at one second: a zero stamp means "not stamped".
        self._epoch_ns = _NS if self._clock_output is not None else self.now_ns()

    def clock(self, sim_ns: int) -> None:
        """Publish /clock."""
        if self._clock_output is not None:
            self._clock_output.publish(Clock(clock=to_time(self._epoch_ns + sim_ns)))

    def joint_state(self, sim_ns: int, position: NDArray[np.float64], velocity: NDArray[np.float64]) -> None:
        """Publish measured joints in driver units."""
        self._joints.publish(
            JointState(
                header=header(self._epoch_ns + sim_ns, self.contract.base_frame),
                name=list(self.contract.joint_names),
                position=self.contract.from_si(position).tolist(),
                velocity=self.contract.velocity_from_si(velocity).tolist(),
            )
        )

    def image(self, sim_ns: int, camera: str, rgb: NDArray[np.uint8]) -> None:
        """Publish an image, stamped with the moment that it shows."""
        self._images[camera].publish(rgb_message(rgb, self._epoch_ns + sim_ns, f"{camera}_optical_frame"))

    def judgement(self, sim_ns: int, judgement: Judgement) -> None:
        """Publish where the task stands."""
        if judgement.verdict is not None:
            verdict, text = _VERDICTS[judgement.verdict]
        elif judgement.instruction:
            verdict, text = TaskVerdict.FAILED, f"the simulator knows no task '{judgement.instruction}'"
        else:
            verdict, text = TaskVerdict.PENDING, "no instruction"
        self._verdicts.publish(
            TaskVerdict(
                header=header(self._epoch_ns + sim_ns),
                instruction=judgement.instruction,
                instruction_id=judgement.instruction_id,
                verdict=verdict,
                text=text,
            )
        )

    def lagging(self, lag_s: float) -> None:
        """Say that this machine is too slow, and keep stamps near the present."""
        if self._clock_output is None:
            self._epoch_ns += round(lag_s * _NS)
        self.get_logger().warning(
            f"the simulation is {lag_s:.2f} s behind real time and goes on from here", throttle_duration_sec=_REPEAT_S
        )

    def failed(self, error: Exception) -> None:
        """Remember why the physics thread ended."""
        self._failure = error

    def _check(self) -> None:
        if self._failure is not None:
            raise RuntimeError("the simulation failed") from self._failure

    def _forward(self, message: Float64MultiArray) -> None:
        position = np.array(message.data)
        if position.shape != (len(self.contract.joints),) or not np.isfinite(position).all():
            self._refuse(f"{position.tolist()} is not {len(self.contract.joints)} finite positions")
        elif self._driver is not None:
            self._driver.forward(self.contract.to_si(position))

    def _follow(self, message: JointTrajectory) -> None:
        if sorted(message.joint_names) != sorted(self.contract.joint_names):
            self._refuse(f"joints {list(message.joint_names)}, expected {list(self.contract.joint_names)}")
            return
        order = [list(message.joint_names).index(name) for name in self.contract.joint_names]
        try:
            positions = np.array([point.positions for point in message.points])[:, order]
            given = all(len(point.velocities) == len(order) for point in message.points)
            velocities = np.array([point.velocities for point in message.points])[:, order] if given else None
        except (ValueError, IndexError):
            self._refuse("points are missing, or do not have one position a joint")
            return
        if not np.isfinite(positions).all() or (velocities is not None and not np.isfinite(velocities).all()):
            self._refuse("a point is not finite")
            return
        offsets_ns = [p.time_from_start.sec * _NS + p.time_from_start.nanosec for p in message.points]
        begins_ns = stamp_ns(message.header.stamp)
        if velocities is not None:
            velocities = velocities / self.contract.velocity_from_si(np.ones(len(order)))
        if self._driver is not None:
            start_ns = begins_ns - self._epoch_ns if begins_ns else None
            self._driver.follow(start_ns, offsets_ns, self.contract.to_si(positions), velocities)

    def _refuse(self, problem: str) -> None:
        self.get_logger().error(
            f"command on {self.contract.control.topic} refused: {problem}", throttle_duration_sec=_REPEAT_S
        )

    def _instruct(self, message: PolicyState) -> None:
        told = (message.instruction_id, message.instruction)
        if told != self._instruction and self._driver is not None:
            self._instruction = told
            self._driver.instruct(message.instruction, message.instruction_id)

    def _reset(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._driver is None:
            response.message = "the simulated robot is not active"
            return response
        response.success = True
        response.message = f"scene {self._driver.reset()}"
        return response


def main(args: list[str] | None = None) -> None:
    """Run the node until SIGINT or SIGTERM."""
    sys.exit(run(SimRobotNode, args))


if __name__ == "__main__":
    main()
