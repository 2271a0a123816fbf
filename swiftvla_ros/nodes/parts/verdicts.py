# SPDX-License-Identifier: Apache-2.0
"""How a monitor's node speaks: its verdicts, and the speed limit that follows from them."""

from __future__ import annotations

from typing import Any

from swiftvla_ros.monitoring.verdict import Verdict, VerdictLevel
from swiftvla_ros.msg import MonitorVerdict, SpeedLimit
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.diagnostics import Health, Level, publish_diagnostics
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode
from swiftvla_ros.nodes.ros.messages import doubles, header

# A limit is sent again so often while it stands, and forgotten so long after its monitor died.
_AGAIN_S, _VALID_S = 0.4, 1.5


class VerdictSpeaker:
    """Publishes what its monitor finds; while the arm is slowed the limit is kept alive, whether or not chunks come."""

    def __init__(self, node: ManagedNode[Any], *, limits_speed: bool) -> None:
        self._node = node
        self._verdicts = node.publisher(MonitorVerdict, "monitor_verdicts", qos.VERDICTS)
        self._limits = node.publisher(SpeedLimit, "speed_limit", qos.SPEED_LIMIT) if limits_speed else None
        self.verdict: Verdict | None = None
        publish_diagnostics(node, self.health)
        # A timer wakes its node, so it runs only while there is a limit to be kept.
        self._keeper = node.steady_timer(_AGAIN_S, self._keep)
        self._keeper.cancel()

    def say(self, verdict: Verdict) -> None:
        """Publish a verdict, and the limit where it is another one than before."""
        before, self.verdict = self.verdict, verdict
        self._verdicts.publish(
            MonitorVerdict(
                header=header(verdict.stamp_ns),
                monitor=verdict.monitor,
                level=int(verdict.level),
                percent=verdict.percent,
                text=verdict.text,
                chunk_id=verdict.chunk_id,
                parts=list(verdict.parts),
                values=doubles(verdict.values),
                slow_at=doubles(verdict.slow_at),
                hold_at=doubles(verdict.hold_at),
                checkpoint_sha256=verdict.checkpoint_sha256,
            )
        )
        if verdict.percent != (100.0 if before is None else before.percent):
            self._node.get_logger().warning(f"{verdict.percent:g} %: {verdict.text}")
            self._limit(verdict)
            if verdict.percent < 100.0 and self._limits is not None:
                self._keeper.reset()
            else:
                self._keeper.cancel()

    def health(self) -> Health:
        """What the monitor says on /diagnostics: its newest verdict, and each figure beside its bound."""
        if (verdict := self.verdict) is None:
            return Health(Level.OK, "nothing was judged yet")
        figures = zip(verdict.parts, verdict.values, verdict.slow_at, strict=True)
        values = {part: f"{value:.3g} (slows from {slow:.3g})" for part, value, slow in figures}
        values |= {"speed, %": f"{verdict.percent:g}", "chunk": str(verdict.chunk_id)}
        return Health(Level.OK if verdict.level is VerdictLevel.USUAL else Level.WARN, verdict.text, values)

    def _keep(self) -> None:
        if self.verdict is not None and self._node.active:
            self._limit(self.verdict)

    def _limit(self, verdict: Verdict) -> None:
        if self._limits is not None:
            limit = SpeedLimit(source=verdict.monitor, percent=verdict.percent, reason=verdict.text, valid_for=_VALID_S)
            limit.header = header(self._node.now_ns())
            self._limits.publish(limit)
