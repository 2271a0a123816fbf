# SPDX-License-Identifier: Apache-2.0
"""Rows of the machine: room for recordings, and on a Jetson its power mode, clocks and heat.

What a Jetson tells lies in ``/sys`` and ``/proc`` (NVIDIA's Jetson Linux Developer Guide, "Platform Power and
Performance"): the model in the device tree, the GPU's clock in ``/sys/class/devfreq``, the cores' in
``/sys/devices/system/cpu``, temperatures with their trip points in ``/sys/class/thermal``. Its power mode is what
``nvpmodel -q`` prints.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from swiftvla_ros.contract import Contract
from swiftvla_ros.preflight.row import MB, Row, size

# What recorder_node leaves free on a disk (its min_free_mb): no recording begins below.
_KEPT_FREE_BYTES = 500 * MB
_SHORT_RECORDING_S = 600.0
# What joint states, chunks, commands and executor states add to the images of a recording.
_OTHER_BYTES_PER_S = 0.5 * MB
_ASK_S = 5.0
# Names of Jetson GPUs in /sys/class/devfreq: Xavier, Orin, and what newer kernels call them all.
_GPUS = ("gv11b", "ga10b", "gp10b", "gpu")
# Below the trip point at which clocks are lowered.
_NEARLY_HOT_C = 5.0
_FULL_POWER = "MAXN"
_JETSON = "board"


@dataclass(frozen=True)
class Heat:
    """A thermal zone: its temperature, and the lowest one at which clocks are lowered, °C; None: nobody says."""

    zone: str
    now_c: float
    throttles_c: float | None = None


@dataclass(frozen=True)
class Board:
    """A Jetson as it tells of itself; ``model`` is empty on any other machine. Clocks in Hz.

    ``clocks`` are pairs, by name, of what is allowed now and what the hardware can do. ``power_mode`` is empty where
    nvpmodel says nothing.
    """

    model: str = ""
    power_mode: str = ""
    clocks: dict[str, tuple[int, int]] = field(default_factory=dict)
    cores: tuple[str, str] = ("", "")  # online, present: as the kernel writes lists
    heat: tuple[Heat, ...] = ()


def ask_nvpmodel() -> str:
    """What ``nvpmodel -q`` prints; empty where there is none."""
    try:
        return subprocess.run(["nvpmodel", "-q"], capture_output=True, text=True, timeout=_ASK_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def read_board(root: Path = Path("/"), ask: Callable[[], str] = ask_nvpmodel) -> Board:
    """Look whether this is a Jetson, and at its clocks and temperatures below ``root``."""
    model = _text(root / "proc/device-tree/model").strip("\0 ")
    if "jetson" not in model.lower():
        return Board()
    clocks = {}
    for device in sorted((root / "sys/class/devfreq").glob("*")):
        if any(name in device.name for name in _GPUS):
            possible = [int(hz) for hz in _text(device / "available_frequencies").split() if hz.isdigit()]
            if possible:
                clocks["GPU"] = (_number(device / "max_freq"), max(possible))
    cpu = root / "sys/devices/system/cpu"
    for core in sorted(cpu.glob("cpu[0-9]*/cpufreq")):
        allowed, able = _number(core / "scaling_max_freq"), _number(core / "cpuinfo_max_freq")
        clocks[core.parent.name] = (allowed * 1000, able * 1000)
    mode = next((line.partition(":")[2].strip() for line in ask().splitlines() if "Power Mode" in line), "")
    cores = _text(cpu / "online"), _text(cpu / "present")
    return Board(model, mode, clocks, cores, tuple(_heat(root / "sys/class/thermal")))


def _heat(thermal: Path) -> Iterator[Heat]:
    for zone in sorted(thermal.glob("thermal_zone*")):
        trips = [
            _number(kind.with_name(kind.name.replace("_type", "_temp")))
            for kind in zone.glob("trip_point_*_type")
            if _text(kind) == "passive"
        ]
        # A zone that is switched off has no temperature.
        if now := _number(zone / "temp"):
            yield Heat(_text(zone / "type"), now / 1000, min(trips) / 1000 if trips else None)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _number(path: Path) -> int:
    text = _text(path)
    return int(text) if text.lstrip("-").isdigit() else 0


def check_board(board: Board, device: str) -> Iterator[Row]:
    """Whether a Jetson gives what it has, to a policy on ``device``; a row that says so where this is none."""
    if not board.model:
        yield Row(_JETSON, "skipped", "no Jetson: power modes and clocks are not looked at")
        return
    problems = []
    hot = [h for h in board.heat if h.throttles_c is not None and h.now_c >= h.throttles_c]
    if hot:
        which = ", ".join(f"{h.zone} {h.now_c:.0f} °C (from {h.throttles_c:.0f} °C)" for h in hot)
        fix = "let it cool down, clean the fan, or choose a lower power mode and measure the latency again"
        yield Row(_JETSON, "fail", f"{board.model} lowers its clocks, it is too hot: {which}", fix)
        return
    warm = [h for h in board.heat if h.throttles_c is not None and h.now_c >= h.throttles_c - _NEARLY_HOT_C]
    problems += [f"{h.zone} is at {h.now_c:.0f} °C, and clocks are lowered from {h.throttles_c:.0f} °C" for h in warm]
    if device.startswith("cpu"):
        problems.append("the policy computes on the CPU, beside a GPU (docs/jetson.md)")
    if board.power_mode and not board.power_mode.startswith(_FULL_POWER):
        problems.append(f"power mode {board.power_mode}")
    if board.cores[0] != board.cores[1]:
        problems.append(f"of the cores {board.cores[1]} only {board.cores[0]} run")
    held = [name for name, (allowed, able) in board.clocks.items() if allowed < able]
    if held:
        name = held[0]
        problems.append(
            f"{', '.join(held)} held to {board.clocks[name][0] / 1e6:.0f} of {board.clocks[name][1] / 1e6:.0f} MHz"
        )
    if problems:
        yield Row(_JETSON, "warning", f"{board.model}: {'; '.join(problems)}", "nvpmodel -m 0, then jetson_clocks")
        return
    mode = board.power_mode or "power mode not told (nvpmodel -q)"
    yield Row(_JETSON, "ok", f"{board.model}: {mode}, no clock is held back")


def check_disk(contract: Contract, folder: Path, free: int, writable: bool) -> Row:
    """Whether a recording in this folder would last."""
    pixels = sum(c.rate_hz * c.size[0] * c.size[1] for c in contract.cameras)
    seconds = max(0, free - _KEPT_FREE_BYTES) / (3 * pixels + _OTHER_BYTES_PER_S)
    finding = f"{size(free)} free in {folder}: {_duration(seconds)} of recording"
    elsewhere = "record elsewhere (swiftvla up --record, swiftvla record)"
    if not writable:
        return Row("disk", "warning", f"{folder} can't be written to", f"{elsewhere}, or change into another folder")
    if free < _KEPT_FREE_BYTES:
        finding = f"{size(free)} free in {folder}: recordings end below {size(_KEPT_FREE_BYTES)}"
        return Row("disk", "fail", finding, f"make room, or {elsewhere}")
    if seconds < _SHORT_RECORDING_S:
        return Row("disk", "warning", finding, f"make room, or {elsewhere}")
    return Row("disk", "ok", finding)


def _duration(seconds: float) -> str:
    hours, minutes = seconds / 3600, seconds / 60
    return f"{hours:.0f} h" if hours >= 2 else f"{minutes:.0f} min" if minutes >= 2 else f"{seconds:.0f} s"
