# SPDX-License-Identifier: Apache-2.0
"""The card of a result on the benchmark: without it a number says nothing."""

from __future__ import annotations

from collections.abc import Iterator

from swiftvla_ros.contract import Camera, Contract
from swiftvla_ros.sim.libero.evaluation import LiberoReport, LiberoRun
from swiftvla_ros.sim.libero.process import SETTLE_STEPS
from swiftvla_ros.sim.libero.suites import LIMIT_STEPS, OFFICIAL_STATES, SUITES, standard_suite

TRAINED_ON = {
    "scripted": "scripted demonstrations with privileged state, on layouts of its own, not the benchmark's human "
    "data: not comparable to published rows",
    "human": "the benchmark's human data",
    "unknown": "data that nobody named here: not comparable to published rows",
}
"""What the policy was trained on, by the option that says it."""


def card(
    run: LiberoRun, report: LiberoReport, contract: Contract, tasks: int, states: int, trained_on: str
) -> Iterator[str]:
    """Yield the lines of a result's card."""
    versions = ", ".join(f"{name} {number}" for name, number in sorted(report.versions.items()))
    sizes = ", ".join(f"{camera.name} {_cut(camera)}{camera.size[0]}×{camera.size[1]}" for camera in contract.cameras)
    standard = standard_suite(run.suite)
    yield (
        f"suite {run.suite} ({SUITES[run.suite]}): {tasks} tasks, {states} of {OFFICIAL_STATES} official initial "
        "states each; 95 % Wilson intervals over episodes"
    )
    if run.policy is not None:
        yield f"policy {run.policy.name}: trained on {TRAINED_ON[trained_on]}"
        yield "wrong sentence: told another task, whose thing stands in the scene if any does; the scene's task counts"
    yield (
        f"blind replay: one scripted demonstration of each task of {standard}, repeated without looking: what a "
        "number on this suite is worth without vision"
    )
    if run.suite == standard:
        yield f"this suite barely tests vision: see {standard}_swap beside it, where things change places"
    if "expert" in report.shares:
        yield "expert: a script that sees the scene's true state, no policy"
    yield f"sentences: of the {'scene files' if run.sentences == 'scene' else 'tasks’ names'}"
    yield (
        f"{run.pixels}×{run.pixels} px without multisampling, to the policy {sizes}; turned by 180° from the raw ones "
        "as in the benchmark's datasets (the right way up, mirrored)"
    )
    yield (
        f"new chunk every {run.replan_steps} steps; {SETTLE_STEPS} steps to rest, at most {LIMIT_STEPS} steps; seed "
        f"{run.seed} plus the state's number (stoves and cabinets are drawn by it)"
    )
    yield versions


def _cut(camera: Camera) -> str:
    return "" if camera.crop is None else f"{camera.crop[2]}×{camera.crop[3]} of its middle as "
