# SPDX-License-Identifier: Apache-2.0
"""How soon the SO-101's driver names each fault of the emulated bus, how far the arm moves then, and how it goes on.

The driver's loop runs at the contract's rate on the emulated bus, following a wave; each fault is ordered several
times. ``promised`` is what docs/so101.md says. The arm's own log and joint states come within a cycle of that.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from driver_rate import CONTRACT, Watch, Wave
from swiftvla_ros.drivers.feetech.arm import DrivenArm
from swiftvla_ros.drivers.feetech.emulated_arm import BusFaults, EmulatedArm
from swiftvla_ros.drivers.feetech.faults import RULES, Fault
from swiftvla_ros.drivers.feetech.loop import ArmLoop
from swiftvla_ros.drivers.feetech.settings import arm_settings

_PATIENCE_S = 10.0
FAULTS = {
    Fault.SILENT: BusFaults(silent="elbow_flex"),
    Fault.GONE: BusFaults(unplugged=True),
    Fault.RESTARTED: None,
    Fault.HOT: BusFaults(hot="gripper"),
    Fault.OVERLOADED: BusFaults(overloaded="wrist_flex"),
    Fault.LOW_VOLTAGE: BusFaults(low_voltage=True),
}


class Bench:
    """The emulated arm, the driver on it, and its loop."""

    def __init__(self, folder: Path) -> None:
        rest = dict(zip(CONTRACT.joint_names, CONTRACT.rest.tolist(), strict=True))
        self.emulated = EmulatedArm(folder, "follower", rest, (-0.17, 1.75), wire=True)
        port, file = str(self.emulated.bus.link), str(self.emulated.file)
        self.arm = DrivenArm(arm_settings(CONTRACT, "follower", port=port, calibration=file), time.time_ns)
        self.arm.connect()
        self.arm.hold()
        self.watch = Watch()
        self.loop = ArmLoop(self.arm, Wave(), self.watch, CONTRACT.joint_states.rate_hz)
        self.loop.start()

    def wait(self, condition: Callable[[], object], what: str) -> float:
        """How long it takes until something is so, s."""
        begin_s = time.perf_counter()
        while not condition():
            if time.perf_counter() - begin_s > _PATIENCE_S:
                raise TimeoutError(f"{what}: not within {_PATIENCE_S:g} s; {self.arm.health.text}")
            time.sleep(0.0005)
        return time.perf_counter() - begin_s

    def run(self, fault: Fault) -> tuple[float, float, float, float, bool]:
        """Order a fault and mend it: s until named, rad moved since, s until well, rad moved then, by itself or not."""
        self.wait(lambda: self.arm.health.follows and self.loop.reading is not None, "it follows")
        time.sleep(0.3)
        ordered = FAULTS[fault]
        if ordered is None:
            self.emulated.reboot(["shoulder_lift"])
        else:
            self.emulated.order(ordered)
        # A list of the keys: the loop's thread changes them.
        named_s = self.wait(lambda: any(key[0] is fault for key in list(self.arm.health.found)), fault.value)
        before = self.emulated.position()
        time.sleep(0.5)
        moved = float(np.abs(self.emulated.position() - before).max())
        before = self.emulated.position()
        self.emulated.order(BusFaults())
        begin_s = time.perf_counter()
        self.wait(lambda: self.arm.bus is not None and not self.arm.health.lasting, "it is mended")
        alone = self.arm.health.follows
        if not alone:
            self.wait(lambda: not self.loop.resume(), "it is resumed")
        self.wait(lambda: self.arm.health.follows, "it follows again")
        well_s = time.perf_counter() - begin_s
        return named_s, moved, well_s, float(np.abs(self.emulated.position() - before).max()), alone


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5, help="how often each fault is ordered")
    parser.add_argument("--noise-s", type=float, default=20.0, help="how long one answer in a hundred is damaged")
    arguments = parser.parse_args()
    print(
        "| fault | named within, promised, s | worst, s | moved after that, rad | well again after mending, s "
        "| moved by then, rad | goes on |\n|---|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name))
        for fault in FAULTS:
            runs = [bench.run(fault) for _ in range(arguments.times)]
            named, moved, well, jumped = (max(run[k] for run in runs) for k in range(4))
            how = "by itself" if all(run[4] for run in runs) else "after ~/resume"
            print(
                f"| {RULES[fault].what} | {RULES[fault].within_s:g} | {named:.3f} | {moved:.3f} | {well:.2f} "
                f"| {jumped:.3f} | {how} |",
                flush=True,
            )
        bench.wait(lambda: bench.arm.health.follows, "it follows")
        told = len(bench.watch.sentences)
        bench.emulated.order(BusFaults(noise=0.01))
        begin, complete = len(bench.watch.times_s), bench.watch.complete
        time.sleep(arguments.noise_s)
        reads, whole = len(bench.watch.times_s) - begin, bench.watch.complete - complete
        print(
            f"\n1 % of answers damaged for {arguments.noise_s:g} s: {reads} reads, {whole} with all joints, held "
            f"{sum(map(bool, bench.watch.sentences[told:]))} times"
        )
        bench.loop.end()
        bench.arm.let_go()
        bench.arm.close()
        bench.emulated.close()


if __name__ == "__main__":
    main()
