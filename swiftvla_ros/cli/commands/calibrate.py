# SPDX-License-Identifier: Apache-2.0
"""``swiftvla calibrate``: which ports and servos there are, and what an arm's ticks mean."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.live import Live
from rich.table import Table

from swiftvla_ros.cli.output import console, print_table, refuse
from swiftvla_ros.contract import Contract, load_contract
from swiftvla_ros.contract.sections.drivers import ServoArm
from swiftvla_ros.drivers.feetech.angles import MEANINGS, ServoAngles
from swiftvla_ros.drivers.feetech.bus import BusError, ServoBus, open_port
from swiftvla_ros.drivers.feetech.calibration import (
    ArmRole,
    calibration_path,
    disagreements,
    read_calibration,
    write_calibration,
)
from swiftvla_ros.drivers.feetech.connection import check_servos, stored_calibration
from swiftvla_ros.drivers.feetech.guided import Range, calibrate, read_all, write_into_servos
from swiftvla_ros.drivers.feetech.ports import find_ports
from swiftvla_ros.drivers.feetech.registers import TORQUE_ENABLE
from swiftvla_ros.drivers.feetech.report import bus_rows, servo_rows
from swiftvla_ros.drivers.feetech.settings import keys_of
from swiftvla_ros.extras import need

_LOOK_S = 0.1


def command(
    robot: Annotated[
        str, typer.Option(help="The robot's contract: a YAML file, or the name of a shipped one.")
    ] = "so101",
    leader: Annotated[bool, typer.Option("--leader/--arm", help="Of the leader, or of the arm that follows.")] = False,
    port: Annotated[str, typer.Option(help="The arm's serial port, instead of the contract's.")] = "",
    calibration: Annotated[
        str, typer.Option(metavar="NAME", help="LeRobot's id of the arm, or a .json, instead of the contract's.")
    ] = "",
    ports: Annotated[bool, typer.Option("--ports", help="Only list the serial ports, and the servos on them.")] = False,
    report: Annotated[bool, typer.Option("--report", help="Only print what arm and servos say of themselves.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only show each joint's angle while you move the limp arm by hand.")
    ] = False,
    restore: Annotated[
        bool, typer.Option("--restore", help="Write the file's numbers into the servos, as after a repair.")
    ] = False,
) -> None:
    """Calibrate an SO-101, step by step: which port, which servos, the middle pose, each joint's range.

    The file is LeRobot's, where LeRobot looks for it, so one calibration serves both. Nothing is written into the
    servos without asking. Afterwards, --check shows whether signs and zeros are the robot's.

    The arm is limp from the first step on: support it.
    """
    need("serial")
    if ports:
        _list_ports()
        return
    contract = load_contract(robot)
    role: ArmRole = "leader" if leader else "follower"
    keys = keys_of(contract, role)
    file = calibration_path(calibration or keys.calibration, role, contract.path.parent)
    with _bus(port or keys.port) as bus:
        if report:
            _report(bus, keys, file)
            return
        check_servos(bus, keys.ids)
        if restore:
            _restore(bus, keys, file)
        elif not check:
            console.print(f"[bold]{bus.path}[/bold]: all {len(keys.ids)} servos answer")
            found = calibrate(bus, keys.ids, _AtTerminal())
            if found is None:
                refuse("nothing was calibrated; the file is as it was")
            write_calibration(file, found)
            console.print(
                f"wrote [bold]{file}[/bold]; now move the arm and look at signs and zeros: swiftvla calibrate --check"
            )
        else:
            _check(bus, contract, keys, role, file)


@contextmanager
def _bus(path: str) -> Iterator[ServoBus]:
    try:
        bus = ServoBus(open_port(path), path)
    except BusError as error:
        found = [each for each in find_ports() if each.path != path]
        names = ", ".join(f"{each.path} ({len(each.servos)} servos)" for each in found)
        refuse(f"{error}. Ports there are: {names or 'none with USB'}; name one with --port, or in the contract")
    try:
        yield bus
    finally:
        bus.close()


def _list_ports() -> None:
    found = find_ports()
    if not found:
        refuse("no USB serial port on this machine; plug the arm's cable in")
    rows = [(each.path, each.description, each.problem or ", ".join(map(str, each.servos)) or "none") for each in found]
    print_table(("port", "device", "servos"), rows)
    console.print("Two arms: unplug one and look again, to see which is which.")


def _report(bus: ServoBus, keys: ServoArm, file: Path) -> None:
    columns = ("joint", "id", "model", "firmware", "ticks", "V", "°C", "limits", "delay", "torque")
    print_table(columns, servo_rows(bus, keys.ids))
    print_table(("", ""), bus_rows(bus, keys.ids, file))


def _restore(bus: ServoBus, keys: ServoArm, file: Path) -> None:
    stored = read_calibration(file, keys.ids)
    wrong = disagreements(stored, stored_calibration(bus, keys.ids))
    if not wrong:
        console.print(f"the servos agree with {file}; nothing to write")
        return
    for line in wrong:
        console.print(line)
    if not _AtTerminal().agrees("The torque goes off. Write the file's numbers into the servos' EEPROM?"):
        refuse("nothing was written")
    console.print(f"written: {'; '.join(write_into_servos(bus, {j: stored[j] for j in keys.ids}))}")


def _check(bus: ServoBus, contract: Contract, keys: ServoArm, role: ArmRole, file: Path) -> None:
    """Show angles until Enter is pressed."""
    calibrated = read_calibration(file, keys.ids)
    for line in disagreements(calibrated, stored_calibration(bus, keys.ids)):
        console.print(f"[red]{line}[/red]: angles are wrong; calibrate again, or --restore")
    limits = dict(zip(contract.joint_names, contract.joints, strict=True))
    joints = list(keys.ids)
    angles = ServoAngles(joints, calibrated, role, (limits["gripper"].lowest, limits["gripper"].highest))
    bus.write_all(TORQUE_ENABLE, dict.fromkeys(keys.ids.values(), 0))
    console.print("The torque is off. Move each joint, and compare; Enter ends.")
    pressed = _pressed()
    with Live(console=console, refresh_per_second=10) as live:
        while True:
            ticks = [reading.position for reading in read_all(bus, keys.ids).values()]
            table = Table("joint", "tick", "rad", "°", "in the contract's range", "what it means")
            for joint, tick, rad in zip(joints, ticks, angles.radians(np.array(ticks, dtype=float)), strict=True):
                inside = "yes" if limits[joint].lowest <= rad <= limits[joint].highest else "[red]no[/red]"
                table.add_row(joint, str(tick), f"{rad:+.3f}", f"{math.degrees(rad):+.1f}", inside, MEANINGS[joint])
            live.update(table)
            if pressed.wait(_LOOK_S):
                return


def _pressed() -> threading.Event:
    """An event that comes when Enter is pressed, or the input ends."""
    pressed = threading.Event()

    def read() -> None:
        sys.stdin.readline()
        pressed.set()

    threading.Thread(target=read, daemon=True).start()
    return pressed


class _AtTerminal:
    """Who sits at the terminal, or a script at its other end."""

    def __init__(self) -> None:
        self._done: threading.Event | None = None
        self._shown_s = 0.0

    def agrees(self, question: str) -> bool:
        console.print(f"{question} [y/N]", markup=False)
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def is_ready(self, task: str) -> None:
        console.print(f"{task}, then press Enter.", markup=False)
        sys.stdin.readline()

    def hears(self, text: str) -> None:
        console.print(f"{text}. Enter ends it.", markup=False)
        self._done = None

    def is_done(self, ranges: Mapping[str, Range]) -> bool:
        self._done = self._done or _pressed()
        done, now_s = self._done.is_set(), time.monotonic()
        if done or (console.is_terminal and now_s - self._shown_s > 0.5):
            self._shown_s = now_s
            rows = [(joint, r.lowest, r.now, r.highest, "" if r.wide else "move it") for joint, r in ranges.items()]
            print_table(("joint", "least", "now", "most", ""), rows)
        return done
