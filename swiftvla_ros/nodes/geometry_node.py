# SPDX-License-Identifier: Apache-2.0
"""The 4D geometry transformer beside the policy: the same observations in, features and teacher targets out."""

from __future__ import annotations

import array
import math
import os
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image, PointCloud2

from swiftvla_ros.episodes.teacher.backoff import PolicyWatch, be_nice
from swiftvla_ros.episodes.teacher.live_episodes import LiveEpisode, LiveEpisodes
from swiftvla_ros.episodes.teacher.live_thread import GeometryThread, LookedAt
from swiftvla_ros.episodes.teacher.stream import GeometryStream, geometry_sha256
from swiftvla_ros.episodes.teacher.targets import TargetsConfig
from swiftvla_ros.episodes.teacher.writer import TargetsWriter
from swiftvla_ros.msg import ActionChunk, GeometryFeatures, PolicyState
from swiftvla_ros.nodes.parts.observation_topics import subscribe_to_images, subscribe_to_state
from swiftvla_ros.nodes.parts.point_clouds import Cloud, cloud_message, depth_message, merge_clouds
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.diagnostics import Health, Level, publish_diagnostics
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode, script_of
from swiftvla_ros.nodes.ros.messages import header, to_time
from swiftvla_ros.nodes.ros.parameters import Allowed
from swiftvla_ros.nodes.ros.tf_frames import CameraFrames
from swiftvla_ros.observation.message_fields import read_chunk, read_policy_state


@dataclass
class GeometryParts:
    """The transformer, what becomes of its features, and its thread while the node is active.

    ``shown_steps`` is the window length of the published features, ``frame_ids`` the frame of each camera's newest
    picture; without ``points`` there is no cloud, and ``depth`` has no publishers unless depth images are wanted.
    """

    stream: GeometryStream
    sha256: str
    shown_steps: int
    writer: TargetsWriter | None
    features: Any
    depth: dict[str, Any]
    points: Any
    frames: CameraFrames | None
    frame_ids: dict[str, str] = field(default_factory=dict)
    thread: GeometryThread | None = None


class GeometryNode(ManagedNode[GeometryParts]):
    """Looks at every policy step of an episode, when the policy leaves time for it.

    The executor's thread runs all callbacks and hands messages to the :class:`GeometryThread`; that thread computes,
    writes targets and calls :meth:`_publish`.
    """

    def __init__(self) -> None:
        super().__init__("geometry")
        self.describe("geometry", "", "folder of the geometry transformer's checkpoint")
        self.describe("device", "cpu", "cpu or cuda")
        self.describe("front", "front", "the fixed camera whose features are published")
        self.describe(
            "cache_steps", 4, "K: how many steps, the newest included, the published features look at", Allowed(least=1)
        )
        self.describe("targets", "", "folder for teacher targets of whole episodes; empty: none are written")
        self.describe("target_cache_steps", [3, 4, 5, 6], "window lengths K of the teacher targets", Allowed(least=1))
        self.describe("bag", "", "name of the bag that is recorded meanwhile: its episodes' targets are called so")
        self.describe("depth", False, "publish depth images, geometry/depth/<camera>")
        self.describe("points", False, "publish the cameras' points as one cloud, geometry/points")
        self.describe("back_off", True, "stand still while the policy computes; false: only at a low priority")
        self.describe(
            "backlog_s",
            60.0,
            "steps of so many seconds may wait for the policy; beyond it they are skipped",
            Allowed(above=0),
        )

    def setup(self) -> GeometryParts:
        """Load the checkpoint, warm it up and open the topics."""
        folder, targets = Path(str(self.value("geometry"))), str(self.value("targets"))
        if not str(self.value("geometry")):
            raise ValueError("parameter geometry is empty; write the folder of a geometry checkpoint")
        shown_steps = int(self.value("cache_steps"))
        wanted = [int(k) for k in self.value("target_cache_steps")]
        depth, points = bool(self.value("depth")), bool(self.value("points"))
        stream = GeometryStream(
            folder,
            self.contract,
            front=str(self.value("front")),
            cache_steps=list(dict.fromkeys([*(wanted if targets else ()), shown_steps])),
            device=str(self.value("device")),
            maps=depth or points,
            between_blocks=self._between_blocks,
        )
        sha256, views = geometry_sha256(folder), stream.views
        config = TargetsConfig(sha256, tuple(wanted), views, stream.tokens, stream.dim, "float32")
        writer = TargetsWriter(Path(targets), config) if targets else None
        # Two looks at nothing, so that the first real step is as fast as the others.
        sizes = {camera: self.contract.camera(camera).size for camera in views}
        for _ in range(2):
            stream.look({camera: np.zeros((height, width, 3), np.uint8) for camera, (width, height) in sizes.items()})
        subscribe_to_images(self, views, self._take_image, qos.EVERY_IMAGE)
        subscribe_to_state(self, self._take_state)
        self.subscribe(PolicyState, "policy_state", self._take_policy_state, qos.EVERY_POLICY_STATE)
        self.subscribe(ActionChunk, "action_chunk", self._take_chunk, qos.STATE_INPUT)
        publish_diagnostics(self, self._health)
        self.get_logger().info(f"geometry transformer {sha256[:12]} of {folder} is ready")
        return GeometryParts(
            stream,
            sha256,
            shown_steps,
            writer,
            features=self.publisher(GeometryFeatures, "geometry_features", qos.STATE),
            depth={c: self.publisher(Image, f"geometry/depth/{c}", qos.IMAGE) for c in (views if depth else ())},
            points=self.publisher(PointCloud2, "geometry/points", qos.IMAGE) if points else None,
            frames=CameraFrames(self) if points else None,
            frame_ids=dict.fromkeys(views, ""),
        )

    def start(self) -> None:
        """Look at the next episode."""
        # DDS's own threads run already, at the usual priority: no message is lost while this one waits.
        be_nice()
        parts = self.parts
        parts.thread = GeometryThread(
            parts.stream,
            episodes=LiveEpisodes(self.contract),
            watch=PolicyWatch(parts.stream.views, str(self.value("device")), back_off=bool(self.value("back_off"))),
            most_waiting=math.ceil(float(self.value("backlog_s")) / self.contract.policy.step_s),
            writer=parts.writer,
            episode_name=self._episode_name,
            now_ns=self.now_ns,
            publish=self._publish,
            report=lambda text: self.get_logger().info(text),
        )

    def stop(self) -> None:
        """Do what still waits, for two seconds at most, and end the thread."""
        if self._parts is not None and self._parts.thread is not None:
            self._parts.thread.end()
            self._parts.thread = None

    def _between_blocks(self) -> None:
        if self._parts is not None and self._parts.thread is not None:
            self._parts.thread.between_blocks()

    def _episode_name(self, episode: LiveEpisode) -> str:
        bag = str(self.value("bag"))
        return f"{bag}_{episode.name}" if bag else f"live_{episode.begin_ns}_{episode.name}"

    def _take_image(self, camera: str, stamp: int, image: NDArray[np.uint8], frame_id: str) -> None:
        if (thread := self._listening()) is not None:
            self.parts.frame_ids[camera] = frame_id
            with thread.feeding():
                thread.watch.see_image(camera, stamp, time.monotonic())
                thread.episodes.add_image(camera, stamp, image)

    def _take_state(self, stamp: int, positions: NDArray[np.float64]) -> None:
        if (thread := self._listening()) is not None:
            with thread.feeding():
                thread.episodes.add_state(stamp, positions)

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
            thread.watch.see_chunk(chunk.stamp_ns, chunk.inference_s, time.monotonic())

    def _listening(self) -> GeometryThread | None:
        thread = self.parts.thread
        if thread is not None and self.clock_jumped_back(self.now_ns()):
            thread.clear()
        return thread

    def _health(self) -> Health:
        thread, frames = self.parts.thread, self.parts.frames
        if thread is None:
            return Health(Level.OK, "not active")
        status = thread.status()
        values = {
            "steps computed": status.steps,
            "steps skipped": status.skipped,
            "steps without an observation": status.gaps,
            "steps waiting": status.waiting,
            "time given to the policy, s": f"{status.paused_s:.2f}",
            "late inferences of the policy": status.late,
            "episodes written": status.episodes,
            "last step, s": f"{status.step_s:.3f}",
            "camera poses from": "nowhere needed" if frames is None else frames.source,
        }
        if status.error:
            return Health(Level.ERROR, status.error, values)
        if status.skipped:
            return Health(Level.WARN, f"{status.skipped} steps were skipped: the policy leaves too little time", values)
        return Health(Level.OK, f"{status.steps} steps looked at", values)

    def _publish(self, looked: LookedAt) -> None:
        """Called by the geometry thread."""
        parts = self.parts
        observation, seen, views, frame_ids = looked.observation, looked.seen, parts.stream.views, parts.frame_ids
        features = seen.features[0, parts.stream.cache_steps.index(parts.shown_steps)]
        parts.features.publish(
            GeometryFeatures(
                header=header(observation.stamp_ns, frame_ids[views[-1]]),
                checkpoint_sha256=parts.sha256,
                camera_names=list(views),
                camera_stamps=[to_time(observation.image_stamps_ns[camera]) for camera in views],
                cache_steps=parts.shown_steps,
                step=looked.number,
                tokens=features.shape[0],
                dim=features.shape[1],
                features=array.array("f", np.ascontiguousarray(features, np.float32).tobytes()),
            )
        )
        if seen.depth is None or seen.pose is None:
            return
        for view, camera in enumerate(views):
            if camera in parts.depth:
                ns = observation.image_stamps_ns[camera]
                parts.depth[camera].publish(depth_message(seen.depth[0, view], ns, frame_ids[camera]))
        if parts.points is not None and parts.frames is not None:
            clouds = [
                Cloud(seen.depth[0, view], seen.pose[0, view], observation.images[camera], frame_ids[camera])
                for view, camera in enumerate(views)
            ]
            points, colors = merge_clouds(clouds, partial(parts.frames.between, at_ns=observation.stamp_ns))
            parts.points.publish(cloud_message(points, colors, observation.stamp_ns, frame_ids[views[-1]]))


_run = script_of(GeometryNode)


def main(args: list[str] | None = None) -> None:
    """Run the node until SIGINT or SIGTERM."""
    # Before torch is imported: more threads would take the policy's cores.
    os.environ["OMP_NUM_THREADS"] = "1"
    _run(args)


if __name__ == "__main__":
    main()
