# SPDX-License-Identifier: Apache-2.0
"""What geometry_node is made of, without a graph: when it backs off, what it skips, where it puts points."""

import math
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install '.[ros]' or source a ROS setup")

from geometry_msgs.msg import TransformStamped

from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.teacher.backoff import PolicyWatch
from swiftvla_ros.episodes.teacher.live_episodes import LiveEpisodes, Step
from swiftvla_ros.episodes.teacher.live_thread import GeometryThread
from swiftvla_ros.episodes.teacher.targets import TargetsConfig, TeacherTargets
from swiftvla_ros.episodes.teacher.writer import TargetsWriter
from swiftvla_ros.nodes.parts.point_clouds import Cloud, cloud_message, merge_clouds, unproject
from swiftvla_ros.nodes.ros.messages import to_time
from swiftvla_ros.nodes.ros.tf_frames import FrameBuffer, rotation_matrix

MS = 1_000_000
S = 1000 * MS


def seen(watch: PolicyWatch, stamp_ms: int) -> None:
    """Both cameras show something; stamps and clock are the same."""
    for camera in ("front", "wrist"):
        watch.see_image(camera, stamp_ms * MS, stamp_ms / 1e3)


def make_watch(device: str = "cpu", policy_device: str = "cpu") -> PolicyWatch:
    """Watch a policy that takes every second frame of 15 Hz and answers after 50 ms."""
    watch = PolicyWatch(("front", "wrist"), device)
    watch.see_state(following=True, device=policy_device)
    for k in range(10):
        stamp = 1000 + 133 * k
        seen(watch, stamp)
        watch.see_chunk(stamp * MS, 0.050, (stamp + 50) / 1e3)
        seen(watch, stamp + 67)
    return watch


def test_it_stands_still_while_the_policy_computes() -> None:
    """Protects the policy's latency: from its next observation until its chunk nothing else computes."""
    watch = make_watch()
    assert watch.may_compute(2.27), "the frame between two observations is not the policy's"
    seen(watch, 2330)
    assert not watch.may_compute(2.331)
    assert not watch.may_compute(2.379)
    watch.see_chunk(2330 * MS, 0.050, 2.380)
    assert watch.may_compute(2.381)


def test_a_silent_policy_holds_nobody_up() -> None:
    """Protects the features against a policy that dropped its observation, or died."""
    watch = make_watch()
    seen(watch, 2330)
    assert not watch.may_compute(2.5)
    assert watch.may_compute(2.7)
    watch = make_watch()
    seen(watch, 2330)
    watch.see_state(following=False, device="cpu")
    assert watch.may_compute(2.331)


def test_a_late_policy_is_left_alone() -> None:
    """Protects the policy from a busy GPU or processor: after an inference that took too long the node rests."""
    watch = make_watch(device="cuda", policy_device="cpu")
    seen(watch, 2330)
    assert watch.may_compute(2.331), "on another device nobody has to wait"
    watch.see_chunk(2330 * MS, 0.110, 2.440)
    assert watch.late == 1
    assert not watch.may_compute(2.6)
    assert watch.may_compute(2.95)


class FakeStream:
    """Tells how the thread uses the transformer, and can be held up."""

    cache_steps = (2,)

    def __init__(self) -> None:
        self.go = threading.Event()
        self.calls: list[Any] = []

    def reset(self) -> None:
        self.calls.append("reset")

    def look(self, images: Any) -> Any:
        assert self.go.wait(10)
        self.calls.append(int(images["front"][0]))
        return SimpleNamespace(features=np.full((1, 1, 2, 3), images["front"][0], np.float32))


@pytest.mark.parametrize("most_waiting", [4, 100])
def test_skipped_steps_never_become_neighbours(
    contract: Contract, tmp_path: Path, wait_until: Callable[..., None], most_waiting: int
) -> None:
    """Protects the temporal cache and the targets: after skipped steps it begins anew, and nothing is stored."""
    stream, texts, now = FakeStream(), [], SimpleNamespace(ns=0)
    folder = tmp_path / "targets"
    thread = GeometryThread(
        stream,  # type: ignore[arg-type]
        episodes=LiveEpisodes(contract),
        watch=PolicyWatch(contract.camera_names, "cpu"),
        most_waiting=most_waiting,
        writer=TargetsWriter(folder, TargetsConfig("0" * 64, (2,), ("wrist", "front"), 2, 3, "float32")),
        episode_name=lambda episode: episode.name,
        now_ns=lambda: now.ns,
        publish=lambda _: None,
        report=texts.append,
    )

    def pass_time(until_ms: int) -> None:
        while now.ns < until_ms * MS:
            now.ns += 50 * MS
            with thread.feeding():
                for camera in contract.camera_names:
                    thread.episodes.add_image(camera, now.ns, np.array([now.ns // (100 * MS)], np.uint8))
                thread.episodes.add_state(now.ns, contract.rest)

    with thread.feeding():
        thread.episodes.see_instruction(0, 0)
    pass_time(1000)
    with thread.feeding():
        thread.episodes.see_instruction(1000 * MS, 1)
    pass_time(1200)
    wait_until(lambda: stream.calls == ["reset"], "the first step is being looked at")
    pass_time(1900)
    stream.go.set()
    wait_until(lambda: thread.status().waiting == 0, "all that waits is done")
    with thread.feeding():
        thread.episodes.see_instruction(2000 * MS, 0)
    pass_time(2300)
    wait_until(lambda: any("targets of episode_000000" in text for text in texts), "the episode ends")
    status = thread.status()
    thread.end()
    if most_waiting == 100:
        assert stream.calls == ["reset", *range(10, 21)]
        assert TeacherTargets.open(folder).read("episode_000000", np.array([1.0, 2.0]), 2)[:, 0, 0].tolist() == [10, 20]
        return
    assert status.skipped > 0
    resets = [i for i, call in enumerate(stream.calls) if call == "reset"]
    for run in np.split(np.array(stream.calls, object), resets[1:]):
        assert np.diff(run[1:].astype(int)).tolist() == [1] * (len(run) - 2)
    assert len(resets) > 1
    assert any("of its steps were skipped" in text for text in texts)
    assert not list(folder.glob("shard_*"))


def test_an_episode_that_was_joined_is_no_target(contract: Contract) -> None:
    """Protects against targets shifted in time: an instruction whose begin was not seen, or a jump, stores nothing."""
    episodes = LiveEpisodes(contract)
    episodes.see_instruction(5 * S, 7)
    for ns in range(4 * S, 6 * S, 50 * MS):
        for camera in contract.camera_names:
            episodes.add_image(camera, ns, np.zeros(1, np.uint8))
        episodes.add_state(ns, contract.rest)
    jobs = episodes.take(6 * S)
    assert jobs
    assert all(isinstance(job, Step) and not job.episode.whole for job in jobs)
    episodes.clear()
    assert [job.episode.number for job in episodes.take(6 * S)] == [0]
    episodes.see_instruction(1 * S, 7)
    episodes.see_instruction(2 * S, 8)
    assert [e.number for e, _ in episodes._open] == [0, 1]
    assert [e.whole for e, _ in episodes._open] == [False, True]


def test_a_node_that_was_started_again_names_no_episode(contract: Contract) -> None:
    """Protects targets' names: beside a policy that has been at work nobody knows the number of the next episode."""
    episodes = LiveEpisodes(contract)
    episodes.see_instruction(1 * S, 0, chunks=12)
    episodes.see_instruction(2 * S, 3, chunks=12)
    assert [e.whole for e, _ in episodes._open] == [False]


def stamped(parent: str, child: str, xyz: tuple[float, float, float], turn_z: float, at_ns: int = 0) -> Any:
    """Make a transform with a rotation about z."""
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    message.header.stamp = to_time(at_ns)
    move, turn = message.transform.translation, message.transform.rotation
    move.x, move.y, move.z = xyz
    turn.z, turn.w = math.sin(turn_z / 2), math.cos(turn_z / 2)
    return message


def test_frames_across_the_tree() -> None:
    """Protects where points go: up to the common ancestor and down again, moving frames at the image's own time."""
    buffer = FrameBuffer()
    buffer.add(stamped("base", "front", (1.0, 0.0, 0.0), math.pi / 2), static=True)
    for k in range(11):
        buffer.add(stamped("base", "hand", (0.0, 0.1 * k, 0.0), 0.0, 10 * S + k * 100 * MS), static=False)
    buffer.add(stamped("hand", "wrist", (0.0, 0.0, 0.5), 0.0), static=True)
    found = buffer.between("front", "wrist", 10 * S + 250 * MS)
    assert found is not None
    # The wrist camera is at (0, 0.25, 0.5) in base; front looks along base's y with its x.
    np.testing.assert_allclose(found[:3, 3], [0.25, 1.0, 0.5], atol=1e-12)
    assert buffer.between("front", "wrist", 12 * S) is None, "a second later nobody knows where the hand is"
    assert buffer.between("front", "elsewhere", 10 * S) is None
    np.testing.assert_allclose(buffer.between("front", "front", 0), np.eye(4))


def test_quaternions_are_x_y_z_w() -> None:
    """Protects the order of a quaternion, which tf_transformations and transforms3d have differently."""
    turned = rotation_matrix(np.array([0.0, 0.0, 1.0, 1.0])) @ [1.0, 0.0, 0.0]
    np.testing.assert_allclose(turned, [0.0, 1.0, 0.0], atol=1e-12)


def test_points_of_all_cameras_lie_in_one_frame() -> None:
    """Protects the cloud: predicted poses where tf knows nothing, tf's where it does, and colours at their points."""
    fov = [math.pi / 2, math.pi / 2]
    depth = np.full((4, 4), 2.0, np.float32)
    # Camera from world: the wrist camera is 1 m to the right of the front one, the same way up.
    front = np.array([0, 0, 0, 0, 0, 0, 1, *fov], np.float32)
    wrist = np.array([-1, 0, 0, 0, 0, 0, 1, *fov], np.float32)
    red, blue = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 3), np.uint8)
    red[..., 0], blue[..., 2] = 255, 255
    clouds = [Cloud(depth, wrist, red, "wrist"), Cloud(depth, front, blue, "front")]
    np.testing.assert_allclose(unproject(depth, front[7:])[0], [-1.5, -1.5, 2.0], atol=1e-6)
    points, colors = merge_clouds(clouds, lambda *_: None)
    np.testing.assert_allclose(points[:16] - points[16:], np.tile([1.0, 0, 0], (16, 1)), atol=1e-6)
    assert colors[0].tolist() == [255, 0, 0]
    assert colors[-1].tolist() == [0, 0, 255]
    move = np.eye(4)
    move[2, 3] = 3.0
    points, _ = merge_clouds(clouds, lambda target, source: move if (target, source) == ("front", "wrist") else None)
    np.testing.assert_allclose(points[:16] - points[16:], np.tile([0, 0, 3.0], (16, 1)), atol=1e-6)
    message = cloud_message(points, colors, S, "front")
    row = np.frombuffer(message.data, np.uint8)[:16]
    np.testing.assert_allclose(row[:12].view("<f4"), points[0])
    assert row[12:15].tolist() == [0, 0, 255], "blue, green, red"
