# SPDX-License-Identifier: Apache-2.0
"""Demonstrations through a leader arm, recorded as a person's would be, trained on, and judged in fresh scenes.

    python benchmarks/teleoperated_training.py runs/teleoperated --episodes 300        # goes on where it was left

The scripted expert moves a leader arm; teleop_node makes chunks of it, the executor moves the simulated robot inside
its limits, and the node of `swiftvla demonstrate` records the drivers' topics, one bag an episode. Then come
`swiftvla train` and `swiftvla eval`. With `--compare` the same training has as many demonstrations of
`swiftvla collect`, too. Prints what was recorded, and the success of both with 95 % Wilson intervals.
"""

import argparse
import json
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import numpy as np
from rich.progress import Progress

from swiftvla_ros.bringup.processes import describe_demonstration
from swiftvla_ros.bringup.system_options import SystemOptions
from swiftvla_ros.cli.live.graph import GraphError, LiveGraph
from swiftvla_ros.cli.live.simulated_system import SimulatedSystem, describe_expert
from swiftvla_ros.cli.output import print_table, write_json
from swiftvla_ros.contract import load_contract
from swiftvla_ros.episodes.session.session_folder import SessionFolder
from swiftvla_ros.sim.evaluation.first_step import task_of_episode
from swiftvla_ros.sim.tasks.registry import STANDARD_VERBS, phrase

_SWIFTVLA = [sys.executable, "-m", "swiftvla_ros.cli.main"]
_START_TIMEOUT_S = 90.0
_REST_TIMEOUT_S = 10.0
_TASK_TIMEOUT_S = 15.0
# A reset scene falls into place, and pictures of the old one grow too old to be used.
_SETTLE_S = 1.0
# The arm comes to rest after the verdict.
_AFTER_S = 0.5
_MOVES_RAD = 0.004
_TRAIN = ("--steps", "1200", "--batch", "48")
_EVALUATION_SEED = 10000


def main() -> int:
    """Record, train, judge; return 1 where a step failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--episodes", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop recording after so long")
    parser.add_argument("--record-only", action="store_true")
    parser.add_argument("--compare", action="store_true", help="train on as many of `swiftvla collect`, too")
    parser.add_argument("--eval", type=int, default=60, help="scenes of the evaluation")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    session = options.out / "session"
    _record(session, options.episodes, options.seconds)
    outcomes = [record.outcome for record in SessionFolder(session).records().values()]
    counts = {outcome: outcomes.count(outcome) for outcome in sorted(set(outcomes))}
    print(f"{session}: {counts}")
    if options.record_only or counts.get("succeeded", 0) < options.episodes:
        return 0
    ways = {"through the leader": session}
    if options.compare:
        ways["swiftvla collect"] = options.out / "collected"
        _run("collect", ways["swiftvla collect"], "--episodes", options.episodes)
    rows, figures = [], {"recorded": counts}
    for way, episodes in ways.items():
        policy, judged = options.out / f"policy_of_{episodes.name}", options.out / f"eval_of_{episodes.name}.json"
        _run("train", episodes, policy, *_TRAIN)
        _run("eval", policy, "--episodes", options.eval, "--seed", _EVALUATION_SEED, "--json", judged, may_fail=True)
        found = figures[way] = json.loads(judged.read_text())
        done = found["done"]["all"]
        rows.append((way, f"{done['count']} of {done['total']}", f"{done['low']:.0%} … {done['high']:.0%}"))
    print_table(("demonstrations", "done", "95 % interval"), rows)
    write_json(options.json, figures)
    return 0


def _record(session: Path, wanted: int, seconds: float) -> None:
    """Record until the session has as many episodes as are wanted."""
    folder = SessionFolder(session)
    have = sum(record.outcome == "succeeded" for record in folder.records().values())
    if have >= wanted:
        return
    # Each sitting has scenes of its own, and none is an evaluation's.
    first = len(folder.bags())
    options = SystemOptions(robot="so101_sim", sim=True, teleop="leader", seed=first)
    processes = [
        *describe_demonstration(options, session, instruction="pick up the red block", episodes=wanted),
        describe_expert(options, as_leader=True),
    ]
    deadline = time.monotonic() + seconds
    with SimulatedSystem(processes, session) as system, LiveGraph(check=system.check) as graph, Progress() as progress:
        operator = _Operator(graph, load_contract(options.robot).leader.topic)
        operator.wait_until_ready()
        bar = progress.add_task("demonstrations through the leader", total=wanted, completed=have)
        index = first
        while have < wanted and time.monotonic() < deadline:
            try:
                succeeded, message = operator.show(index, reset=index > first)
            except GraphError as error:
                # A machine that stalls silences the leader for a moment: the arm holds, and the scene is not shown.
                succeeded, message = False, str(error)
                operator.let_go()
            have += succeeded
            progress.update(bar, completed=have)
            if not succeeded:
                progress.console.print(f"scene {index}: {message}")
            index += 1


class _Operator:
    """Does what a person at the desk does: engage, begin, show, judge, put the scene back."""

    def __init__(self, graph: LiveGraph, topic: str) -> None:
        from sensor_msgs.msg import JointState

        from swiftvla_ros.msg import DemonstrationState, TeleopState
        from swiftvla_ros.nodes.ros import qos

        self._graph = graph
        self._session: deque[DemonstrationState] = deque(maxlen=1)
        self._teleop: deque[TeleopState] = deque(maxlen=1)
        self._leader: deque[JointState] = deque(maxlen=1)
        # rclpy asks a callback for its signature, which a built-in has not.
        graph.listen(DemonstrationState, "demonstration_state", lambda m: self._session.append(m), qos.LATCHED)  # noqa: PLW0108
        graph.listen(TeleopState, "teleop_state", lambda m: self._teleop.append(m), qos.LATCHED)  # noqa: PLW0108
        graph.listen(JointState, topic, lambda m: self._leader.append(m), qos.STATE_INPUT)  # noqa: PLW0108

    def wait_until_ready(self) -> None:
        """Wait for the nodes."""
        self._graph.wait_for_instructions(_START_TIMEOUT_S)
        self._graph.wait_for(
            lambda: bool(self._session and self._teleop and self._leader),
            _START_TIMEOUT_S,
            "demonstration_node, teleop_node or the leader does not speak",
        )

    def show(self, index: int, *, reset: bool) -> tuple[bool, str]:
        """Show the task of a scene; return whether it was done, and what was said of it."""
        from swiftvla_ros.srv import JudgeEpisode, SetInstruction

        graph = self._graph
        if reset:
            graph.wait_until_at_rest(_REST_TIMEOUT_S)
            graph.trigger("trajectory_executor/reset")
            graph.trigger("sim_robot/reset")
        graph.spin(_SETTLE_S)
        text = phrase(task_of_episode(index, STANDARD_VERBS), np.random.default_rng([index, 4]))
        graph.call(SetInstruction, "demonstration/set_instruction", SetInstruction.Request(instruction=text))
        self._engage()
        graph.wait_for(lambda: not self._session[-1].blocked, _START_TIMEOUT_S, f"{self._session[-1].blocked}")
        # While the expert plans nothing moves, and a policy would learn to wait.
        still = self._leader[-1].position
        ending = graph.start_instruction(text, _TASK_TIMEOUT_S).get_result_async()
        graph.wait_for(
            lambda: bool(np.abs(np.subtract(self._leader[-1].position, still)).max() > _MOVES_RAD),
            _REST_TIMEOUT_S,
            f"'{text}': the leader does not move",
        )
        graph.trigger("demonstration/begin")
        graph.wait_for(ending.done, _TASK_TIMEOUT_S + _REST_TIMEOUT_S, f"'{text}' does not end")
        result = ending.result().result
        graph.spin(_AFTER_S)
        verdict = JudgeEpisode.Request.SUCCEEDED if result.success else JudgeEpisode.Request.FAILED
        graph.call(JudgeEpisode, "demonstration/judge", JudgeEpisode.Request(verdict=verdict, note=result.message))
        return bool(result.success), str(result.message)

    def let_go(self) -> None:
        """End what a scene that was not shown has left running: its episode, and the hand on the arm."""
        from swiftvla_ros.msg import DemonstrationState
        from swiftvla_ros.srv import JudgeEpisode

        discarded = JudgeEpisode.Request(verdict=JudgeEpisode.Request.DISCARDED, note="the scene was not shown")
        if self._session[-1].phase == DemonstrationState.RECORDING:
            self._graph.call(JudgeEpisode, "demonstration/judge", discarded)
        self._graph.trigger("teleop/release")

    def _engage(self) -> None:
        from swiftvla_ros.msg import TeleopState

        # The leader of a new scene has to be heard first.
        for _ in range(20):
            try:
                self._graph.trigger("teleop/engage")
                break
            except GraphError:
                self._graph.spin(0.2)
        follows = lambda: self._teleop[-1].phase == TeleopState.FOLLOWING  # noqa: E731
        self._graph.wait_for(follows, _REST_TIMEOUT_S, f"the arm does not follow: {self._teleop[-1].reason}")


def _run(*arguments: object, may_fail: bool = False) -> None:
    command = [str(a) for a in arguments]
    print(f"\n== swiftvla {' '.join(command)}", flush=True)
    done = subprocess.run([*_SWIFTVLA, *command], check=False)
    if done.returncode and not may_fail:
        raise SystemExit(f"swiftvla {command[0]} failed with exit code {done.returncode}")


if __name__ == "__main__":
    sys.exit(main())
