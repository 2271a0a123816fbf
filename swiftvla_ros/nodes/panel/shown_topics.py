# SPDX-License-Identifier: Apache-2.0
"""The topics that the operator's page shows, fetched ten times a second instead of waking the node each time.

Pictures have a thread of their own, and only while somebody looks.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64, String

from swiftvla_ros.episodes.bags.metadata import OfferedQos
from swiftvla_ros.monitoring.running_latency import RunningLatency
from swiftvla_ros.motion.speed_limits import OPERATOR
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
from swiftvla_ros.nodes.panel.policy_settings import PolicySettings
from swiftvla_ros.nodes.panel.quiet_entities import FetchedTopic
from swiftvla_ros.nodes.panel.shown_pictures import ShownPictures
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode
from swiftvla_ros.observation.joint_state import JointStateError
from swiftvla_ros.observation.message_fields import (
    ChunkMessage,
    ExecutorTick,
    measured_positions,
    read_chunk,
    read_executor_state,
    read_policy_state,
    read_speed_limit,
    stamp_ns,
)
from swiftvla_ros.panel import sections
from swiftvla_ros.panel.asked_speed import AskedSpeed
from swiftvla_ros.panel.exchange import Exchange
from swiftvla_ros.panel.instruction_history import InstructionHistory

_LOOK_S = 0.1
_SLOWLY_S = 1.0
# Of so many ticks of the executor that were fetched at once, some are drawn.
_TRAIL = 3
_FRESH_S = 1.0
# What was shown of a node goes with its publisher: who has ended doesn't take it back.
_WHILE_PUBLISHED = {"demonstration_state": "demonstration", "teleop_state": "teleop", "policy_state": "policy"}

TakeRaw = Callable[[FetchedTopic, list[bytes]], object]
"""What is done with the messages of a topic that came since the last look, the newest last; one at least."""


class ShownTopics:
    """Fills the sections of the :class:`~swiftvla_ros.panel.exchange.Exchange`; all in the executor's thread.

    ``looked`` is called after each look, ten times a second: one timer wakes the node for all that it does by itself.

    Attributes
    ----------
    tick
        The executor's newest state; None where it has said nothing for a second.
    """

    def __init__(self, node: ManagedNode[Any], exchange: Exchange, looked: Callable[[], object]) -> None:
        self._node, self._exchange, self._contract = node, exchange, node.contract
        self._looked, self._watched = looked, False
        self._tick: ExecutorTick | None = None
        self._ticked_s = self._told_s = 0.0
        self._measured: NDArray[np.float64] | None = None
        self._history, self._asked = InstructionHistory(), AskedSpeed()
        self._latency = RunningLatency(self._contract)
        self._settings = PolicySettings(node, self._latency.settings)
        self._monitors: dict[str, Mapping[str, Any]] = {}
        self._limits: dict[str, Mapping[str, Any]] = {}
        self._health: dict[str, Mapping[str, Any]] = {}
        self._pictures = ShownPictures(node, exchange)
        quick = self._open_quick()
        self._rates = [topic.rate for topic, _ in quick]
        self._topics = [*quick, *self._open_slow()]
        node.steady_timer(_LOOK_S, self._step)
        exchange.show("robot", sections.robot_section(self._contract, node.get_namespace()))

    @property
    def tick(self) -> ExecutorTick | None:
        """The executor's newest state, where it is fresh."""
        return self._tick if time.monotonic() - self._ticked_s < _FRESH_S else None

    def close(self) -> None:
        """Let go of the topics."""
        self._pictures.watch(False)
        for topic, _ in self._topics:
            topic.close()

    def _open_quick(self) -> list[tuple[FetchedTopic, TakeRaw]]:
        """Subscribe to what comes often: its rate is shown, and the newest of it."""
        steady_hz = self._contract.joint_states.rate_hz

        def opened(
            kind: type, topic: str, depth: int, take: TakeRaw, expected_hz: float = 0.0
        ) -> tuple[FetchedTopic, TakeRaw]:
            profile = qos.as_offered(OfferedQos(reliable=False, latched=False, depth=depth), depth)
            return FetchedTopic(self._node, kind, topic, profile, expected_hz), take

        return [
            # Chunks before the ticks that tell of them.
            opened(ActionChunk, "action_chunk", 4, self._take_chunks),
            opened(ActionChunk, "operator_chunk", 1, self._take_operator_chunks),
            opened(ExecutorState, "executor_state", 12, self._take_executor),
            opened(JointState, "observation/state", 1, self._take_state, steady_hz),
            opened(JointState, self._contract.joint_states.topic, 1, lambda _topic, _raw: None, steady_hz),
        ]

    def _open_slow(self) -> list[tuple[FetchedTopic, TakeRaw]]:
        """Subscribe to what comes seldom, and says something each time."""

        def opened(
            kind: type, topic: str, take: Callable[[Any], object], profile: Any = qos.EVERY_POLICY_STATE
        ) -> tuple[FetchedTopic, TakeRaw]:
            def take_each(fetched: FetchedTopic, raw: list[bytes]) -> None:
                for data in raw:
                    take(fetched.read(data))

            return FetchedTopic(self._node, kind, topic, profile), take_each

        def shown(name: str, section: Callable[[Any], Any]) -> Callable[[Any], None]:
            return lambda message: self._exchange.show(name, section(message))

        slow = [
            opened(PolicyState, "policy_state", self._take_policy),
            opened(InstructionEffect, "instruction_effect", self._take_effect),
            opened(MonitorVerdict, "monitor_verdicts", self._take_verdict, qos.VERDICTS),
            opened(SpeedLimit, "speed_limit", self._take_limit, qos.SPEED_LIMIT),
            opened(Float64, "speed_scale", lambda message: self._asked.heard(message.data), qos.LATCHED),
            opened(PreflightReport, "preflight", shown("preflight", sections.preflight_section), qos.LATCHED),
            opened(DemonstrationState, "demonstration_state", shown("demonstration", sections.demonstration_section)),
            opened(TeleopState, "teleop_state", shown("teleop", sections.teleop_section)),
            *(
                opened(String, f"observation/{camera}_problem", partial(self._take_problem, camera), qos.LATCHED)
                for camera in self._contract.camera_names
            ),
        ]
        try:
            from diagnostic_msgs.msg import DiagnosticArray
        except ImportError:
            return slow  # then nobody reports there
        return [*slow, opened(DiagnosticArray, "/diagnostics", self._take_health, qos.DIAGNOSTICS)]

    # --- what came ------------------------------------------------------------------------------------------------

    def _step(self) -> None:
        watched = self._node.active and self._exchange.watchers > 0
        if watched != self._watched:
            self._watched = watched
            self._pictures.watch(watched)
        self._pictures.check()
        self._look(time.monotonic())
        self._looked()

    def _look(self, now_s: float) -> None:
        """Fetch, and show what there is."""
        self._exchange.serves()
        for topic, take in self._topics:
            raw = topic.fetch(now_s)
            if raw and self._node.active:
                take(topic, raw)
        if not self._watched:
            return
        tick = self.tick
        self._exchange.show("joints", sections.joints_section(self._contract, self._measured, tick))
        if tick is None:
            self._exchange.show("executor", None)
        if now_s - self._told_s >= _SLOWLY_S:
            self._told_s = now_s
            self._show_slowly(now_s)

    def _show_slowly(self, now_s: float) -> None:
        node, show = self._node, self._exchange.show
        free = shutil.disk_usage(Path.cwd())
        show("topics", [*(rate.section(now_s) for rate in self._rates), *self._pictures.rates(now_s)])
        show("disk", {"folder": str(Path.cwd()), "free": free.free, "total": free.total})
        show("instructions", self._history.section())
        show("latency", sections.latency_section(*self._latency.told()))
        show("monitors", list(self._monitors.values()))
        now_ros_s = node.now_ns() / 1e9
        self._limits = {s: e for s, e in self._limits.items() if not e["until"] or e["until"] > now_ros_s}
        show("limits", list(self._limits.values()))
        show("problems", self._pictures.problems)
        show("health", list(self._health.values()))
        # Whoever sends an operator's chunks can be given the arm.
        show("operators", node.count_publishers("operator_chunk"))
        for topic, section in _WHILE_PUBLISHED.items():
            if not node.count_publishers(topic):
                show(section, None)

    def _take_executor(self, topic: FetchedTopic, raw: list[bytes]) -> None:
        self._ticked_s = time.monotonic()
        trail = []
        # Some of them, the newest last; where nobody looks, that alone.
        step = max(1, len(raw) // _TRAIL) if self._watched else len(raw)
        for data in raw[::-1][::step][::-1]:
            message = topic.read(data)
            self._tick = tick = read_executor_state(message)
            self._latency.tick(tick)
            if len(tick.commanded):
                trail.append([tick.stamp_ns / 1e9, tick.commanded])
        source = str(message.speed_limit_source)
        self._asked.executor(tick.speed_scale, limited=bool(source), by_operator=source == OPERATOR)
        shown = sections.executor_section(tick, message, self._asked.percent)
        self._exchange.show("executor", shown | {"trail": trail})

    def _take_state(self, topic: FetchedTopic, raw: list[bytes]) -> None:
        try:
            self._measured = measured_positions(topic.read(raw[-1]), self._contract.joint_names)
        except JointStateError:
            self._measured = None  # the executor says what is wrong

    def _take_chunks(self, topic: FetchedTopic, raw: list[bytes]) -> None:
        for data in raw:
            chunk = read_chunk(topic.read(data))
            self._latency.chunk(chunk)
        self._show_chunk(chunk)

    def _take_operator_chunks(self, topic: FetchedTopic, raw: list[bytes]) -> None:
        if self._watched:
            self._show_chunk(read_chunk(topic.read(raw[-1])))

    def _show_chunk(self, chunk: ChunkMessage) -> None:
        if self._watched:
            self._exchange.show("chunk", sections.chunk_section(self._contract, chunk))

    def _take_policy(self, message: PolicyState) -> None:
        self._history.following(int(message.instruction_id), message.instruction, stamp_ns(message.header.stamp) / 1e9)
        self._latency.policy(read_policy_state(message), int(message.dropped_stale))
        self._settings.ask(message.checkpoint_sha256)
        self._exchange.show("policy", sections.policy_section(message))

    def _take_effect(self, message: InstructionEffect) -> None:
        self._history.effect(message, stamp_ns(message.accepted) / 1e9, stamp_ns(message.header.stamp) / 1e9)

    def _take_verdict(self, message: MonitorVerdict) -> None:
        self._monitors[message.monitor] = sections.monitor_section(message)

    def _take_limit(self, message: SpeedLimit) -> None:
        limit = read_speed_limit(message, self._node.now_ns())
        until_s = limit.stamp_ns / 1e9 + limit.valid_for_s if limit.valid_for_s else 0.0
        entry = {"source": limit.source, "percent": limit.percent, "reason": limit.reason, "until": until_s}
        self._limits[limit.source] = entry

    def _take_problem(self, camera: str, message: String) -> None:
        self._pictures.unseen(camera, message.data)

    def _take_health(self, message: Any) -> None:
        for status in message.status:
            level = int.from_bytes(status.level, "little") if isinstance(status.level, bytes) else int(status.level)
            self._health[status.name] = {"name": status.name, "level": level, "text": status.message}
