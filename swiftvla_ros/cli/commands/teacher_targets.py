# SPDX-License-Identifier: Apache-2.0
"""``swiftvla teacher-targets``: the geometry transformer's features over recorded episodes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swiftvla_ros.cli.bags import InstructionOption, NamespaceOption
from swiftvla_ros.cli.output import JsonOption, refuse, write_json
from swiftvla_ros.cli.sharing import ClusterOption, ShardOption, end_with, make_runner
from swiftvla_ros.resources import DEFAULT_GEOMETRY, DEFAULT_ROBOT, model_path

if TYPE_CHECKING:
    from swiftvla_ros.geometry.feature_stream import GeometryPrecision


def command(
    episodes: Annotated[
        Path,
        typer.Argument(
            help="Folder of episodes (`swiftvla collect`), a bag or a folder of bags (episodes that "
            "succeeded), or a LeRobotDataset v3 folder."
        ),
    ],
    out: Annotated[
        Path | None, typer.Argument(help="Folder of the targets.", show_default="EPISODES/teacher_targets")
    ] = None,
    geometry: Annotated[Path, typer.Option(help="The geometry checkpoint's folder.")] = Path(DEFAULT_GEOMETRY),
    cache_steps: Annotated[str, typer.Option(help="Window lengths K, steps.")] = "3,4,5,6",
    robot: Annotated[str, typer.Option(help="Contract: a shipped name or a YAML file.")] = DEFAULT_ROBOT,
    namespace: NamespaceOption = None,
    instruction: InstructionOption = "",
    front: Annotated[str, typer.Option(help="The camera whose features are stored; it is read last.")] = "front",
    batch: Annotated[int, typer.Option(min=1, help="Episodes side by side, and in one file.")] = 16,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes on this machine; 0: one per core on the CPU, one on a GPU.")
    ] = 0,
    shard: ShardOption = "1/1",
    cluster: ClusterOption = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    bf16: Annotated[
        bool, typer.Option("--bf16", help="Multiply in bfloat16: faster; features differ by 0.5 % of their spread.")
    ] = False,
    json_file: JsonOption = None,
) -> None:
    """Compute the 4D targets that a policy is trained with, once, and store them.

    Runs the geometry transformer over every episode as a stream, one step per policy step, and stores the front view's
    features for each window length K. Says before it starts what that takes on the disk. Stop it with Ctrl-C whenever
    you like: the same command goes on where it stopped; at most the file in work is lost.

    From a bag it computes what geometry_node computes live (`swiftvla up --geometry --targets OUT`): run it on the same
    OUT, and only what was skipped live is done.

    Then: swiftvla train EPISODES CHECKPOINT --teacher-targets OUT
    """
    from swiftvla_ros.contract import load_contract
    from swiftvla_ros.episodes.datasets.finder import EpisodeFolder
    from swiftvla_ros.episodes.teacher.run import TeacherRun, plan
    from swiftvla_ros.episodes.teacher.targets import write_index

    if device == "cpu":
        # Before torch is imported, here and in the workers: side by side they are faster than one with many threads.
        os.environ["OMP_NUM_THREADS"] = "1"
    contract = load_contract(robot)
    folder = out or (episodes if episodes.is_dir() else episodes.parent) / "teacher_targets"
    windows = _steps(cache_steps)
    precision: GeometryPrecision = "bfloat16" if bf16 else "float32"
    run = TeacherRun(
        EpisodeFolder(episodes, contract, namespace, instruction), folder, model_path(geometry), front, windows, batch,
        device, precision,
    )  # fmt: skip
    on_gpu = device != "cpu"
    runner = make_runner(workers or int(on_gpu), shard, cluster, folder, gpus=on_gpu)
    todo = plan(run, runner.shard)
    print(
        f"{folder}: {todo.episodes} episodes, {todo.steps} steps, K = {cache_steps}: "
        f"{todo.needed_bytes / 1e9:.2f} GB to write, {todo.free_bytes / 1e9:.0f} GB free"
        + (f"; {todo.finished} episodes are there already" if todo.finished else "")
    )
    for line in todo.left_out:
        print(f"left out: {line}")
    done = runner.run(todo.work)
    for line in (line for computed in done.results for line in computed.left_out):
        print(f"left out: {line}")
    steps, listed = sum(computed.steps for computed in done.results), write_index(folder)
    rate = steps / done.seconds if steps else 0.0
    print(f"{folder}: {listed} episodes listed, {steps} steps computed in {done.seconds:.0f} s ({rate:.0f} steps/s)")
    write_json(
        json_file,
        {"out": str(folder), "episodes": listed, "steps": steps, "seconds": done.seconds, "steps_per_s": rate,
         "bytes": todo.needed_bytes},
    )  # fmt: skip
    end_with(done.problem)


def _steps(text: str) -> tuple[int, ...]:
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or min(found) < 1 or len(set(found)) != len(found):
        refuse(f"--cache-steps {text}: write different whole numbers from 1 on, such as 3,4,5,6")
    return found
