# SPDX-License-Identifier: Apache-2.0
"""Writes a replay as a rerun recording: images, commands then and now, differences. Needs the extra ``view``."""

from __future__ import annotations

from pathlib import Path

from swiftvla_ros.cli.figures import refuse
from swiftvla_ros.episodes.bag import Bag
from swiftvla_ros.episodes.replay.recorded import observations, read_run
from swiftvla_ros.episodes.replay.report import ReplayReport


def write_rrd(bag: Bag, report: ReplayReport, path: Path) -> None:
    """Write ``path`` (.rrd), to be opened with ``rerun PATH``; its timeline is the recording's ROS time."""
    try:
        import rerun as rr
    except ImportError:
        refuse("rerun is not installed: pip install 'swiftvla_ros[view]'")
    path.parent.mkdir(parents=True, exist_ok=True)
    with rr.RecordingStream("swiftvla_replay") as stream:
        stream.save(path)
        for observation in observations(read_run(bag)):
            for camera, ns in observation.chunk.image_stamps.items():
                if camera in observation.images:
                    stream.set_time("ros_time", timestamp=ns / 1e9)
                    stream.log(f"observation/{camera}", rr.Image(observation.images[camera]))
        commands, names = report.commands, report.joint_names
        for ns, was, now in zip(commands.times_ns, commands.recorded, commands.replayed, strict=True):
            stream.set_time("ros_time", timestamp=ns / 1e9)
            for j, name in enumerate(names):
                stream.log(f"command/{name}/then", rr.Scalars(float(was[j])))
                stream.log(f"command/{name}/now", rr.Scalars(float(now[j])))
        for chunk, executed in zip(report.chunks, report.executed, strict=True):
            stream.set_time("ros_time", timestamp=chunk.chunk.stamp_ns / 1e9)
            for j, name in enumerate(names):
                stream.log(f"chunk_difference/{name}", rr.Scalars(float(chunk.difference[j])))
                stream.log(f"measured_minus_rows/{name}", rr.Scalars(float(executed.measured[j])))
            milliseconds = (chunk.chunk.end_ns - chunk.chunk.start_ns) / 1e6
            stream.log("inference_ms/then", rr.Scalars(milliseconds))
            stream.log("inference_ms/now", rr.Scalars(1e3 * chunk.seconds))
        lines = [*(d.text for d in report.differences), report.explanation, *report.notes]
        stream.log("report", rr.TextDocument("\n\n".join(filter(None, lines)) or "nothing differs"), static=True)
