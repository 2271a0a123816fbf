# SPDX-License-Identifier: Apache-2.0
"""Looks at everything before the arm moves, and publishes what it found.

A thread gathers and judges, in a context of its own; the node's thread begins it, and publishes what came of it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from rclpy.task import Future
from std_srvs.srv import Trigger

from swiftvla_ros.contract.store import digest_of
from swiftvla_ros.msg import PolicyState, PreflightReport
from swiftvla_ros.nodes.graph.preflight_gathering import gather
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.nodes.ros.diagnostics import Health, Level, publish_diagnostics
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode, script_of
from swiftvla_ros.nodes.ros.messages import header
from swiftvla_ros.nodes.ros.parameters import Allowed
from swiftvla_ros.preflight.arming import ArmingReport, report_of
from swiftvla_ros.preflight.checks import check_everything
from swiftvla_ros.preflight.row import Row, Status

_LOOK_S = 0.2
# A red report is made again after so long, where no chunk is being followed: what was mended is seen.
_AGAIN_S = 30.0
# A policy that published none for so long computes none.
_QUIET_S = 2.0
_ENDS_S = 3.0
_STATUS: dict[Status, int] = {
    "ok": PreflightReport.GREEN,
    "skipped": PreflightReport.GREEN,
    "warning": PreflightReport.YELLOW,
    "fail": PreflightReport.RED,
}


class _StoppedError(Exception):
    """Nobody waits for the pre-flight any more."""


class RunningPreflight:
    """One pre-flight, in a thread of its own; ``rows`` are there once it is ``done``, or the ``problem``.

    ``finished`` resolves then, in the executor's thread.
    """

    def __init__(self, node: PreflightNode, checkpoint_sha256: str) -> None:
        self._contract, self._namespace = node.contract, node.get_namespace()
        self._seconds = float(node.value("listen_s"))
        self._ended = False
        self.checkpoint_sha256 = checkpoint_sha256
        self.rows: Mapping[str, Sequence[Row]] = {}
        self.problem = ""
        self.done = False
        assert node.executor is not None
        self._executor, self.finished = node.executor, Future()
        self._thread = threading.Thread(target=self._run, name="preflight", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Give it up."""
        self._ended = True
        self._thread.join(_ENDS_S)

    def _run(self) -> None:
        try:
            facts = gather(self._contract, self._namespace, self._seconds, self._go_on)
            if facts.graph.policy is not None:
                self.checkpoint_sha256 = facts.graph.policy.checkpoint_sha256
            self.rows = check_everything(facts)
        except _StoppedError:
            pass
        except Exception as error:  # noqa: BLE001  (whoever waits is told; the node goes on)
            self.problem = f"{type(error).__name__}: {error}"
        self.done = True
        self._executor.create_task(self.finished.set_result, None)

    def _go_on(self, _part: float) -> None:
        if self._ended:
            raise _StoppedError


@dataclass
class PreflightParts:
    """Where reports go, the newest, when it was made, the check that runs, and what is known of the policy.

    ``checkpoint`` is the hash of its checkpoint, ``grew_s`` when the number of its ``chunks`` was last another.
    """

    reports: Any
    report: ArmingReport | None = None
    made_s: float = 0.0
    check: RunningPreflight | None = None
    checkpoint: str = ""
    chunks: int = 0
    grew_s: float = -_QUIET_S


class PreflightNode(ManagedNode[PreflightParts]):
    """Makes a pre-flight when it is asked to, when a checkpoint was loaded, and again while one is red."""

    def __init__(self) -> None:
        super().__init__("preflight")
        self.describe("listen_s", 3.0, "how long the topics are listened to, s", Allowed(least=1, most=60))

    def setup(self) -> PreflightParts:
        """Offer the check."""
        self.service(Trigger, "~/check", self._serve)
        self.subscribe(PolicyState, "policy_state", self._hear_policy, qos.LATCHED, always=True)
        self.steady_timer(_LOOK_S, self._look)
        publish_diagnostics(self, self._health)
        return PreflightParts(self.publisher(PreflightReport, "preflight", qos.LATCHED))

    def teardown(self, parts: PreflightParts) -> None:
        """Give up a check that runs."""
        if parts.check is not None:
            parts.check.end()

    def _hear_policy(self, message: PolicyState) -> None:
        # Told five times a second; the executor's own state, which says whether the arm moves, comes 200 times.
        parts = self.parts
        if message.chunks != parts.chunks:
            parts.chunks, parts.grew_s = message.chunks, time.monotonic()
        parts.checkpoint = message.checkpoint_sha256

    async def _serve(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if not self.active:
            response.message = "the node is not active; activate it first"
            return response
        check = self._begin(self.parts)
        await check.finished
        if self._parts is None or check.problem:
            response.message = check.problem or "the node was ended meanwhile; start it again"
            return response
        report = self._take(self._parts, check)
        response.success, response.message = not report.red, report.text
        return response

    def _begin(self, parts: PreflightParts) -> RunningPreflight:
        """The check that runs, or a new one."""
        if parts.check is None:
            parts.check = RunningPreflight(self, parts.checkpoint)
        return parts.check

    def _look(self) -> None:
        """Take what is done; begin where there is need, and the arm does not follow what is computed."""
        parts = self.parts
        if parts.check is not None:
            if parts.check.done:
                self._take(parts, parts.check)
            return
        if not self.active or not parts.checkpoint:
            return
        report, now_s = parts.report, time.monotonic()
        followed = now_s - parts.grew_s < _QUIET_S and not self.contract.control.require_preflight
        again = report is not None and report.red and now_s - parts.made_s > _AGAIN_S and not followed
        if report is None or report.checkpoint_sha256 != parts.checkpoint or again:
            self._begin(parts)

    def _take(self, parts: PreflightParts, check: RunningPreflight) -> ArmingReport:
        """Publish a check's report, once."""
        if parts.check is not check and parts.report is not None:
            return parts.report
        parts.check, parts.made_s = None, time.monotonic()
        if check.problem:
            check.rows = {"pre-flight": [Row("pre-flight", "fail", check.problem, "look at this node's log")]}
            self.get_logger().error(f"no pre-flight could be made: {check.problem}")
        before = parts.report
        parts.report = report = report_of(check.rows, digest_of(self.contract), check.checkpoint_sha256)
        rows = list(chain.from_iterable(check.rows.values()))
        parts.reports.publish(
            PreflightReport(
                header=header(self.now_ns()),
                status=max((_STATUS[row.status] for row in rows), default=PreflightReport.RED),
                text=report.text,
                contract_sha256=report.contract_sha256,
                checkpoint_sha256=report.checkpoint_sha256,
                rows=[row.name for row in rows],
                statuses=[_STATUS[row.status] for row in rows],
                findings=[row.finding for row in rows],
                fixes=[row.fix for row in rows],
            )
        )
        if before is not None and before.text == report.text:
            return report
        if report.red:
            self.get_logger().error(f"pre-flight: {report.text}")
        else:
            self.get_logger().info(f"pre-flight: {report.text}")
        return report

    def _health(self) -> Health:
        report = self.parts.report
        if report is None:
            return Health(Level.OK, "no pre-flight was made yet", {})
        return Health(Level.WARN if report.red else Level.OK, report.text, {"checkpoint": report.checkpoint_sha256})


main = script_of(PreflightNode)

if __name__ == "__main__":
    main()
