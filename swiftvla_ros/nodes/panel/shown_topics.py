# SPDX-License-Identifier: Apache-2.0
"""The topics that the operator's page shows; only while somebody looks.

What comes often is fetched ten times a second, the newest of it, instead of waking the node each time. Pictures wake
it, since they go on at once, and are subscribed to only while a page is open.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from rclpy.callback_groups import CallbackGroup
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import String

from swiftvla_ros.contract import Camera
from swiftvla_ros.episodes.bags.metadata import OfferedQos
from swiftvla_ros.msg import (
    ActionChunk,
    DemonstrationState,
    ExecutorState,
    InstructionEffect,
    MonitorVerdict,
    PolicyState,
    PreflightReport,
    SpeedLimit,
    TeleopState,
)
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode
from swiftvla_ros.nodes.ros.messages import sequence_of
from swiftvla_ros.observation.image_decoding import ImageDecodingError, rgb_of
from swiftvla_ros.observation.joint_state import JointStateError
from swiftvla_ros.observation.message_fields import (
    ExecutorTick,
    measured_positions,
    read_chunk,
    read_executor_state,
    stamp_ns,
)
from swiftvla_ros.panel import sections
from swiftvla_ros.panel.exchange import Exchange
from swiftvla_ros.panel.instruction_history import InstructionHistory
from swiftvla_ros.panel.topic_rates import TopicRate

_TELL_S = 0.1
_SLOWLY_S = 1.0
# Pictures are shown at most so often, and no larger: a page on a phone's network is watched, not measured.
_FRAME_S = 1.0 / 15.0
_WIDEST = 640
_JPEG_QUALITY = 75
_LARGEST_JPEG = 4 << 20
# Of so many ticks of the executor that were fetched at once, some are drawn.
_TRAIL = 3
_FRESH_S = 1.0


class _Fetched(CallbackGroup):
    """Entities that never wake the executor: somebody fetches what came."""

    def can_execute(self, entity: Any) -> bool:  # noqa: ARG002
        """Never."""
        return False

    def beginning_execution(self, entity: Any) -> bool:  # noqa: ARG002
        """Never."""
        return False

    def ending_execution(self, entity: Any) -> None:
        """Nothing was begun."""


@dataclass
class _Poll:
    """A topic that is fetched: its subscription, its rate, and what to do with the raw messages that came."""

    subscription: Any
    rate: TopicRate
    take: Callable[[list[bytes]], object]


class ShownTopics:
    """Fills the sections of the :class:`~swiftvla_ros.panel.exchange.Exchange`; all in the executor's thread.

    Attributes
    ----------
    tick
        The executor's newest state; None where it has said nothing for a second.
    """

    def __init__(self, node: ManagedNode[Any], exchange: Exchange) -> None:
        self._node, self._exchange, self._contract = node, exchange, node.contract
        self._tick: ExecutorTick | None = None
        self._ticked_s = self._told_s = 0.0
        self._measured: NDArray[np.float64] | None = None
        self._history = InstructionHistory()
        self._monitors: dict[str, Mapping[str, Any]] = {}
        self._limits: dict[str, Mapping[str, Any]] = {}
        self._problems: dict[str, str] = {}
        self._health: dict[str, Mapping[str, Any]] = {}
        self._cameras: dict[str, Any] = {}
        self._camera_rates = {camera.name: TopicRate(camera.topic, camera.rate_hz) for camera in self._contract.cameras}
        self._framed_s: dict[str, float] = {}
        self._fetched = _Fetched()
        self._polls = self._open_polls()
        self._open_slow()
        node.steady_timer(_TELL_S, self._look)
        exchange.show("robot", sections.robot_section(self._contract, node.get_namespace()))

    @property
    def tick(self) -> ExecutorTick | None:
        """The executor's newest state, where it is fresh."""
        return self._tick if time.monotonic() - self._ticked_s < _FRESH_S else None

    def _open_polls(self) -> list[_Poll]:
        contract = self._contract
        steady = contract.joint_states.rate_hz
        return [
            self._poll(ExecutorState, "executor_state", 12, 0.0, self._take_executor),
            self._poll(JointState, "observation/state", 1, steady, self._take_state),
            self._poll(ActionChunk, "action_chunk", 4, 0.0, self._take_chunk),
            self._poll(ActionChunk, "operator_chunk", 1, 0.0, self._take_chunk),
            self._poll(JointState, contract.joint_states.topic, 1, steady, lambda _: None),
            *(
                self._poll(Image, f"observation/{camera.name}", 1, camera.rate_hz, lambda _: None)
                for camera in contract.cameras
            ),
        ]

    def _poll(
        self, kind: type, topic: str, depth: int, expected_hz: float, take: Callable[[list[bytes]], object]
    ) -> _Poll:
        node = self._node
        profile = qos.as_offered(OfferedQos(reliable=False, latched=False, depth=depth), depth)
        subscription = node.create_subscription(
            kind, topic, lambda _: None, profile, raw=True, callback_group=self._fetched
        )
        node.own(subscription, node.destroy_subscription)
        return _Poll(subscription, TopicRate(subscription.topic_name, expected_hz), take)

    def _open_slow(self) -> None:
        """Subscribe to what comes seldom and says something each time."""
        node, show = self._node, self._exchange.show
        node.subscribe(PolicyState, "policy_state", self._take_policy, qos.LATCHED)
        node.subscribe(InstructionEffect, "instruction_effect", self._take_effect, qos.LATCHED)
        node.subscribe(MonitorVerdict, "monitor_verdicts", self._take_verdict, qos.EVERY_POLICY_STATE)
        node.subscribe(SpeedLimit, "speed_limit", self._take_limit, qos.SPEED_LIMIT)
        for kind, topic, section in (
            (PreflightReport, "preflight", sections.preflight_section),
            (DemonstrationState, "demonstration_state", sections.demonstration_section),
            (TeleopState, "teleop_state", sections.teleop_section),
        ):
            name = topic.removesuffix("_state")

            def take(message: Any, name: str = name, section: Callable[[Any], Any] = section) -> None:
                show(name, section(message))

            node.subscribe(kind, topic, take, qos.LATCHED)
        for camera in self._contract.camera_names:
            topic = f"observation/{camera}_problem"
            node.subscribe(String, topic, partial(self._take_problem, camera), qos.LATCHED)
        try:
            from diagnostic_msgs.msg import DiagnosticArray
        except ImportError:
            return  # then nobody reports there
        node.subscribe(DiagnosticArray, "/diagnostics", self._take_health, 10)

    # --- what came ------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Fetch, and show what there is; the cameras only while somebody looks."""
        node, now_s = self._node, time.monotonic()
        self._exchange.serves()
        watched = node.active and self._exchange.watchers > 0
        if watched != bool(self._cameras):
            self._look_through_cameras(watched)
        for poll in self._polls:
            self._fetch(poll, now_s)
        if not watched:
            return
        tick = self.tick
        self._exchange.show("joints", sections.joints_section(self._contract, self._measured, tick))
        if tick is None:
            self._exchange.show("executor", None)
        if now_s - self._told_s >= _SLOWLY_S:
            self._told_s = now_s
            self._show_slowly(now_s)

    def _show_slowly(self, now_s: float) -> None:
        rates = [*(poll.rate for poll in self._polls), *self._camera_rates.values()]
        free = shutil.disk_usage(Path.cwd())
        show = self._exchange.show
        show("topics", [rate.section(now_s) for rate in rates])
        show("disk", {"folder": str(Path.cwd()), "free": free.free, "total": free.total})
        show("instructions", self._history.section())
        show("monitors", list(self._monitors.values()))
        now_ros_s = self._node.now_ns() / 1e9
        self._limits = {s: e for s, e in self._limits.items() if not e["until"] or e["until"] > now_ros_s}
        show("limits", list(self._limits.values()))
        show("problems", self._problems)
        show("health", list(self._health.values()))

    def _fetch(self, poll: _Poll, now_s: float) -> None:
        """Take what came since the last time; only the newest few are kept by the middleware."""
        raw: list[bytes] = []
        subscription = poll.subscription
        with subscription.handle:
            while (came := subscription.handle.take_message(subscription.msg_type, True)) is not None:
                raw.append(came[0])
                poll.rate.heard(*sequence_of(came[1]), now_s)
        if raw and self._node.active:
            poll.take(raw)

    def _take_executor(self, raw: list[bytes]) -> None:
        self._ticked_s = time.monotonic()
        trail = []
        # Some of them, the newest last; where nobody looks, that alone.
        step = max(1, len(raw) // _TRAIL) if self._exchange.watchers else len(raw)
        for data in raw[::-1][::step][::-1]:
            message = deserialize_message(data, ExecutorState)
            self._tick = tick = read_executor_state(message)
            if len(tick.commanded):
                trail.append([tick.stamp_ns / 1e9, tick.commanded])
        self._exchange.show("executor", sections.executor_section(tick, message) | {"trail": trail})

    def _take_state(self, raw: list[bytes]) -> None:
        try:
            message = deserialize_message(raw[-1], JointState)
            self._measured = measured_positions(message, self._contract.joint_names)
        except JointStateError:
            self._measured = None  # the executor says what is wrong

    def _take_chunk(self, raw: list[bytes]) -> None:
        if self._exchange.watchers:
            chunk = read_chunk(deserialize_message(raw[-1], ActionChunk))
            self._exchange.show("chunk", sections.chunk_section(self._contract, chunk))

    def _take_policy(self, message: PolicyState) -> None:
        self._history.following(int(message.instruction_id), message.instruction, stamp_ns(message.header.stamp) / 1e9)
        self._exchange.show("policy", sections.policy_section(message))

    def _take_effect(self, message: InstructionEffect) -> None:
        self._history.effect(message, stamp_ns(message.accepted) / 1e9, stamp_ns(message.header.stamp) / 1e9)

    def _take_verdict(self, message: MonitorVerdict) -> None:
        self._monitors[message.monitor] = sections.monitor_section(message)

    def _take_limit(self, message: SpeedLimit) -> None:
        stamp_s = stamp_ns(message.header.stamp) / 1e9 or self._node.now_ns() / 1e9
        until_s = stamp_s + message.valid_for if message.valid_for else 0.0
        entry = {"source": message.source, "percent": message.percent, "reason": message.reason, "until": until_s}
        self._limits[message.source] = entry

    def _take_problem(self, camera: str, message: String) -> None:
        self._problems[camera] = message.data

    def _take_health(self, message: Any) -> None:
        for status in message.status:
            level = int.from_bytes(status.level, "little") if isinstance(status.level, bytes) else int(status.level)
            self._health[status.name] = {"name": status.name, "level": level, "text": status.message}

    # --- pictures -------------------------------------------------------------------------------------------------

    def _look_through_cameras(self, open_them: bool) -> None:
        """Subscribe to the drivers' pictures, or let go of them."""
        node = self._node
        while self._cameras:
            node.destroy_subscription(self._cameras.popitem()[1])
        for camera in self._contract.cameras if open_them else ():
            kind = Image if camera.transport == "raw" else CompressedImage
            take = self._picture_callback(camera, kind)
            self._cameras[camera.name] = node.create_subscription(kind, camera.topic, take, qos.CAMERA_INPUT, raw=True)

    def _picture_callback(self, camera: Camera, kind: type) -> Callable[[bytes, Any], None]:
        # rclpy counts the arguments of a callback; a partial would hide them.
        def take(data: bytes, info: Any) -> None:
            self._take_picture(camera, kind, data, info)

        return take

    def close(self) -> None:
        """Let go of the cameras."""
        self._look_through_cameras(False)

    def _take_picture(self, camera: Camera, kind: type, data: bytes, info: Any) -> None:
        now_s, last_s = time.monotonic(), self._framed_s.get(camera.name, 0.0)
        self._camera_rates[camera.name].heard(*sequence_of(info), now_s)
        # A little early is in time: pictures come now earlier, now later.
        if now_s - last_s < 0.8 * _FRAME_S:
            return
        self._framed_s[camera.name] = now_s
        message = deserialize_message(data, kind)
        try:
            jpeg = _jpeg_of(message)
        except ImageDecodingError as error:
            self._problems[camera.name] = str(error)
            return
        self._exchange.put_frame(camera.name, jpeg, stamp_ns(message.header.stamp) / 1e9)


def _jpeg_of(message: Any) -> bytes:
    """A driver's picture for a page: its JPEG as it came, else encoded here."""
    if hasattr(message, "format") and bytes(message.data[:2]) == b"\xff\xd8" and len(message.data) <= _LARGEST_JPEG:
        return bytes(message.data)
    rgb = rgb_of(message)
    if rgb.shape[1] > _WIDEST:
        size = _WIDEST, max(1, round(rgb.shape[0] * _WIDEST / rgb.shape[1]))
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(rgb), quality=_JPEG_QUALITY, colorsubsampling="420"))
