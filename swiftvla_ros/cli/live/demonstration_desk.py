# SPDX-License-Identifier: Apache-2.0
"""Where the operator of a session sits: keys in, the node's services called, its state shown."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.live import Live

from swiftvla_ros.cli.live.graph import GraphError, LiveGraph
from swiftvla_ros.cli.live.keys import Keys
from swiftvla_ros.cli.live.session_view import counts_line, phase_line, session_view
from swiftvla_ros.cli.output import console

if TYPE_CHECKING:
    from swiftvla_ros.msg import DemonstrationState, TeleopState

_SPIN_S = 0.1
_START_TIMEOUT_S = 60.0
# The node reports five times a second.
_SILENT_S = 2.0
_NODE = "demonstration"


class DemonstrationDesk:
    """The conversation between one operator and ``demonstration_node``; all in one thread."""

    def __init__(self, graph: LiveGraph, keys: Keys) -> None:
        from swiftvla_ros.msg import DemonstrationState, TeleopState
        from swiftvla_ros.nodes.ros import qos

        self._graph, self._keys = graph, keys
        self._states: list[DemonstrationState] = []
        self._message = ""
        self._left = False
        self._heard_s = time.monotonic()
        self._hands: list[TeleopState] = []
        graph.listen(DemonstrationState, "demonstration_state", self._take, qos.LATCHED)
        graph.listen(TeleopState, "teleop_state", self._take_hand, qos.LATCHED)

    def run(self) -> None:
        """Go on until as many episodes as were wanted have succeeded, or the operator quits.

        Raises
        ------
        GraphError
            The node does not report, or no longer.
        """
        with console.status("waiting for demonstration_node …"):
            self._graph.wait_for(lambda: bool(self._states), _START_TIMEOUT_S, "demonstration_node does not report")
        if self._keys.are_there:
            self._take_keys()
        else:
            self._follow()
        console.print(counts_line(self._state))

    @property
    def _state(self) -> DemonstrationState:
        return self._states[-1]

    def _take(self, state: DemonstrationState) -> None:
        self._states[:] = [state]
        self._heard_s = time.monotonic()

    @property
    def _told(self) -> str:
        """What the last key did; or that what is shown is old, because the node that says it is gone."""
        silent_s = time.monotonic() - self._heard_s
        if silent_s < _SILENT_S:
            return self._message
        return (
            f"demonstration_node is silent for {silent_s:.0f} s: nothing is recorded, and what stands above is "
            "old. It is started again by itself; the episode that ran is kept, unjudged"
        )

    def _take_hand(self, state: TeleopState) -> None:
        self._hands[:] = [state]

    def _take_keys(self) -> None:
        with Live(console=console, auto_refresh=False) as live:
            while not self._left and self._state.phase != self._state.ENDED:
                for key in self._keys.pressed():
                    self._press(key, live)
                live.update(session_view(self._state, self._told), refresh=True)
                self._graph.spin(_SPIN_S)
            live.update(session_view(self._state, self._told), refresh=True)

    def _follow(self) -> None:
        """Print what happens, where somebody else presses the buttons."""
        told = ""
        while self._state.phase != self._state.ENDED:
            last = f"{self._state.last_episode}: {self._state.last_outcome}; " if self._state.last_episode else ""
            line = f"{last}{phase_line(self._state).split(',')[0]}; {counts_line(self._state)}"
            if line != told:
                told = line
                console.print(line, markup=False)
            self._graph.spin(_SPIN_S)

    def _press(self, key: str, live: Live) -> None:
        recording = self._state.phase == self._state.RECORDING
        if key == " " and not recording:
            self._do(lambda: self._graph.trigger(f"{_NODE}/begin"))
        elif key in (" ", "s"):
            self._do(lambda: self._judge("SUCCEEDED"))
        elif key == "f":
            self._do(lambda: self._judge("FAILED"))
        elif key == "d":
            self._do(lambda: self._judge("DISCARDED"))
        elif key == "e":
            hand = self._hands[-1] if self._hands else None
            # A hand that is held is engaged anew, as its reason says.
            leads = hand is not None and hand.engaged and hand.phase != hand.HELD
            self._do(lambda: self._graph.trigger(f"teleop/{'release' if leads else 'engage'}"))
        elif key == "r":
            self._do(lambda: self._graph.trigger(f"{_NODE}/re_record"))
        elif key == "n" and recording:
            self._message = "end the episode first; then n notes something"
        elif key == "n":
            self._note(self._ask("note: ", live))
        elif key == "i":
            self._instruct(self._ask("the next episodes show: ", live))
        elif key == "q" and recording:
            self._message = "an episode is being recorded: end it (space, f) or discard it (d), then q"
        elif key == "q":
            self._left = True

    def _note(self, text: str) -> None:
        outcome = self._state.last_outcome
        if text and outcome not in ("succeeded", "failed"):
            self._message = "judge the last episode first (s, f), then n notes something"
        elif text:
            self._do(lambda: self._judge(outcome.upper(), text))

    def _instruct(self, text: str) -> None:
        from swiftvla_ros.srv import SetInstruction

        if text:
            request = SetInstruction.Request(instruction=text)
            self._do(lambda: str(self._graph.call(SetInstruction, f"{_NODE}/set_instruction", request).message))

    def _judge(self, verdict: str, note: str = "") -> str:
        from swiftvla_ros.srv import JudgeEpisode

        request = JudgeEpisode.Request(verdict=getattr(JudgeEpisode.Request, verdict), note=note)
        return str(self._graph.call(JudgeEpisode, f"{_NODE}/judge", request).message)

    def _ask(self, prompt: str, live: Live) -> str:
        live.stop()
        text = self._keys.line(prompt)
        live.start()
        return text

    def _do(self, act: Callable[[], str]) -> None:
        try:
            self._message = act()
        except GraphError as error:
            self._message = str(error)
