# SPDX-License-Identifier: Apache-2.0
"""The 4D geometry transformer beside the policy: the same observations in, features and teacher targets out."""

from __future__ import annotations

import array
import math
import os
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
from sensor_msgs.msg import Image, JointState, PointCloud2

from swiftvla_ros.episodes.teacher.backoff import PolicyWatch, be_nice
from swiftvla_ros.episodes.teacher.live_episodes import LiveEpisode, LiveEpisodes
from swiftvla_ros.episodes.teacher.live_thread import GeometryThread, LookedAt
from swiftvla_ros.episodes.teacher.stream import GeometryStream, geometry_sha256
from swiftvla_ros.episodes.teacher.targets import TargetsConfig
from swiftvla_ros.episodes.teacher.writer import TargetsWriter
from swiftvla_ros.msg import ActionChunk, GeometryFeatures, PolicyState
from swiftvla_ros.nodes.parts.point_clouds import Cloud, cloud_message, depth_message, merge_clouds
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.diagnostics import Health, Level, publish_diagnostics
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode, run
from swiftvla_ros.nodes.ros.messages import header, to_time
from swiftvla_ros.nodes.ros.tf_frames import CameraFrames
from swiftvla_ros.observation.image_decoding import ImageDecodingError, conditioned_image
from swiftvla_ros.observation.joint_state import JointStateError
from swiftvla_ros.observation.message_fields import measured_positions, read_chunk, read_policy_state, stamp_ns

_REPEAT_S = 5.0


class GeometryNode(ManagedNode):
    """Looks at every policy step of an episode, when the policy leaves time for it.

    The executor's thread runs all callbacks and hands messages to the :class:`GeometryThread`; that thread computes,
    writes targets and calls :meth:`_publish`.
    """

    def __init__(self) -> None:
        super().__init__("geometry")
        self.describe("geometry", "", "folder of the geometry transformer's checkpoint")
        self.describe("device", "cpu", "cpu or cuda")
        self.describe("front", "front", "the fixed camera whose features are published")
        self.describe("cache_steps", 4, "K: how many steps, the newest included, the published features look at")
        self.describe("targets", "", "folder for teacher targets of whole episodes; empty: none are written")
        self.describe("target_cache_steps", [3, 4, 5, 6], "window lengths K of the teacher targets")
        self.describe("bag", "", "name of the bag that is recorded meanwhile: its episodes' targets are called so")
        self.describe("depth", False, "publish depth images, geometry/depth/<camera>")
        self.describe("points", False, "publish the cameras' points as one cloud, geometry/points")
        self.describe("back_off", True, "stand still while the policy computes; false: only at a low priority")
        self.describe("backlog_s", 60.0, "steps of so many seconds may wait for the policy; beyond it they are skipped")
        self._thread: GeometryThread | None = None

    def setup(self) -> None:
        """Load the checkpoint, warm it up and open the topics."""
        folder = Path(str(self.value("geometry")))
        if not str(self.value("geometry")):
            raise ValueError("parameter geometry is empty; write the folder of a geometry checkpoint")
        self._most_waiting = self._positive("backlog_s") / self.contract.policy.step_s
        self._shown_steps = self._window("cache_steps", self.value("cache_steps"))
        wanted = [self._window("target_cache_steps", k) for k in self.value("target_cache_steps")]
        targets = str(self.value("targets"))
        windows = wanted if targets else [self._shown_steps]
        self._maps = bool(self.value("depth")) or bool(self.value("points"))
        self._device = str(self.value("device"))
        self._stream = GeometryStream(
            folder,
            self.contract,
            front=str(self.value("front")),
            cache_steps=windows if self._shown_steps in windows else [*windows, self._shown_steps],
            device=self._device,
            maps=self._maps,
            between_blocks=self._between_blocks,
        )
        self._sha256 = geometry_sha256(folder)
        self._writer: TargetsWriter | None = None
        if targets:
            config = TargetsConfig(
                self._sha256, tuple(wanted), self._stream.views, self._stream.tokens, self._stream.dim, "float32"
            )
            self._writer = TargetsWriter(Path(targets), config)
        self._warm_up()
        self._frame_ids = dict.fromkeys(self._stream.views, "")
        self._open_topics()
        self.get_logger().info(f"geometry transformer {self._sha256[:12]} of {folder} is ready")

    def _open_topics(self) -> None:
        self._features = self.publisher(GeometryFeatures, "geometry_features", qos.STATE)
        depth, points = bool(self.value("depth")), bool(self.value("points"))
        self._depth = {
            camera: self.publisher(Image, f"geometry/depth/{camera}", qos.IMAGE)
            for camera in (self._stream.views if depth else ())
        }
        self._points = self.publisher(PointCloud2, "geometry/points", qos.IMAGE) if points else None
        self._frames = CameraFrames(self) if points else None
        for camera in self._stream.views:
            self.subscribe(Image, f"observation/{camera}", partial(self._take_image, camera), qos.EVERY_IMAGE)
        self.subscribe(JointState, "observation/state", self._take_state, qos.STATE_INPUT)
        self.subscribe(PolicyState, "policy_state", self._take_policy_state, qos.EVERY_POLICY_STATE)
        self.subscribe(ActionChunk, "action_chunk", self._take_chunk, qos.STATE_INPUT)
        publish_diagnostics(self, self._health)

    def start(self) -> None:
        """Look at the next episode."""
        # DDS's own threads run already, at the usual priority: no message is lost while this one waits.
        be_nice()
        self._thread = GeometryThread(
            self._stream,
            episodes=LiveEpisodes(self.contract),
            watch=PolicyWatch(self._stream.views, self._device, back_off=bool(self.value("back_off"))),
            most_waiting=math.ceil(self._most_waiting),
            writer=self._writer,
            episode_name=self._episode_name,
            now_ns=self.now_ns,
            publish=self._publish,
            report=lambda text: self.get_logger().info(text),
        )

    def stop(self) -> None:
        """Do what still waits, for two seconds at most, and end the thread."""
        if self._thread is not None:
            self._thread.end()
            self._thread = None

    def _between_blocks(self) -> None:
        if self._thread is not None:
            self._thread.between_blocks()

    def _warm_up(self) -> None:
        """Look at nothing twice, so that the first real step is as fast as the others."""
        images = {}
        for camera in self._stream.views:
            width, height = self.contract.camera(camera).size
            images[camera] = np.zeros((height, width, 3), np.uint8)
        for _ in range(2):
            self._stream.look(images)

    def _positive(self, name: str) -> float:
        value = float(self.value(name))
        if not value > 0:
            raise ValueError(f"parameter {name} is {value}; write a number above 0")
        return value

    def _window(self, name: str, value: int) -> int:
        if int(value) < 1:
            raise ValueError(f"parameter {name} holds {value}; a step sees itself at least, so write 1 or more")
        return int(value)

    def _episode_name(self, episode: LiveEpisode) -> str:
        bag = str(self.value("bag"))
        return f"{bag}_{episode.name}" if bag else f"live_{episode.begin_ns}_{episode.name}"

    def _take_image(self, camera: str, message: Image) -> None:
        thread = self._listening()
        if thread is None:
            return
        try:
            image = conditioned_image(message, self.contract.camera(camera).size)
        except ImageDecodingError as error:
            self._refuse(f"observation/{camera}: {error}")
            return
        self._frame_ids[camera] = message.header.frame_id
        ns = stamp_ns(message.header.stamp)
        with thread.feeding():
            thread.watch.see_image(camera, ns, time.monotonic())
            thread.episodes.add_image(camera, ns, image)

    def _take_state(self, message: JointState) -> None:
        thread = self._listening()
        if thread is None:
            return
        try:
            positions = measured_positions(message, self.contract.joint_names)
        except JointStateError as error:
            self._refuse(str(error))
            return
        with thread.feeding():
            thread.episodes.add_state(stamp_ns(message.header.stamp), positions)

    def _take_policy_state(self, message: PolicyState) -> None:
        thread = self._listening()
        if thread is None:
            return
        report = read_policy_state(message)
        with thread.feeding():
            thread.watch.see_state(bool(report.instruction_id), report.device)
            thread.episodes.see_instruction(report.stamp_ns, report.instruction_id, report.chunks)

    def _take_chunk(self, message: ActionChunk) -> None:
        thread = self._listening()
        if thread is None:
            return
        chunk = read_chunk(message)
        with thread.feeding():
            thread.watch.see_chunk(chunk.stamp_ns, (chunk.end_ns - chunk.start_ns) / 1e9, time.monotonic())

    def _listening(self) -> GeometryThread | None:
        if self._thread is not None and self.clock_jumped_back(self.now_ns()):
            self._thread.clear()
        return self._thread

    def _refuse(self, problem: str) -> None:
        self.get_logger().error(f"message refused: {problem}", throttle_duration_sec=_REPEAT_S)

    def _health(self) -> Health:
        if self._thread is None:
            return Health(Level.OK, "not active")
        status = self._thread.status()
        values = {
            "steps computed": status.steps,
            "steps skipped": status.skipped,
            "steps without an observation": status.gaps,
            "steps waiting": status.waiting,
            "time given to the policy, s": f"{status.paused_s:.2f}",
            "late inferences of the policy": status.late,
            "episodes written": status.episodes,
            "last step, s": f"{status.step_s:.3f}",
            "camera poses from": "nowhere needed" if self._frames is None else self._frames.source,
        }
        if status.error:
            return Health(Level.ERROR, status.error, values)
        if status.skipped:
            return Health(Level.WARN, f"{status.skipped} steps were skipped: the policy leaves too little time", values)
        return Health(Level.OK, f"{status.steps} steps looked at", values)

    def _publish(self, looked: LookedAt) -> None:
        """Called by the geometry thread."""
        observation, seen, views = looked.observation, looked.seen, self._stream.views
        features = seen.features[0, self._stream.cache_steps.index(self._shown_steps)]
        self._features.publish(
            GeometryFeatures(
                header=header(observation.stamp_ns, self._frame_ids[views[-1]]),
                checkpoint_sha256=self._sha256,
                camera_names=list(views),
                camera_stamps=[to_time(observation.image_stamps_ns[camera]) for camera in views],
                cache_steps=self._shown_steps,
                step=looked.number,
                tokens=features.shape[0],
                dim=features.shape[1],
                features=array.array("f", np.ascontiguousarray(features, np.float32).tobytes()),
            )
        )
        if seen.depth is None or seen.pose is None:
            return
        for view, camera in enumerate(views):
            if camera in self._depth:
                ns = observation.image_stamps_ns[camera]
                self._depth[camera].publish(depth_message(seen.depth[0, view], ns, self._frame_ids[camera]))
        if self._points is not None and self._frames is not None:
            clouds = [
                Cloud(seen.depth[0, view], seen.pose[0, view], observation.images[camera], self._frame_ids[camera])
                for view, camera in enumerate(views)
            ]
            points, colors = merge_clouds(clouds, partial(self._frames.between, at_ns=observation.stamp_ns))
            self._points.publish(cloud_message(points, colors, observation.stamp_ns, self._frame_ids[views[-1]]))


def main(args: list[str] | None = None) -> None:
    """Run the node until SIGINT or SIGTERM."""
    # Before torch is imported: more threads would take the policy's cores.
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.exit(run(GeometryNode, args))


if __name__ == "__main__":
    main()
