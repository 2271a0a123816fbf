# SPDX-License-Identifier: Apache-2.0
"""How chunks are joined, against how late they come: success, path, jerk and jumps at seams, in simulation.

``python benchmarks/chunk_guidance.py [CHECKPOINT] [--modes queue,splice,trained] [--delays 0,300] [--episodes 20]
[--scene NAME] [--workers 2] [--json FILE]``. Time from an observation to its chunk is injected: 0, 60, 120, 300 and
600 ms, which are 0, 2, 4, 10 and 20 steps of 30 ms (about the 30 Hz that most arms are recorded at); the policy's own
rows are 100 ms apart. The next observation is taken as soon as the chunk is there. Every mode sees the same scenes and
words.

Chunks are judged by how much a newer one disagrees: how far its row for now lies from where the commands led (median
over seams; what guidance is for). Commands are judged at the control rate, by themselves: the jerk is their third
divided difference, and a seam's jump is how far the first command that follows a newer chunk lies from where the two
before it led (what the executor is for). And the arm: the path of its end effector, and its joints' jerk.
"""

import argparse
import os
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from plain_queue import PlainQueue
from swiftvla_ros.cli.output import write_json
from swiftvla_ros.cluster.engine import on_this_machine
from swiftvla_ros.cluster.runner import Runner
from swiftvla_ros.cluster.work import Work
from swiftvla_ros.contract import Contract, load_contract
from swiftvla_ros.motion.chunk import JointChunk
from swiftvla_ros.policy import Policy, load_policy
from swiftvla_ros.sim.evaluation.first_step import first_scene, task_of_episode
from swiftvla_ros.sim.evaluation.policy_driver import DrivenExecutor, PolicyDriver
from swiftvla_ros.sim.evaluation.rollout import TIMEOUT_S
from swiftvla_ros.sim.evaluation.statistics import Share, wilson
from swiftvla_ros.sim.tasks.registry import SCENES, watch
from swiftvla_ros.sim.tasks.watcher import TaskResult
from swiftvla_ros.sim.world import SimWorld

Array = NDArray[np.float64]

STEP_MS = 30
DELAYS_MS = (0, 60, 120, 300, 600)
SEED = 20_000


@dataclass(frozen=True)
class Mode:
    """A way to follow chunks: a queue, or the executor with one of the contract's blends; and the policy's guidance."""

    what: str
    queue: str | None = None
    blend: str = "smooth"
    guidance: str = "none"


MODES = {
    "queue": Mode("newer chunk replaces the queue, a row a step", queue="hold"),
    "queue_line": Mode("the same, a line between rows", queue="line"),
    "splice": Mode("stamped splice inside limits (default)"),
    "replace": Mode("splice, shortest join", blend="replace"),
    "linear": Mode("splice, rows cross-faded", blend="linear"),
    "cosine": Mode("splice, rows cross-faded", blend="cosine"),
    "ensemble": Mode("splice, all chunks averaged", blend="ensemble"),
    "vjp": Mode("splice, real-time chunking", guidance="vjp"),
    "identity": Mode("splice, identity for the Jacobian", guidance="identity"),
    "trained": Mode("splice, trained on executed rows", guidance="trained"),
}


@dataclass(frozen=True)
class Episode:
    """One rollout; lengths in m, disagreement and jumps in rad, jerk in rad/s³, each of the joint with the largest."""

    mode: str
    delay_ms: int
    seed: int
    verdict: str
    seconds: float
    path_m: float
    command_jerk: float
    arm_jerk: float
    disagreement: float
    seam_jump: float
    chunks: int


def roll_out(policy: Policy, world: SimWorld, mode: str, delay_ms: int, index: int, seed: int) -> Episode:
    """One episode of the index-th task."""
    world.reset(seed)
    task = task_of_episode(index)
    instruction = first_scene(world, task, np.random.default_rng([seed, 4])).observation.instruction
    queue = MODES[mode].queue
    follower: DrivenExecutor | None = None if queue is None else PlainQueue("hold" if queue == "hold" else "line")
    driver = PolicyDriver(policy, world, instruction, delay_ms / 1000, follower=follower)
    watcher = watch(world, task)
    commands: list[Array] = []
    arm: list[Array] = []
    seams: list[int] = []
    disagreements: list[float] = []
    ticks = accepted = 0
    while watcher.result is TaskResult.PENDING and ticks * driver.tick_s < TIMEOUT_S:
        driver.tick()
        ticks += 1
        if ticks % 2 == 0:
            watcher.update(2 * driver.tick_s)
        arm.append(world.state())
        if driver.command is None:
            continue
        commands.append(driver.command.position)
        if driver.executor.accepted > max(accepted, 1):
            seams.append(len(commands) - 1)
            assert driver.chunk is not None
            disagreements.append(disagreement(driver.chunk, driver.command.stamp_ns, commands[:-1]))
        accepted = driver.executor.accepted
    return Episode(
        mode,
        delay_ms,
        seed,
        watcher.result.name,
        ticks * driver.tick_s,
        path_length(world.contract, np.array(arm)),
        peak_jerk(np.array(commands), driver.tick_s),
        peak_jerk(np.array(arm), driver.tick_s),
        float(np.median(disagreements)) if disagreements else 0.0,
        seam_jump(np.array(commands), seams),
        accepted,
    )


def path_length(contract: Contract, arm: Array) -> float:
    """How far the end effector went, m, over joint positions [T, J]."""
    return float(np.linalg.norm(np.diff(contract.end_effector_position(arm), axis=0), axis=1).sum())


def peak_jerk(positions: Array, tick_s: float) -> float:
    """Largest third divided difference of [T, J]; 0 where there are too few."""
    return float(np.abs(np.diff(positions, 3, axis=0)).max(initial=0.0)) / tick_s**3 if len(positions) > 3 else 0.0


def disagreement(chunk: JointChunk, now_ns: int, before: list[Array]) -> float:
    """How far a chunk's position for now lies from where the last two commands led, rad."""
    place = np.clip((now_ns - chunk.stamp_ns) / chunk.step_ns, 0, len(chunk.positions) - 1)
    now = [np.interp(place, np.arange(len(chunk.positions)), column) for column in chunk.positions.T]
    return float(np.abs(np.array(now) - 2 * before[-1] + before[-2]).max()) if len(before) >= 2 else 0.0


def seam_jump(commands: Array, seams: list[int]) -> float:
    """Largest distance, over the seams' ticks, of a command from the line through the two before it."""
    jumps = [np.abs(commands[k] - 2 * commands[k - 1] + commands[k - 2]).max() for k in seams if k >= 2]
    return float(max(jumps, default=0.0))


def _job(job: tuple[Path, str, str, int, int, int, str]) -> Episode:
    checkpoint, robot, mode, delay_ms, index, seed, scene = job
    contract = _contract(robot, MODES[mode].blend)
    policy = _policy(checkpoint, robot, MODES[mode].guidance)
    with SimWorld(contract, scene=SCENES[scene]) as world:
        return roll_out(policy, world, mode, delay_ms, index, seed)


@lru_cache(maxsize=8)
def _contract(robot: str, blend: str) -> Contract:
    contract = load_contract(robot)
    control = contract.control
    joined = control.model_copy(update={"blend": control.blend.model_copy(update={"kind": blend})})
    return contract.with_keys(control=joined)


@lru_cache(maxsize=4)
def _policy(checkpoint: Path, robot: str, guidance: str) -> Policy:
    return load_policy(checkpoint, contract=load_contract(robot), device="cpu", threads=1, guidance=guidance)


@dataclass(frozen=True)
class Row:
    """All episodes of one mode and delay; figures are medians over episodes, jerk and jump also the largest."""

    mode: str
    delay_ms: int
    done: Share
    wrong_block: Share
    seconds: float
    path_m: float
    command_jerk: float
    command_jerk_max: float
    arm_jerk: float
    disagreement: float
    seam_jump: float
    seam_jump_max: float


def summarise(mode: str, delay_ms: int, episodes: list[Episode]) -> Row:
    """Put a cell's episodes together."""

    def column(name: str) -> Array:
        return np.array([getattr(episode, name) for episode in episodes])

    done = [episode for episode in episodes if episode.verdict == TaskResult.DONE.name]
    return Row(
        mode,
        delay_ms,
        wilson(len(done), len(episodes)),
        wilson(sum(episode.verdict == TaskResult.WRONG_BLOCK.name for episode in episodes), len(episodes)),
        float(np.median([episode.seconds for episode in done])) if done else float("nan"),
        float(np.median([episode.path_m for episode in done])) if done else float("nan"),
        float(np.median(column("command_jerk"))),
        float(column("command_jerk").max()),
        float(np.median(column("arm_jerk"))),
        float(np.median(column("disagreement"))),
        float(np.median(column("seam_jump"))),
        float(column("seam_jump").max()),
    )


def table(rows: list[Row]) -> Table:
    """The same for people; disagreement and jumps in mrad, jerk in rad/s³."""
    columns = ("delay", "mode", "done (95 %)", "s", "path m", "disagree", "jump", "most", "jerk", "arm's", "÷ queue")
    out = Table(*columns, title=f"delay in ms (steps of {STEP_MS} ms), disagreement and jumps in mrad, jerk in rad/s³")
    for row in rows:
        queue = next((r for r in rows if r.mode == "queue" and r.delay_ms == row.delay_ms), None)
        less = ""
        if queue is not None and row.seam_jump > 0 and row.command_jerk > 0:
            jerk, jump = queue.command_jerk / row.command_jerk, queue.seam_jump / row.seam_jump
            less = f"jerk {jerk:.0f}, jump {jump:.0f}"
        out.add_row(
            f"{row.delay_ms} ({row.delay_ms // STEP_MS})",
            row.mode,
            str(row.done),
            f"{row.seconds:.1f}",
            f"{row.path_m:.2f}",
            f"{row.disagreement * 1e3:.0f}",
            f"{row.seam_jump * 1e3:.2f}",
            f"{row.seam_jump_max * 1e3:.2f}",
            f"{row.command_jerk:.0f}",
            f"{row.arm_jerk:.0f}",
            less,
        )
    return out


def main() -> None:
    """Roll out, print the table, and write the same figures where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", nargs="?", type=Path, default=Path("models/swiftvla-nano-so101"))
    parser.add_argument("--robot", default="so101_sim")
    parser.add_argument("--modes", default=",".join(MODES), help=f"default: {','.join(MODES)}")
    parser.add_argument("--delays", default=",".join(map(str, DELAYS_MS)), help="ms")
    parser.add_argument("--episodes", type=int, default=20, help="per mode and delay")
    parser.add_argument("--seed", type=int, default=SEED, help="of the first scene")
    parser.add_argument("--scene", default="table", choices=sorted(SCENES), help="default: table")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    modes, delays = options.modes.split(","), [int(text) for text in options.delays.split(",")]
    unknown = sorted(set(modes) - set(MODES))
    if unknown:
        parser.error(f"--modes: {unknown} is unknown; write some of {sorted(MODES)}")
    jobs = [
        (
            options.checkpoint,
            options.robot,
            mode,
            delay,
            index,
            options.seed + index,
            options.scene,
        )
        for delay in delays
        for mode in modes
        for index in range(options.episodes)
    ]
    episodes = (
        Runner(on_this_machine(options.workers)).run(Work("rolling out", jobs, _job, unit="episodes")).check().results
    )
    rows = [
        summarise(mode, delay, [e for e in episodes if (e.mode, e.delay_ms) == (mode, delay)])
        for delay in delays
        for mode in modes
    ]
    Console(width=140).print(table(rows))
    if options.json is not None:
        figures: dict[str, Any] = {
            "checkpoint": load_policy(options.checkpoint, contract=load_contract(options.robot)).checkpoint_sha256,
            "scene": options.scene,
            "step_ms": STEP_MS,
            "modes": {name: MODES[name].what for name in modes},
            "rows": [asdict(row) for row in rows],
            "episodes": [asdict(episode) for episode in sorted(episodes, key=lambda e: (e.delay_ms, e.mode, e.seed))],
        }
        write_json(options.json, figures)


if __name__ == "__main__":
    main()
