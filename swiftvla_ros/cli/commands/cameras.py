# SPDX-License-Identifier: Apache-2.0
"""``swiftvla cameras``: which cameras there are, by paths that stay, what they can do, and whether they do it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from swiftvla_ros.cli.output import JsonOption, console, print_table, write_json
from swiftvla_ros.contract import Contract, load_contract
from swiftvla_ros.drivers.cameras.devices import CameraDevice, find_cameras, no_cameras
from swiftvla_ros.drivers.cameras.trial import CameraTrial, TriedCamera, from_device, from_entry, try_cameras
from swiftvla_ros.drivers.cameras.v4l2 import ControlId
from swiftvla_ros.extras import need

# Without --try, where something is to be read all the same.
_USUAL_S = 2.0
_LOCKABLE = {
    ControlId.EXPOSURE_100_US: ("exposure_ms", 0.1),
    ControlId.WHITE_BALANCE_K: ("white_balance_k", 1.0),
    ControlId.FOCUS: ("focus", 1.0),
    ControlId.GAIN: ("gain", 1.0),
}
_COLORS = {"ok": "green", "warning": "yellow", "error": "red"}


def command(
    robot: Annotated[
        str | None,
        typer.Option(help="Try what this contract's drivers.cameras name, films included, instead of all devices."),
    ] = None,
    try_s: Annotated[
        float,
        typer.Option("--try", metavar="SECONDS", min=0, max=600, help="Read all of them at once for so long."),
    ] = 0.0,
    snapshot: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write a picture of each camera into this folder.")
    ] = None,
    json_file: JsonOption = None,
) -> None:
    """List cameras by the path that stays, with what they can do; try them, and take pictures.

    The path is what a contract's drivers.cameras wants: it stays the same whatever else is plugged in. Modes are
    sizes, formats and rates; the settings are those that a contract can lock, as they are now.

    The exit code is 1 if there is no camera, or one gives no pictures.
    """
    reads = bool(try_s or snapshot or robot)
    if reads:
        need("av")
    devices: list[CameraDevice] = []
    if robot:
        tried = _entries(load_contract(robot))
    else:
        devices = find_cameras()
        print_devices(devices)
        tried = {_name_of(device): from_device(device) for device in devices if not device.problem}
    trials: dict[str, CameraTrial] = {}
    if tried and reads:
        seconds = try_s or _USUAL_S
        with console.status(f"reading {len(tried)} cameras for {seconds:g} s"):
            trials = try_cameras(tried, seconds)
        print_trials(trials)
    if snapshot:
        _write_pictures(snapshot, trials)
    write_json(json_file, {"cameras": [_figures(device) for device in devices], "trial": _trial_figures(trials)})
    if not tried or any(trial.health.severity == "error" for trial in trials.values()):
        raise typer.Exit(1)


def print_devices(devices: Sequence[CameraDevice]) -> None:
    """Print what there is; without a camera, what to check."""
    if not devices:
        console.print(escape(no_cameras()))
    for device in devices:
        usb = f", USB at {device.usb_mbit_s:g} Mbit/s" if device.usb_mbit_s else ""
        used = f", in use by {', '.join(device.used_by)}" if device.used_by else ""
        console.print(f"[bold]{escape(str(device.path))}[/]")
        console.print(f"  {escape(device.name)} ({device.node}, {escape(device.bus or '?')}{usb}{escape(used)})")
        if device.problem:
            console.print(f"  [red]{escape(device.problem)}[/]")
        for mode in device.modes:
            console.print(f"  {mode}")
        if settings := _settings(device):
            console.print(f"  now: {', '.join(f'{key} {value:g}' for key, value in settings.items())}")


def print_trials(trials: Mapping[str, CameraTrial]) -> None:
    """Print what came, a line a camera, and what to do about the rest."""
    rows = []
    for name, trial in trials.items():
        values = trial.health.values
        rows.append(
            [
                name,
                f"{trial.rate_hz:.1f}",
                f"{trial.expected_hz:g}",
                values["lost"],
                values["damaged"],
                f"{1000 * trial.longest_gap_s:.0f} ms",
                f"{trial.bytes_per_s / 1e6:.2f}",
                trial.health.severity,
            ]
        )
    columns = ("camera", "Hz", "expected", "lost", "damaged", "longest gap", "MB/s", "verdict")
    print_table(columns, rows, title="all cameras at once")
    for name, trial in trials.items():
        if trial.health.severity != "ok":
            console.print(f"[{_COLORS[trial.health.severity]}]{escape(f'{name}: {trial.health.text}')}[/]")


def _entries(contract: Contract) -> dict[str, TriedCamera]:
    entries, folder = contract.drivers.cameras, contract.path.parent
    if not entries:
        console.print(f"{contract.path} has no drivers.cameras: its cameras have drivers of their own")
    return {
        camera.name: from_entry(entries[camera.name], folder, camera.source_size, camera.rate_hz)
        for camera in contract.cameras
        if camera.name in entries
    }


def _name_of(device: CameraDevice) -> str:
    """Short, and the name of a file."""
    return device.path.name.removesuffix("-video-index0")


def _write_pictures(folder: Path, trials: Mapping[str, CameraTrial]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, trial in trials.items():
        if trial.jpeg is not None:
            (folder / f"{name}.jpg").write_bytes(trial.jpeg)
            console.print(f"wrote {folder / name}.jpg")


def _settings(device: CameraDevice) -> dict[str, float]:
    """What a contract can lock, by its keys, as it is now."""
    return {
        key: scale * value
        for number, (key, scale) in _LOCKABLE.items()
        if number in device.controls and (value := device.controls[number].now) is not None
    }


def _figures(device: CameraDevice) -> dict[str, Any]:
    return {
        "path": str(device.path),
        "node": str(device.node),
        "name": device.name,
        "bus": device.bus,
        "usb_mbit_s": device.usb_mbit_s,
        "used_by": device.used_by,
        "modes": [asdict(mode) for mode in device.modes],
        "settings": _settings(device),
        "problem": device.problem,
    }


def _trial_figures(trials: Mapping[str, CameraTrial]) -> dict[str, Any]:
    return {
        name: {
            "rate_hz": trial.rate_hz,
            "expected_hz": trial.expected_hz,
            "lost": trial.health.values["lost"],
            "damaged": trial.health.values["damaged"],
            "longest_gap_s": trial.longest_gap_s,
            "bytes_per_s": trial.bytes_per_s,
            "verdict": trial.health.severity,
            "text": trial.health.text,
        }
        for name, trial in trials.items()
    }
