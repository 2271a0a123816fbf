# SPDX-License-Identifier: Apache-2.0
"""``swiftvla check-demonstrations``: what is wrong with recorded episodes, before anybody trains on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column

from swiftvla_ros.cli.bags import BagRobotOption, InstructionOption, NamespaceOption
from swiftvla_ros.cli.output import JsonOption, console, print_table, write_json
from swiftvla_ros.cli.sharing import ClusterOption, ShardOption, WorkersOption, end_with, make_runner
from swiftvla_ros.extras import need
from swiftvla_ros.resources import DEFAULT_ROBOT

if TYPE_CHECKING:
    from swiftvla_ros.contract import Contract


def command(
    episodes: Annotated[
        Path, typer.Argument(help="A bag, a folder of bags or of episodes, or a LeRobotDataset v3: as for train.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder of report.html and the pictures.", show_default="EPISODES.check")
    ] = None,
    pictures: Annotated[bool, typer.Option(help="Draw each episode and write the report.")] = True,
    workers: WorkersOption = 0,
    shard: ShardOption = "1/1",
    cluster: ClusterOption = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 1 for a warning, too.")] = False,
    robot: BagRobotOption = None,
    namespace: NamespaceOption = None,
    instruction: InstructionOption = "",
    json_file: JsonOption = None,
) -> None:
    """Check what training would read: pictures, timing, motion, lag, words, coverage, and the contract.

    Prints one row for each episode and every finding with its place, its number and what to do. An error spoils what
    is learnt (a frozen camera, a stuck joint, stamps that are swapped); a warning may be meant. The exit code is 1 for
    an error.

    Example: swiftvla check-demonstrations data/monday --robot my_arm.yaml
    """
    from swiftvla_ros.episodes.datasets.finder import EpisodeFolder
    from swiftvla_ros.episodes.quality.examination import episode_rows
    from swiftvla_ros.episodes.quality.findings import Finding
    from swiftvla_ros.viewing.demonstration_check import DemonstrationCheck

    if pictures:
        need("matplotlib")
    contract = _contract(episodes, robot, namespace)
    folder = out or episodes.with_name(f"{episodes.resolve().name}.check")
    # What parts and clusters keep of each episode, until one run without --shard puts it together.
    parts = folder / "parts"
    kept = parts if parts.exists() or shard != "1/1" or cluster is not None else None
    runner = make_runner(workers, shard, cluster, folder)
    names, left_out, problems = _episodes(episodes, contract, namespace, instruction)
    check = DemonstrationCheck(
        EpisodeFolder(episodes, contract, namespace, instruction), folder if pictures else None, kept
    )
    check.begin(names)
    run = runner.run(check.work(names))
    end_with(run.problem)
    if shard != "1/1":
        mine = len(run.results) + run.there
        print(f"part {shard}: {mine} of {len(names)} episodes examined; when all are, the same command without "
              "--shard writes the report")  # fmt: skip
        return
    done = check.put_together(names, run.results)
    fix = "mend it, or move it out of the folder"
    done.findings += [Finding("unreadable", "error", "", "bag", 1.0, problem, fix) for problem in problems]
    (name, *columns), rows = episode_rows(done)
    # The numbers of episodes stand at the ends of their names.
    print_table((Column(name, no_wrap=True), *columns), rows)
    for level, text in done.lines():
        console.print(text, style="red" if level == "error" else "yellow", markup=False)
    for line in left_out:
        console.print(f"left out: {line}", markup=False)
    if pictures and done.digests:
        from swiftvla_ros.viewing.demonstration_picture import draw_coverage
        from swiftvla_ros.viewing.demonstration_report import write_report

        drawn = {d.name: picture for d in done.digests if (picture := check.picture(d.name)) is not None}
        drawn[""] = folder / "coverage.png"
        draw_coverage(done.digests, contract, folder / "coverage.png")
        write_report(done, drawn, left_out, f"Demonstrations in {episodes}", folder / "report.html")
        console.print(f"{folder / 'report.html'}", markup=False)
    check.forget()
    warnings = len(done.findings) - done.errors
    console.print(f"{len(done.digests)} episodes: {done.errors} errors, {warnings} warnings", markup=False)
    write_json(json_file, done.as_dict() | {"left_out": left_out})
    raise typer.Exit(1 if done.errors or (strict and warnings) else 0)


def _contract(path: Path, robot: str | None, namespace: str | None) -> Contract:
    """The contract that is named, or lies in the first bag; of what is no bag that of the simulated arm."""
    from swiftvla_ros.contract import load_robot
    from swiftvla_ros.episodes.bags.bag import Bag
    from swiftvla_ros.episodes.datasets.bag_folders import find_bags

    bags = find_bags(path).bags
    if robot is None and bags:
        return Bag(bags[0], namespace=namespace).contract
    return load_robot(robot or DEFAULT_ROBOT)


def _episodes(
    path: Path, contract: Contract, namespace: str | None, instruction: str
) -> tuple[list[str], list[str], list[str]]:
    """The episodes' names, what was left out on purpose, and the bags that can't be read."""
    from swiftvla_ros.episodes.datasets.bag_folders import find_bags
    from swiftvla_ros.episodes.datasets.bag_listing import open_bags
    from swiftvla_ros.episodes.datasets.sources import open_episodes

    left_out: list[str] = []
    if (path / "meta" / "info.json").is_file() or not find_bags(path).bags:
        found = open_episodes(path, contract, left_out, namespace=namespace, instruction=instruction)
        return [episode.name for episode in found], left_out, []
    listed = open_bags(path, contract, namespace=namespace, instruction=instruction)
    if not listed.episodes:
        raise listed.none_left(path)
    return [episode.name for episode in listed.episodes], listed.left_out, listed.problems
