# SPDX-License-Identifier: Apache-2.0
"""Messages for bags, made without a ROS installation."""

from __future__ import annotations

from typing import Any

import numpy as np

from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.bags.bag import message_types


class Messages:
    """Makes messages without a ROS installation."""

    def __init__(self, contract: Contract) -> None:
        self.names = list(contract.joint_names)
        self.types = message_types().types
        self.empty = np.zeros(0)

    def stamp(self, ns: int) -> Any:
        return self.types["builtin_interfaces/msg/Time"](ns // 10**9, ns % 10**9)

    def header(self, ns: int) -> Any:
        return self.types["std_msgs/msg/Header"](self.stamp(ns), "base")

    def executor_state(self, ns: int, position: np.ndarray, mode: int = 1, chunk: int = 0, first: int = 0):
        counts = np.zeros(len(self.names), np.uint64)
        kind = self.types["swiftvla_ros/msg/ExecutorState"]
        return kind(
            header=self.header(ns),
            mode=mode,
            reason=3,
            reason_text="",
            chunk_id=1,
            row=0.0,
            chunk_age_s=0.0,
            chunk_stamp=self.stamp(chunk),
            chunk_first_command=self.stamp(first),
            chunk_taken=self.stamp(first),
            measured_stamp=self.stamp(ns),
            chunks_accepted=1,
            chunks_refused=0,
            last_refusal=0,
            last_refusal_text="",
            joint_names=self.names,
            position_clamps=counts,
            velocity_clamps=counts,
            acceleration_clamps=counts,
            limit_excess=np.zeros(len(self.names)),
            speed_limit_source="",
            speed_limit_reason="",
            speed_limits_taken=0,
            speed_scale=1.0,
            shadow=False,
            commanded_position=np.asarray(position, np.float64),
            tracking_error=np.zeros(len(self.names)),
        )

    def frame(self, ns: int, jpeg: bytes = b"") -> Any:
        kind = self.types["sensor_msgs/msg/CompressedImage"]
        return kind(self.header(ns), "jpeg", np.frombuffer(jpeg, np.uint8))

    def verdict(self, ns: int, verdict: int) -> Any:
        return self.types["swiftvla_ros/msg/TaskVerdict"](self.header(ns), "pick up the red block", 1, verdict, "")

    def measured(self, ns: int, position: np.ndarray) -> Any:
        kind = self.types["sensor_msgs/msg/JointState"]
        return kind(self.header(ns), self.names, position, self.empty, self.empty)

    def chunk(self, camera_ns: int, ready: int, start: int, end: int):
        kind = self.types["swiftvla_ros/msg/ActionChunk"]
        return kind(
            header=self.header(camera_ns),
            step=self.types["builtin_interfaces/msg/Duration"](0, 100_000_000),
            joint_names=self.names,
            rows=1,
            positions=np.zeros(len(self.names)),
            chunk_id=1,
            instruction="pick up the red block",
            instruction_id=1,
            checkpoint_sha256="",
            noise_seed=0,
            camera_names=["front", "wrist"],
            camera_stamps=[self.stamp(camera_ns - 5_000_000), self.stamp(camera_ns)],
            state_stamp=self.stamp(camera_ns),
            observation_ready=self.stamp(ready),
            inference_start=self.stamp(start),
            inference_end=self.stamp(end),
            frozen_rows=0,
            guidance="",
            rows_ahead=self.empty,
        )
