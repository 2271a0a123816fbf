# SPDX-License-Identifier: Apache-2.0
"""``swiftvla collect``: demonstrations for training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from swiftvla_ros.cli.commands.benchmark import PythonOption
from swiftvla_ros.cli.output import JsonOption, refuse, write_json
from swiftvla_ros.cli.scene_options import SceneOption, VariedOption
from swiftvla_ros.cli.sharing import ClusterOption, ShardOption, WorkersOption, end_with, make_runner
from swiftvla_ros.resources import DEFAULT_ROBOT, model_path

if TYPE_CHECKING:
    from swiftvla_ros.cluster.runner import Runner
    from swiftvla_ros.contract import Contract

_TASK_TIMEOUT_S = 15.0


def command(
    out: Annotated[Path, typer.Argument(help="Folder for the episodes; those that are there already are kept.")],
    episodes: Annotated[int, typer.Option(min=1, help="How many episodes the folder shall hold.")] = 500,
    workers: WorkersOption = 0,
    shard: ShardOption = "1/1",
    cluster: ClusterOption = None,
    seed: Annotated[int, typer.Option(help="The same seed records the same episodes.")] = 0,
    robot: Annotated[str, typer.Option(help="The simulated robot's contract.")] = DEFAULT_ROBOT,
    scene: SceneOption = None,
    varied: VariedOption = False,
    tasks: Annotated[
        list[str] | None,
        typer.Option("--task", help="A task to show, such as place; again for more.", show_default="pick, touch"),
    ] = None,
    pilot: Annotated[
        Path | None, typer.Option(help="A checkpoint that drives first; the expert shows how to go on from there.")
    ] = None,
    ros: Annotated[
        bool, typer.Option("--ros", help="Through the ROS graph in real time, every node a process; OUT gets a bag.")
    ] = False,
    benchmark: Annotated[
        Literal["libero"] | None, typer.Option(help="In this benchmark's scenes, for its robot libero_panda.")
    ] = None,
    truth: Annotated[
        bool, typer.Option("--truth", help="Of --benchmark: keep true depth and camera poses in OUT/truth, too.")
    ] = False,
    python: PythonOption = "",
    json_file: JsonOption = None,
) -> None:
    """Record demonstrations of the scripted expert in simulation.

    Only episodes that succeeded are kept, one safetensors file each. Stop it with Ctrl-C whenever you like: the same
    command goes on where it stopped.

    With --ros the demonstrator takes the policy's place among the nodes of a whole system, and what the recorder wrote
    is the data: each run adds a bag (OUT/run_000 and so on) of EPISODES tries, in which failed ones are marked.

    With --benchmark libero they are shown in the Object scenes of that benchmark, in layouts that are not its own.

    Then: swiftvla train OUT
    """
    from dataclasses import asdict

    from swiftvla_ros.contract import load_robot
    from swiftvla_ros.policy.checkpoint import check_against_contract, open_checkpoint
    from swiftvla_ros.sim.data.collect import collect
    from swiftvla_ros.sim.tasks.registry import STANDARD_VERBS, scene_for

    if ros and (varied or pilot is not None or cluster is not None or shard != "1/1"):
        refuse("--ros: the live graph knows neither --varied nor --pilot, --shard nor --cluster; leave --ros out")
    if benchmark is not None:
        if ros or scene is not None or varied or pilot is not None or tasks:
            refuse("--benchmark: has scenes and tasks of its own; leave --ros, --scene, --varied, --pilot, --task out")
        _of_libero(out, episodes, seed, robot, python, truth, make_runner(workers or 1, shard, cluster, out), json_file)
        return
    verbs = tuple(tasks or STANDARD_VERBS)
    shown = scene_for(verbs, scene)
    if ros and not shown.in_bags:
        refuse(
            f"--ros: a bag doesn't tell where the scene '{shown.name}' has its camera, or how its blocks stand; "
            "leave --ros or --scene out"
        )
    scene = shown.name
    contract = load_robot(robot)
    if ros:
        _over_ros(contract, out, episodes, seed, verbs, scene, json_file)
        return
    if pilot is not None:
        pilot = model_path(pilot)
        check_against_contract(open_checkpoint(pilot), contract)
    runner = make_runner(workers, shard, cluster, out)
    report = collect(
        out,
        episodes,
        runner=runner,
        seed=seed,
        contract=contract,
        pilot=pilot,
        verbs=verbs,
        scene=scene,
        varied=varied,
    )
    of_tries = (
        f" ({report.recorded / report.attempts:.1%} of {report.attempts} tries succeeded)" if report.attempts else ""
    )
    print(f"{out}: {report.episodes} episodes, {report.recorded} recorded now in {report.seconds:.0f} s{of_tries}")
    write_json(json_file, asdict(report))
    end_with(report.problem)


def _of_libero(
    out: Path,
    episodes: int,
    seed: int,
    robot: str,
    python: str,
    truth: bool,
    runner: Runner,
    json_file: Path | None,
) -> None:
    """Record in the scenes of LIBERO's Object suite."""
    from dataclasses import asdict

    from swiftvla_ros.contract import load_contract
    from swiftvla_ros.sim.libero.collect import LiberoCollection, collect_libero

    contract = load_contract("libero_panda" if robot == DEFAULT_ROBOT else robot)
    if contract.hand is None:
        refuse(f"--robot {robot}: moves no hand by Cartesian steps; write libero_panda")
    pixels = contract.cameras[0].source_size[0]
    collection = LiberoCollection(out, "object", contract.path, python, seed, pixels, truth)
    report = collect_libero(collection, episodes, runner)
    print(
        f"{out}: {report.episodes} episodes, {report.recorded} recorded now in {report.seconds:.0f} s"
        + (f" ({report.recorded / report.attempts:.1%} of {report.attempts} tries)" if report.attempts else "")
    )
    write_json(json_file, asdict(report))
    end_with(report.problem)


def _over_ros(
    contract: Contract, out: Path, episodes: int, seed: int, verbs: tuple[str, ...], scene: str, json_file: Path | None
) -> None:
    """Record one bag of demonstrations in a folder of its own, beside those of earlier runs."""
    import shutil
    import time

    from rich.progress import Progress

    from swiftvla_ros.bringup.system_options import SystemOptions
    from swiftvla_ros.cli.live.scenes import RosEpisode, run_scenes

    number = 0
    while (out / f"run_{number:03d}").exists() or (out / f".run_{number:03d}").exists():
        number += 1
    # Hidden until it is whole: a folder of bags is read as it is.
    work, bag = out / f".run_{number:03d}", out / f"run_{number:03d}"
    # Each run has scenes of its own.
    first = seed + number * episodes
    options = SystemOptions(robot=str(contract.path), checkpoint="", seed=first, scene=scene, record=work / "bag")
    began = time.monotonic()
    try:
        with Progress() as bar:
            task = bar.add_task("demonstrations over ROS", total=episodes)

            def tell(shown: RosEpisode) -> None:
                ended = f"{shown.outcome} after {shown.seconds:.1f} s {shown.message}"
                bar.console.print(f"{shown.instruction}: {ended}")
                bar.advance(task)

            results = run_scenes(
                contract,
                options,
                episodes,
                verbs=verbs,
                timeout_s=_TASK_TIMEOUT_S,
                folder=work,
                on_episode=tell,
                expert=True,
            )
    except KeyboardInterrupt:
        print(f"interrupted; what was recorded until then is in {work / 'bag'}")
        raise typer.Exit(130) from None
    shutil.move(work / "bag", bag)
    shutil.rmtree(work)
    seconds, succeeded = time.monotonic() - began, sum(shown.outcome == "SUCCEEDED" for shown in results)
    print(f"{bag}: {succeeded} of {episodes} demonstrations succeeded, recorded in {seconds:.0f} s")
    write_json(json_file, {"bag": str(bag), "episodes": episodes, "succeeded": succeeded, "seconds": seconds})
