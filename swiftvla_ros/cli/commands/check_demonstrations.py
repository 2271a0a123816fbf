# SPDX-License-Identifier: Apache-2.0
"""``swiftvla check-demonstrations``: what is wrong with recorded episodes, before anybody trains on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column

from swiftvla_ros.cli.bags import BagRobotOption, InstructionOption, NamespaceOption
from swiftvla_ros.cli.output import JsonOption, console, print_table, write_json
from swiftvla_ros.extras import need
from swiftvla_ros.resources import DEFAULT_ROBOT

if TYPE_CHECKING:
    from swiftvla_ros.contract import Contract
    from swiftvla_ros.episodes.datasets.sources import EpisodeHandle
    from swiftvla_ros.episodes.quality.findings import ExaminedEpisode, Finding


def command(
    episodes: Annotated[
        Path, typer.Argument(help="A bag, a folder of bags or of episodes, or a LeRobotDataset v3: as for train.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder of report.html and the pictures.", show_default="EPISODES.check")
    ] = None,
    pictures: Annotated[bool, typer.Option(help="Draw each episode and write the report.")] = True,
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
    from rich.progress import Progress

    from swiftvla_ros.episodes.quality.examination import episode_rows, examine
    from swiftvla_ros.episodes.quality.findings import Finding

    if pictures:
        need("matplotlib")
    contract = _contract(episodes, robot, namespace)
    handles, left_out, problems = _episodes(episodes, contract, namespace, instruction)
    folder = out or episodes.with_name(f"{episodes.resolve().name}.check")
    drawn: dict[str, Path] = {}

    def draw(evidence: ExaminedEpisode, findings: list[Finding]) -> None:
        bar.advance(task)
        if pictures:
            from swiftvla_ros.viewing.demonstration_picture import draw_demonstration

            folder.mkdir(parents=True, exist_ok=True)
            drawn[evidence.name] = folder / f"{evidence.name.replace('/', '_')}.png"
            draw_demonstration(evidence, findings, drawn[evidence.name])

    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("checking", total=len(handles))
        done = examine(handles, contract, draw)
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

        drawn[""] = folder / "coverage.png"
        draw_coverage(done.digests, contract, drawn[""])
        write_report(done, drawn, left_out, f"Demonstrations in {episodes}", folder / "report.html")
        console.print(f"{folder / 'report.html'}", markup=False)
    warnings = len(done.findings) - done.errors
    console.print(f"{len(done.digests)} episodes: {done.errors} errors, {warnings} warnings", markup=False)
    write_json(json_file, done.as_dict() | {"left_out": left_out})
    raise typer.Exit(1 if done.errors or (strict and warnings) else 0)


def _contract(path: Path, robot: str | None, namespace: str | None) -> Contract:
    """The contract that is named, or lies in the first bag; of what is no bag that of the simulated arm."""
    from swiftvla_ros.contract import load_contract
    from swiftvla_ros.episodes.bags.bag import Bag
    from swiftvla_ros.episodes.datasets.bag_folders import find_bags

    bags = find_bags(path).bags
    if robot is None and bags:
        return Bag(bags[0], namespace=namespace).contract
    return load_contract(robot or DEFAULT_ROBOT)


def _episodes(
    path: Path, contract: Contract, namespace: str | None, instruction: str
) -> tuple[list[EpisodeHandle], list[str], list[str]]:
    """The episodes, what was left out on purpose, and the bags that can't be read."""
    from swiftvla_ros.episodes.datasets.bag_folders import find_bags
    from swiftvla_ros.episodes.datasets.bag_listing import open_bags
    from swiftvla_ros.episodes.datasets.sources import open_episodes

    left_out: list[str] = []
    if (path / "meta" / "info.json").is_file() or not find_bags(path).bags:
        return open_episodes(path, contract, left_out, namespace=namespace, instruction=instruction), left_out, []
    listed = open_bags(path, contract, namespace=namespace, instruction=instruction)
    if not listed.episodes:
        raise listed.none_left(path)
    return [*listed.episodes], listed.left_out, listed.problems
