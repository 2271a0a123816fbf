# SPDX-License-Identifier: Apache-2.0
"""``swiftvla demo``: the whole way from cameras and a sentence to a moving arm, on any machine."""

from __future__ import annotations

import os
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from swiftvla_ros.bringup.system_options import SystemOptions
from swiftvla_ros.cli.output import JsonOption, console, print_advice, print_table, refuse, write_json
from swiftvla_ros.cli.system_flags import with_system_flags
from swiftvla_ros.extras import need

if TYPE_CHECKING:
    from swiftvla_ros.cli.live.graph import InstructionOutcome
    from swiftvla_ros.cli.live.simulated_system import SimulatedSystem
    from swiftvla_ros.contract import Contract
    from swiftvla_ros.episodes.bags.bag import Bag

# Loading torch on two busy cores takes most of it.
_START_TIMEOUT_S = 60.0
# The arm slows down and holds after the verdict; the film shows it.
_AFTERMATH_S = 1.2


@with_system_flags("robot", "checkpoint", "device", "seed")
def command(
    instruction: Annotated[
        str,
        typer.Argument(
            help="What the arm is to do: pick up, touch or place the red, green or blue block, in your words."
        ),
    ] = "pick up the red block",
    then: Annotated[
        str | None, typer.Option(help="A second instruction, given while the arm is under way to the first.")
    ] = None,
    after: Annotated[float, typer.Option(help="When the second is given, in seconds after the first.")] = 0.5,
    timeout: Annotated[float, typer.Option(help="Seconds that the arm has for the task.")] = 30.0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for bag, film and plot.", show_default="runs/demo-<time>")
    ] = None,
    json_file: JsonOption = None,
    **system: Any,
) -> None:
    """Start the simulated arm and the whole system, and give it one instruction.

    Every node runs as a process of its own, in a ROS domain of its own on this machine alone, so nothing else on the
    network moves. The run is recorded; afterwards you get the verdict, what each stage took, and in the run folder:

    - bag/: a rosbag2 folder (MCAP) with what the policy saw, its chunks, the commands and the states

    - film.mp4, film.gif, film.png: both cameras

    - run.png: the run as one picture: images, the executor's modes, every joint with limits and seams, latencies

    - log/: every process's lines

    The exit code is 0 only if the task was done.
    """
    from swiftvla_ros.cli.live.simulated_system import SimulatedSystem, describe_simulated
    from swiftvla_ros.contract import load_robot
    from swiftvla_ros.observation.observation import validate_instruction
    from swiftvla_ros.policy.words.file import read_words
    from swiftvla_ros.policy.words.reader import NotUnderstoodError
    from swiftvla_ros.resources import model_path
    from swiftvla_ros.sim.tasks.registry import examples, parse, scene_for

    need("rclpy", "mujoco", "torch", "matplotlib")
    began = time.monotonic()
    contract = load_robot(system["robot"])
    verbs = []
    reader = read_words(model_path(system["checkpoint"]))
    instruction, then = validate_instruction(instruction), None if then is None else validate_instruction(then)
    for text in filter(None, (instruction, then)):
        try:
            task = parse(text if reader is None else reader.read(text))
        except NotUnderstoodError as error:
            refuse(f"{error}. The scene has a red, a green and a blue block")
        if task is None:
            refuse(f"'{text}': the scene has a red, a green and a blue block; say for example {examples()}")
        verbs.append(task.verb)
    folder = out or Path("runs") / f"demo-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    if (folder / "bag").exists():
        refuse(f"{folder}: holds a run already; choose another folder with --out")
    options = SystemOptions(**system, scene=scene_for(verbs).name, record=folder / "bag")
    try:
        with SimulatedSystem(describe_simulated(options), folder) as simulated:
            outcome, start_s = _converse(contract, simulated, instruction, then, after, timeout)
    except KeyboardInterrupt:
        console.print("interrupted; all processes were ended")
        raise typer.Exit(130) from None
    figures = _report(folder, folder / "bag")
    figures |= {
        "instruction": instruction,
        "then": then,
        "seed": system["seed"],
        "outcome": outcome.name,
        "message": outcome.message,
        "task_s": outcome.elapsed_s,
        "start_s": start_s,
        "deaths": simulated.deaths(),
        "run_s": time.monotonic() - began,
    }
    write_json(json_file, figures)
    write_json(folder / "figures.json", figures)
    color = "green" if outcome.success else "red"
    verdict = "DONE" if outcome.success else outcome.name
    console.print(
        f"[bold {color}]{verdict}[/]: {escape(outcome.message)} ({outcome.elapsed_s:.1f} s; whole run "
        f"{figures['run_s']:.0f} s)"
    )
    raise typer.Exit(0 if outcome.success else 1)


def _converse(
    contract: Contract,
    system: SimulatedSystem,
    instruction: str,
    then: str | None,
    after_s: float,
    timeout_s: float,
) -> tuple[InstructionOutcome, float]:
    """Wait for the system, give the instruction, show its progress; give how it ended and how long the start took."""
    from swiftvla_ros.cli.commands.tell import progress
    from swiftvla_ros.cli.live.graph import LiveGraph

    console.print(f"ROS_DOMAIN_ID={system.environment['ROS_DOMAIN_ID']}, this machine only")
    with LiveGraph(check=system.check) as graph:
        started = time.monotonic()
        with console.status("starting every node as a process of its own …"):
            graph.wait_until_ready(contract, _START_TIMEOUT_S, recorded=True)
        start_s = time.monotonic() - started
        names = ", ".join(e.process for e in system.events if e.kind == "started")
        console.print(f"ready after {start_s:.1f} s: {names}")
        console.print(f'instruction: [bold]"{escape(instruction)}"[/]')
        with console.status("waiting for the first chunk …") as status:
            show = progress(status.update)
            if then is not None:
                graph.start_instruction(instruction, timeout_s, show)
                graph.spin(after_s)
                console.print(f'then:        [bold]"{escape(then)}"[/]')
            outcome = graph.run_instruction(then or instruction, timeout_s, show)
            graph.spin(_AFTERMATH_S)
    for death in system.deaths():
        console.print(death, style="yellow", markup=False)
    return outcome, start_s


def _report(folder: Path, recorded: Path) -> dict[str, Any]:
    """Print latencies, rates and the worst ratio to each limit; write film and plot; give the figures."""
    from swiftvla_ros.cli.commands import plot
    from swiftvla_ros.cli.commands.check_motion import check_bag, print_report
    from swiftvla_ros.episodes.bags.bag import Bag
    from swiftvla_ros.episodes.bags.message_types import BagError
    from swiftvla_ros.viewing import film

    try:
        bag = Bag(recorded)
        figures = _print_timing(bag)
        motion = check_bag(bag)
        print_report(motion)
        figures["motion"] = motion.as_dict()
        movie = film.film(bag)
        if movie.frames:
            film.write_mp4(movie, folder / "film.mp4")
            film.write_gif(movie, folder / "film.gif")
            film.write_strip(movie, folder / "film.png")
        plot.draw_bag(bag, folder / "run.png", None, foresight=False)
    except BagError as error:
        console.print(error, style="red", markup=False)
        return {}
    console.print(f"{folder}/: bag, film.mp4, film.gif, film.png, run.png, figures.json, log")
    console.print(f"what the policy foresaw: swiftvla plot {recorded}; every moment of it: swiftvla view {recorded}")
    console.print(f"computed again without ROS, and compared: swiftvla replay {recorded}")
    return figures


def _print_timing(bag: Bag) -> dict[str, Any]:
    from swiftvla_ros.viewing.latency import latency_stages, rates, recorded_advice

    stages, per_second, advice = latency_stages(bag), rates(bag), recorded_advice(bag, os.cpu_count() or 0)
    print_table(
        ("ms, over all chunks", "chunks", "p50", "p95", "max"),
        ((s.name, s.count, f"{s.p50_ms:.1f}", f"{s.p95_ms:.1f}", f"{s.max_ms:.1f}") for s in stages),
    )
    counts = ((topic, f"{rate:.1f}", bag.counts[topic]) for topic, rate in sorted(per_second.items()))
    print_table(("topic", "Hz", "messages"), counts)
    print_advice(advice.sentences)
    return {
        "latency_ms": {s.name: {"chunks": s.count, "p50": s.p50_ms, "p95": s.p95_ms, "max": s.max_ms} for s in stages},
        "rates_hz": per_second,
        "latency_advice": advice.sentences,
    }
