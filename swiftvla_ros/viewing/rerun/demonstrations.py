# SPDX-License-Identifier: Apache-2.0
"""What a person showed, into the viewer: the pictures that a policy would see, joints as commanded and measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import track

from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.viewing.demonstration_run import demonstrations_in, run_of
from swiftvla_ros.viewing.rerun.run_log import RunLog

if TYPE_CHECKING:
    import rerun as rr


def log_demonstrations(console: Console, bag: Bag, stream: rr.RecordingStream) -> None:
    """Log a bag of a robot that a person drove; raises BagError, EpisodeError where nothing in it can be read."""
    shown = demonstrations_in(bag)
    rows = [f"| {s.name} | {s.shown.instruction} | {s.shown.outcome} {s.shown.text} |" for s in shown]
    about = "\n".join([f"# {bag.path}", "", "| episode | to do | outcome |", "|---|---|---|", *rows])
    log: RunLog | None = None
    for handle in track(shown, "episodes", console=console, transient=True):
        episode, streams = handle.read()
        run = run_of(handle, episode, streams)
        if log is None:
            log = RunLog(stream, bag.contract, run.zero_ns, about, whole=run if len(shown) == 1 else None)
        log.add(run)
        for camera, images in episode.images.items():
            for seconds, image in zip(episode.chosen_s[camera], images, strict=True):
                log.image(camera, round(float(seconds) * 1e9), image)
