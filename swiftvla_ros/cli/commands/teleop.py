# SPDX-License-Identifier: Apache-2.0
"""``swiftvla teleop``: a keyboard or a gamepad moves the arm, and engages or releases a leader."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    gamepad: Annotated[
        Path | None, typer.Option(help="A gamepad's device, such as /dev/input/js0, instead of the keyboard.")
    ] = None,
    speed: Annotated[float, typer.Option(min=0.01, help="Speed of a joint at first, rad/s (m/s).")] = 0.3,
    namespace: Annotated[str, typer.Option(help="ROS namespace of the system.")] = "",
) -> None:
    """Move the arm of a running system by hand: `swiftvla up --teleop jog`, and this in a second terminal.

    Nothing moves before you engage. Every motion goes through the executor: its limits hold, and it stops 0.2 s after
    you let go. Over a running policy, engaging takes the arm from it; releasing gives it back, and what you did is
    recorded as a correction. With `up --teleop leader` a leader arm leads, and this engages, releases and stops.

    Keys: q w e r t y move the joints one way, a s d f g h the other (hold them). Enter engages, Backspace releases.
    Space stops the executor (Enter starts it again), ! or Escape is the emergency stop (Enter resets it). + and -
    change the speed, x ends.

    Gamepad: hold the right shoulder button and move the sticks, the cross and the triggers (gripper). A engages, B
    releases, X stops, Y is the emergency stop.
    """
    from swiftvla_ros.cli.live.teleoperation import teleoperate

    raise typer.Exit(teleoperate(gamepad, speed, namespace))
