# SPDX-License-Identifier: Apache-2.0
"""How commands with much to do share it out: to processes, to parts on several machines, to a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swiftvla_ros.cli.output import refuse

if TYPE_CHECKING:
    from swiftvla_ros.cluster.runner import Runner
    from swiftvla_ros.cluster.work import Shard

ShardOption = Annotated[
    str,
    typer.Option(metavar="K/N", help="Do the k-th of n parts only: 1/4 … 4/4 on four machines, into one folder."),
]
ClusterOption = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS", help="Share it out over a Ray cluster (docs/cluster.md): auto, or host:port of its head."
    ),
]
WorkersOption = Annotated[int, typer.Option(min=0, help="Processes on this machine; 0: one per core.")]


def make_runner(workers: int, shard: str, cluster: str | None, folder: Path | None, *, gpus: float = 0) -> Runner:
    """Say who does a command's work, by its options; refuses what doesn't go together.

    ``folder`` is where results go, None where they are not kept; ``gpus`` is what an item needs of a cluster.
    """
    from swiftvla_ros.cluster.engine import on_this_machine
    from swiftvla_ros.cluster.runner import Runner
    from swiftvla_ros.cluster.work import WHOLE

    part = _shard(shard)
    if cluster is None:
        return Runner(on_this_machine(workers), part)
    if part != WHOLE:
        refuse("--cluster and --shard: a cluster shares the parts out by itself; leave --shard out")
    if folder is None:
        refuse("--cluster: name a folder that every machine sees, for the results")
    from swiftvla_ros.cluster.ray_engine import over_ray

    return Runner(over_ray(cluster, folder, gpus))


def end_with(problem: str) -> None:
    """End with exit code 1 where something couldn't be made: what was is kept, and the same command goes on."""
    if problem:
        typer.secho(problem, fg="red", err=True)
        typer.secho("The rest is kept; the same command goes on with what is missing.", err=True)
        raise typer.Exit(1)


def _shard(text: str) -> Shard:
    from swiftvla_ros.cluster.work import Shard

    number, _, of = text.partition("/")
    if not (number.isdigit() and of.isdigit() and 1 <= int(number) <= int(of)):
        refuse(f"--shard {text}: write k/n with 1 ≤ k ≤ n, such as 1/4")
    return Shard(int(number), int(of))
