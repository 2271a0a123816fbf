# SPDX-License-Identifier: Apache-2.0
"""Where frames are with respect to each other, from ``/tf`` and ``/tf_static``: the one module that knows tf.

It needs ``tf2_msgs`` (every ROS machine; PyPI has no wheel of it) and not ``tf2_ros``: a buffer for a handful of
cameras is sixty lines, and tf2_ros's listener in Python takes every message of ``/tf`` in a thread of its own.
Quaternions are turned by ``tf_transformations`` where that is installed, else by ``transforms3d``.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from swiftvla_ros.nodes.ros.lifecycle import ManagedNode
from swiftvla_ros.observation.message_fields import stamp_ns

_NS = 1_000_000_000
# Transforms of a moving frame are remembered for so long.
_HISTORY_NS = 10 * _NS
# A moving frame is taken to be where it was last seen for no longer than this.
_TOLERANCE_NS = _NS // 10

Matrix = Float64[np.ndarray, "4 4"]


def rotation_matrix(quaternion_xyzw: NDArray[np.float64]) -> Float64[np.ndarray, "3 3"]:
    """Rotation of a quaternion x y z w, which need not be normalised."""
    return _rotation(np.asarray(quaternion_xyzw, np.float64) / np.linalg.norm(quaternion_xyzw))


@dataclass
class _Frame:
    """A child's place in its parent over time."""

    parent: str
    static: bool
    stamps_ns: list[int] = field(default_factory=list)
    # Translation (3) and quaternion x y z w (4).
    poses: list[NDArray[np.float64]] = field(default_factory=list)

    def add(self, ns: int, pose: NDArray[np.float64]) -> None:
        if self.static:
            self.stamps_ns, self.poses = [ns], [pose]
            return
        if self.stamps_ns and ns <= self.stamps_ns[-1] - _HISTORY_NS:
            # The clock went back: what is known is of another time.
            self.stamps_ns.clear()
            self.poses.clear()
        at = bisect_left(self.stamps_ns, ns)
        self.stamps_ns.insert(at, ns)
        self.poses.insert(at, pose)
        old = bisect_left(self.stamps_ns, self.stamps_ns[-1] - _HISTORY_NS)
        del self.stamps_ns[:old], self.poses[:old]

    def at(self, ns: int) -> Matrix | None:
        """Parent from child, between the two nearest messages; None where both are too far away in time."""
        if self.static:
            return _matrix(self.poses[-1])
        after = bisect_left(self.stamps_ns, ns)
        if after == len(self.stamps_ns):
            return _matrix(self.poses[-1]) if ns - self.stamps_ns[-1] <= _TOLERANCE_NS else None
        if after == 0:
            return _matrix(self.poses[0]) if self.stamps_ns[0] - ns <= _TOLERANCE_NS else None
        before_ns, after_ns = self.stamps_ns[after - 1 : after + 1]
        before, behind = self.poses[after - 1 : after + 1]
        share = (ns - before_ns) / (after_ns - before_ns)
        # The shorter way round; between messages some milliseconds apart a straight line is the same as an arc.
        sign = 1.0 if before[3:] @ behind[3:] >= 0 else -1.0
        turned = np.concatenate([behind[:3], sign * behind[3:]])
        return _matrix((1 - share) * before + share * turned)


class FrameBuffer:
    """The tree of frames as ``TransformStamped`` messages tell it; safe to use from several threads."""

    def __init__(self) -> None:
        self._frames: dict[str, _Frame] = {}
        self._lock = threading.Lock()

    def add(self, transform: Any, static: bool) -> None:
        """Take one ``geometry_msgs/TransformStamped``; one with numbers that are no pose is ignored."""
        move, turn = transform.transform.translation, transform.transform.rotation
        pose = np.array([move.x, move.y, move.z, turn.x, turn.y, turn.z, turn.w], np.float64)
        if not np.isfinite(pose).all() or np.linalg.norm(pose[3:]) < 1e-3:
            return
        parent, child = transform.header.frame_id.lstrip("/"), transform.child_frame_id.lstrip("/")
        with self._lock:
            frame = self._frames.get(child)
            if frame is None or frame.parent != parent or frame.static != static:
                frame = self._frames[child] = _Frame(parent, static)
            frame.add(stamp_ns(transform.header.stamp), pose)

    def between(self, target: str, source: str, at_ns: int) -> Matrix | None:
        """``target`` from ``source`` at a time: it moves points of ``source`` to ``target``. None: not known then."""
        with self._lock:
            to_source, to_target = self._up(source.lstrip("/"), at_ns), self._up(target.lstrip("/"), at_ns)
        for name, up in to_source.items():
            if name in to_target and up is not None:
                down = to_target[name]
                return None if down is None else np.linalg.inv(down) @ up
        return None

    def _up(self, name: str, at_ns: int) -> dict[str, Matrix | None]:
        """Every ancestor, the frame itself first, from it; None beyond a place that is not known at the time."""
        up: dict[str, Matrix | None] = {name: np.eye(4)}
        total: Matrix | None = up[name]
        while (frame := self._frames.get(name)) is not None and frame.parent not in up:
            step = frame.at(at_ns)
            total = None if step is None or total is None else step @ total
            name = frame.parent
            up[name] = total
        return up


class CameraFrames:
    """Poses of the cameras from tf, where there is any."""

    def __init__(self, node: ManagedNode[Any]) -> None:
        self._buffer = FrameBuffer()
        self._there = False
        self._used = False
        try:
            from tf2_msgs.msg import TFMessage
        except ImportError:
            node.get_logger().info("tf2_msgs is not installed: camera poses are those that the transformer predicts")
            return
        from swiftvla_ros.nodes.ros import qos

        self._there = True
        for topic, static, profile in (("/tf", False, qos.TF), ("/tf_static", True, qos.TF_STATIC)):

            def take(message: Any, static: bool = static) -> None:
                for transform in message.transforms:
                    self._buffer.add(transform, static)

            node.subscribe(TFMessage, topic, take, profile, always=True)

    @property
    def source(self) -> str:
        """Where the last pose came from, for people."""
        if self._used:
            return "tf"
        return "the transformer: tf has no such frames" if self._there else "the transformer: tf2_msgs is not installed"

    def between(self, target: str, source: str, at_ns: int) -> Matrix | None:
        """``target`` from ``source``; None where tf doesn't tell it for this time."""
        found = self._buffer.between(target, source, at_ns) if target and source else None
        self._used = found is not None
        return found


def _matrix(pose: NDArray[np.float64]) -> Matrix:
    matrix = np.eye(4)
    matrix[:3, :3] = rotation_matrix(pose[3:])
    matrix[:3, 3] = pose[:3]
    return matrix


_rotation: Callable[[NDArray[np.float64]], NDArray[np.float64]]
try:
    from tf_transformations import quaternion_matrix

    def _rotation(quaternion_xyzw: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(quaternion_matrix(quaternion_xyzw), np.float64)[:3, :3]
except ImportError:
    from transforms3d.quaternions import quat2mat

    def _rotation(quaternion_xyzw: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(quat2mat(np.roll(quaternion_xyzw, 1)), np.float64)
