# SPDX-License-Identifier: Apache-2.0
"""Records a session of demonstrations: one bag an episode, begun, ended and judged by services.

It only listens: what moves the arm (a leader, a gamepad, anybody's own controllers) is none of its business. The node's
thread takes serialized messages and serves; the thread of ``Recording`` writes. An episode ends where its bag is
closed, so the answer to a verdict means that it lies on the disk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rclpy.subscription import MessageInfo
from std_srvs.srv import Trigger

from swiftvla_ros.contract.store import digest_of
from swiftvla_ros.episodes.bags.bag import RawMessage
from swiftvla_ros.episodes.bags.message_types import BagError
from swiftvla_ros.episodes.bags.topics import demonstration_topics
from swiftvla_ros.episodes.bags.writer import package_version
from swiftvla_ros.episodes.quality.session_robot import check_same_robot
from swiftvla_ros.episodes.recording.recording import SequenceWatch
from swiftvla_ros.episodes.session.session import DemonstrationSession, Phase
from swiftvla_ros.episodes.session.session_folder import EpisodeOutcome, EpisodeRecord, SessionError, SessionFolder
from swiftvla_ros.nodes.recording.arm_calibrations import ArmCalibrations
from swiftvla_ros.nodes.recording.episode_recording import EpisodeRecording, counts_by_topic
from swiftvla_ros.nodes.recording.session_report import SessionReport
from swiftvla_ros.nodes.recording.topic_taps import Take, Tap, TopicTaps
from swiftvla_ros.nodes.ros.diagnostics import Health, Level, publish_diagnostics
from swiftvla_ros.nodes.ros.lifecycle import ManagedNode, script_of
from swiftvla_ros.nodes.ros.messages import sequence_of
from swiftvla_ros.nodes.ros.parameters import Allowed
from swiftvla_ros.observation.observation import InstructionError
from swiftvla_ros.srv import JudgeEpisode, SetInstruction

_TICK_S = 0.2
_OUTCOMES: dict[int, EpisodeOutcome] = {
    JudgeEpisode.Request.SUCCEEDED: "succeeded",
    JudgeEpisode.Request.FAILED: "failed",
    JudgeEpisode.Request.DISCARDED: "discarded",
}
_MARKS = {"succeeded": "end succeeded", "failed": "end failed", "discarded": "discard"}


@dataclass
class DemonstrationParts:
    """The session, what records its episodes, what it reports, and what the operator was told of the running one."""

    session: DemonstrationSession
    recording: EpisodeRecording
    report: SessionReport
    release: Any
    calibrations: ArmCalibrations
    sequence: SequenceWatch = field(default_factory=SequenceWatch)
    warned: dict[str, str] = field(default_factory=dict)


class DemonstrationNode(ManagedNode[DemonstrationParts]):
    """Takes the drivers' topics, and what this package's nodes add where they run."""

    def __init__(self) -> None:
        super().__init__("demonstration")
        self.describe("session", "", "folder of the session: a new one, or one that goes on")
        self.describe("instruction", "", "what is shown, such as: pick up the red block")
        self.describe("episodes", 50, "how many that succeeded the folder shall hold", Allowed(least=1))
        self.describe("reset_s", 0.0, "after which the next one begins by itself, s; 0: none does", Allowed(least=0))
        self.describe("longest_s", 120.0, "an episode ends by itself after this, unjudged, s", Allowed(least=1))
        self.describe("teleop", False, "teleop_node leads the arm: engaged before each episode, released after it")
        self.describe("operator", "", "who shows it; stands in each episode")
        self.describe("jpeg_quality", 95, "of raw images, 1 to 100; 0 stores them raw", Allowed(least=0, most=100))
        self.describe("ros", "jazzy", "distribution whose rosbag2 is to read the bags: humble, jazzy or kilted")
        self.describe("queue_mb", 256, "what may wait to be written, MB", Allowed(least=1))
        self.describe("min_free_mb", 500, "space that stays free on the disk, MB", Allowed(least=0))

    def setup(self) -> DemonstrationParts:
        """Open the session, and look for what there is to record."""
        folder = str(self.value("session"))
        if not folder:
            raise ValueError("parameter session is empty; write a folder")
        opened = SessionFolder(Path(folder))
        check_same_robot(opened, self.contract)
        session = DemonstrationSession(
            opened,
            str(self.value("instruction")),
            wanted=int(self.value("episodes")),
            reset_s=float(self.value("reset_s")),
            longest_s=float(self.value("longest_s")),
            template=self._template,
        )
        for bag in session.cut_off:
            self.get_logger().warning(f"{bag}: was cut off while it was recorded; it is kept, unjudged")
        recording = EpisodeRecording(
            self.contract,
            self.resolve_topic_name(self.contract.demonstrations.marks_topic),
            jpeg_quality=int(self.value("jpeg_quality")),
            ros=str(self.value("ros")),
            queue_mb=int(self.value("queue_mb")),
            min_free_mb=int(self.value("min_free_mb")),
            say=self._say_stopped,
        )
        free_mb, led = int(self.value("min_free_mb")), bool(self.value("teleop"))
        report = SessionReport(self, session, recording, Path(folder), free_mb, led=led)
        release = self.own(self.create_client(Trigger, "teleop/release"), self.destroy_client) if led else None
        parts = DemonstrationParts(session, recording, report, release, ArmCalibrations(self))
        # The marks are this node's own, and written where the episode begins and ends.
        marks = self.contract.demonstrations.marks_topic
        topics = [topic for topic in demonstration_topics(self.contract) if topic.name != marks]
        TopicTaps(self, topics, lambda tap: self._tap(parts, tap))
        self.button("~/begin", self._press_begin)
        self.button("~/re_record", self._press_re_record)
        self.button("~/finish", self._press_finish)
        self.service(JudgeEpisode, "~/judge", self._judge)
        self.service(SetInstruction, "~/set_instruction", self._set_instruction)
        self.steady_timer(_TICK_S, self._tick)
        publish_diagnostics(self, self._health)
        return parts

    def teardown(self, parts: DemonstrationParts) -> None:
        """Close the running episode's bag; nobody has judged it."""
        if parts.session.phase is Phase.RECORDING:
            self._end(parts, "unjudged", "the session was ended while it was recorded")

    # --- what is recorded -----------------------------------------------------------------------------------------

    def _tap(self, parts: DemonstrationParts, tap: Tap) -> Take:
        parts.recording.add_topic(tap)

        def take(data: bytes, info: MessageInfo) -> None:
            if not self.active:
                return
            now_ns = self.now_ns()
            parts.report.heard(tap.name, now_ns)
            message = RawMessage(tap.name, tap.msgtype, now_ns, data)
            parts.recording.take(message, parts.sequence.missing(tap.name, *sequence_of(info)))

        return take

    def _say_stopped(self, reason: str) -> None:
        self.get_logger().error(f"recording stopped: {reason}")

    def _template(self) -> EpisodeRecord:
        return EpisodeRecord(
            "",
            operator=str(self.value("operator")),
            contract_sha256=digest_of(self.contract),
            versions={"swiftvla_ros": package_version()},
            calibrations=dict(self.parts.calibrations.newest),
        )

    # --- what is asked for ----------------------------------------------------------------------------------------

    def _press_begin(self) -> tuple[bool, str]:
        return self._answer(self._begin)

    def _press_re_record(self) -> tuple[bool, str]:
        return self._answer(self._re_record)

    def _press_finish(self) -> tuple[bool, str]:
        return self._answer(self.parts.session.finish)

    def _judge(self, request: JudgeEpisode.Request, response: JudgeEpisode.Response) -> JudgeEpisode.Response:
        outcome = _OUTCOMES.get(request.verdict)

        def judge() -> str:
            if outcome is None:
                raise SessionError(f"verdict {request.verdict} is none; call with one of the service's constants")
            if self.parts.session.phase is Phase.RECORDING:
                return self._end(self.parts, outcome, request.note)
            self.parts.session.judge(outcome, request.note)
            return self._told(self.parts)

        response.success, response.message = self._answer(judge)
        return response

    def _set_instruction(
        self, request: SetInstruction.Request, response: SetInstruction.Response
    ) -> SetInstruction.Response:
        def choose() -> str:
            self.parts.session.set_instruction(request.instruction)
            return f"the next episode shows: {self.parts.session.instruction}"

        response.success, response.message = self._answer(choose)
        return response

    def _answer(self, act: Callable[[], str]) -> tuple[bool, str]:
        """Do it and tell what was done, or why not; the state is published at once."""
        if not self.active:
            return False, "the node is not active; activate it first"
        try:
            answer = True, act()
        except (SessionError, InstructionError, BagError, OSError) as error:
            answer = False, str(error)
        self.parts.report.publish()
        return answer

    def _begin(self) -> str:
        parts = self.parts
        parts.report.look()
        if parts.report.blocked:
            raise SessionError(parts.report.blocked)
        bag = parts.session.begin(self.now_ns())
        assert parts.session.record is not None
        try:
            parts.recording.begin(bag, parts.session.record)
        except (BagError, OSError):
            parts.session.not_opened()
            raise
        parts.session.opened()
        parts.warned.clear()
        self.get_logger().info(f"{bag.name}: recording '{parts.session.instruction}'")
        return f"{bag}: recording"

    def _re_record(self) -> str:
        session = self.parts.session
        if session.phase is Phase.RECORDING:
            # Who leads goes on: an answer that releases the leader would leave the next episode without one.
            self._end(self.parts, "discarded", "", release=False)
        else:
            session.judge("discarded", "")
        discarded = self._told(self.parts)
        try:
            return self._begin()
        except SessionError as error:
            raise SessionError(f"{discarded}, and the next one can't begin: {error}") from error

    def _end(self, parts: DemonstrationParts, outcome: EpisodeOutcome, note: str, *, release: bool = True) -> str:
        now_ns = self.now_ns()
        mark = _MARKS.get(outcome, "end")
        counts = parts.recording.end(f"{mark} {note}".strip(), now_ns)
        record = parts.session.record
        assert record is not None
        record.counts = counts_by_topic(counts)
        if self.contract.demonstrations.actions == "commands" and not self._commanded(record):
            topics = ", ".join(self.contract.command_topics) or "its action"
            record.warnings.append(
                f"nothing was commanded on {topics}, so there is nothing to learn: teleoperate through what commands "
                "the arm, or write where actions are under `demonstrations:` of the contract"
            )
            self.get_logger().warning(record.warnings[-1])
        parts.session.end(outcome, note, now_ns)
        if release and parts.release is not None and parts.release.service_is_ready():
            # Armed anew for each episode: the arm holds while the scene is put back, whatever the leader does.
            parts.release.call_async(Trigger.Request())
        self.get_logger().info(self._told(parts))
        return self._told(parts)

    def _commanded(self, record: EpisodeRecord) -> bool:
        """Whether anybody moved the arm; goals of an action are seen in what the executor says."""
        topics = {self.resolve_topic_name(topic) for topic in (*self.contract.command_topics, "executor_state")}
        return any(each["recorded"] for topic, each in record.counts.items() if topic in topics)

    def _told(self, parts: DemonstrationParts) -> str:
        assert parts.session.bag is not None
        assert parts.session.record is not None
        record = parts.session.record
        return f"{parts.session.bag.name}: {record.outcome}{f' ({record.note})' if record.note else ''}"

    # --- what goes on by itself -----------------------------------------------------------------------------------

    def _tick(self) -> None:
        if not self.active:
            return
        parts, now_ns = self.parts, self.now_ns()
        parts.report.look()
        session = parts.session
        if session.phase is Phase.RECORDING:
            assert session.record is not None
            # The newest of each kind: a rate wavers.
            parts.warned |= parts.report.warnings
            session.record.warnings = list(parts.warned.values())
            why = f"recording stopped: {parts.recording.stopped}" if parts.recording.stopped else ""
            if not why and session.is_overdue(now_ns):
                why = f"lasted longer than {session.longest_s:g} s"
            # What can't be written now (the disk is full) is told, and found by the next sitting.
            if why and not (ended := self._answer(lambda: self._end(parts, "unjudged", why)))[0]:
                self.get_logger().error(ended[1])
        elif session.is_due(now_ns) and not parts.report.blocked:
            self._answer(self._begin)
        self.parts.report.publish()

    def _health(self) -> Health:
        parts, session = self.parts, self.parts.session
        values = {
            "episodes": session.counts["succeeded"],
            "phase": session.phase.name.lower(),
            "calibrations": ", ".join(parts.calibrations.newest) or "none",
        }
        if problem := "; ".join(parts.report.warnings.values()):
            return Health(Level.WARN, problem, values)
        return Health(Level.OK, session.phase.name.lower(), values)


main = script_of(DemonstrationNode)

if __name__ == "__main__":
    main()
