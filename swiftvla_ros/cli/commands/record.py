# SPDX-License-Identifier: Apache-2.0
"""``swiftvla record``: a running system into a bag or a black box, and a broken bag into a whole one."""

from __future__ import annotations

import importlib.util
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from swiftvla_ros.bringup.system_options import SystemOptions
from swiftvla_ros.cli.output import JsonOption, console, print_table, refuse, write_json
from swiftvla_ros.cli.system_flags import with_system_flags

if TYPE_CHECKING:
    from swiftvla_ros.contract import Contract
    from swiftvla_ros.episodes.datasets.sources import EpisodeHandle


@with_system_flags("robot", "namespace", "black_box")
def command(
    out: Annotated[Path | None, typer.Argument(help="The new bag's folder.", show_default=False)] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="The policy's folder, if the policy node does not name it.")
    ] = None,
    images: Annotated[
        Literal["raw", "jpeg"], typer.Option(help="raw replays bit for bit; jpeg takes a tenth of the space.")
    ] = "raw",
    raw: Annotated[bool, typer.Option("--raw", help="Record the cameras' own topics, too.")] = False,
    demonstrations: Annotated[
        bool,
        typer.Option(
            "--demonstrations",
            help="Record a person's work instead: the drivers' topics as published, commands, leader, tf_static.",
        ),
    ] = False,
    instruction: Annotated[str, typer.Option(help="With --demonstrations: what is being done.")] = "",
    film: Annotated[bool, typer.Option(help="Store small JPEGs of the cameras, for people.")] = True,
    compression: Annotated[
        Literal["none", "zstd", "lz4"], typer.Option(help="Of the file: zstd for space, lz4 for speed.")
    ] = "none",
    ros: Annotated[
        Literal["humble", "jazzy", "kilted"], typer.Option(help="The distribution whose rosbag2 is to read it.")
    ] = "jazzy",
    seconds: Annotated[float | None, typer.Option(min=0.1, help="End after so long.", show_default="Ctrl-C")] = None,
    repair: Annotated[
        Path | None,
        typer.Option(help="Do not record: salvage this damaged bag, that is copy all that is whole in it into OUT."),
    ] = None,
    json_file: JsonOption = None,
    **system: Any,
) -> None:
    """Record a running system into a bag: what the policy saw and wanted, what was commanded and measured, and why.

    The bag is a rosbag2 folder with one MCAP file, for `ros2 bag`, Foxglove, `swiftvla replay` and `swiftvla view`. In
    its metadata: the robot's contract, the checkpoint's hash, the package's version, every node's parameters, and how
    many messages of which topic were recorded and lost. Whatever ends the recorder, what it wrote until half a second
    before is readable; what would not fit on the disk ends it with a message.

    With only --black-box nothing is written until something happens. Then the last 30 seconds become a bag with a
    one-page summary. Press the button yourself: ros2 service call /recorder/save std_srvs/srv/Trigger

    The exit code is 0 only if nothing was lost.

    Examples: swiftvla record runs/monday --images jpeg;  swiftvla record --black-box runs/boxes;
    swiftvla record shown/monday_01 --demonstrations --robot my_arm.yaml --instruction "pick up the red block";
    swiftvla record runs/whole --repair runs/broken
    """
    packing = "" if compression == "none" else compression
    if repair is not None:
        if out is None:
            refuse("write the new folder, too: swiftvla record OUT --repair BROKEN")
        _repair(repair, out, ros, packing, json_file)
        return
    if out is None and system["black_box"] is None:
        refuse("write the folder of the new bag, or --black-box FOLDER")
    if out is not None and out.exists():
        refuse(f"{out}: exists already; choose another folder, bags are never overwritten")
    if importlib.util.find_spec("rclpy") is None:
        refuse("rclpy is not installed: pip install '.[ros]', or source a ROS setup")
    if instruction and not demonstrations:
        refuse("--instruction says what a person shows: write --demonstrations, too")
    parameters: dict[str, Any] = {"images": images, "raw": raw, "film": film, "compression": packing, "ros": ros}
    if demonstrations:
        parameters |= {"demonstrations": True, "instruction": instruction}
    failed = _record(SystemOptions(**system, record=out, checkpoint=checkpoint or ""), parameters, seconds)
    if out is None:
        raise typer.Exit(1 if failed else 0)
    figures = _report(out, demonstrations)
    write_json(json_file, figures)
    raise typer.Exit(0 if figures.get("lost") == 0 and not figures["stopped"] and not failed else 1)


def _record(options: SystemOptions, parameters: dict[str, Any], seconds: float | None) -> bool:
    """Run the recorder until Ctrl-C or for ``seconds``; return whether it ended by itself."""
    from swiftvla_ros.bringup.processes import describe_recorder, transport_environment
    from swiftvla_ros.bringup.supervisor import Supervisor

    died: list[str] = []

    def on_event(event: Any) -> None:
        if event.kind in ("died", "gave_up"):
            died.append(event.text)
            supervisor.request_stop()

    recorder = describe_recorder(options, **parameters)
    supervisor = Supervisor([recorder], environment=transport_environment(), on_event=on_event)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: supervisor.request_stop())
    if seconds is not None:
        timer = threading.Timer(seconds, supervisor.request_stop)
        timer.daemon = True
        timer.start()
    end = "Ctrl-C ends it" if seconds is None else f"for {seconds:g} s"
    what = [f"recording into {options.record}"] if options.record else []
    what += [f"black box in {options.black_box}"] if options.black_box else []
    console.print(f"{', '.join(what)}; {end}")
    supervisor.run()
    for text in died:
        console.print(text, style="red", markup=False)
    return bool(died)


def _report(out: Path, demonstrations: bool) -> dict[str, Any]:
    """Print what the bag holds and what is missing in it, by topic; return it."""
    from swiftvla_ros.episodes.bags.bag import Bag

    bag = Bag(out)
    recorder = bag.provenance.get("recorder") or {}
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    seconds = (bag.end_ns - bag.start_ns) / 1e9
    topics = recorder.get("topics", {})
    kinds = {"lost_on_the_way": "lost on the way", "lost_in_queue": "in the queue", "lost_on_disk": "on the disk"}
    counts = [(t, n, *(topics.get(t, {}).get(kind, "?") for kind in kinds)) for t, n in sorted(bag.counts.items())]
    print_table(("topic", "messages", *kinds.values()), counts)
    if demonstrations:
        _tell_demonstrations(out, bag.contract)
    for episode in bag.episodes():
        span = f"{(episode.end_ns - episode.begin_ns) / 1e9:.1f} s"
        console.print(
            f"{episode.name}: '{episode.instruction}', {span}, {episode.outcome}: {episode.text}", markup=False
        )
    lost, stopped = recorder.get("lost"), recorder.get("stopped", "")
    told = "how many were lost is not told: the recorder was killed" if lost is None else f"{lost} lost"
    count = sum(bag.counts.values())
    console.print(f"{out}: {count} messages in {seconds:.1f} s, {told}, {size / 1e6:.1f} MB")
    if bag.damage:
        console.print(f"for other tools: swiftvla record NEW --repair {out}")
    if stopped:
        console.print(f"stopped early: {stopped}", style="red", markup=False)
    return {"bag": str(out), "messages": count, "lost": lost, "stopped": stopped, "seconds": seconds, "bytes": size}


def _tell_demonstrations(out: Path, contract: Contract) -> None:
    """Print what training will read of it."""
    from swiftvla_ros.episodes.datasets.bag_listing import open_bags

    listed = open_bags(out, contract)
    for episode in listed.episodes:
        console.print(_steps_of(episode), markup=False)
    for line in (*listed.left_out, *listed.problems):
        console.print(f"left out: {line}", style="yellow", markup=False)


def _steps_of(episode: EpisodeHandle) -> str:
    from swiftvla_ros.episodes.datasets.store import EpisodeError

    try:
        return f"{episode.name}: {episode.steps()} steps for training"
    except EpisodeError as error:
        return str(error)


def _repair(broken: Path, out: Path, ros: str, compression: str, json_file: Path | None) -> None:
    from rich.progress import Progress

    from swiftvla_ros.episodes.bags.bag import Bag
    from swiftvla_ros.episodes.bags.repair import repair

    try:
        bag = Bag(broken, salvage=True)
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task("copying", total=sum(bag.counts.values()))
            written = repair(bag, out, ros=ros, compression=compression, on_message=lambda: progress.advance(task))
    except OSError as error:
        refuse(error)
    missing = "told above" if bag.damage else "nothing"
    console.print(f"{out}: {written} messages; missing in {broken}: {missing}")
    write_json(json_file, {"bag": str(out), "messages": written, "damage": bag.damage})
