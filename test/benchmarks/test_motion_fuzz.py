# SPDX-License-Identifier: Apache-2.0
"""The fuzz is worth what it finds: an executor that breaks its promise must be caught, with the story that shows it."""

import dataclasses
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import motion_fuzz
from motion_playback import make_executor
from motion_strategies import numbered_story
from swiftvla_ros.contract.executor_codes import Mode

REPOSITORY = Path(__file__).parents[2]


def _caught(make, kinds, shows, stories=12):
    found = set()
    drawn = (numbered_story(0, number, most_joints=3) for number in range(500))
    for number, story in enumerate(itertools.islice(filter(shows, drawn), stories)):
        broken = motion_fuzz.tell(story, number, make).broken
        found |= {kind for _, kind, _ in broken}
        if kinds <= found:
            break
    return found


def _unlimited(story):
    """An executor that follows its reference, whatever that asks for."""
    executor = make_executor(story)
    limiter = executor._follower.limiter

    def follow(reference, now_ns, _dt_s, **_):
        limiter.state = np.array(reference.sample(now_ns))

    limiter.follow = follow
    return executor


def _jumping(story):
    """An executor that moves 0.1 mm too far, once, without saying so in the velocity."""
    executor = make_executor(story)
    tick, count = executor.tick, iter(range(10**9))

    def jump(now_ns):
        command = tick(now_ns)
        if command is not None and next(count) == 20:
            return dataclasses.replace(command, position=command.position + 1e-4)
        return command

    executor.tick = jump
    return executor


def _eager(story):
    """An executor that begins where it last was, not where the arm is."""
    executor = make_executor(story)
    executor._follower.limiter.at_rest_at = lambda _: np.zeros((3, len(story.start)))
    executor._follower.limiter.rest_at = lambda _: None
    return executor


def _clipping(story):
    """An executor that begins inside the limits, wherever the arm is, as it did until November 2026 (report F1)."""
    executor = make_executor(story)
    limiter = executor._follower.limiter
    at_rest_at, rest_at = limiter.at_rest_at, limiter.rest_at
    limiter.at_rest_at = lambda pose: at_rest_at(limiter.inside(pose))
    limiter.rest_at = lambda pose: rest_at(limiter.inside(pose))
    return executor


def _restless(story):
    """An executor that goes on and on."""
    executor = make_executor(story)
    tick = executor.tick

    def forever(now_ns):
        command = tick(now_ns)
        return command and dataclasses.replace(command, velocity=command.velocity + 1e-3)

    executor.tick = forever
    return executor


def _forgetful(story):
    """An executor that lets a refused chunk end what it was doing."""
    executor = make_executor(story)
    offer = executor.offer

    def refuse(chunk, now_ns):
        verdict = offer(chunk, now_ns)
        if not verdict.accepted:
            executor._machine.mode = Mode.HOLD if executor.mode is Mode.IDLE else Mode.IDLE
        return verdict

    executor.offer = refuse
    return executor


def _fragile(story):
    """An executor that can't bear NaN."""
    executor = make_executor(story)
    offer = executor.offer

    def fall(chunk, now_ns):
        if np.isnan(np.sum(chunk.positions)):
            raise FloatingPointError("NaN")
        return offer(chunk, now_ns)

    executor.offer = fall
    return executor


def _any(_story):
    return True


def _has_nan(story):
    return any(event.rows is not None and np.isnan(event.rows).any() for event in story.events)


@pytest.mark.parametrize(
    ("make", "kinds", "shows"),
    [
        (_unlimited, {"velocity", "acceleration", "jerk", "position", "divided differences"}, _any),
        (_jumping, {"position step", "divided differences"}, _any),
        (_eager, {"begin"}, _any),
        (_clipping, {"begin", "position step"}, _any),
        (_restless, {"no rest"}, _any),
        (_forgetful, {"refused chunk"}, _any),
        (_fragile, {"exception"}, _has_nan),
    ],
)
def test_a_broken_executor_is_found_out(make, kinds, shows):
    """Each promise is really looked at: an executor that breaks it is caught in a few stories that may show it."""
    assert kinds <= _caught(make, kinds, shows)


def test_the_executor_keeps_its_promise():
    """The same stories find nothing in the real one, and are no idle talk: it moves in most of its modes."""
    total = motion_fuzz.Tally()
    for number in range(12):
        total.add(motion_fuzz.tell(numbered_story(0, number, most_joints=3), number))
    assert not total.broken
    assert {"IDLE", "FRESH", "TAIL", "DECELERATING", "HOLD", "STOPPED"} <= set(total.modes)
    assert total.modes["FRESH"] > total.ticks / 10
    assert max(total.worst.values()) > 0.99


def test_a_numbered_story_is_always_the_same():
    """What is printed reproduces what was seen."""
    first, second = (numbered_story(3, 14) for _ in range(2))
    assert first.begin_ns == second.begin_ns
    assert [e.kind for e in first.events] == [e.kind for e in second.events]
    for one, other in zip(first.events, second.events, strict=True):
        np.testing.assert_array_equal(one.rows, other.rows)


def test_the_command_writes_its_figures(tmp_path):
    """The benchmark as it is started: it ends at the wanted number of ticks, with a JSON that says what was seen."""
    path = tmp_path / "fuzz.json"
    command = [sys.executable, str(REPOSITORY / "benchmarks/motion_fuzz.py")]
    done = subprocess.run(
        [*command, "--ticks", "1500", "--workers", "1", "--joints", "2", "--json", str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(path.read_text())
    assert figures["ticks"] >= 1500
    assert figures["violations"] == []
    assert figures["ticks_per_s"] > 0
    assert "ticks/s" in done.stdout
