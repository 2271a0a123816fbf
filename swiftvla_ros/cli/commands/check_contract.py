# SPDX-License-Identifier: Apache-2.0
"""``swiftvla check-contract``: the first thing to run after writing a contract for one's own arm."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import typer
from rich.markup import escape

from swiftvla_ros.cli.output import console, print_table


def _print_keys(wanted: bool) -> None:
    if wanted:
        from swiftvla_ros.contract.key_table import key_table

        typer.echo(key_table())
        raise typer.Exit


def command(
    contract: Annotated[str, typer.Argument(help="A contract file, or the name of a shipped one, such as so101_sim.")],
    _keys: Annotated[
        bool, typer.Option("--keys", callback=_print_keys, is_eager=True, help="Print all keys and what they mean.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="End with exit code 2 where something is odd, too.")] = False,
) -> None:
    """Check a robot's contract file and print what it says.

    The contract is the one place that tells cameras, joints, units, limits and rates; all nodes, training and
    simulation read it. A mistake is named with its file, its key and what to write instead; the exit code is then 2.
    What is possible, but odd (limits that look like degrees, crossed topics, cameras too slow to be paired), is asked
    about in a WARNING.
    """
    from swiftvla_ros.contract import load_contract
    from swiftvla_ros.contract.checks.questions import questions

    checked = load_contract(contract)
    limits = [
        (
            joint.name,
            joint.unit,
            "continuous" if joint.continuous else f"{joint.lowest:.3f} … {joint.highest:.3f}",
            f"{joint.velocity:g}",
            f"{joint.acceleration:g}",
            f"{joint.jerk:g}",
        )
        for joint in checked.joints
    ]
    print_table(("joint", "unit", "rad or m", "/s", "/s²", "/s³"), limits, f"{checked.robot}: limits")
    cameras = [
        (
            camera.name,
            "×".join(map(str, camera.source_size)),
            "×".join(map(str, camera.size)),
            f"{camera.rate_hz:g}",
            "–" if camera.pose is None else np.array2string(np.array(camera.pose.position_m), precision=3),
            f"{camera.topic} ({camera.transport})",
        )
        for camera in checked.cameras
    ]
    print_table(("camera", "source", "policy", "Hz", "pose, m", "topic"), cameras, "cameras")
    for part in checked.command_parts:
        console.print(f"commands: {part.kind} on {part.topic}: {', '.join(part.names)}", markup=False)
    console.print(
        f"at {checked.control.rate_hz:g} Hz; grippers: {', '.join(g.joint for g in checked.grippers) or 'none'}; one "
        f"policy step is {checked.policy.step_s:g} s; joint states on {checked.joint_states.topic}",
        markup=False,
    )
    odd = questions(checked)
    for question in odd:
        console.print(f"[yellow]WARNING[/yellow] {escape(f'{checked.path}: {question}')}", soft_wrap=True)
    color, asked = ("yellow", f", with {len(odd)} to think about") if odd else ("green", "")
    console.print(f"[{color}]{escape(str(checked.path))}: valid{asked}[/{color}]", soft_wrap=True)
    raise typer.Exit(2 if odd and strict else 0)
