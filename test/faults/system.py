# SPDX-License-Identifier: Apache-2.0
"""The nodes as processes beside the tests' driver, and one fault's way through the safe state and back."""

from __future__ import annotations

import itertools
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from executor_arm import check_commands
from fault_bounds import CONTRACT
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters

from swiftvla_ros.msg import ExecutorState, PolicyState
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.observation.message_fields import stamp_ns
from swiftvla_ros.srv import SetInstruction

TRAJECTORY_TOPIC = "/joint_trajectory_controller/joint_trajectory"
MODES = {0: "IDLE", 1: "FRESH", 2: "TAIL", 3: "DECELERATING", 4: "HOLD", 5: "RELEASED", 6: "STOPPED"}
_MOVING_RAD_PER_S = 0.05
# Chunks of 1 s whose inference takes longer than this may come too late for the arm to go on without a pause.
_SLOW_INFERENCE_S = 0.2
# An executor that was stopped for these stays so until it is reset.
_LATCHED = (ExecutorState.REASON_JOINT_FROZEN, ExecutorState.REASON_TRACKING_ERROR)


def constant_names(prefix: str) -> dict[int, str]:
    """Names of a message's constants by their value."""
    return {getattr(ExecutorState, n): n.removeprefix(prefix) for n in dir(ExecutorState) if n.startswith(prefix)}


REASONS, REFUSALS = constant_names("REASON_"), constant_names("REFUSAL_")


class System:
    """All nodes, the driver, and what they say."""

    def __init__(self, graph: Any, make_driver: Callable[..., Any], repository: Path, folder: Path) -> None:
        self.graph, self.repository, self.folder = graph, repository, folder
        self.driver = make_driver(graph.node, CONTRACT, TRAJECTORY_TOPIC)
        self.trajectory_contract = self._write_trajectory_contract()
        # Messages of a replayed bag carry older stamps than this and are not looked at.
        self.ignore_before_ns = 0
        self.killed: set[str] = set()
        self.states = graph.listen(ExecutorState, "executor_state", qos.EXECUTOR_STATE)
        self.policy_states = graph.listen(PolicyState, "policy_state", qos.LATCHED)
        self.nodes: dict[str, Any] = {}
        # As bringup has it for these two.
        self.udp = {"FASTDDS_DEFAULT_PROFILES_FILE": str(folder / "fastdds_udp.xml")}
        self.start_sensors()
        self.start_executor()
        self.start_policy()

    def start_sensors(self) -> None:
        """Start the nodes that look at cameras and joints."""
        for name in CONTRACT.camera_names:
            self.nodes[f"camera_{name}"] = self.graph.start(
                "camera_node", f"camera_{name}", robot="so101_sim", camera=name, repeated_for_s=0.5
            )
        self.killed -= set(self.nodes)
        self.start_joint_state()

    def start_joint_state(self, **environment: str) -> None:
        """Start the joint state node, with these variables, too."""
        self.killed.discard("joint_state")
        self.nodes["joint_state"] = self.graph.start(
            "joint_state_node", robot="so101_sim", environment={**self.udp, **environment}
        )

    def _write_trajectory_contract(self) -> Path:
        """The same robot, commanded by joint trajectories."""
        text = CONTRACT.text.replace("output: forward_position", "output: joint_trajectory")
        text = text.replace(f"topic: {CONTRACT.control.topic}", f"topic: {TRAJECTORY_TOPIC}")
        assert TRAJECTORY_TOPIC in text
        contract = self.folder / "trajectories.yaml"
        contract.write_text(text, encoding="utf-8")
        urdf = CONTRACT.path.parent / "so101.urdf"
        (self.folder / urdf.name).write_text(urdf.read_text(encoding="utf-8"), encoding="utf-8")
        return contract

    def narrowed(self, lowest: float) -> Path:
        """The same robot, whose first joint may not go below ``lowest``."""
        joint = CONTRACT.joints[0]
        before = f"position: [{joint.lowest}, {joint.highest}]"
        text = CONTRACT.text.replace(before, f"position: [{lowest}, {joint.highest}]", 1)
        text = text.replace("rest: 0.0", f"rest: {lowest + 0.01}", 1)
        contract = self.folder / "narrowed.yaml"
        contract.write_text(text, encoding="utf-8")
        return contract

    def start_executor(self, robot: str = "so101_sim", **parameters: Any) -> None:
        """Start the trajectory executor."""
        self.killed.discard("trajectory_executor")
        self.nodes["trajectory_executor"] = self.graph.start(
            "trajectory_executor_node", robot=robot, environment=self.udp, **parameters
        )

    def start_policy(self) -> None:
        """Start the policy and do not wait."""
        self.policy_states.clear()
        self.killed.discard("policy")
        checkpoint = str(self.repository / "models" / "swiftvla-nano-so101")
        self.nodes["policy"] = self.graph.start(
            "policy_node", robot="so101_sim", checkpoint=checkpoint, threads=1, second_opinion=False
        )

    def alive(self, name: str) -> bool:
        """Whether a node's process runs."""
        return bool(self.nodes[name].process.poll() is None)

    def send(self, number: int, *names: str) -> None:
        """Send a signal to processes."""
        self.killed |= set(names) if number == signal.SIGKILL else set()
        for name in names:
            self.nodes[name].process.send_signal(number)

    @contextmanager
    def slowed(self, name: str, run_s: float, stop_s: float) -> Iterator[None]:
        """Give a process the processor only for ``run_s`` at a time, ``stop_s`` apart."""
        over = threading.Event()

        def take_turns() -> None:
            while not over.is_set():
                self.send(signal.SIGSTOP, name)
                over.wait(stop_s)
                self.send(signal.SIGCONT, name)
                over.wait(run_s)

        turns = threading.Thread(target=take_turns)
        turns.start()
        try:
            yield
        finally:
            over.set()
            turns.join()

    def record(self, chunks: int) -> Path:
        """Record a bag until the executor has followed so many more chunks."""
        bag = self.folder / f"bag_{len(self.graph.processes)}"
        before = self.graph.node.count_subscribers("action_chunk")
        recorder = self.graph.start("recorder_node", robot="so101_sim", bag=str(bag), film=False)
        self.wait(lambda: self.graph.node.count_subscribers("action_chunk") > before, "the recorder records", 60)
        self.follows(chunks)
        assert recorder.end() == 0, recorder.output()
        return bag

    def follows(self, chunks: int) -> None:
        """Wait until the executor has followed so many more chunks."""
        until = self.states.last.chunk_id + chunks
        self.wait(lambda: self.states.last.chunk_id >= until, f"{chunks} more chunks are followed")

    def heal(self) -> None:
        """Take away what a test that failed may have left."""
        self.driver.heal()
        self.send(signal.SIGCONT, *(name for name in self.nodes if self.alive(name)))
        if self.alive("trajectory_executor") and self.states.messages and self.states.last.reason in _LATCHED:
            assert self.graph.trigger("trajectory_executor/reset").success
        if self.alive("trajectory_executor") and self.states.messages and not self._executor_active():
            self.activate_executor()

    def _executor_active(self) -> bool:
        answer = self.graph.call(GetState, "trajectory_executor/get_state", GetState.Request())
        return bool(answer.current_state.id == State.PRIMARY_STATE_ACTIVE)

    def activate_executor(self) -> None:
        """Activate the executor as soon as it lets itself be."""

        def activated() -> bool:
            try:
                self.change_state("trajectory_executor", Transition.TRANSITION_ACTIVATE)
            except AssertionError:
                return False
            return True

        self.wait(activated, "the executor is active")

    def change_state(self, name: str, transition: int) -> None:
        """Take a node to another state of its lifecycle."""
        request = ChangeState.Request(transition=Transition(id=transition))
        assert self.graph.call(ChangeState, f"{name}/change_state", request).success

    def instruct(self, text: str) -> Any:
        """Give an instruction; return the answer."""
        return self.graph.call(SetInstruction, "set_instruction", SetInstruction.Request(instruction=text))

    def wait(self, condition: Callable[[], object], what: str, timeout_s: float = 15.0) -> None:
        """Wait, and tell what executor and policy said last when it does not come true."""

        def looked_at() -> object:
            dead = [name for name in self.nodes if not self.alive(name) and name not in self.killed]
            assert not dead, f"{dead} died:\n{self.nodes[dead[0]].output()}"
            return condition()

        try:
            self.graph.wait_until(looked_at, what, timeout_s)
        except pytest.fail.Exception as error:
            pytest.fail(f"{error}\nexecutor: {self.states.last}\npolicy: {self.policy_states.last}")

    def ready(self) -> None:
        """Wait until the policy follows an instruction and the arm moves."""
        if not self.alive("policy"):
            self.start_policy()
        if not self.alive("trajectory_executor"):
            self.states.clear()
            self.start_executor()
        self.wait(lambda: self.policy_states.messages, "policy_node is active", 120)
        if not self.policy_states.last.instruction_id:
            assert self.instruct("pick up the red block").success
        self.wait(lambda: self.states.messages, "the executor is there", 60)
        self.moves_since(len(self.states.messages))

    def moves_since(self, first: int, timeout_s: float = 20.0) -> None:
        """Wait for fresh chunks that move the arm, in states from number ``first`` on."""
        self.wait(lambda: self.states.last.mode == ExecutorState.FRESH and self.speed(first) > _MOVING_RAD_PER_S,
                  "the arm moves", timeout_s)  # fmt: skip

    def speed(self, first: int) -> float:
        """The fastest joint between the two newest commands among the states from ``first`` on, rad/s."""
        recent = [s for s in self.states.messages[first:][-2:] if len(s.commanded_position)]
        if len(recent) < 2:
            return 0.0
        before, now = recent
        step_s = (stamp_ns(now.header.stamp) - stamp_ns(before.header.stamp)) / 1e9
        step = np.abs(np.array(now.commanded_position) - np.array(before.commanded_position)).max()
        return float(step / step_s) if step_s > 0 else 0.0

    def use_clock(self, simulated: bool) -> None:
        """Let all nodes read /clock, or the system's clock again; the driver publishes it."""
        self.driver.clock_on = simulated
        value = ParameterValue(type=ParameterType.PARAMETER_BOOL, bool_value=simulated)
        request = SetParameters.Request(parameters=[Parameter(name="use_sim_time", value=value)])
        for name in self.nodes:
            answer = self.graph.call(SetParameters, f"{name}/set_parameters", request)
            assert answer.results[0].successful

    def check_limits(self, first: int) -> None:
        """No commanded position from state number ``first`` on left a limit or jumped."""
        states = [s for s in self.states.messages[first:] if self._present(s)]
        for commanding, group in itertools.groupby(states, lambda s: bool(len(s.commanded_position))):
            # At one time on /clock the control timer may fire twice; the second state says the same again.
            piece = [next(same) for _, same in itertools.groupby(group, lambda s: (stamp_ns(s.header.stamp),
                                                                                   *s.commanded_position))]  # fmt: skip
            if not commanding:
                continue
            check_commands(piece)

    def live(self) -> ExecutorState:
        """The newest state that no replayed bag brought."""
        return next(state for state in reversed(self.states.messages) if self._present(state))

    def _present(self, state: ExecutorState) -> bool:
        return stamp_ns(state.header.stamp) >= self.ignore_before_ns


class Fault:
    """One row: what is measured from the fault's beginning to the arm's moving again. Times of receipt, s."""

    def __init__(self, system: System, name: str, injected: str) -> None:
        self.system, self.name, self.injected = system, name, injected
        self.first = len(system.states.messages)
        self.begin_s = time.time()
        self.safe = self.codes = self.recovery = ""
        self.safe_s: float | None = None
        self.bound_s: float | None = None
        self.recovery_s = 0.0
        self.recovered = False

    def states(self) -> list[tuple[float, ExecutorState]]:
        """What the executor said since the fault began, with times of receipt."""
        inbox = self.system.states
        pairs = list(zip(inbox.times_s[self.first :], inbox.messages[self.first :], strict=False))
        return [(at_s, state) for at_s, state in pairs if self.system._present(state)]

    def begins(self) -> None:
        """Count from now on."""
        self.first = len(self.system.states.messages)
        self.begin_s = time.time()

    def ends_in(self, mode: int, within_s: float, *reasons: int, policy: str = "") -> None:
        """Wait for the safe state; check its time, its reason, and what the policy says."""

        def reached() -> bool:
            return any(state.mode == mode for _, state in self.states())

        self.system.wait(reached, f"mode {MODES[mode]}")
        at_s, state = next((at_s, state) for at_s, state in self.states() if state.mode == mode)
        self.safe, self.safe_s, self.bound_s = MODES[mode], at_s - self.begin_s, within_s
        self.codes = REASONS[state.reason]
        assert state.reason in reasons, (REASONS[state.reason], state.reason_text)
        assert self.safe_s <= within_s, self.trace()
        if policy:
            self.system.wait(lambda: policy in self.system.policy_states.last.reason, f"the policy says '{policy}'")
            self.codes += f"; policy: {policy} …"
            assert not self.system.policy_states.last.ready

    def goes_on(
        self, until: Callable[[], object], what: str, codes: str = "no complaint", *, late_chunks: bool = False
    ) -> None:
        """Wait for what shows that the fault was there, during which the arm went on with fresh chunks.

        ``late_chunks``: the fault takes processor time, so the arm may slow down between chunks. On a machine whose
        inference alone takes too long it may so with any fault, and may rest; nothing else may be the reason.
        """
        self.system.wait(until, what)
        inferences_s = self._inferences_s()
        slow = max(inferences_s, default=0.0) > _SLOW_INFERENCE_S
        for _, state in self.states():
            mode = MODES[state.mode]
            late = (mode == "DECELERATING" and (late_chunks or slow)) or (mode == "HOLD" and slow)
            fine = mode in ("FRESH", "TAIL") or (late and REASONS[state.reason] == "ROWS_EXHAUSTED")
            assert fine, f"{self.trace()}\ninferences, s: {inferences_s}"
        modes = {MODES[state.mode] for _, state in self.states()}
        self.safe = "goes on" + ", slowing down between chunks" * ("DECELERATING" in modes)
        self.codes = codes

    def _inferences_s(self) -> list[float]:
        """How long inferences took, s, as the policy has said since the fault began."""
        inbox = self.system.policy_states
        stages = [
            dict(zip(state.latency_stages, state.latency_s, strict=True))
            for at_s, state in zip(inbox.times_s, inbox.messages, strict=False)
            if at_s >= self.begin_s and stamp_ns(state.header.stamp) >= self.system.ignore_before_ns
        ]
        return [round(stage["inference"], 2) for stage in stages if "inference" in stage]

    def refuses(self, code: int) -> None:
        """Check that chunks were refused since the fault began, for this reason and no other."""
        refusals = {(state.chunks_refused, state.last_refusal) for _, state in self.states()}
        counts = sorted(count for count, _ in refusals)
        assert counts[-1] > counts[0], "no chunk was refused"
        codes = {REFUSALS[refusal] for count, refusal in refusals if count > counts[0]}
        assert codes == {REFUSALS[code]}, self.system.states.last.last_refusal_text
        self.codes = REFUSALS[code]

    def longest_tick_s(self) -> float:
        """Longest time between two control ticks of the moving arm that ``executor_state`` tells of."""
        stamps_ns = [stamp_ns(state.header.stamp) for _, state in self.states()]
        return float(np.diff(stamps_ns).max() / 1e9)

    def recovers(self, how: str = "", within_s: float = 3.0) -> None:
        """Wait until the arm moves again, and check every command since the fault began.

        3 s are for an observation, an inference and the soft start.
        """
        end_s, first = time.time(), len(self.system.states.messages)
        self.system.moves_since(first)
        self.recovery, self.recovery_s = how, time.time() - end_s
        self.system.check_limits(self.first)
        assert self.recovery_s <= within_s, self.trace()
        self.recovered = True

    def trace(self) -> str:
        """Modes and reasons since the fault began, each with its time."""
        changes, last = [], None
        for at_s, state in self.states():
            if (state.mode, state.reason) != last:
                last = state.mode, state.reason
                changes.append(f"{at_s - self.begin_s:.2f} {MODES[state.mode]} {state.reason_text}")
        return "\n".join(changes)
