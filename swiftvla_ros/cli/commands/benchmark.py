# SPDX-License-Identifier: Apache-2.0
"""``swiftvla benchmark``: a policy in scenes that nobody here made."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from swiftvla_ros.cli.output import JsonOption, print_table, refuse, write_json
from swiftvla_ros.cli.sharing import ShardOption, end_with, make_runner
from swiftvla_ros.resources import model_path

if TYPE_CHECKING:
    from swiftvla_ros.sim.evaluation.statistics import Share

Suite = Literal["object", "object_swap", "object_task", "spatial", "spatial_swap"]
PythonOption = Annotated[
    str, typer.Option(help="The interpreter that has the benchmark.", show_default="$SWIFTVLA_LIBERO_PYTHON")
]


def command(
    name: Annotated[Literal["libero"], typer.Argument(help="The benchmark.")],
    suite: Annotated[Suite, typer.Option(help="Its suite; _swap and _task are LIBERO-PRO's.")] = "object",
    policy: Annotated[Path | None, typer.Option(help="A checkpoint that was trained for the robot.")] = None,
    expert: Annotated[bool, typer.Option("--expert", help="The script, which sees what no camera shows, too.")] = False,
    init_states: Annotated[int, typer.Option(min=1, max=50, help="Official initial states of each task.")] = 10,
    tasks: Annotated[int, typer.Option(min=1, max=10, help="The first so many of the suite's tasks.")] = 10,
    trained_on: Annotated[
        Literal["scripted", "human", "unknown"], typer.Option(help="The policy's data, for the card.")
    ] = "scripted",
    sentences: Annotated[
        Literal["scene", "name"],
        typer.Option(help="What is said: a scene file's sentence, or the one that the task's name spells."),
    ] = "scene",
    replan_steps: Annotated[int, typer.Option(min=1, help="Rows of a chunk that are executed before the next.")] = 5,
    seed: Annotated[int, typer.Option(help="Of what the initial states leave open.")] = 7,
    robot: Annotated[str, typer.Option(help="The benchmark robot's contract.")] = "libero_panda",
    python: PythonOption = "",
    device: Annotated[str, typer.Option(help="Where the policy computes: auto, cpu or cuda.")] = "auto",
    out: Annotated[
        Path | None, typer.Option(help="Folder of a small file for each episode; those that are there are kept.")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes, each with a scene of 2 GB; 0: one per core.")] = 1,
    shard: ShardOption = "1/1",
    json_file: JsonOption = None,
) -> None:
    """Measure a policy on a benchmark, in simulation and offline.

    Every table has the row of a blind replay: one demonstration's actions, whatever is there. What a policy does beyond
    that is what it sees. A policy has a second row, in which it is told another task, and should not do the scene's.
    Printed with 95 % intervals and the card without which none of the numbers says anything.

    The benchmark runs in an interpreter of its own: docs/benchmark.md says how to make it.
    """
    from swiftvla_ros.contract import load_contract
    from swiftvla_ros.policy.checkpoint import check_against_contract, open_checkpoint
    from swiftvla_ros.sim.libero.card import card
    from swiftvla_ros.sim.libero.evaluation import EvaluatedRow, LiberoRun, evaluate_libero

    if sentences == "name" and suite == "object_task":
        refuse("--sentences name: the names of this suite's tasks are not what its scenes ask for; leave it out")
    if out is None and shard != "1/1":
        refuse("--shard: write --out FOLDER, too, where the parts' results come together")
    contract = load_contract(robot)
    if contract.hand is None:
        refuse(f"--robot {robot}: moves no hand by Cartesian steps, as {name}'s robot does; write libero_panda")
    rows: list[EvaluatedRow] = []
    if policy is not None:
        policy = model_path(policy)
        check_against_contract(open_checkpoint(policy), contract)
        rows += ["policy", "wrong sentence"]
    rows += ["expert", "blind replay"] if expert else ["blind replay"]
    pixels = contract.cameras[0].source_size[0]
    run = LiberoRun(
        suite,
        contract.path,
        policy,
        python,
        out,
        seed=seed,
        replan_steps=replan_steps,
        pixels=pixels,
        sentences=sentences,
        device=device,
    )
    report = evaluate_libero(run, rows, tasks, init_states, make_runner(workers, shard, None, out))
    if report.missing:
        print(f"{report.missing} episodes are missing: they are made elsewhere, or failed")
    _print_rows(report.shares, report.by_task)
    lines = list(card(run, report, contract, tasks, init_states, trained_on))
    for line in lines:
        print(f"* {line}")
    write_json(json_file, {"suite": suite, "card": lines, **asdict(report)})
    end_with(report.problem)


def _print_rows(shares: dict[str, Share], by_task: dict[str, dict[str, Share]]) -> None:
    from swiftvla_ros.sim.libero.suites import told_apart

    print_table(
        ("row", "done", "share", "95 % interval"),
        [(row, f"{s.count}/{s.total}", f"{s.share:.1%}", f"{s.low:.1%} … {s.high:.1%}") for row, s in shares.items()],
    )
    names = list(next(iter(by_task.values())))
    counts = [[f"{found[name].count}/{found[name].total}" for found in by_task.values()] for name in names]
    print_table(("task", *by_task), [(short, *row) for short, row in zip(told_apart(names), counts, strict=True)])
