# SPDX-License-Identifier: Apache-2.0
"""Rows of time: whether chunks come before the last is used up, and whether time-outs and rates fit together."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from swiftvla_ros.contract.latency_stages import POLICY
from swiftvla_ros.preflight.facts import PreflightFacts
from swiftvla_ros.preflight.row import Row

# Half of a chunk that is past on its arrival tells of a scene that was.
_OLD_PART = 0.5


def check_timing(facts: PreflightFacts) -> Iterator[Row]:
    """Judge latency and time-outs beside a chunk's length and the cameras' rates."""
    checkpoint = facts.checkpoint.checkpoint if facts.checkpoint is not None else None
    rows = len(facts.trial.rows) or (checkpoint.model.horizon if checkpoint is not None else 0)
    step_s = facts.contract.policy.step_s
    way_s = _way_s(facts)
    yield _latency(rows * step_s, way_s, _period_s(facts))
    yield _timeouts(facts, rows * step_s, _period_s(facts))
    yield _ages(facts)


def _way_s(facts: PreflightFacts) -> float | None:
    """From a camera's stamp to a chunk, s: the pictures' age and the policy's stages; None where none was measured."""
    told = [facts.trial.latency_s, facts.graph.policy.latency_s if facts.graph.policy is not None else {}]
    measured = [sum(stages.get(name, 0.0) for name in POLICY) for stages in told if "inference" in stages]
    return max(measured) if measured else None


def _period_s(facts: PreflightFacts) -> float:
    """Time between two chunks, s: what is computed, or the set rate, or the cameras hold them up."""
    told = [facts.trial.latency_s, facts.graph.policy.latency_s if facts.graph.policy is not None else {}]
    inference_s = max((stages.get("inference", 0.0) for stages in told), default=0.0)
    slowest_s = 1 / min(camera.rate_hz for camera in facts.contract.cameras)
    return max(inference_s, 1 / facts.max_rate_hz if facts.max_rate_hz else 0.0, slowest_s)


def _latency(chunk_s: float, way_s: float | None, period_s: float) -> Row:
    name = "latency"
    if way_s is None or not chunk_s:
        return Row(name, "warning", "no chunk was computed yet: none was measured", "give an instruction, or try again")
    finding = (
        f"a chunk needs {way_s * 1e3:.0f} ms, one comes every {period_s * 1e3:.0f} ms, and it lasts {chunk_s:.2f} s"
    )
    if way_s + period_s > chunk_s:
        fix = "a quicker runtime, precision or machine (docs/performance.md), or a policy with longer chunks"
        return Row(name, "fail", f"{finding}: it is used up before the next", fix)
    if way_s > _OLD_PART * chunk_s:
        return Row(name, "warning", f"{finding}: half of it is past by then", "see docs/performance.md")
    return Row(name, "ok", finding)


def _timeouts(facts: PreflightFacts, chunk_s: float, period_s: float) -> Row:
    """Whether the executor's patience fits the chunks."""
    name, control = "time-outs", facts.contract.control
    wrong, odd = [], []
    if chunk_s and chunk_s > control.max_chunk_s + 1e-9:
        wrong.append(
            f"control.max_chunk_s {control.max_chunk_s:g} s is shorter than a chunk, {chunk_s:g} s: each is refused"
        )
    if control.tail_timeout_s < period_s:
        wrong.append(
            f"control.tail_timeout_s {control.tail_timeout_s:g} s is shorter than the {period_s:.2f} s between two "
            "chunks: the arm stops between them"
        )
    elif control.fresh_s < period_s:
        odd.append(
            f"control.fresh_s {control.fresh_s:g} s is shorter than the {period_s:.2f} s between two chunks: each is "
            "called late"
        )
    if wrong or odd:
        fix = "raise them above the time between two chunks"
        return Row(name, "fail" if wrong else "warning", "; ".join([*wrong, *odd]), fix)
    return Row(name, "ok", f"patient for {control.fresh_s:g} and {control.tail_timeout_s:g} s")


def _ages(facts: PreflightFacts) -> Row:
    """Whether pictures are young enough when they come; that they can be is the contract's own matter."""
    name, timing, wrong = "ages", facts.contract.policy, []
    for camera in facts.contract.cameras:
        age_s = _median_age_s(facts, camera.name)
        if age_s is not None and age_s >= timing.max_image_age_s:
            wrong.append(
                f"pictures of '{camera.name}' are {age_s:.2f} s old when they come, and policy.max_image_age_s is "
                f"{timing.max_image_age_s:g} s"
            )
    if wrong:
        fix = "find what delays them (the driver's queue, the machine's load, its clock), or raise the limit"
        return Row(name, "fail", f"{'; '.join(wrong)}: nothing is inferred", fix)
    return Row(name, "ok", f"pictures may be {timing.max_image_age_s:g} s old, and are younger")


def _median_age_s(facts: PreflightFacts, camera: str) -> float | None:
    found = [
        -stream.stamp_offsets_s[1]
        for topic in facts.graph.topics
        if topic.expected.role == "camera" and topic.expected.source == camera
        for stream in topic.streams
        if stream.stamp_offsets_s is not None
    ]
    return median(found) if found else None
