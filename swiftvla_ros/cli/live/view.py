# SPDX-License-Identifier: Apache-2.0
"""The running system in the viewer, as it goes."""

from __future__ import annotations

import signal
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.cli.live.graph import GraphError, LiveGraph
from swiftvla_ros.cli.output import console
from swiftvla_ros.contract import Contract
from swiftvla_ros.observation.image_decoding import rgb_of
from swiftvla_ros.observation.message_fields import ChunkMessage, stamp_ns
from swiftvla_ros.policy import InstructionError, Observation
from swiftvla_ros.viewing.predicted_paths import PathPredictor
from swiftvla_ros.viewing.rerun.run_log import RunLog
from swiftvla_ros.viewing.run_frames import chunk_uv, front_camera
from swiftvla_ros.viewing.run_summary import RUN_TOPICS, Run, RunCollector

if TYPE_CHECKING:
    import rerun as rr

_DISCOVERY_TIMEOUT_S = 10.0
# The viewer gets what has come this often: smooth for people, and cheap.
_PERIOD_S = 0.2
# A chunk's images are older than the chunk; these many of each camera are kept for it.
_KEPT_IMAGES = 60
_KEPT_STATES = 400


def log_live(contract: Contract, stream: rr.RecordingStream, checkpoint: str | None, namespace: str) -> None:
    """Log the running system until Ctrl-C; GraphError where there is none, or it is another robot's.

    The Fusion Tokens of ``checkpoint`` are computed beside the policy, for the newest chunk only; None: nobody's.
    """
    from swiftvla_ros.resources import model_path

    predictor = None if checkpoint is None else PathPredictor(model_path(checkpoint), contract, threads=1)
    with LiveGraph(namespace=namespace) as graph:
        _await_system(graph)
        view = _LiveView(contract, stream, graph.now_ns, predictor)
        _subscribe(graph, contract, view)
        # A service manager's SIGTERM ends the recording as well as Ctrl-C does.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        console.print("showing the running system; Ctrl-C ends")
        try:
            while True:
                graph.spin(_PERIOD_S)
                view.show()
        except ValueError as error:
            raise GraphError(f"{error}; name the robot's contract with --robot") from error
        except KeyboardInterrupt:
            view.show()
        finally:
            view.end()


def _await_system(graph: LiveGraph) -> None:
    waited_s = 0.0
    while not graph.publishers("executor_state"):
        if waited_s >= _DISCOVERY_TIMEOUT_S:
            raise GraphError(
                "nothing publishes executor_state here; start the system with `swiftvla up`, or set ROS_DOMAIN_ID and "
                "--namespace as there"
            )
        graph.spin(_PERIOD_S)
        waited_s += _PERIOD_S
    if graph.publishers("/clock"):
        graph.use_sim_time()
        graph.spin(_PERIOD_S)


def _subscribe(graph: LiveGraph, contract: Contract, view: _LiveView) -> None:
    from sensor_msgs.msg import Image, JointState

    from swiftvla_ros.msg import ActionChunk, ExecutorState, PolicyState, TaskVerdict
    from swiftvla_ros.nodes.ros import qos

    kinds = {
        "executor_state": (ExecutorState, qos.EXECUTOR_STATE),
        "action_chunk": (ActionChunk, qos.CHUNK),
        "observation/state": (JointState, qos.STATE_INPUT),
        "policy_state": (PolicyState, qos.LATCHED),
        "task_verdict": (TaskVerdict, qos.LATCHED),
    }

    for topic in RUN_TOPICS:
        kind, profile = kinds[topic]
        graph.listen(kind, topic, partial(view.take, topic), profile)
    for camera in contract.camera_names:
        graph.listen(Image, f"observation/{camera}", partial(view.take_image, camera), qos.IMAGE)


class _LiveView:
    """Collects messages and logs them in small pieces."""

    def __init__(
        self, contract: Contract, stream: rr.RecordingStream, now_ns: Callable[[], int], predictor: PathPredictor | None
    ) -> None:
        self._contract, self._now_ns = contract, now_ns
        self._collector = RunCollector(contract)
        self._log = RunLog(stream, contract, now_ns(), "# The running system\n\nTime 0 is when this view was opened.")
        self._front = front_camera(contract, predictor)
        self._new_images: list[tuple[str, int, NDArray[np.uint8]]] = []
        self._images: dict[tuple[str, int], NDArray[np.uint8]] = {}
        self._states: dict[int, NDArray[np.float64]] = {}
        self._foresight = None if predictor is None else _Foresight(predictor)

    def take(self, topic: str, message: Any) -> None:
        """Take a message of a run's topic."""
        self._collector.take(topic, self._now_ns(), message)

    def take_image(self, camera: str, message: Any) -> None:
        """Take a conditioned image."""
        self._new_images.append((camera, stamp_ns(message.header.stamp), rgb_of(message)))

    def show(self) -> None:
        """Log what has come since the last call."""
        run = self._collector.flush()
        self._log.add(run)
        for camera, stamp, rgb in self._new_images:
            self._log.image(camera, stamp, rgb)
        size = self._contract.camera(self._front).size
        for chunk in run.chunks:
            uv = chunk_uv(self._contract, self._front, chunk)
            if uv is not None and len(uv):
                self._log.chunk_path(self._front, chunk.stamp_ns, uv, size)
        if self._foresight is not None:
            self._keep(run)
            if run.chunks:
                self._foresight.offer(partial(self._observation, run.chunks[-1]), run.chunks[-1].stamp_ns)
            for stamp, path in self._foresight.found():
                self._log.foreseen(self._front, stamp, path, size)
        self._new_images.clear()

    def end(self) -> None:
        """End the thread of the Fusion Tokens."""
        if self._foresight is not None:
            self._foresight.end()

    def _keep(self, run: Run) -> None:
        """Remember newest images and states, from which a chunk's observation is put together again."""
        self._images |= {(camera, stamp): rgb for camera, stamp, rgb in self._new_images}
        self._states |= dict(zip(run.measured.t_ns.tolist(), run.measured.position, strict=True))
        most = _KEPT_IMAGES * len(self._contract.camera_names)
        for kept, count in ((self._images, most), (self._states, _KEPT_STATES)):
            for key in list(kept)[: max(len(kept) - count, 0)]:
                del kept[key]  # type: ignore[arg-type]

    def _observation(self, chunk: ChunkMessage) -> Observation | None:
        images = {camera: self._images.get((camera, stamp)) for camera, stamp in chunk.image_stamps.items()}
        known = {camera: image for camera, image in images.items() if image is not None}
        state = self._states.get(chunk.state_stamp_ns)
        if state is None or len(known) < len(images):
            return None
        return Observation(known, state, chunk.instruction)


class _Foresight:
    """A thread that computes paths for the newest chunk only: it is late rather than in the policy's way."""

    def __init__(self, predictor: PathPredictor) -> None:
        self._predictor = predictor
        self._wanted: tuple[int, Observation] | None = None
        self._found: deque[tuple[int, NDArray[np.float32]]] = deque(maxlen=100)
        self._condition = threading.Condition()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="foresight", daemon=True)
        self._thread.start()

    def offer(self, observation: Callable[[], Observation | None], stamp_ns: int) -> None:
        """Ask for the path of an observation, if it is whole."""
        whole = observation()
        if whole is None:
            return
        with self._condition:
            self._wanted = (stamp_ns, whole)
            self._condition.notify()

    def found(self) -> list[tuple[int, NDArray[np.float32]]]:
        """Give what was computed since the last call: (stamp in ns, keypoints)."""
        with self._condition:
            found = list(self._found)
            self._found.clear()
        return found

    def end(self) -> None:
        """End the thread."""
        with self._condition:
            self._ending = True
            self._condition.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._ending or self._wanted is not None)
                if self._ending or self._wanted is None:
                    return
                stamp, observation = self._wanted
                self._wanted = None
            try:
                path = self._predictor.predict(observation)
            except (ValueError, InstructionError):
                continue  # an observation that the policy refuses has no path either
            with self._condition:
                self._found.append((stamp, path))
