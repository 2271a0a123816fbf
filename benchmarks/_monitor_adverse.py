# SPDX-License-Identifier: Apache-2.0
"""Runs in which the hand hits what it must not, again with monitors that slow and hold; and films of both."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw

from _monitor_runs import LATENCY_S, Episode, Seen, run_episode
from _monitor_worlds import HIT, KINDS, ShiftedWorld
from swiftvla_ros.contract import Contract
from swiftvla_ros.monitoring.disagreement import HOLD_AT, SLOW_AT, SLOW_PERCENT, DisagreementMeter, Rows
from swiftvla_ros.monitoring.envelope import Envelope
from swiftvla_ros.monitoring.envelope_monitor import EnvelopeMonitor, Look
from swiftvla_ros.monitoring.verdict import Verdict, VerdictLevel
from swiftvla_ros.motion.executor import ChunkExecutor
from swiftvla_ros.motion.speed_limits import SourceLimit
from swiftvla_ros.policy import CheckpointPolicy
from swiftvla_ros.policy.vision_features import pooled
from swiftvla_ros.sim.evaluation.policy_driver import PolicyDriver
from swiftvla_ros.sim.world import SimWorld

Array = NDArray[np.float64]
Image = NDArray[np.uint8]

HARD_N = 5.0
"""A hit that counts here: grasping brushes the table more softly."""
_NS = 1_000_000_000
_FRAME_S, _SIZE = 0.2, (208, 156)


@dataclass
class Adverse:
    """One run of a kind in a scene, with or without the monitors; ``by`` is the one that spoke first."""

    kind: str
    seed: int
    onset_s: float = 0.0
    hit_s: float | None = None
    hit: str = ""
    newtons: float = 0.0
    slow_s: float | None = None
    hold_s: float | None = None
    by: str = ""
    frames: list[Image] = field(default_factory=list)


def adverse_run(
    policy: CheckpointPolicy,
    envelope: Envelope,
    world: ShiftedWorld,
    kind: str,
    seed: int,
    state_range: tuple[Array, Array],
    *,
    monitored: bool,
) -> Adverse:
    """Run it; a monitor's verdict reaches the executor when its chunk does."""
    contract: Contract = world.nominal_contract
    monitor = EnvelopeMonitor(envelope, contract)
    meter = DisagreementMeter(np.array(SLOW_AT), np.array(HOLD_AT), SLOW_PERCENT)
    run, judged = Adverse(kind, seed), 0
    waiting: list[tuple[float, Verdict]] = []

    def judge(seen: Seen, number: int) -> None:
        features = np.stack([pooled(camera) for camera in seen.tokens])
        stamp_ns, sha256 = round((1 + seen.time_s) * _NS), envelope.checkpoint_sha256
        look = Look(stamp_ns, number, sha256, seen.rows, seen.state, policy.camera_names, features)
        found = monitor.look(look), meter.take(number, Rows(stamp_ns, round(policy.step_s * _NS), seen.rows))
        waiting.extend((seen.time_s + LATENCY_S, verdict) for verdict in found if verdict is not None)

    def watch(driver: PolicyDriver, ticked: ShiftedWorld, episode: Episode) -> None:
        nonlocal judged
        while judged < len(episode.looks):
            judge(episode.looks[judged], judged + 1)
            judged += 1
        while waiting and ticked.time_s >= waiting[0][0]:
            _, verdict = waiting.pop(0)
            if verdict.level is VerdictLevel.SLOW and run.slow_s is None:
                run.slow_s, run.by = ticked.time_s, run.by or verdict.monitor
            if verdict.level is VerdictLevel.HOLD and run.hold_s is None:
                run.hold_s, run.by = ticked.time_s, run.by or verdict.monitor
            if monitored and isinstance(driver.executor, ChunkExecutor):
                driver.executor.speed_limits.set(SourceLimit(verdict.monitor, verdict.percent / 100, verdict.text))
        forces = episode.forces[-1]
        run.newtons = max(run.newtons, float(forces.max()))
        if run.hit_s is None and forces.max() >= HARD_N and ticked.time_s >= episode.onset_s:
            run.hit_s, run.hit = ticked.time_s, HIT[int(forces.argmax())]
        if ticked.time_s >= len(run.frames) * _FRAME_S:
            # From where the camera stood, whatever has become of its lens.
            run.frames.append(SimWorld.render(ticked, "front", 320, 240))

    run.onset_s = run_episode(policy, world, kind, seed, state_range, watch).onset_s
    return run


def before_the_hit(plain: Adverse) -> bool:
    """Whether a monitor would have spoken before the hand hit something."""
    spoken = [t for t in (plain.slow_s, plain.hold_s) if t is not None]
    return plain.hit_s is not None and bool(spoken) and min(spoken) < plain.hit_s


def film(plain: Adverse, watched: Adverse, path: Path, seconds: float = 4.4) -> None:
    """Both runs beside each other, as a GIF."""
    pictures = []
    for i in range(min(round(seconds / _FRAME_S), len(plain.frames), len(watched.frames))):
        sheet = Picture.new("RGB", (2 * _SIZE[0] + 4, _SIZE[1] + 26), "white")
        for column, (run, title) in enumerate(((plain, "without"), (watched, "with monitors"))):
            x = column * (_SIZE[0] + 4)
            sheet.paste(Picture.fromarray(run.frames[i]).resize(_SIZE), (x, 26))
            draw, time_s = ImageDraw.Draw(sheet), i * _FRAME_S
            state, colour = _state(run, time_s, column == 1)
            draw.text((x + 4, 1), f"{title}, {time_s:.1f} s", fill="black")
            draw.text((x + 4, 13), state, fill=colour)
        pictures.append(sheet.quantize(64))
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=round(1000 * _FRAME_S), loop=0)


def sheet(pairs: list[tuple[Adverse, Adverse]], path: Path) -> None:
    """All pairs: where the hand hit without the monitor, and the same moment with it."""
    columns, rows = 4, (2 * len(pairs) + 3) // 4
    picture = Picture.new("RGB", (columns * (_SIZE[0] + 4), rows * (_SIZE[1] + 28)), "white")
    for number, (plain, watched) in enumerate(pairs):
        for half, run in enumerate((plain, watched)):
            place = 2 * number + half
            x, y = (place % columns) * (_SIZE[0] + 4), (place // columns) * (_SIZE[1] + 28)
            frame = min(round((plain.hit_s or 0.0) / _FRAME_S), len(run.frames) - 1)
            picture.paste(Picture.fromarray(run.frames[frame]).resize(_SIZE), (x, y + 26))
            draw = ImageDraw.Draw(picture)
            name = f"{number + 1}. {plain.kind}" if not half else f"{number + 1}. with monitors"
            draw.text((x + 3, y + 1), name, fill="black")
            state, colour = _state(run, plain.hit_s or 0.0, half == 1)
            draw.text((x + 3, y + 13), state, fill=colour)
    picture.quantize(128).save(path, optimize=True)


def _state(run: Adverse, time_s: float, monitored: bool) -> tuple[str, str]:
    if run.hit_s is not None and time_s >= run.hit_s - _FRAME_S / 2:
        return f"hit the {run.hit} ({run.newtons:.0f} N)", "red"
    if monitored and run.hold_s is not None and time_s >= run.hold_s:
        return f"holds since {run.hold_s:.2f} s", "darkgreen"
    if monitored and run.slow_s is not None and time_s >= run.slow_s:
        return f"slow since {run.slow_s:.2f} s", "darkorange"
    return ("unlike training" if time_s >= run.onset_s else "as trained"), "grey"


def search(
    policy: CheckpointPolicy,
    envelope: Envelope,
    contract: Contract,
    candidates: list[tuple[str, int]],
    state_range: tuple[Array, Array],
    wanted: tuple[int, int],
    seconds: float,
) -> tuple[list[tuple[Adverse, Adverse]], list[Adverse]]:
    """Pairs in which the hand hits something only without the monitors; and the hits that they did not prevent.

    Ends with so many pairs as are ``wanted``: in all, and of one kind at most.
    """
    pairs: list[tuple[Adverse, Adverse]] = []
    missed: list[Adverse] = []
    worlds: dict[str, ShiftedWorld] = {}
    began = time.monotonic()
    for kind, seed in dict.fromkeys(candidates):
        if sum(pair[0].kind == kind for pair in pairs) == wanted[1]:
            continue
        scene = KINDS[kind].scene
        if scene.name not in worlds:
            worlds[scene.name] = ShiftedWorld(contract, seed, scene)
        plain = adverse_run(policy, envelope, worlds[scene.name], kind, seed, state_range, monitored=False)
        if plain.hit_s is None:
            continue
        watched = adverse_run(policy, envelope, worlds[scene.name], kind, seed, state_range, monitored=True)
        spared = before_the_hit(plain) and watched.hit_s is None
        if spared:
            pairs.append((plain, watched))
        else:
            missed.append(plain)
        print(f"{kind} {seed}: hit at {plain.hit_s:.2f} s; {'spared' if spared else 'not spared'}", flush=True)
        if len(pairs) == wanted[0] or time.monotonic() - began > seconds:
            break
    return sorted(pairs, key=lambda pair: (list(KINDS).index(pair[0].kind), pair[0].seed)), missed
