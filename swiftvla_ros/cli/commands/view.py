# SPDX-License-Identifier: Apache-2.0
"""``swiftvla view``: a recorded run or the running system in the rerun viewer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swiftvla_ros.cli.bags import BAG_HELP, NAMESPACE_HELP, open_bag
from swiftvla_ros.cli.commands.plot import CheckpointOption, ForesightOption
from swiftvla_ros.cli.output import console, refuse
from swiftvla_ros.extras import need

if TYPE_CHECKING:
    from swiftvla_ros.contract import Contract
    from swiftvla_ros.episodes.bags.bag import Bag


def command(
    bag: Annotated[Path | None, typer.Argument(help=BAG_HELP)] = None,
    live: Annotated[bool, typer.Option("--live", help="Show the running system instead, until Ctrl-C.")] = False,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a recording (.rrd) instead of opening a window.")
    ] = None,
    connect: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Send to a viewer that runs already, such as rerun+http://laptop:9876/proxy."),
    ] = None,
    robot: Annotated[
        str | None,
        typer.Option(help="The robot's contract: a file or a name.", show_default="the bag's; with --live so101_sim"),
    ] = None,
    checkpoint: CheckpointOption = None,
    foresight: ForesightOption = True,
    budget: Annotated[
        float, typer.Option(min=0.0, help="Seconds for computing paths; a long run then has them at fewer moments.")
    ] = 60.0,
    namespace: Annotated[
        str | None,
        typer.Option(
            help=f"{NAMESPACE_HELP} With --live and --foxglove the system's.",
            show_default="the only one; live the root",
        ),
    ] = None,
    foxglove: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Only write a Foxglove layout for the robot: its joints and cameras."),
    ] = None,
) -> None:
    """Look at a run: images with what the policy foresaw, joints, chunks, latencies, the executor's modes.

    In each image of the front camera: the goal (ring) and the path (dots) of the policy's Fusion Tokens, and where the
    chunk's rows lead the hand (line). Beside it every joint as planned, commanded and measured with the seams between
    chunks; the instruction, the verdict, the executor's mode and its reason over time; refusals, counts of limits, the
    speed scale and what each chunk's way took.

    - a recording: swiftvla view runs/demo-…/bag

    - the running system: swiftvla view --live (paths need --checkpoint, and a core of their own)

    - where there is no display: swiftvla view BAG --save run.rrd, and on another machine: rerun run.rrd

    - without rerun: swiftvla plot BAG, or Foxglove with --foxglove layout.json

    Nothing is sent anywhere: rerun's usage statistics are off, and its window listens on 127.0.0.1 only. With --save no
    port is opened. Without a display a recording is written beside the bag.
    """
    from swiftvla_ros.contract import load_contract
    from swiftvla_ros.resources import DEFAULT_ROBOT

    if foxglove is not None:
        if bag is None and robot is None:
            refuse("--foxglove: name a bag, or the robot's contract with --robot")
    elif (bag is None) != live:
        refuse("name a bag, or write --live for the running system")
    if save is not None and connect is not None:
        refuse("--save writes a file and --connect sends to a viewer: choose one")
    try:
        if foxglove is not None:
            contract = load_contract(robot) if robot else open_bag(_given(bag), None, None).contract
            _write_layout(contract, namespace or "", foxglove)
            return
        need("rerun")
        if live:
            contract = load_contract(robot or DEFAULT_ROBOT)
            _view_live(contract, save, connect, checkpoint, namespace or "")
        else:
            _view_bag(open_bag(_given(bag), robot, namespace), save, connect, checkpoint, budget if foresight else None)
    except KeyboardInterrupt:
        console.print("interrupted; an unfinished recording was removed")
        raise typer.Exit(130) from None


def _given(bag: Path | None) -> Path:
    assert bag is not None, "checked above"
    return bag


def _view_bag(bag: Bag, save: Path | None, connect: str | None, checkpoint: str | None, budget_s: float | None) -> None:
    from swiftvla_ros.viewing.rerun.bag import log_bag
    from swiftvla_ros.viewing.rerun.output import has_display, open_output

    if save is None and connect is None and not has_display():
        save = bag.path.with_name(f"{bag.path.name}.rrd")
        console.print(f"there is no display here; writing {save}")
    with open_output(save, connect) as stream:
        log_bag(console, bag, stream, checkpoint, budget_s)
    if save is not None:
        console.print(f"{save}: {save.stat().st_size / 1e6:.1f} MB; look at it with: rerun --bind 127.0.0.1 {save}")


def _view_live(
    contract: Contract, save: Path | None, connect: str | None, checkpoint: str | None, namespace: str
) -> None:
    from swiftvla_ros.cli.live.view import log_live
    from swiftvla_ros.viewing.rerun.output import has_display, open_output

    if save is None and connect is None and not has_display():
        refuse("there is no display here; write --save FILE.rrd, or --connect to a viewer on another machine")
    with open_output(save, connect) as stream:
        log_live(contract, stream, checkpoint, namespace)
    if save is not None:
        console.print(f"{save}: {save.stat().st_size / 1e6:.1f} MB")


def _write_layout(contract: Contract, namespace: str, path: Path) -> None:
    import json

    from swiftvla_ros.viewing.foxglove import layout

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(layout(contract, namespace), indent=1) + "\n", encoding="utf-8")
    console.print(f"{path}: in Foxglove, Layouts, Import from file")
