# SPDX-License-Identifier: Apache-2.0
"""The operator's page before the simulated system: what a stop takes, what the server costs, and what the policy loses.

``python benchmarks/panel.py [--clicks 30] [--seconds 10] [--turns 3] [--chromium PATH]``.
Everything runs on this machine as ``swiftvla up --panel`` starts it, with the shipped policy. In turns nobody serves
the page, and it is served to one watcher that shows nothing (a socket, as of a browser on another machine); then a page
is open in Chromium here, and its emergency stop is clicked while the arm follows the policy. The click's time is the
browser's when it hears it; the tick's is the stamp of the first ``executor_state`` in STOPPED. CPU is that of
panel_node's process with both cameras shown, of one core; pictures are those that the watcher got of both.
"""

import argparse
import asyncio
import os
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from aiohttp import ClientSession, WSMsgType
from playwright.sync_api import sync_playwright
from rclpy.executors import SingleThreadedExecutor
from rich.console import Console
from rich.table import Table

from swiftvla_ros.bringup.processes import (
    ProcessDescription,
    describe,
    describe_panel,
    describe_simulated_robot,
    transport_environment,
)
from swiftvla_ros.bringup.system_options import SystemOptions
from swiftvla_ros.cli.live.graph import own_domain
from swiftvla_ros.msg import ActionChunk, ExecutorState
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.observation.message_fields import read_chunk, stamp_ns
from swiftvla_ros.srv import SetInstruction

_START_S = 120.0
# After a page was opened, before anything counts.
_SETTLES_S = 3.0
_INSTRUCTION = "pick up the red block"
_NOTE_CLICKS = """() => document.getElementById("emergency").addEventListener(
  "click", () => { window.clickedMs = performance.timeOrigin + performance.now(); }, { capture: true })"""


@dataclass
class Phase:
    """What was measured of the policy's chunks, and of the server, while somebody looked, or nobody."""

    inference_ms: list[float] = field(default_factory=list)
    camera_to_chunk_ms: list[float] = field(default_factory=list)
    cpu_percent: list[float] = field(default_factory=list)
    pictures_hz: list[float] = field(default_factory=list)

    def row(self, name: str) -> list[str]:
        """As a row of the table."""
        cells = [name, str(len(self.inference_ms))]
        for values in (self.inference_ms, self.camera_to_chunk_ms):
            cells += [f"{value:.0f}" for value in np.percentile(values, [50, 95])]
        cells.append(f"{np.mean(self.pictures_hz):.1f}" if self.pictures_hz else "–")
        return [*cells, f"{np.mean(self.cpu_percent):.1f} %" if self.cpu_percent else "–"]


@contextmanager
def running(*processes: ProcessDescription, log: Path = Path(os.devnull)) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start processes, and end them."""
    started = []
    try:
        for process in processes:
            with log.open("wb") as stream:
                environment = {**os.environ, **process.environment, "PYTHONUNBUFFERED": "1"}
                started.append(
                    subprocess.Popen(process.command(), env=environment, stdout=stream, stderr=subprocess.STDOUT)
                )
        yield started
    finally:
        for each in started:
            each.terminate()
        for each in started:
            each.wait()


def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait for something true and return it."""
    deadline = time.monotonic() + _START_S
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {_START_S:g} s: {what}")
        time.sleep(0.02)
    return found


@contextmanager
def served(folder: Path) -> Iterator[tuple[int, str]]:
    """A panel_node: its process id, and the page's URL."""
    log = folder / f"panel_{time.monotonic_ns()}.log"
    with running(describe_panel(SystemOptions(panel_address="127.0.0.1:0")), log=log) as (process,):
        said = until(lambda: re.search(r"page: (http\S+)/", log.read_text(encoding="utf-8")), "the page is served")
        yield process.pid, said[1]


@contextmanager
def watcher(url: str) -> Iterator[list[int]]:
    """A page that is open somewhere else: it takes all that is sent, and answers; each picture adds its camera."""
    loop, frames = asyncio.new_event_loop(), list[int]()

    async def watch() -> None:
        async with ClientSession() as session, session.ws_connect(f"{url}/socket", headers={"Origin": url}) as socket:
            await socket.send_json({"do": "join", "key": ""})
            async for message in socket:
                if message.type is WSMsgType.BINARY:
                    frames.append(message.data[0])
                elif (told := message.json())["t"] == "state":
                    await socket.send_json({"do": "alive", "n": told["n"]})

    watching = loop.create_task(watch())

    def run() -> None:
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(watching)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    until(lambda: set(frames) == {0, 1}, "both cameras are shown")
    yield frames
    loop.call_soon_threadsafe(watching.cancel)
    thread.join()
    loop.close()


def cpu_s(pid: int) -> float:
    """CPU time of a process so far, s."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Bench:
    """The running system, and what it says."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder = options, folder
        self.node = rclpy.create_node("benchmark")
        self.states: list[ExecutorState] = []
        self.chunks: list[ActionChunk] = []
        self.node.create_subscription(ExecutorState, "executor_state", self.states.append, qos.EXECUTOR_STATE)
        self.node.create_subscription(ActionChunk, "action_chunk", self.chunks.append, qos.MONITORED)
        self._over = threading.Event()
        self._spinning = threading.Thread(target=self._spin, daemon=True)
        self._spinning.start()

    def _spin(self) -> None:
        executor = SingleThreadedExecutor()
        executor.add_node(self.node)
        while not self._over.is_set():
            executor.spin_once(timeout_sec=0.1)
        executor.shutdown()

    def close(self) -> None:
        """Hear no more."""
        self._over.set()
        self._spinning.join()
        self.node.destroy_node()

    def instruct(self) -> None:
        """Have the policy move the arm."""
        client = self.node.create_client(SetInstruction, "set_instruction")
        until(client.service_is_ready, "the policy is there")
        answer = client.call_async(SetInstruction.Request(instruction=_INSTRUCTION))
        until(answer.done, "the policy takes an instruction")
        self.until_followed()

    def until_followed(self) -> None:
        """Wait until the arm follows the policy."""
        until(lambda: self.states and self.states[-1].mode == ExecutorState.FRESH, "the arm follows the policy")

    def measure(self, phase: Phase, pid: int | None = None, pictures: list[int] | None = None) -> None:
        """Look at the chunks of some seconds, and at what the server takes and sends meanwhile."""
        time.sleep(_SETTLES_S)
        self.chunks.clear()
        sent = len(pictures or ())
        before_s, begin_s = cpu_s(pid) if pid else 0.0, time.monotonic()
        time.sleep(self.options.seconds)
        if pid:
            phase.cpu_percent.append(100 * (cpu_s(pid) - before_s) / (time.monotonic() - begin_s))
        if pictures is not None:
            phase.pictures_hz.append((len(pictures) - sent) / (time.monotonic() - begin_s))
        for chunk in map(read_chunk, list(self.chunks)):
            phase.inference_ms.append(1e3 * chunk.inference_s)
            phase.camera_to_chunk_ms.append((chunk.end_ns - max(chunk.image_stamps.values())) / 1e6)

    def stop_ms(self, page: Any) -> float:
        """Click the emergency stop of a moving arm, and reset; ms from the click to the first tick that is STOPPED."""
        self.until_followed()
        self.states.clear()
        page.click("#emergency")
        stopped = until(lambda: next((s for s in list(self.states) if s.mode == ExecutorState.STOPPED), None), "a stop")
        clicked_ms = page.evaluate("window.clickedMs")

        def reset() -> bool:
            page.click("#reset")
            time.sleep(0.2)
            return self.states[-1].mode != ExecutorState.STOPPED

        until(reset, "reset at rest")
        return stamp_ns(stopped.header.stamp) / 1e6 - float(clicked_ms)

    def clicks(self, phase: Phase) -> list[float]:
        """Open the page in Chromium, and click its stop again and again."""
        with served(self.folder) as (pid, url), sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=self.options.chromium, args=["--no-sandbox"])
            page = browser.new_page()
            page.goto(url)
            page.wait_for_selector("#emergency.proven", timeout=_START_S * 1000)
            page.evaluate(_NOTE_CLICKS)
            page.click("#take")
            self.measure(phase, pid)
            found = [self.stop_ms(page) for _ in range(self.options.clicks)]
            browser.close()
        return found


def main() -> None:
    """Measure and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clicks", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each turn")
    parser.add_argument("--turns", type=int, default=3, help="without and with the page, one after the other")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    options = parser.parse_args()
    os.environ.update({**transport_environment(), **own_domain()})
    rclpy.init()
    nobody, elsewhere, here = Phase(), Phase(), Phase()
    system = SystemOptions()
    with tempfile.TemporaryDirectory() as folder, running(describe_simulated_robot(system), *describe(system)):
        bench = Bench(options, Path(folder))
        bench.instruct()
        for _ in range(options.turns):
            bench.measure(nobody)
            with served(bench.folder) as (pid, url), watcher(url) as pictures:
                bench.measure(elsewhere, pid, pictures)
        found = bench.clicks(here)
        bench.close()
    rclpy.try_shutdown()
    names = ("the page", "chunks", "inference p50 ms", "p95", "camera → chunk p50 ms", "p95", "pictures/s", "CPU")
    chunks = Table(*names)
    chunks.add_row(*nobody.row("is not served"))
    chunks.add_row(*elsewhere.row("has one watcher, who shows it elsewhere"))
    chunks.add_row(*here.row("is open in Chromium, on the same cores"))
    p50, p95 = np.percentile(found, [50, 95])
    stops = Table("clicks", "p50 ms", "p95 ms", "max ms", "load average")
    stops.add_row(str(len(found)), f"{p50:.0f}", f"{p95:.0f}", f"{max(found):.0f}", f"{os.getloadavg()[0]:.1f}")
    for table in (chunks, stops):
        Console(width=130).print(table)


if __name__ == "__main__":
    main()
