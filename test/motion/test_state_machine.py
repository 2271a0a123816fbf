# SPDX-License-Identifier: Apache-2.0
"""Every transition of the state machine by itself, without joints or paths."""

import pytest

from swiftvla_ros.motion import Mode, Reason
from swiftvla_ros.motion.state_machine import Facts, StateMachine

S = 1_000_000_000
END = Reason.ROWS_EXHAUSTED, "rows end"
MOVES = Facts(following=True)
SLOWS = Facts(following=True, slowing=True)
RESTS = Facts(resting=True)


def at(mode: Mode) -> StateMachine:
    """A state machine that was led to a mode."""
    machine = StateMachine(fresh_s=0.4, tail_timeout_s=1.0, hold_timeout_s=2.0)
    if mode is Mode.IDLE:
        return machine
    machine.measured()
    machine.follow(0, "chunk 7", END)
    if mode is Mode.STOPPED:
        machine.emergency_stop()
    if mode in (Mode.TAIL, Mode.DECELERATING, Mode.HOLD, Mode.RELEASED):
        machine.tick(S // 2, MOVES)
    if mode in (Mode.DECELERATING, Mode.HOLD, Mode.RELEASED):
        machine.tick(S, SLOWS)
    if mode in (Mode.HOLD, Mode.RELEASED):
        machine.tick(S, Facts(following=True, slowing=True, arrived=True, resting=True))
    if mode is Mode.RELEASED:
        machine.tick(4 * S, RESTS)
    assert machine.mode is mode
    return machine


TRANSITIONS = {
    "a joint state": (Mode.IDLE, lambda x: x.measured(), Mode.IDLE, Reason.NO_CHUNK),
    "a stale joint state": (Mode.IDLE, lambda x: (x.measured(), x.wait("stale")), Mode.IDLE, Reason.NOT_ARMED),
    "a fresh one again": (Mode.IDLE, lambda x: (x.measured(), x.wait("stale"), x.wait("")), Mode.IDLE, Reason.NO_CHUNK),
    "held from the beginning": (Mode.IDLE, lambda x: x.hold(S), Mode.HOLD, Reason.NO_CHUNK),
    "fresh enough": (Mode.FRESH, lambda x: x.tick(4 * S // 10, MOVES), Mode.FRESH, Reason.CHUNK),
    "late": (Mode.FRESH, lambda x: x.tick(5 * S // 10, MOVES), Mode.TAIL, Reason.CHUNK_LATE),
    "rows end at once": (Mode.FRESH, lambda x: x.tick(1, SLOWS), Mode.DECELERATING, END[0]),
    "rows end": (Mode.TAIL, lambda x: x.tick(S, SLOWS), Mode.DECELERATING, END[0]),
    "off the path": (Mode.TAIL, lambda x: x.off_the_path(), Mode.DECELERATING, END[0]),
    "stop": (
        Mode.FRESH,
        lambda x: x.slow_down(Reason.STOP_REQUESTED, "", following=True),
        Mode.DECELERATING,
        Reason.STOP_REQUESTED,
    ),
    "stop at rest": (
        Mode.HOLD,
        lambda x: x.slow_down(Reason.STOP_REQUESTED, "", following=False),
        Mode.HOLD,
        Reason.STOP_REQUESTED,
    ),
    "rest on the path": (
        Mode.DECELERATING,
        lambda x: x.tick(S, Facts(following=True, slowing=True, arrived=True, resting=True)),
        Mode.HOLD,
        END[0],
    ),
    "rest off the path": (Mode.DECELERATING, lambda x: x.tick(S, RESTS), Mode.HOLD, END[0]),
    "still braking": (Mode.DECELERATING, lambda x: x.tick(S, Facts()), Mode.DECELERATING, END[0]),
    "held": (Mode.HOLD, lambda x: x.tick(2 * S, RESTS), Mode.HOLD, END[0]),
    "held for long": (Mode.HOLD, lambda x: x.tick(4 * S, RESTS), Mode.RELEASED, Reason.HOLD_TIMEOUT),
    "pause": (
        Mode.FRESH,
        lambda x: x.tick(1, Facts(following=True, resting=True, paused=True)),
        Mode.FRESH,
        Reason.PAUSED,
    ),
    "pause and on": (
        Mode.FRESH,
        lambda x: (x.tick(1, Facts(following=True, resting=True, paused=True)), x.tick(2, MOVES)),
        Mode.FRESH,
        Reason.CHUNK,
    ),
    "pause in the tail": (
        Mode.TAIL,
        lambda x: x.tick(S // 2, Facts(following=True, resting=True, paused=True)),
        Mode.TAIL,
        Reason.PAUSED,
    ),
    "jump in motion": (
        Mode.FRESH,
        lambda x: x.clock_jumped(9, "", resting=False),
        Mode.DECELERATING,
        Reason.CLOCK_JUMP,
    ),
    "jump at rest": (Mode.RELEASED, lambda x: x.clock_jumped(9, "", resting=True), Mode.HOLD, Reason.CLOCK_JUMP),
}


@pytest.mark.parametrize("name", TRANSITIONS)
def test_each_step(name):
    """The way down, the ways beside it, and what does not lead down yet."""
    begin, happens, end, reason = TRANSITIONS[name]
    machine = at(begin)
    happens(machine)
    assert (machine.mode, machine.reason) == (end, reason)
    assert machine.text or name in ("stop", "stop at rest", "jump in motion", "jump at rest")


@pytest.mark.parametrize("mode", [m for m in Mode if m is not Mode.STOPPED])
def test_a_chunk_leads_to_fresh_from_every_mode(mode):
    """The ways back up."""
    machine = at(mode)
    machine.follow(9 * S, "chunk 8", END)
    assert (machine.mode, machine.reason) == (Mode.FRESH, Reason.CHUNK)
    assert "chunk 8" in machine.text


@pytest.mark.parametrize("mode", list(Mode))
def test_emergency_stop_from_every_mode_and_out_by_reset_alone(mode):
    """Nothing but reset: no start, no slow-down, no jump, no tick, no timeout."""
    machine = at(mode)
    machine.emergency_stop()
    machine.start()
    machine.slow_down(Reason.STOP_REQUESTED, "", following=True)
    machine.clock_jumped(9 * S, "", resting=True)
    machine.tick(99 * S, RESTS)
    assert (machine.mode, machine.reason) == (Mode.STOPPED, Reason.EMERGENCY_STOP)
    assert "~/reset" in machine.closed
    machine.reset()
    assert (machine.mode, machine.reason, machine.closed) == (Mode.IDLE, Reason.NO_MEASURED_STATE, "")


def test_stop_shuts_until_start():
    """No chunk is let in between."""
    machine = at(Mode.FRESH)
    machine.stop()
    assert "~/start" in machine.closed
    machine.start()
    assert not machine.closed


def test_a_latch_shuts_until_reset():
    """Start does not lead out of what a watch found."""
    machine = at(Mode.FRESH)
    machine.latch("joint 'a' is stuck; call ~/reset")
    machine.start()
    assert machine.latched
    assert "'a'" in machine.closed
    machine.reset()
    assert not machine.latched


def test_patience_begins_after_an_approach():
    """An approach of three seconds is no late chunk."""
    machine = at(Mode.IDLE)
    machine.follow(0, "chunk 1", END, approach_s=3.0)
    machine.tick(3 * S, MOVES)
    assert machine.mode is Mode.FRESH
    assert not machine.overdue(4 * S)
    assert machine.overdue(4 * S + 1)
