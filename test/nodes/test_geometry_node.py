# SPDX-License-Identifier: Apache-2.0
"""The 4D transformer beside the policy, as a real node: live it says what it says offline over the bag."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed: pip install '.[train]'")

from sensor_msgs.msg import Image, JointState, PointCloud2

from swiftvla_ros.contract import Contract, load_contract
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.teacher.stream import GeometryStream
from swiftvla_ros.episodes.teacher.targets import TeacherTargets
from swiftvla_ros.msg import GeometryFeatures, PolicyState
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.messages import header, rgb_message
from swiftvla_ros.observation.message_fields import stamp_ns
from swiftvla_ros.observation.step_grid import StepGrid

SECONDS = 1.0


class FakePolicyAndCameras:
    """Conditioned images at 15 Hz, joint states at 50 Hz, and a policy that only says what it follows."""

    def __init__(self, graph: Any, contract: Contract) -> None:
        self._node = graph.node
        self._contract = contract
        self._rng = np.random.default_rng(0)
        self._images = {
            c: graph.node.create_publisher(Image, f"observation/{c}", qos.IMAGE) for c in contract.camera_names
        }
        self._state = graph.node.create_publisher(JointState, "observation/state", qos.STATE)
        self._policy = graph.node.create_publisher(PolicyState, "policy_state", qos.LATCHED)
        self._timers = [graph.node.create_timer(1 / 15, self._see), graph.node.create_timer(1 / 50, self._feel)]
        self.frames = 0
        self.say()

    def say(self, instruction_id: int = 0) -> None:
        """Publish which instruction is followed."""
        text = "pick up the red block" if instruction_id else ""
        now_ns = self._node.get_clock().now().nanoseconds
        self._policy.publish(
            PolicyState(header=header(now_ns), instruction=text, instruction_id=instruction_id, device="cpu")
        )

    def _see(self) -> None:
        self.frames += 1
        for camera, publisher in self._images.items():
            image = self._rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)
            now_ns = self._node.get_clock().now().nanoseconds
            publisher.publish(rgb_message(image, now_ns, f"{camera}_optical_frame"))

    def _feel(self) -> None:
        names, rest = list(self._contract.joint_names), self._contract.rest.tolist()
        now_ns = self._node.get_clock().now().nanoseconds
        self._state.publish(JointState(header=header(now_ns), name=names, position=rest))


def test_live_and_offline_give_the_same(
    graph: Any, repository: Path, tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    """Protects training on live targets: features, stamps and shards are those of the bag, fp32 within 1e-5."""
    import torch

    torch.set_num_threads(1)
    contract = load_contract("so101_sim")
    geometry, targets, bag = repository / "models" / "geometry-nano", tmp_path / "targets", tmp_path / "run"
    world = FakePolicyAndCameras(graph, contract)
    features = graph.listen(GeometryFeatures, "geometry_features", qos.STATE)
    depth = graph.listen(Image, "geometry/depth/wrist", qos.IMAGE)
    points = graph.listen(PointCloud2, "geometry/points", qos.IMAGE)
    recorder = graph.start("recorder_node", robot="so101_sim", bag=str(bag))
    node = graph.start(
        "geometry_node",
        robot="so101_sim",
        geometry=str(geometry),
        targets=str(targets),
        target_cache_steps=[3, 4],
        bag="run",
        depth=True,
        points=True,
    )
    wait_until(lambda: "computes at priority" in node.output() and bag.is_dir(), "both nodes are active", 60)
    wait_until(lambda: graph.node.count_subscribers("observation/front") >= 2, "both listen to the camera", 30)
    for instruction_id, seconds in ((0, 1.0), (1, SECONDS), (2, SECONDS), (0, 0.0)):
        world.say(instruction_id)
        until = world.frames + round(15 * seconds)
        wait_until(lambda until=until: world.frames >= until, "the cameras have shown enough", 60)
    wait_until(lambda: "targets of run_episode_000001" in node.output(), "the targets of both episodes", 120)
    assert node.end() == 0, node.output()
    assert recorder.end() == 0, recorder.output()

    published = {(stamp_ns(message.header.stamp), message.step): message for message in features.messages}
    stored = TeacherTargets.open(targets)
    assert stored.config.views == ("wrist", "front")
    assert stored.episode_names == ("run_episode_000000", "run_episode_000001")
    stream = GeometryStream(geometry, contract, cache_steps=4)
    recorded = Bag(bag)
    episodes = recorded.episodes()
    assert len(episodes) == 2
    for episode in episodes:
        stream.reset()
        compare(recorded, episode, contract, stream, published, stored)
    assert depth.last.encoding == "32FC1"
    assert depth.last.header.frame_id == "wrist_optical_frame"
    meters = np.frombuffer(depth.last.data, np.float32)
    assert meters.shape == (96 * 96,)
    assert (meters > 0).all()
    assert points.last.width == 2 * 96 * 96
    assert points.last.header.frame_id == "front_optical_frame"


def compare(
    bag: Bag,
    episode: Any,
    contract: Contract,
    stream: GeometryStream,
    published: dict[tuple[int, int], Any],
    stored: TeacherTargets,
) -> None:
    """Look at one episode of the bag and hold it against what the node published and wrote."""
    grid = StepGrid(contract, episode.begin_ns)
    for topic, _, message in bag.merged([*(f"observation/{c}" for c in contract.camera_names), "observation/state"]):
        ns = stamp_ns(message.header.stamp)
        if topic == "observation/state":
            grid.add_state(ns, np.array(message.position))
        else:
            image = np.asarray(message.data, np.uint8).reshape(96, 96, 3)
            grid.add_image(topic.removeprefix("observation/"), ns, image)
    steps = list(grid.finish(episode.end_ns))
    assert len(steps) >= round(SECONDS / 0.1)
    for step in steps:
        assert step.observation is not None, step.reason
        offline = stream.observe(step.observation.images)
        message = published[step.observation.stamp_ns, step.index + 1]
        assert [stamp_ns(s) for s in message.camera_stamps] == [
            step.observation.image_stamps_ns[camera] for camera in ("wrist", "front")
        ]
        live = np.array(message.features, np.float32).reshape(offline.shape)
        np.testing.assert_allclose(live, offline, rtol=0, atol=1e-5)
        row = stored.read(f"run_{episode.name}", np.array([step.time_ns / 1e9]), 4)[0]
        np.testing.assert_allclose(row, offline, rtol=0, atol=1e-5 + np.abs(offline).max() * 2**-11)
