# SPDX-License-Identifier: Apache-2.0
"""A keyboard or a gamepad in a live graph: jogs out, buttons pressed, and what comes of it shown."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rich.live import Live
from rich.table import Table

from swiftvla_ros.cli.live.graph import GraphError, LiveGraph
from swiftvla_ros.cli.output import console
from swiftvla_ros.errors import UserError
from swiftvla_ros.teleop.gamepad import Gamepad
from swiftvla_ros.teleop.hand import TeleopPhase
from swiftvla_ros.teleop.keyboard import DOWN, UP, Keyboard

_DISCOVERY_TIMEOUT_S = 10.0
_PERIOD_S = 0.02
_FASTER = 1.25
_SLOWEST, _FASTEST = 0.02, 3.0
_EXECUTOR = "trajectory_executor"


class TeleoperationError(UserError, RuntimeError):
    """Nothing to move the arm with; the message says what, and the fix."""


def teleoperate(gamepad: Path | None, speed: float, namespace: str) -> int:
    """Move the arm until somebody ends it; returns the exit code.

    Raises
    ------
    UserError
        No teleop_node answers, there is no terminal, or the gamepad can't be opened.
    """
    with LiveGraph(namespace=namespace) as graph:
        session = _Session(graph, speed)
        if gamepad is None:
            if not sys.stdin.isatty():
                raise TeleoperationError("there is no terminal whose keys could move the arm; name a --gamepad")
            with Keyboard() as keyboard:
                return session.run(keyboard, " ".join(f"{u}/{d}" for u, d in zip(UP, DOWN, strict=True)))
        try:
            pad = Gamepad(gamepad)
        except OSError as error:
            raise TeleoperationError(f"{gamepad}: {error.strerror}; ls /dev/input/js* lists gamepads") from error
        try:
            return session.run(pad, "hold the right shoulder button")
        except OSError as error:
            raise TeleoperationError(f"{gamepad}: {error.strerror}; was it unplugged? The arm rests") from error
        finally:
            pad.close()


class _Session:
    """What is said and heard."""

    def __init__(self, graph: LiveGraph, speed: float) -> None:
        from sensor_msgs.msg import JointState

        from swiftvla_ros.msg import ExecutorState, TeleopState
        from swiftvla_ros.nodes.ros import qos

        self._graph, self._speed = graph, speed
        self._state: Any = None
        self._executor: Any = None
        self._text = ""
        self._moving = False
        graph.listen(TeleopState, "teleop_state", self._hear, qos.LATCHED)
        graph.listen(ExecutorState, "executor_state", self._hear_executor, qos.STATE_INPUT)
        self._jogs = graph.publisher(JointState, "jog", qos.STATE)

    def _hear(self, state: Any) -> None:
        self._state = state

    def _hear_executor(self, state: Any) -> None:
        self._executor = state

    def run(self, device: Keyboard | Gamepad, help_text: str) -> int:
        """Go on until it is ended."""
        missing = "no teleop_node speaks on teleop_state; start one: `swiftvla up --teleop jog` (or leader)"
        self._graph.wait_for(lambda: self._state is not None, _DISCOVERY_TIMEOUT_S, missing)
        with Live(self._shown(help_text), console=console, auto_refresh=False, transient=True) as live:
            while True:
                for said in device.read():
                    if said == "quit":
                        self._jog([0.0] * len(self._state.joint_names))
                        console.print("the arm rests where it is; the operator has it until released")
                        return 0
                    self._do(said)
                self._jog(device.shares(len(self._state.joint_names)))
                self._graph.spin(_PERIOD_S)
                live.update(self._shown(help_text), refresh=True)

    def _jog(self, shares: list[float]) -> None:
        """Say what is wanted; once more when it has become nothing, and then no more."""
        moving = any(shares)
        if (moving or self._moving) and self._state.source == "jog":
            from sensor_msgs.msg import JointState

            speeds = [self._speed * share for share in shares]
            self._jogs.publish(JointState(name=list(self._state.joint_names), velocity=speeds))
        self._moving = moving

    def _do(self, said: str) -> None:
        if said in ("faster", "slower"):
            factor = _FASTER if said == "faster" else 1 / _FASTER
            self._speed = min(max(self._speed * factor, _SLOWEST), _FASTEST)
            return
        try:
            if said == "engage":
                self._ready()
            owner = "teleop" if said in ("engage", "release") else _EXECUTOR
            self._text = self._graph.trigger(f"{owner}/{said}")
        except GraphError as error:
            self._text = str(error)

    def _ready(self) -> None:
        """A person who engages lets the executor take chunks again."""
        from swiftvla_ros.msg import ExecutorState

        executor = self._executor
        if executor is not None and executor.mode == ExecutorState.STOPPED:
            self._graph.trigger(f"{_EXECUTOR}/reset")
        elif executor is not None and executor.reason == ExecutorState.REASON_STOP_REQUESTED:
            self._graph.trigger(f"{_EXECUTOR}/start")

    def _shown(self, help_text: str) -> Table:
        state, executor = self._state, self._executor
        table = Table.grid(padding=(0, 2))
        table.add_row("teleop", f"[bold]{TeleopPhase(state.phase).name}[/] {state.source}: {state.reason}")
        if executor is not None:
            table.add_row("executor", executor.reason_text)
        table.add_row("speed", f"{self._speed:.2f} rad/s, {state.input_rate:.0f} inputs/s, {help_text}")
        if len(state.distance):
            gaps = zip(state.joint_names, state.distance, strict=False)
            table.add_row("to the leader", ", ".join(f"{name} {gap:+.2f}" for name, gap in gaps))
        table.add_row("", self._text or state.last_refusal)
        return table
