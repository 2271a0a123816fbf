# SPDX-License-Identifier: Apache-2.0
"""Writes a replay as a rerun recording: images, commands then and now, differences. Needs the extra ``view``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rerun as rr

from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.replay.recorded import observations, read_run
from swiftvla_ros.replay.report import ReplayReport
from swiftvla_ros.viewing.rerun.output import open_output


def write_rrd(bag: Bag, report: ReplayReport, path: Path) -> None:
    """Write ``path`` (.rrd), whole or not at all; to be opened with ``rerun PATH``.

    The timelines are those of ``swiftvla view``: "ros_time", the recording's, and "run", s since the first chunk.
    """
    zero_ns = report.chunks[0].chunk.stamp_ns
    with open_output(path, None) as stream:

        def at(ns: int) -> None:
            stream.set_time("run", duration=(ns - zero_ns) / 1e9)
            stream.set_time("ros_time", timestamp=np.datetime64(ns, "ns"))

        for observation in observations(read_run(bag)):
            for camera, image in observation.images.items():
                at(observation.chunk.image_stamps[camera])
                stream.log(f"cameras/{camera}", rr.Image(image))
        commands, names = report.commands, report.joint_names
        for ns, was, now in zip(commands.times_ns, commands.recorded, commands.replayed, strict=True):
            at(ns)
            for j, name in enumerate(names):
                stream.log(f"joints/{name}/commanded", rr.Scalars(float(was[j])))
                stream.log(f"joints/{name}/recomputed", rr.Scalars(float(now[j])))
                stream.log(f"replay/command_difference/{name}", rr.Scalars(float(abs(now[j] - was[j]))))
        for chunk, executed in zip(report.chunks, report.executed, strict=True):
            at(chunk.chunk.stamp_ns)
            for j, name in enumerate(names):
                stream.log(f"replay/chunk_difference/{name}", rr.Scalars(float(chunk.difference[j])))
                stream.log(f"replay/measured_minus_rows/{name}", rr.Scalars(float(executed.measured[j])))
            stream.log("replay/inference_ms/then", rr.Scalars(1e3 * chunk.chunk.inference_s))
            stream.log("replay/inference_ms/now", rr.Scalars(1e3 * chunk.seconds))
        lines = [*(d.text for d in report.differences), report.explanation, *report.notes]
        stream.log("replay/report", rr.TextDocument("\n\n".join(filter(None, lines)) or "nothing differs"), static=True)
