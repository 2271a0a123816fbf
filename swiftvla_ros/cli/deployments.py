# SPDX-License-Identifier: Apache-2.0
"""What the commands about deployed policies share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swiftvla_ros.cli.output import console, print_table, refuse, write_json

if TYPE_CHECKING:
    from swiftvla_ros.contract import Contract
    from swiftvla_ros.deploy.check import Checked
    from swiftvla_ros.deploy.evidence import Evidence

EvidenceOption = Annotated[
    Path | None,
    typer.Option(
        metavar="BAG|EPISODES",
        help="Recorded observations to calibrate with and to judge by.",
        show_default="fresh scenes of the simulator",
    ),
]
ObservationsOption = Annotated[int, typer.Option(min=2, help="How many observations the graphs are judged by.")]
RolloutsOption = Annotated[
    int,
    typer.Option(
        min=0, help="Also roll both out in this many of the simulator's scenes and compare successes in pairs."
    ),
]


@contextmanager
def with_bar() -> Iterator[Callable[[str, float], object]]:
    """A progress bar for what takes longer than a breath."""
    from rich.progress import Progress

    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("gathering observations", total=1.0)

        def tell(what: str, share: float) -> None:
            bar.update(task, description=what, completed=share)

        yield tell


def gather(data: Path | None, contract: Contract, count: int) -> Evidence:
    """Observations from what ``--data`` names, or of fresh scenes."""
    from swiftvla_ros.contract import ContractError
    from swiftvla_ros.deploy.evidence import from_episodes, from_simulation

    if data is not None:
        return from_episodes(data, contract, count)
    try:
        return from_simulation(contract, count)
    except ContractError as error:
        refuse(f"--data is needed, since the simulator isn't this robot ({error}): name a bag or a folder of episodes")


def show_checked(found: Checked, folder: Path, json_file: Path | None) -> None:
    """Print what a check found, and write it where asked."""
    deployment = found.deployment
    rows = []
    for name, parity in found.parity.items():
        rows.append(
            (
                name,
                f"{parity.vision:.1e}",
                f"{parity.prefix:.1e}",
                f"{max(parity.steps):.1e}",
                f"{parity.chunk_mrad:.3f}",
                f"{parity.chunk_share:.3%}",
                "yes" if parity.repeats else "NO",
            )
        )
    title = f"{folder} at {deployment.precision}"
    if rows:
        title += f", beside torch in float32: worst of {next(iter(found.parity.values())).observations} observations"
    columns = ("runtime", "vision", "prefix", "worst step", "chunk, mrad", "of range", "repeats")
    print_table(columns, rows, title=title)
    for stage, content in deployment.stages.items():
        weights = ", ".join(f"{kind} {size / 1e6:.2f} MB" for kind, size in content.weight_bytes.items())
        console.print(f"{stage}: weights {weights}")
    if found.rollouts is not None:
        console.print(f"closed loop, done with the graphs rather than torch: {found.rollouts}")
    for problem in found.problems:
        console.print(f"[bold red]refused[/]: {problem}")
    if not found.problems:
        console.print(f"{folder}: passes the gate")
    write_json(json_file, {**deployment.model_dump(mode="json"), "problems": list(found.problems)})
