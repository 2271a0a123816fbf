# SPDX-License-Identifier: Apache-2.0
"""Loop rate and CPU of the SO-101's driver with six servos on the emulated bus, with the times of a real wire.

The emulator is a process of its own. Modelled: 1 Mbit/s, ten bits to the byte, both ways, and a millisecond of USB each
way; a cycle is a sync read of 15 bytes from each servo (31 every 0.2 s) and a sync write of six goals.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import tempfile
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import load_contract
from swiftvla_ros.drivers.feetech.arm import ArmReading, DrivenArm
from swiftvla_ros.drivers.feetech.emulated_arm import BusFaults, EmulatedArm
from swiftvla_ros.drivers.feetech.loop import ArmLoop
from swiftvla_ros.drivers.feetech.settings import arm_settings

CONTRACT = load_contract("so101")
RATES_HZ = (50.0, 100.0, 0.0)


class Wave:
    """Commands a slow wave of all joints around rest."""

    def goal(self, now_ns: int) -> NDArray[np.float64]:
        """The pose that is commanded now."""
        return CONTRACT.rest + 0.1 * math.sin(2 * now_ns / 1e9)

    def hold(self, _now_ns: int, _position: NDArray[np.float64]) -> None:
        """The wave goes on."""


class Watch:
    """Takes note of when readings came, and whether all joints were in them."""

    def __init__(self) -> None:
        self.times_s: list[float] = []
        self.complete = 0
        self.sentences: list[str] = []

    def measured(self, reading: ArmReading) -> None:
        """One cycle."""
        self.times_s.append(time.perf_counter())
        self.complete += bool(reading.believed.all())

    def told(self, text: str) -> None:
        """Why the arm is held."""
        self.sentences.append(text)

    def failed(self, error: Exception) -> None:
        """The thread ended."""
        raise error


def emulate(folder: Path, noise: float, ready: Event, done: Event) -> None:
    """Be the bus, in a process of its own."""
    rest = dict(zip(CONTRACT.joint_names, CONTRACT.rest.tolist(), strict=True))
    arm = EmulatedArm(folder, "follower", rest, (-0.17, 1.75), wire=True)
    arm.order(BusFaults(noise=noise))
    ready.set()
    done.wait()
    arm.close()


def measure(folder: Path, rate_hz: float, seconds: float) -> list[str]:
    """Drive the arm for a while; return the row of the table."""
    settings = arm_settings(
        CONTRACT, "follower", port=str(folder / "follower"), calibration=str(folder / "follower.json")
    )
    arm, watch = DrivenArm(settings, time.time_ns), Watch()
    arm.connect()
    arm.hold()
    loop = ArmLoop(arm, Wave(), watch, rate_hz)
    loop.start()
    time.sleep(0.5)
    watch.times_s.clear()
    watch.complete = 0
    begin_s, cpu_s = time.perf_counter(), time.process_time()
    time.sleep(seconds)
    cpu_s, wall_s, times = time.process_time() - cpu_s, time.perf_counter() - begin_s, np.array(watch.times_s)
    complete, count = watch.complete, len(times)
    loop.end()
    counts = arm.bus.counts if arm.bus else None
    arm.let_go()
    arm.close()
    periods_ms = 1e3 * np.diff(times)
    return [
        f"{rate_hz:.0f}" if rate_hz else "as fast as it goes",
        f"{count / wall_s:.0f}",
        f"{np.percentile(periods_ms, 99):.1f}, {periods_ms.max():.1f}",
        f"{100 * cpu_s / wall_s:.1f}",
        f"{1e6 * cpu_s / count:.0f}",
        f"{100 * complete / count:.2f}",
        f"{counts.damaged} of {counts.answers}, {counts.retries}" if counts else "–",
        "; ".join(filter(None, watch.sentences)) or "none",
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each rate is driven")
    parser.add_argument("--noise", type=float, default=0.0, help="share of answers with a wrong checksum")
    arguments = parser.parse_args()
    process = multiprocessing.get_context("spawn")
    ready, done = process.Event(), process.Event()
    print(
        "| asked, Hz | reached, Hz | period, 99 % and longest, ms | CPU, % of a core | CPU a cycle, µs | complete, % "
        "| damaged answers, asked again | held because |\n|---|---|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as name:
        bus = process.Process(target=emulate, args=(Path(name), arguments.noise, ready, done))
        bus.start()
        ready.wait()
        try:
            for rate_hz in RATES_HZ:
                print("|", " | ".join(measure(Path(name), rate_hz, arguments.seconds)), "|", flush=True)
        finally:
            done.set()
            bus.join()


if __name__ == "__main__":
    main()
