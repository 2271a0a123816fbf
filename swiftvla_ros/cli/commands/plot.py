# SPDX-License-Identifier: Apache-2.0
"""``swiftvla plot``: a recorded run as one picture, without a viewer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swiftvla_ros.cli.bags import BagArgument, BagRobotOption, NamespaceOption, open_bag
from swiftvla_ros.cli.output import console, refuse

if TYPE_CHECKING:
    from swiftvla_ros.episodes.bags.bag import Bag
    from swiftvla_ros.episodes.quality.findings import ExaminedEpisode, Finding

_MOMENTS = 6
# As many images as the picture holds take a second even on a slow machine.
_BUDGET_S = 20.0

CheckpointOption = Annotated[
    str | None,
    typer.Option(help="Whose Fusion Tokens are drawn: a checkpoint folder.", show_default="the recorded one"),
]
ForesightOption = Annotated[
    bool,
    typer.Option(
        help="Draw where the policy saw the hand go; loads its network and computes from the recorded images."
    ),
]


def command(
    bag: BagArgument,
    out: Annotated[Path | None, typer.Argument(help="The PNG.", show_default="BAG.png")] = None,
    robot: BagRobotOption = None,
    checkpoint: CheckpointOption = None,
    foresight: ForesightOption = True,
    namespace: NamespaceOption = None,
) -> None:
    """Draw a recorded run as one picture.

    From top to bottom: what the policy saw at six moments, with the goal (ring) and the path (dots) that its Fusion
    Tokens foresaw and where the chunk's rows lead the hand (line); what it was told and the executor's modes with
    their reasons; every joint as planned, commanded and measured, with its limits and the seams between chunks; how
    long each chunk took from the camera's stamp to the arm; speed, limits and refusals; the tracking error.

    Of a robot that a person drove, without this package's nodes, each episode is one picture: what the cameras saw, the
    joints as commanded and measured, and what `check-demonstrations` finds.

    For a closer look: swiftvla view BAG
    """
    path = out or bag.with_name(f"{bag.name}.png")
    try:
        draw_bag(open_bag(bag, robot, namespace), path, checkpoint, foresight=foresight)
    except OSError as error:
        refuse(f"{path}: can't be written: {error}")
    console.print(str(path))


def draw_bag(bag: Bag, path: Path, checkpoint: str | None, *, foresight: bool) -> None:
    """Draw a bag; tells the console why paths are missing. Raises BagError, CheckpointError, OSError."""
    from swiftvla_ros.episodes.bags.message_types import BagError
    from swiftvla_ros.viewing.demonstration_run import is_demonstration
    from swiftvla_ros.viewing.run_frames import find_predictor, frames, moments
    from swiftvla_ros.viewing.run_picture import draw_run
    from swiftvla_ros.viewing.run_summary import summarize

    if is_demonstration(bag):
        _draw_demonstrations(bag, path)
        return
    run = summarize(bag)
    if not len(run.ticks.t_ns) and not run.chunks:
        raise BagError(f"{bag.path}: holds neither executor_state nor action_chunk, so there is nothing to draw")
    predictor, note = find_predictor(bag, run, checkpoint) if foresight else (None, "")
    if note:
        console.print(note, style="yellow", markup=False)
    found = frames(bag, run, predictor, moments(run, _MOMENTS), budget_s=_BUDGET_S) if run.chunks else []
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_run(run, path, found, title=_title(bag))


def _draw_demonstrations(bag: Bag, path: Path) -> None:
    """Draw what a person showed: the first episode as ``path``, the others beside it."""
    from swiftvla_ros.episodes.quality.examination import examine
    from swiftvla_ros.viewing.demonstration_picture import draw_demonstration
    from swiftvla_ros.viewing.demonstration_run import demonstrations_in

    path.parent.mkdir(parents=True, exist_ok=True)
    drawn: list[Path] = []

    def draw(episode: ExaminedEpisode, findings: Sequence[Finding]) -> None:
        drawn.append(path.with_stem(f"{path.stem}_{len(drawn)}") if drawn else path)
        draw_demonstration(episode, findings, drawn[-1])
        if drawn[1:]:
            console.print(str(drawn[-1]))

    done = examine(demonstrations_in(bag), bag.contract, draw)
    if not drawn:
        refuse("; ".join(finding.line() for finding in done.findings) or f"{bag.path}: nothing was shown in it")


def _title(bag: Bag) -> str:
    """Name what was told and how it ended, and where it lies."""
    told = [f'"{e.instruction}" {e.outcome}' for e in bag.episodes()]
    more = f" and {len(told) - 2} more" if len(told) > 2 else ""
    return f"{bag.path.parent.name}/{bag.path.name}   {', '.join(told[:2])}{more}"
