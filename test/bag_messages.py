# SPDX-License-Identifier: Apache-2.0
"""Messages for bags, made without a ROS installation."""

from typing import Any

import numpy as np
from rosbags.interfaces import Nodetype

from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.bags.message_types import message_types

PER_JOINT = ("_clamps", "limit_excess", "tracking_error")


class Messages:
    """Makes messages without a ROS installation."""

    def __init__(self, contract: Contract) -> None:
        self.names = list(contract.joint_names)
        self._store = message_types()
        self.types = self._store.types

    def make(self, kind: str, ns: int = 0, **fields: Any) -> Any:
        """Make a message of ``kind`` with these fields and a stamp, and zeros or nothing in the others."""
        blank = {name: self._blank(name, how, what) for name, (how, what) in self._store.fielddefs[kind][1]}
        stamp = {"header": self.header(ns)} if "header" in blank else {}
        return self.types[kind](**{**blank, **stamp, **fields})

    def _blank(self, name: str, how: Nodetype, what: Any) -> Any:
        if how is Nodetype.NAME:
            return self.make(what)
        if how is Nodetype.BASE:
            return {"string": "", "bool": False}.get(what[0], 0.0 if what[0].startswith("float") else 0)
        (inner, element), count = what
        if inner is Nodetype.NAME or element[0] == "string":
            return []
        # What there is one of for each joint is that long in every message.
        count = len(self.names) if name.endswith(PER_JOINT) else count
        return np.zeros(count, element[0])

    def stamp(self, ns: int) -> Any:
        return self.types["builtin_interfaces/msg/Time"](ns // 10**9, ns % 10**9)

    def header(self, ns: int) -> Any:
        return self.types["std_msgs/msg/Header"](self.stamp(ns), "base")

    def executor_state(self, ns: int, position: np.ndarray, mode: int = 1, chunk: int = 0, first: int = 0) -> Any:
        first_command = self.stamp(first)
        return self.make(
            "swiftvla_ros/msg/ExecutorState", ns, mode=mode, reason=3, chunk_id=1, chunk_stamp=self.stamp(chunk),
            chunk_first_command=first_command, chunk_taken=first_command, measured_stamp=self.stamp(ns),
            chunks_accepted=1, planned_rows=np.arange(2.0 * len(self.names)), joint_names=self.names, speed_scale=1.0,
            commanded_position=np.asarray(position, np.float64),
        )  # fmt: skip

    def frame(self, ns: int, jpeg: bytes = b"") -> Any:
        data = np.frombuffer(jpeg, np.uint8)
        return self.make("sensor_msgs/msg/CompressedImage", ns, format="jpeg", data=data)

    def image(self, ns: int, pixels: np.ndarray) -> Any:
        height, width, _ = pixels.shape
        size = {"height": height, "width": width, "step": 3 * width}
        return self.make("sensor_msgs/msg/Image", ns, encoding="rgb8", data=pixels.ravel(), **size)

    def policy_state(self, ns: int, number: int, text: str = "pick up the red block") -> Any:
        told = {"instruction": text if number else "", "instruction_id": number}
        return self.make("swiftvla_ros/msg/PolicyState", ns, ready=True, **told)

    def verdict(self, ns: int, verdict: int) -> Any:
        return self.types["swiftvla_ros/msg/TaskVerdict"](self.header(ns), "pick up the red block", 1, verdict, "")

    def measured(self, ns: int, position: np.ndarray) -> Any:
        return self.make("sensor_msgs/msg/JointState", ns, name=self.names, position=position)

    def chunk(self, camera_ns: int, ready: int, start: int, end: int, **fields: Any) -> Any:
        stamps = {"observation_ready": ready, "inference_start": start, "inference_end": end}
        described = {
            "joint_names": self.names, "rows": 1, "positions": np.zeros(len(self.names)), "chunk_id": 1,
            "step": self.types["builtin_interfaces/msg/Duration"](0, 100_000_000), "state_stamp": self.stamp(camera_ns),
            "instruction": "pick up the red block", "instruction_id": 1, "camera_names": ["front", "wrist"],
            "camera_stamps": [self.stamp(camera_ns - 5_000_000), self.stamp(camera_ns)],
            **{name: self.stamp(ns) for name, ns in stamps.items()},
        }  # fmt: skip
        return self.make("swiftvla_ros/msg/ActionChunk", camera_ns, **{**described, **fields})
