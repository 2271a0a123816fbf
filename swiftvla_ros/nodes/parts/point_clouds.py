# SPDX-License-Identifier: Apache-2.0
"""Depth maps as ROS images, and the cameras' points as one coloured cloud."""

from __future__ import annotations

import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8
from sensor_msgs.msg import Image, PointCloud2, PointField

from swiftvla_ros.nodes.ros.messages import header
from swiftvla_ros.nodes.ros.tf_frames import Matrix, rotation_matrix

Between = Callable[[str, str], Matrix | None]
"""(target, source) → target from source; None where nobody knows it."""

_POINT_BYTES = 16


@dataclass(frozen=True)
class Cloud:
    """One camera's view of a step: depth along the optical axis, m, and an RGB image of any size.

    ``pose`` is as :class:`swiftvla_ros.geometry.feature_stream.StreamStep` has it, ``frame_id`` the optical frame.
    """

    depth: Float32[np.ndarray, "h w"]
    pose: Float32[np.ndarray, " 9"]
    image: UInt8[np.ndarray, "ih iw 3"]
    frame_id: str


def unproject(depth: Float32[np.ndarray, "h w"], fov: Float32[np.ndarray, " 2"]) -> Float64[np.ndarray, "points 3"]:
    """Points of a depth map in its optical frame (x right, y down, z forward), row-major.

    ``fov`` is the field of view, height then width, rad.
    """
    h, w = depth.shape
    tangent = np.tan(np.asarray(fov, np.float64) / 2)
    y = (2 * (np.arange(h) + 0.5) / h - 1) * tangent[0]
    x = (2 * (np.arange(w) + 0.5) / w - 1) * tangent[1]
    z = depth.astype(np.float64)
    return np.stack([x[None] * z, y[:, None] * z, z], axis=-1).reshape(-1, 3)


def merge_clouds(
    clouds: Sequence[Cloud], between: Between
) -> tuple[Float32[np.ndarray, "points 3"], UInt8[np.ndarray, "points 3"]]:
    """Points of all cameras in the last one's frame, and their colours.

    How the cameras stand to each other is asked of ``between``; what it doesn't know is as the transformer predicts it.
    """
    last = clouds[-1]
    points, colors = [], []
    for cloud in clouds:
        own = unproject(cloud.depth, cloud.pose[7:])
        if cloud is not last:
            move = between(last.frame_id, cloud.frame_id)
            if move is None:
                move = _camera_from_world(last.pose) @ np.linalg.inv(_camera_from_world(cloud.pose))
            own = own @ move[:3, :3].T + move[:3, 3]
        h, w = cloud.depth.shape
        image = cloud.image
        if image.shape[:2] != (h, w):
            image = cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        points.append(own.astype(np.float32))
        colors.append(image.reshape(-1, 3))
    return np.concatenate(points), np.concatenate(colors)


def depth_message(depth: Float32[np.ndarray, "h w"], ns: int, frame_id: str) -> Image:
    """A depth map as 32FC1, m."""
    message = Image(header=header(ns, frame_id), height=depth.shape[0], width=depth.shape[1], encoding="32FC1")
    message.step = 4 * depth.shape[1]
    message.data = array.array("B", np.ascontiguousarray(depth, "<f4").tobytes())
    return message


def cloud_message(
    points: Float32[np.ndarray, "points 3"], colors: UInt8[np.ndarray, "points 3"], ns: int, frame_id: str
) -> PointCloud2:
    """Points (m) with their colours as RViz reads them: x, y, z and rgb packed into the bits of a float."""
    packed = np.zeros(len(points), dtype=[("xyz", "<f4", 3), ("bgr", "u1", 3), ("unused", "u1")])
    packed["xyz"], packed["bgr"] = points, colors[:, ::-1]
    assert packed.itemsize == _POINT_BYTES
    names = ("x", "y", "z", "rgb")
    fields = [PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1) for i, name in enumerate(names)]
    message = PointCloud2(header=header(ns, frame_id), height=1, width=len(points), fields=fields)
    message.point_step, message.row_step = _POINT_BYTES, _POINT_BYTES * len(points)
    message.is_dense = True
    message.data = array.array("B", packed.tobytes())
    return message


def _camera_from_world(pose: Float32[np.ndarray, " 9"]) -> Matrix:
    matrix = np.eye(4)
    matrix[:3, :3] = rotation_matrix(pose[3:7].astype(np.float64))
    matrix[:3, 3] = pose[:3]
    return matrix
