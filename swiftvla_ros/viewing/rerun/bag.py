# SPDX-License-Identifier: Apache-2.0
"""A whole bag into the viewer: what happened, the images, and what the policy foresaw in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress

from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.bags.message_types import BagError
from swiftvla_ros.viewing.demonstration_run import is_demonstration
from swiftvla_ros.viewing.predicted_paths import predicted_paths
from swiftvla_ros.viewing.rerun.demonstrations import log_demonstrations
from swiftvla_ros.viewing.rerun.run_log import RunLog
from swiftvla_ros.viewing.run_frames import chunk_uv, find_predictor, front_camera
from swiftvla_ros.viewing.run_summary import Run, summarize

if TYPE_CHECKING:
    import rerun as rr

_LEGEND = """\
**Image**: pink ring and yellow dots are the goal and the path that the Fusion Tokens foresaw; the blue line is where
the chunk's rows lead the hand.

**Joints**: dim lines are the rows of each chunk, blue is commanded, orange measured, red a limit; a grey dot is the
first command of a new chunk.
"""


def log_bag(
    console: Console, bag: Bag, stream: rr.RecordingStream, checkpoint: str | None, budget_s: float | None
) -> None:
    """Log a bag, with the paths that a checkpoint's Fusion Tokens tell (None: the recorded one's).

    ``budget_s`` is how long computing them may take; None: they are not drawn. Raises BagError where the bag holds
    nothing to see, CheckpointError where the checkpoint that was named can't be used.
    """
    if is_demonstration(bag):
        log_demonstrations(console, bag, stream)
        return
    run = summarize(bag)
    if run.span_ns == (0, 0):
        raise BagError(
            f"{bag.folder}: holds no executor_state, action_chunk or observation, so there is nothing to see"
        )
    predictor, note = (None, "") if budget_s is None else find_predictor(bag, run, checkpoint)
    if note:
        console.print(note, style="yellow", markup=False)
    log = RunLog(stream, run.contract, run.zero_ns, _about(bag, run, note), whole=run)
    log.add(run)
    front = front_camera(run.contract, predictor)
    with Progress(console=console, transient=True) as progress:
        for camera in run.contract.camera_names:
            topic = bag.image_topic(camera)
            shown = progress.add_task(f"images of {camera}", total=bag.counts[topic] if topic else 0)
            for _, stamp, image in bag.images(camera):
                log.image(camera, stamp, image)
                progress.advance(shown)
        for chunk in run.chunks:
            uv = chunk_uv(run.contract, front, chunk)
            if uv is not None and len(uv):
                log.chunk_path(front, chunk.stamp_ns, uv, run.contract.camera(front).size)
        if predictor is None or budget_s is None:
            return
        computed = progress.add_task("what the policy foresaw", total=len(run.chunks))
        paths = predicted_paths(
            bag,
            predictor,
            front=front,
            budget_s=budget_s,
            progress=lambda done, _: progress.update(computed, completed=done),
        )
        drawn = 0
        for path in paths:
            if path.uv is not None:
                log.foreseen(front, path.stamp_ns, path.uv, run.contract.camera(front).size)
                drawn += 1
    if drawn < len(run.chunks):
        console.print(
            f"paths are drawn for {drawn} of {len(run.chunks)} chunks: for the others the time (--budget) or their "
            "recorded images were missing"
        )


def _about(bag: Bag, run: Run, note: str) -> str:
    """Say in Markdown what is shown, and how to read it."""
    begin, end = run.span_ns
    told = [f'| "{e.instruction}" | {e.outcome} | {1e-9 * (e.end_ns - e.begin_ns):.1f} s |' for e in bag.episodes()]
    hashes = sorted({c.checkpoint_sha256[:12] for c in run.chunks})
    version = bag.provenance.get("package_version", "not recorded")
    summary = (
        f"{1e-9 * (end - begin):.1f} s, {len(run.chunks)} chunks, {len(run.seams)} seams, "
        f"{int(run.ticks.refused.max(initial=0))} refused; robot {run.contract.robot}; "
        f"checkpoint {', '.join(hashes) or 'none'}; package version {version}"
    )
    return "\n".join(
        [
            f"# {bag.path}",
            summary,
            "",
            "| told | outcome | took |",
            "|---|---|---|",
            *told,
            "",
            _LEGEND,
            *(f"\n{line}" for line in (bag.damage, note) if line),
        ]
    )
