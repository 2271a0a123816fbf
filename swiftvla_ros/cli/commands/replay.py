# SPDX-License-Identifier: Apache-2.0
"""``swiftvla replay``: a recorded run through the policy and the executor again, compared; or into a live graph."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swiftvla_ros.cli.bags import BagArgument, BagRobotOption, NamespaceOption
from swiftvla_ros.cli.output import JsonOption, console, print_advice, print_table, write_json
from swiftvla_ros.extras import need
from swiftvla_ros.runtime_registry import RUNTIMES

if TYPE_CHECKING:
    from swiftvla_ros.contract import Contract
    from swiftvla_ros.episodes.bags.bag import Bag
    from swiftvla_ros.replay.report import Check, ReplayReport
    from swiftvla_ros.replay.thresholds import RuntimeChoice

_SHOWN = 12


def command(
    bag: BagArgument,
    thresholds: Annotated[
        Path | None,
        typer.Option(help="YAML file with what must hold (docs/replay.md).", show_default="every difference is 0"),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="The policy's checkpoint folder.", show_default="the recorded one")
    ] = None,
    robot: BagRobotOption = None,
    namespace: NamespaceOption = None,
    runtime: Annotated[str, typer.Option(help=f"{', '.join(RUNTIMES)}.", show_default="as recorded")] = "",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.", show_default="as recorded")] = "",
    precision: Annotated[str, typer.Option(help="float32, bfloat16 or as exported.", show_default="as recorded")] = "",
    threads: Annotated[int, typer.Option(help="Threads on a CPU.", show_default="as recorded")] = 0,
    json_file: JsonOption = None,
    markdown: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the report as Markdown.")] = None,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Write JUnit XML for a CI server.")] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw then and now into a PNG.")] = None,
    rrd: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a rerun recording (needs the extra view: docs/replay.md)."),
    ] = None,
    excerpt: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write a small bag with only what replay needs, as a test.")
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Publish the recording into the running graph instead, with its time.")
    ] = False,
    rate: Annotated[float, typer.Option(help="With --live: how many times as fast as recorded.")] = 1.0,
    loop: Annotated[bool, typer.Option("--loop", help="With --live: again and again; the clock jumps back.")] = False,
    sensors: Annotated[
        str, typer.Option(help="With --live: raw (the drivers' topics), conditioned (observation/*) or auto.")
    ] = "auto",
) -> None:
    """Prove a build against a recorded run: the same chunks and commands must come out again.

    No ROS runs. Every recorded chunk is computed again from the images and the joint state that the policy had read,
    with the recorded instruction, noise seed, guidance rows, runtime, precision and threads; then the recorded chunks
    go through the executor again, tick by tick at the recorded times. The same classes do it as in the nodes. On
    the machine that recorded, every difference is 0.

    First steps:

    - swiftvla demo; swiftvla replay runs/demo-…/bag

    - before a new build touches an arm: swiftvla replay BAG --thresholds replay.yaml --junit replay.xml

    - another checkpoint on old observations: swiftvla replay BAG --checkpoint runs/new (with a thresholds file that
    names checkpoint under `allow`)

    - nodes instead of classes: swiftvla replay --live BAG publishes /clock and the sensors; start the nodes with
    use_sim_time. It refuses where a driver publishes already

    Exit codes: 0 all thresholds hold; 1 one does not; 2 the bag, checkpoint or a file can't be used; 3 the checkpoint,
    the contract or the conditioning of images is not the recorded one (each difference is named).
    """
    if live:
        from swiftvla_ros.cli.live.replay import play

        play(bag, robot=robot, namespace=namespace, rate=rate, loop=loop, sensors=sensors)
        return
    from swiftvla_ros.contract import load_contract
    from swiftvla_ros.replay.differences import find_checkpoint
    from swiftvla_ros.replay.recorded import open_recording
    from swiftvla_ros.replay.report import exit_code, judge
    from swiftvla_ros.replay.thresholds import RuntimeChoice, Thresholds, beside, load_thresholds
    from swiftvla_ros.replay.writers import as_dict, write_junit, write_markdown
    from swiftvla_ros.resources import model_path
    from swiftvla_ros.viewing.latency import recorded_advice

    need(*(["matplotlib"] if plot else []), *(["rerun"] if rrd else []))
    wanted = load_thresholds(thresholds) if thresholds else Thresholds()
    if thresholds is not None:
        robot = robot or beside(thresholds, wanted.robot)
        checkpoint = checkpoint or (Path(beside(thresholds, wanted.checkpoint)) if wanted.checkpoint else None)
    contract = load_contract(robot) if robot else None
    recording = open_recording(bag, contract, namespace if namespace is not None else wanted.namespace)
    if excerpt is not None:
        from swiftvla_ros.replay.excerpt import write_excerpt

        write_excerpt(recording, excerpt)
    choice = wanted.runtime
    try:
        report = _with_progress(
            recording,
            model_path(checkpoint) if checkpoint else find_checkpoint(recording),
            contract,
            RuntimeChoice(
                runtime=runtime or choice.runtime,
                device=device or choice.device,
                precision=precision or choice.precision,
                threads=threads or choice.threads,
            ),
        )
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    checks, code = judge(report, wanted), exit_code(report, wanted)
    advice = recorded_advice(recording)
    _print(report, checks, code)
    print_advice(advice.sentences)
    write_json(json_file, as_dict(report, checks, code) | {"latency_advice": advice.sentences})
    if markdown is not None:
        write_markdown(report, checks, code, advice.sentences, markdown)
    if junit is not None:
        write_junit(report, checks, junit)
    if plot is not None:
        from swiftvla_ros.viewing.replay_plot import plot_replay

        plot_replay(report, plot)
    if rrd is not None:
        from swiftvla_ros.viewing.rerun.replay import write_rrd

        write_rrd(recording, report, rrd)
    raise typer.Exit(code)


def _with_progress(bag: Bag, checkpoint: Path, contract: Contract | None, override: RuntimeChoice) -> ReplayReport:
    from rich.console import Console
    from rich.progress import Progress

    from swiftvla_ros.replay.report import replay

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("chunks", total=None)
        return replay(
            bag,
            checkpoint=checkpoint,
            contract=contract,
            override=override,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )


def _print(report: ReplayReport, checks: list[Check], code: int) -> None:
    """Print the table by joint, what failed, and the verdict."""
    import numpy as np

    commands, executed = report.commands, report.executed_worst()
    worst = zip(report.joint_names, report.difference, commands.difference, executed.measured, strict=True)
    print_table(
        ("at worst; rad, or m", "rows now − then", "commands now − then", "measured − rows"),
        ((name, *(f"{v:.3g}" if np.isfinite(v) else "–" for v in values)) for name, *values in worst),
    )
    inference, now = report.latency_ms["inference"], report.latency_ms["inference now"]
    console.print(f"inference, p50 / p95: then {inference[0]:.1f} / {inference[1]:.1f} ms", end="; ")
    console.print(f"now {now[0]:.1f} / {now[1]:.1f} ms")
    console.print(f"recorded with {'; '.join(report.recorded_with)}; replayed with {'; '.join(report.replayed_with)}")
    for line in [*report.notes, *(f"{text}: {count} ×" for text, count in commands.notes.items())]:
        console.print(f"note: {line}", style="dim", markup=False)
    failed = [check for check in checks if not check.ok]
    for check in failed[:_SHOWN]:
        console.print(f"{check.name}: {check.text}", style="red", markup=False)
    if len(failed) > _SHOWN:
        console.print(f"… and {len(failed) - _SHOWN} more; write them all with --markdown FILE", style="red")
    counts = f"{len(report.computed)} of {len(report.chunks)} chunks and {len(commands.times_ns)} commands"
    verdict = "[green]as recorded, within the thresholds[/]" if code == 0 else f"[red]FAILED, exit code {code}[/]"
    console.print(f"{counts} computed again: {verdict}")
