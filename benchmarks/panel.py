# SPDX-License-Identifier: Apache-2.0
"""The operator's page before the simulated system: from the click to the first tick of the emergency stop, and its CPU.

``python benchmarks/panel.py [--clicks 30] [--seconds 10] [--chromium PATH]``.
Everything runs on this machine as ``swiftvla up --panel`` starts it, with the shipped policy and one page in Chromium.
The click's time is the browser's when it hears it; the tick's is the stamp of the first ``executor_state`` in STOPPED.
CPU is that of panel_node's process while the page shows both cameras, of one core.
"""

import argparse
import os
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.table import Table

from swiftvla_ros.bringup.processes import describe, describe_panel, describe_simulated_robot, transport_environment
from swiftvla_ros.bringup.system_options import SystemOptions
from swiftvla_ros.msg import ExecutorState
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.observation.message_fields import stamp_ns

_START_S = 120.0
_NOTE_CLICKS = """() => document.getElementById("emergency").addEventListener(
  "click", () => { window.clickedMs = performance.timeOrigin + performance.now(); }, { capture: true })"""


@contextmanager
def system(log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The simulated system and its panel; yields panel_node's process."""
    options = SystemOptions()
    running = []
    try:
        for process in (describe_simulated_robot(options), *describe(options), describe_panel(options)):
            with (log if process.name == "panel" else Path(os.devnull)).open("wb") as stream:
                environment = {**os.environ, **process.environment, "PYTHONUNBUFFERED": "1"}
                running.append(
                    subprocess.Popen(process.command(), env=environment, stdout=stream, stderr=subprocess.STDOUT)
                )
        yield running[-1]
    finally:
        for each in running:
            each.terminate()
        for each in running:
            each.wait()


def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait for something true and return it."""
    deadline = time.monotonic() + _START_S
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {_START_S:g} s: {what}")
        time.sleep(0.02)
    return found


def cpu_s(pid: int) -> float:
    """CPU time of a process so far, s."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def stop_ms(page: Any, states: list[ExecutorState]) -> float:
    """Click the emergency stop of a moving arm, and reset; ms from the click to the first tick that is STOPPED."""
    until(lambda: states and states[-1].mode == ExecutorState.FRESH, "the arm follows the policy")
    states.clear()
    page.click("#emergency")
    stopped = until(lambda: next((s for s in list(states) if s.mode == ExecutorState.STOPPED), None), "it stops")
    clicked_ms = page.evaluate("window.clickedMs")

    def reset() -> bool:
        page.click("#reset")
        time.sleep(0.2)
        return states[-1].mode != ExecutorState.STOPPED

    until(reset, "reset at rest")
    return stamp_ns(stopped.header.stamp) / 1e6 - float(clicked_ms)


def measure(options: argparse.Namespace) -> tuple[list[float], float]:
    """Times of the stops in ms, and the CPU of panel_node in % of one core."""
    os.environ.update(transport_environment())
    rclpy.init()
    node = rclpy.create_node("benchmark")
    states: list[ExecutorState] = []
    node.create_subscription(ExecutorState, "executor_state", states.append, qos.EXECUTOR_STATE)
    threading.Thread(target=rclpy.spin, args=(node,), daemon=True).start()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        log = Path(folder) / "panel.log"
        with system(log) as panel:
            said = until(lambda: re.search(r"page: (http\S+)", log.read_text(encoding="utf-8")), "the page is served")
            browser = driver.chromium.launch(executable_path=options.chromium, args=["--no-sandbox"])
            page = browser.new_page()
            page.goto(said[1])
            page.wait_for_selector("#emergency.proven", timeout=_START_S * 1000)
            page.evaluate(_NOTE_CLICKS)
            page.click("#take")
            until(lambda: bool(states), "the executor speaks")

            def instructed() -> bool:
                page.fill("#instruction", "pick up the red block")
                page.press("#instruction", "Enter")
                time.sleep(1.0)
                return bool(states[-1].mode == ExecutorState.FRESH)

            until(instructed, "the policy takes an instruction")
            before_s, begin_s = cpu_s(panel.pid), time.monotonic()
            time.sleep(options.seconds)
            percent = 100 * (cpu_s(panel.pid) - before_s) / (time.monotonic() - begin_s)
            found = [stop_ms(page, states) for _ in range(options.clicks)]
            browser.close()
    rclpy.try_shutdown()
    return found, percent


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clicks", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=10.0, help="over which the CPU is measured")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    found, percent = measure(parser.parse_args())
    table = Table("clicks", "p50 ms", "p95 ms", "max ms", "CPU of panel_node", "load average")
    p50, p95 = np.percentile(found, [50, 95])
    row = f"{p50:.0f}", f"{p95:.0f}", f"{max(found):.0f}", f"{percent:.0f} % of a core", f"{os.getloadavg()[0]:.1f}"
    table.add_row(str(len(found)), *row)
    Console().print(table)


if __name__ == "__main__":
    main()
