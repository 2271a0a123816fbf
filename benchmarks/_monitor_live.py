# SPDX-License-Identifier: Apache-2.0
"""The monitors' nodes in the running simulated system, as ``swiftvla up --sim`` starts it: what they cost, and say."""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from swiftvla_ros.bringup.system_options import SystemOptions
from swiftvla_ros.cli.live.graph import LiveGraph
from swiftvla_ros.cli.live.simulated_system import SimulatedSystem, describe_simulated
from swiftvla_ros.cli.output import print_table
from swiftvla_ros.contract import load_contract
from swiftvla_ros.msg import ActionChunk, MonitorVerdict
from swiftvla_ros.nodes.ros import qos
from swiftvla_ros.sim.evaluation.first_step import task_of_episode
from swiftvla_ros.sim.tasks.registry import phrase
from swiftvla_ros.srv import SetInstruction

_MONITORS = ("envelope_monitor", "disagreement_monitor")
# How a process is told its node's name.
_NODE = "__node:="
_START_S, _SETTLE_S, _TASK_S = 120.0, 5.0, 3.0
_REST_S, _SCENE_S, _TIMEOUT_S = 10.0, 1.0, 20.0
_TASKS = ("pick up the red block", "touch the green block", "pick up the blue block", "touch the red block")


def cpu(checkpoint: Path, seconds: float) -> None:
    """Print the CPU time of each node's process in a system whose arm is told something else now and then."""
    options = SystemOptions(checkpoint=str(checkpoint), monitors=",".join(_MONITORS))
    chunks: list[ActionChunk] = []
    verdicts: list[MonitorVerdict] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        SimulatedSystem(describe_simulated(options), Path(folder)) as system,
        LiveGraph(check=system.check) as graph,
    ):
        graph.wait_until_ready(load_contract(options.robot), _START_S)
        graph.listen(ActionChunk, "action_chunk", chunks.append, qos.MONITORED)
        graph.listen(MonitorVerdict, "monitor_verdicts", verdicts.append, qos.VERDICTS)
        tasks = itertools.cycle(_TASKS)

        def work(for_s: float) -> None:
            until = time.monotonic() + for_s
            while (left := until - time.monotonic()) > 0:
                graph.call(SetInstruction, "set_instruction", SetInstruction.Request(instruction=next(tasks)))
                graph.spin(min(_TASK_S, left))

        work(_SETTLE_S)
        graph.wait_for(lambda: {v.monitor for v in verdicts} >= {"envelope", "disagreement"}, _START_S, "no verdicts")
        processes = _processes()
        chunks.clear()
        verdicts.clear()
        before, began = {name: _used_s(process) for name, process in processes.items()}, time.monotonic()
        work(seconds)
        passed = time.monotonic() - began
        shares = {name: (_used_s(process) - before[name]) / passed for name, process in processes.items()}
    monitors = {name: shares.pop(name) for name in _MONITORS}
    others = sorted(shares.items(), key=lambda entry: -entry[1])
    rows = [*monitors.items(), ("the monitors together", sum(monitors.values())), *others]
    print_table(("process", "of a core"), [(name, f"{share:.1%}") for name, share in rows])
    print(
        f"{passed:.0f} s, {len(chunks) / passed:.1f} chunks/s, {len(verdicts) / passed:.1f} verdicts/s; "
        f"load average {os.getloadavg()[0]:.1f}"
    )


def live(checkpoint: Path, folder: Path, seed: int, count: int) -> None:
    """Print what both say of usual scenes, one after another, which are recorded as a bag in ``folder``."""
    options = SystemOptions(checkpoint=str(checkpoint), monitors=",".join(_MONITORS), seed=seed, record=folder / "bag")
    scenes: list[list[MonitorVerdict]] = [[]]
    done = 0

    def heard(verdict: MonitorVerdict) -> None:
        scenes[-1].append(verdict)

    with (
        tempfile.TemporaryDirectory() as logs,
        SimulatedSystem(describe_simulated(options), Path(logs)) as system,
        LiveGraph(check=system.check) as graph,
    ):
        graph.wait_until_ready(load_contract(options.robot), _START_S, recorded=True)
        graph.listen(MonitorVerdict, "monitor_verdicts", heard, qos.VERDICTS)
        for i in range(count):
            if i:
                graph.wait_until_at_rest(_REST_S)
                graph.trigger("trajectory_executor/reset")
                graph.trigger("sim_robot/reset")
                scenes.append([])
            graph.spin(_SCENE_S)
            words = phrase(task_of_episode(i, ("pick", "touch")), np.random.default_rng([seed + i, 4]))
            done += graph.run_instruction(words, _TIMEOUT_S).success
    rows = []
    for name in ("envelope", "disagreement"):
        own = [[v for v in scene if v.monitor == name] for scene in scenes]
        levels = [{v.level for v in scene} for scene in own]
        slowed = sum(bool(found & {MonitorVerdict.SLOW, MonitorVerdict.HOLD}) for found in levels)
        held = sum(MonitorVerdict.HOLD in found for found in levels)
        shares = [max(np.array(v.values) / np.array(v.slow_at)) for scene in own for v in scene if len(v.values)]
        rows.append((name, str(len(shares)), str(slowed), str(held), f"{np.median(shares):.2f}", f"{max(shares):.2f}"))
    print_table(("monitor", "verdicts", "scenes slowed", "held", "of the first bound, median", "highest"), rows)
    print(f"{done} of {count} scenes done; load average {os.getloadavg()[0]:.1f}")


def _processes() -> dict[str, psutil.Process]:
    """The nodes' processes that this one started, by their names."""
    children = psutil.Process().children(recursive=True)
    named = {argument: child for child in children for argument in child.cmdline() if argument.startswith(_NODE)}
    return {argument.removeprefix(_NODE): child for argument, child in named.items()}


def _used_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
