# SPDX-License-Identifier: Apache-2.0
"""What limits a run is told with its numbers and one way out, and nothing is told where nothing is slow."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftvla_ros.contract import load_contract
from swiftvla_ros.contract.latency_stages import CAMERA, CHAIN, COMMAND, COMPLETE, ENDS, RECEIVED, STAGES, STARTS
from swiftvla_ros.monitoring.latency_advice import ComputedBy, RollingTiming, RunTiming, advise

CONTRACT = load_contract("so101_sim")
DEMO = ComputedBy(10, "openvino", "cpu", "float32", "none", threads=1, cores=2, flow_steps=10, max_rate_hz=10.0)
QUICK = {"camera": 0.03, "wait": 0.02, "inference": 0.03, "chunk_transport": 0.002, "take_over": 0.01}


def run(stages: dict[str, float], period_s: float = 0.1, chunks: int = 50, stale: int = 0) -> RunTiming:
    """Make a run whose every chunk took so long, from the stamps that its messages would bear."""
    rolling = RollingTiming()
    for k in range(chunks):
        at = first = 10**12 + round(k * period_s * 1e9)
        stamps = {CAMERA: at}
        for name, end in zip(CHAIN, (COMPLETE, STARTS, ENDS, RECEIVED, COMMAND), strict=True):
            at += round(stages[name] * 1e9)
            stamps[end] = at
        rolling.add(first, stamps, 7 + stale * k // max(1, chunks - 1))
    return rolling.timing()


def test_silent_when_all_is_well():
    """Protects: an operator reads advice because it is rare."""
    assert advise(run(QUICK), CONTRACT, DEMO).sentences == ()


def test_silent_without_measurements():
    """Protects: nothing is made up of two chunks, of none, or of a policy that nobody knows."""
    slow = QUICK | {"inference": 2.0}
    for timing, by in ((run(slow, chunks=2), DEMO), (run({}, chunks=0), DEMO), (run(slow), replace(DEMO, rows=0))):
        assert advise(timing, CONTRACT, by).sentences == ()


@pytest.mark.parametrize(
    ("stage", "more", "knob"),
    [
        ("inference", {"runtime": "torch"}, "runtime"),
        ("inference", {}, "precision"),
        ("inference", {"cores": 8}, "threads"),
        ("inference", {}, "denoise_steps"),
        ("wait", {"max_rate_hz": 1.2}, "max_rate_hz"),
        ("camera", {}, "cameras.rate_hz"),
        ("camera", {}, "cameras.transport"),
        ("chunk_transport", {}, "load"),
        ("take_over", {}, "realtime_priority"),
    ],
)
def test_each_stage_has_its_knob(stage, more, knob):
    """Protects: who reads it knows what to turn, and by which number it was found."""
    advice = advise(run(QUICK | {stage: 0.7}), CONTRACT, replace(DEMO, **more))
    assert advice.limits == stage
    assert knob in advice.knobs
    assert "700 ms" in " ".join(advice.sentences)


def test_a_run_that_drops_what_is_old_is_told_of_the_age():
    """Protects: a limit that stops the policy is named beside what makes pictures old."""
    advice = advise(run(QUICK | {"camera": 0.6}, stale=40), CONTRACT, DEMO)
    assert "policy.max_image_age_s" in advice.knobs
    assert advise(run(QUICK, stale=40), CONTRACT, DEMO).limits == "camera"


def test_a_blend_that_jumps_and_a_delay_not_trained_for_are_named():
    """Protects: what lives with a latency is told where it can't be shortened at once."""
    control = CONTRACT.control.model_copy(
        update={"blend": CONTRACT.control.blend.model_copy(update={"kind": "replace"})}
    )
    by = replace(DEMO, guidance="trained", max_delay_rows=3)
    advice = advise(run(QUICK | {"inference": 0.6}), CONTRACT.with_keys(control=control), by)
    assert {"control.blend", "max_delay_steps"} <= set(advice.knobs)


def test_a_machine_that_others_use_is_told_from_a_slow_network():
    """Protects: nobody exports a policy anew because a compiler ran beside it."""
    inference = (0.5, 1.2, 1.3)
    timing = replace(run(QUICK), stages_s=run(QUICK).stages_s | {"inference": inference})
    assert "load" in advise(timing, CONTRACT, DEMO).knobs
    assert "load" not in advise(run(QUICK | {"inference": 1.2}), CONTRACT, DEMO).knobs


SECONDS = st.floats(0.0005, 3.0)


@given(
    st.fixed_dictionaries(dict.fromkeys(CHAIN, SECONDS)),
    st.floats(0.02, 3.0),
    st.integers(0, 200),
    st.builds(
        ComputedBy,
        rows=st.integers(1, 50),
        runtime=st.sampled_from(["", "torch", "openvino", "tensorrt"]),
        device=st.sampled_from(["", "cpu", "cuda:0"]),
        precision=st.sampled_from(["", "float32", "bfloat16"]),
        guidance=st.sampled_from(["none", "vjp", "trained"]),
        threads=st.integers(0, 8),
        cores=st.integers(1, 16),
        flow_steps=st.integers(0, 20),
        max_rate_hz=st.sampled_from([0.0, 2.0, 10.0, 30.0]),
        max_delay_rows=st.integers(0, 9),
    ),
)
def test_advice_never_contradicts_itself(stages, period_s, stale, by):
    """Protects: the largest stage is what is named, each knob is turned once, and no number is missing."""
    timing = run(stages, period_s, stale=stale)
    advice = advise(timing, CONTRACT, by)
    if not advice.sentences:
        assert (advice.limits, advice.knobs) == ("", ())
        return
    measured = {name: values[1] for name, values in timing.stages_s.items() if name in CHAIN}
    assert measured[advice.limits] == max(measured.values())
    assert any(str(STAGES[advice.limits]) in text for text in advice.sentences)
    assert len(set(advice.knobs)) == len(advice.knobs)
    assert advice.knobs or by.precision != "float32"
    text = " ".join(advice.sentences)
    assert "nan" not in text
    assert "inf " not in text
    # Longer chunks are never advised for what is computed too slowly, nor more threads than cores.
    assert not ("threads" in advice.knobs and by.threads >= by.cores)


@given(st.fixed_dictionaries(dict.fromkeys(CHAIN, st.floats(0.0005, 0.07))), st.floats(0.03, 0.35))
def test_silent_while_chunks_come_in_time(stages, period_s):
    """Protects: the demo's own second-long chunks leave room, and nobody is told to turn anything."""
    assert advise(run(stages, period_s), CONTRACT, DEMO).sentences == ()


def test_the_percentiles_are_those_of_the_stamps():
    """Protects: numbers in sentences are the run's."""
    timing = run(QUICK)
    assert timing.stages_s["inference"] == pytest.approx((0.03, 0.03, 0.03))
    assert timing.way_s == pytest.approx(sum(QUICK.values()))
    assert np.allclose(timing.period_s, 0.1)


def test_a_recorded_run_is_judged_by_its_own_messages(stored):
    """Protects: the shipped recording of a quick run needs no advice, and a bag is enough to give some."""
    from swiftvla_ros.episodes.bags.bag import Bag
    from swiftvla_ros.viewing.latency import recorded_advice

    assert recorded_advice(Bag(stored)).sentences == ()
