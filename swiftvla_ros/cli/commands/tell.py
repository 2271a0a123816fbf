# SPDX-License-Identifier: Apache-2.0
"""``swiftvla tell``: an instruction for a running system, on machines without ``ros2 action``."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape

from swiftvla_ros.cli.output import console

_DISCOVERY_TIMEOUT_S = 10.0


def command(
    instruction: Annotated[str, typer.Argument(help="What the arm is to do, in your words.")],
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that the arm has for it.")] = 60.0,
    namespace: Annotated[str, typer.Option(help="ROS namespace of the system.")] = "",
) -> None:
    """Tell a running system what to do, and wait until it is done.

    A second `swiftvla tell` in another terminal replaces the instruction while the arm moves. Ctrl-C cancels it: the
    arm slows down and holds. The exit code is 0 only if a task verdict said that it was done; without anything that
    watches the scene the time runs out.
    """
    from swiftvla_ros.cli.live.graph import LiveGraph
    from swiftvla_ros.observation.observation import validate_instruction

    if not instruction.isascii():
        # A shell may hand over bytes that are no text, and no message can carry. The policy judges all else.
        try:
            instruction.encode()
        except UnicodeEncodeError:
            instruction = validate_instruction(instruction)
    with LiveGraph(namespace=namespace) as graph:
        graph.wait_for_instructions(_DISCOVERY_TIMEOUT_S)
        with console.status("sent") as status:
            outcome = graph.run_instruction(instruction, timeout, progress(status.update), cancel_on_interrupt=True)
    color = "green" if outcome.success else "red"
    console.print(f"[bold {color}]{outcome.name}[/]: {escape(outcome.message)} ({outcome.elapsed_s:.1f} s)")
    raise typer.Exit(0 if outcome.success else 1)


def progress(update: Any) -> Any:
    """Return what shows an action's feedback: live in a terminal, else a line for each new phase."""
    last = ""

    def show(feedback: Any) -> None:
        nonlocal last
        text = f"{feedback.elapsed_s:5.1f} s  {feedback.chunks:4d} chunks  {feedback.phase}"
        update(text)
        if not console.is_terminal and feedback.phase != last:
            console.print(text)
        last = feedback.phase

    return show
