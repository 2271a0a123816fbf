# SPDX-License-Identifier: Apache-2.0
"""``swiftvla eval``: how often a checkpoint does what it is told."""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from swiftvla_ros.bringup.system_options import SystemOptions
from swiftvla_ros.cli.output import JsonOption, print_table, refuse, write_json
from swiftvla_ros.cli.scene_options import SceneOption, VariedOption
from swiftvla_ros.cli.sharing import ClusterOption, ShardOption, WorkersOption, end_with, make_runner
from swiftvla_ros.resources import DEFAULT_ROBOT, model_path

if TYPE_CHECKING:
    from swiftvla_ros.contract import Contract
    from swiftvla_ros.sim.evaluation.rollout import EvaluationReport
    from swiftvla_ros.sim.evaluation.statistics import Share
    from swiftvla_ros.sim.wording.sentences import Wordings


def command(
    checkpoint: Annotated[Path, typer.Argument(help="The policy's checkpoint folder.")],
    episodes: Annotated[int, typer.Option(min=1, help="Scenes; all tasks and colours in turn.")] = 60,
    seed: Annotated[int, typer.Option(help="Seed of the first scene; training uses none from 10000 on.")] = 10_000,
    robot: Annotated[str, typer.Option(help="The simulated robot's contract.")] = DEFAULT_ROBOT,
    device: Annotated[str, typer.Option(help="Where the policy computes: auto, cpu or cuda.")] = "auto",
    workers: WorkersOption = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder of a small file for each episode; those that are there are kept.")
    ] = None,
    shard: ShardOption = "1/1",
    cluster: ClusterOption = None,
    latency: Annotated[
        float | None,
        typer.Option(
            min=0, help="Seconds from an observation to its chunk, in simulation.", show_default="what each really took"
        ),
    ] = None,
    ros: Annotated[
        bool, typer.Option("--ros", help="Run over the ROS graph in real time, every node a process of its own.")
    ] = False,
    timeout: Annotated[float, typer.Option(help="Seconds that the arm has for a task.")] = 12.0,
    scene: SceneOption = None,
    varied: VariedOption = False,
    tasks: Annotated[
        list[str] | None,
        typer.Option("--task", help="A task to ask for, such as place; again for more.", show_default="pick, touch"),
    ] = None,
    with_4d: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="For studies: feed the policy's 4D branch from this geometry checkpoint, live."
        ),
    ] = None,
    wordings: Annotated[
        Literal["known", "trained", "held-out", "free", "meaningless"],
        typer.Option(
            help="How tasks are said: as in demonstrations, by the grammar that `fit-words` trains on, by its parts "
            "that are kept from training, or as somebody wrote down by hand. meaningless: nothing is asked for."
        ),
    ] = "known",
    change_of_mind: Annotated[
        bool, typer.Option("--change-of-mind", help="Told another task first, and this one while the arm moves.")
    ] = False,
    only_read: Annotated[
        bool, typer.Option("--only-read", help="What are the sentences of the scenes taken for? No arm moves.")
    ] = False,
    cache_steps: Annotated[int, typer.Option(min=1, help="Steps that the geometry checkpoint looks at.")] = 6,
    json_file: JsonOption = None,
) -> None:
    """Measure how often a checkpoint does what it is told, in simulation.

    Each episode is a fresh scene and a random wording. Printed with 95 % intervals: the commanded task done in time, by
    verb and colour; the share in which another block was taken, shoved or touched, and that the policy said it doesn't
    understand; and, without --ros, two gauges of listening before the arm has moved: does it head to the commanded
    block, and does another colour word change that.

    Without --ros the policy drives the arm through the same executor as on ROS, with the latency that its inference
    really took, but faster than real time. With --with-4d it looks once per policy step, as its 4D features were
    trained.

    With --change-of-mind what is touched within 0.5 s of the new words is no mistake, and counted beside: the arm was
    at it already.

    With --only-read it prints what the scenes' sentences are taken for, in seconds. So it does with --wordings
    meaningless: of EPISODES sentences those written by hand, then drawn ones with what `fit-words` never trains on.
    """
    if ros and (varied or with_4d is not None or latency is not None or out is not None):
        refuse("--ros: the live graph knows neither --varied nor --with-4d, --latency nor --out; leave --ros out")
    if ros and (change_of_mind or only_read or wordings == "meaningless"):
        refuse(
            "--ros: the live graph knows neither --change-of-mind, --only-read nor --wordings meaningless; leave --ros "
            "out"
        )
    if out is None and (shard != "1/1" or cluster is not None):
        refuse("--shard, --cluster: write --out FOLDER, too, where the parts' results come together")
    from swiftvla_ros.contract import load_robot
    from swiftvla_ros.sim.tasks.registry import STANDARD_VERBS, scene_for

    verbs = tuple(tasks or STANDARD_VERBS)
    scene = scene_for(verbs, scene).name
    contract = load_robot(robot)
    setup: dict[str, Any] = {"checkpoint": str(checkpoint), "seed": seed, "wordings": wordings}
    if only_read or wordings == "meaningless":
        read = _only_read(model_path(checkpoint), contract, verbs, wordings, episodes, seed)
        write_json(json_file, {**setup, **read})
        return
    if ros:
        options = SystemOptions(str(contract.path), str(checkpoint), device=device, seed=seed, scene=scene)
        figures, problem = _over_ros(contract, options, episodes, verbs, timeout, wordings), ""
    else:
        from swiftvla_ros.sim.evaluation.rollout import REACTION_S, Conditions, Evaluation, Geometry, evaluate

        evaluation = Evaluation(
            model_path(checkpoint),
            contract.path,
            seed,
            Conditions(latency, None, timeout, verbs, scene, wordings, change_of_mind, varied),
            None if with_4d is None else Geometry(model_path(with_4d), cache_steps),
            device=device,
            out=out,
        )
        runner = make_runner(workers, shard, cluster, out, gpus=device.startswith("cuda"))
        report = evaluate(evaluation, episodes, runner)
        _print_report(report, episodes)
        if change_of_mind:
            print(f"another block within {REACTION_S:g} s of the new words: {report.late}")
        figures, problem = asdict(report), report.problem
    setup |= {"ros": ros, "scene": scene, "change_of_mind": change_of_mind}
    if varied:
        setup["varied"] = True
    if tasks:
        setup["tasks"] = verbs
    if with_4d is not None:
        setup |= {"with_4d": str(with_4d), "cache_steps": cache_steps}
    write_json(json_file, {**setup, **figures})
    end_with(problem)


def _print_report(report: EvaluationReport, episodes: int) -> None:
    if len(report.episodes) < episodes:
        print(f"{len(report.episodes)} of {episodes} episodes are there; the others are made elsewhere, or failed")
    _print_shares(report.done, report.wrong_block, report.not_understood)
    print(f"heads to the commanded block before any motion: {report.first_step_right}")
    print(f"another colour word, another block:             {report.word_changes_choice}")
    took = "" if math.isnan(report.mean_seconds) else f"{report.mean_seconds:.1f} s a task; "
    print(f"{took}{report.wall_seconds:.0f} s for {len(report.episodes)} episodes")


def _print_shares(done: dict[str, Share], wrong: dict[str, Share], strange: dict[str, Share]) -> None:
    # With few episodes not every task and colour has its turn.
    rows = [
        (
            name,
            f"{share.count}/{share.total}",
            f"{share.share:.1%}",
            f"{share.low:.1%} … {share.high:.1%}",
            f"{wrong[name].share:.1%}" if name in wrong else "",
            f"{strange[name].share:.1%}" if name in strange else "",
        )
        for name, share in done.items()
        if share.total
    ]
    print_table(("task", "done", "share", "95 % interval", "wrong block", "not understood"), rows)


def _only_read(
    folder: Path,
    contract: Contract,
    verbs: tuple[str, ...],
    wordings: Wordings | Literal["meaningless"],
    count: int,
    seed: int,
) -> dict[str, Any]:
    from swiftvla_ros.policy import load_policy
    from swiftvla_ros.sim.evaluation.reading import read_meaningless, read_sentences

    policy = load_policy(folder, contract=contract)
    if wordings == "meaningless":
        report = read_meaningless(policy, verbs, count, seed)
    else:
        report = read_sentences(policy, verbs, wordings, count, seed)
    for text, read in report.mistaken.items():
        print(f"'{text}' is taken for '{read}'" if read else f"'{text}' is not understood")
    print(f"read as it is meant:                 {report.right}")
    print(f"taken for a task with another block: {report.other_block}")
    print(f"not understood, nothing moves:       {report.not_understood}")
    return asdict(report)


def _over_ros(
    contract: Contract,
    options: SystemOptions,
    episodes: int,
    verbs: tuple[str, ...],
    timeout_s: float,
    wordings: Wordings,
) -> dict[str, Any]:
    from datetime import datetime

    from swiftvla_ros.cli.live.scenes import RosEpisode, run_scenes
    from swiftvla_ros.sim.evaluation.statistics import shares_by_task
    from swiftvla_ros.sim.language import COLORS

    def show(episode: RosEpisode) -> None:
        print(f"scene {episode.seed}: '{episode.instruction}': {episode.outcome.lower()} after {episode.seconds:.1f} s")

    began = time.monotonic()
    folder = Path("runs") / f"eval-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    results = run_scenes(
        contract,
        options,
        episodes,
        verbs=verbs,
        timeout_s=timeout_s,
        folder=folder,
        on_episode=show,
        wordings=wordings,
    )
    found = [(r.verb, r.color, r.outcome) for r in results]
    done, wrong = shares_by_task(found, "SUCCEEDED", verbs, COLORS), shares_by_task(found, "FAILED", verbs, ())
    strange = shares_by_task(found, "REFUSED", verbs, ())
    _print_shares(done, wrong, strange)
    seconds = time.monotonic() - began
    print(f"{seconds:.0f} s for {len(results)} episodes in real time; every process's lines: {folder}/log")
    return {
        "episodes": [asdict(r) for r in results],
        "done": {k: asdict(v) for k, v in done.items()},
        "wrong_block": {k: asdict(v) for k, v in wrong.items()},
        "not_understood": {k: asdict(v) for k, v in strange.items()},
        "wall_seconds": seconds,
    }
