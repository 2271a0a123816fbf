# SPDX-License-Identifier: Apache-2.0
"""Chunks and ticks as they come are told as the bag of the same run would be."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from swiftvla_ros.contract.executor_codes import ChunkSource
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.monitoring.running_latency import RunningLatency
from swiftvla_ros.observation.message_fields import read_chunk, read_executor_state
from swiftvla_ros.viewing.latency import latency_stages


@pytest.fixture(scope="module")
def run(stored):
    """The stored run's messages in the order in which they were received."""
    bag = Bag(stored)
    chunks = [(ns, read_chunk(message)) for ns, message in bag.messages("action_chunk")]
    ticks = [(ns, read_executor_state(message)) for ns, message in bag.messages("executor_state")]
    return bag, sorted([*chunks, *ticks], key=lambda each: each[0])


def fed(bag, messages):
    """A run's latency after these messages."""
    running = RunningLatency(bag.contract)
    for _, message in messages:
        running.chunk(message) if hasattr(message, "instruction") else running.tick(message)
    return running


def test_a_running_system_is_told_its_bags_numbers(run):
    """Protects: what the page says during a run is what `swiftvla demo` says of it afterwards."""
    bag, messages = run
    timing, advice = fed(bag, messages).told()
    assert advice.sentences == ()
    stages = {stage.name: stage for stage in latency_stages(bag)}
    (inference,) = [s for name, s in stages.items() if name == "inference"]
    assert 1e3 * timing.stages_s["inference"][0] == pytest.approx(inference.p50_ms, rel=0.02)
    assert timing.chunks >= 0.9 * inference.count
    assert timing.stages_s["take_over"][0] >= 0
    assert timing.stages_s["camera_to_command"][0] > timing.stages_s["inference"][0]


def test_another_instruction_begins_anew(run):
    """Protects: the time in which nobody wanted chunks is no period between two."""
    bag, messages = run
    running = fed(bag, messages)
    chunk = next(m for _, m in reversed(messages) if hasattr(m, "instruction"))
    running.chunk(replace(chunk, instruction_id=chunk.instruction_id + 1))
    assert running.told()[0].chunks == 0


def test_slow_inference_is_told_with_its_knob(run):
    """Protects: what the policy says of itself, and what it was set to, reach the sentences."""
    bag, messages = run
    slow, running = int(2e9), RunningLatency(bag.contract)
    report = SimpleNamespace(runtime="torch", device="cpu", precision="float32", guidance="none", threads=1)
    running.policy(report, 0)
    running.settings(cores=8, flow_steps=10, max_rate_hz=10.0, max_delay_rows=0)
    chunk = next(m for _, m in messages if hasattr(m, "instruction"))
    for k in range(20):
        at = chunk.stamp_ns + k * slow
        stamps = {"stamp_ns": at, "ready_ns": at, "start_ns": at, "end_ns": at + slow, "image_stamps": {}}
        running.chunk(replace(chunk, **stamps))
        tick = SimpleNamespace(
            chunk_source=ChunkSource.POLICY, chunk_stamp_ns=at, taken_ns=at + slow, first_command_ns=at + slow
        )
        running.tick(tick)
    _, advice = running.told()
    assert advice.limits == "inference"
    assert set(advice.knobs) >= {"runtime", "precision", "threads", "denoise_steps"}
