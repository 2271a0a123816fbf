# SPDX-License-Identifier: Apache-2.0
"""A run as rerun entities and their places on the screen; the one module that knows rerun's names.

Imported only when a command needs it: rerun is the optional extra ``view``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import rerun as rr
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.latency_stages import CHAIN, STAGES, durations_s
from swiftvla_ros.observation.message_fields import ChunkMessage
from swiftvla_ros.viewing.rerun.screen import RUN_TIME, blueprint
from swiftvla_ros.viewing.run_picture import GOAL, MEASURED, MODE_COLORS, PATH, STAGE_COLORS
from swiftvla_ros.viewing.run_summary import Run, RunEvent

# The other timeline is s since the first chunk.
_ROS_TIME = "ros_time"
# As in pictures of runs, but lighter: the viewer's ground is dark.
_COMMANDED, _PLANNED, _LIMIT = "#58a6ff", "#4d6a8a", "#ff6b5e"

# Chunks overlap in time, and one line of a plot can't: each goes to the first lane that is free.
_MOST_LANES = 24
_JPEG_QUALITY = 92
_MS = 1e3
_FOLLOWING = ("FRESH", "TAIL")


class RunLog:
    """Logs pieces of a run to a recording.

    ``zero_ns`` on the ROS clock is where the timeline "run" is zero; ``about`` is Markdown that says what is shown.
    Where the whole run is known, plots begin and end with it.
    """

    def __init__(
        self, stream: rr.RecordingStream, contract: Contract, zero_ns: int, about: str, whole: Run | None = None
    ) -> None:
        self._stream = stream
        self._contract = contract
        self._zero_ns = zero_ns
        self._lanes: list[int] = []
        self._stream.send_blueprint(blueprint(contract, whole))
        self._log_styles()
        stream.log("about", rr.TextDocument(about, media_type=rr.MediaType.MARKDOWN), static=True)

    def add(self, run: Run) -> None:
        """Log everything of a piece of the run but images."""
        ticks, measured, names = run.ticks, run.measured, self._contract.joint_names
        moving = ~np.isnan(ticks.commanded).any(axis=1)
        limits = self._contract.limits
        for j, name in enumerate(names):
            self._columns(f"joints/{name}/commanded", ticks.t_ns[moving], ticks.commanded[moving, j])
            self._columns(f"joints/{name}/measured", measured.t_ns, measured.position[:, j])
            ends = np.array(run.span_ns, np.int64)
            if ends.any() and not limits.continuous[j]:
                self._columns(f"joints/{name}/limits/low", ends, np.full(2, limits.min_position[j]))
                self._columns(f"joints/{name}/limits/high", ends, np.full(2, limits.max_position[j]))
            self._columns(f"tracking_error/{name}", ticks.t_ns, ticks.tracking_error[:, j])
            self._columns(f"limit_excess/{name}", ticks.t_ns, ticks.limit_excess[:, j])
            if len(ticks.t_ns) and len(run.seams):
                t_ns = np.array([s.t_ns for s in run.seams], np.int64)
                at = np.interp(t_ns.astype(float), ticks.t_ns.astype(float), ticks.commanded[:, j])
                known = np.isfinite(at)
                self._columns(f"joints/{name}/seam", t_ns[known], at[known])
        self._columns("speed_scale", ticks.t_ns, ticks.speed_scale)
        for kind, counts in (
            ("position", ticks.position_clamps),
            ("velocity", ticks.velocity_clamps),
            ("acceleration", ticks.acceleration_clamps),
        ):
            self._columns(f"counts/{kind}_limit", ticks.t_ns, counts.sum(axis=1))
        self._columns("counts/refused_chunks", ticks.t_ns, ticks.refused)
        for chunk in run.chunks:
            self._add_chunk(chunk)
        self._add_latencies(run)
        for change in run.modes:
            self._state("executor/mode", change.t_ns, change.mode)
            self._state("executor/reason", change.t_ns, change.reason)
            self._text(change.t_ns, "INFO", f"executor {change.mode}: {change.text}")
            if change.mode not in _FOLLOWING:
                # Nothing is followed any more: what was foreseen last is past.
                for camera in self._contract.camera_names:
                    self._stream.log(f"observation/{camera}/chunk", rr.Clear(recursive=False))
                    self._stream.log(f"observation/{camera}/foreseen", rr.Clear(recursive=True))
        for event in run.events:
            self._add_event(event)

    def image(self, camera: str, stamp_ns: int, rgb: NDArray[np.uint8]) -> None:
        """Log what the policy saw: RGB uint8 [h, w, 3]."""
        self._at(stamp_ns)
        self._stream.log(f"observation/{camera}", rr.Image(rgb).compress(jpeg_quality=_JPEG_QUALITY))

    def foreseen(self, camera: str, stamp_ns: int, path_uv: NDArray[np.float32], size: tuple[int, int]) -> None:
        """Draw the Fusion Tokens' keypoints (u, v) [f, 2], the goal first, in an image of ``size`` (width, height)."""
        goal, path = path_uv[0] * size, path_uv[1:] * size
        self._at(stamp_ns)
        origin = f"observation/{camera}/foreseen"
        self._stream.log(f"{origin}/path", rr.LineStrips2D([path], colors=_rgba(PATH), radii=rr.Radius.ui_points(1.2)))
        self._stream.log(f"{origin}/steps", rr.Points2D(path, colors=_rgba(PATH), radii=rr.Radius.ui_points(3)))
        ring = goal + 0.045 * size[1] * np.array([[np.cos(a), np.sin(a)] for a in np.linspace(0, 2 * np.pi, 25)])
        self._stream.log(f"{origin}/goal", rr.LineStrips2D([ring], colors=_rgba(GOAL), radii=rr.Radius.ui_points(2)))

    def chunk_path(self, camera: str, stamp_ns: int, uv: NDArray[np.float64], size: tuple[int, int]) -> None:
        """Draw where a chunk's rows lead the hand: (u, v) [n, 2]."""
        self._at(stamp_ns)
        strip = rr.LineStrips2D([uv * size], colors=_rgba(_COMMANDED), radii=rr.Radius.ui_points(2))
        self._stream.log(f"observation/{camera}/chunk", strip)

    def _add_chunk(self, chunk: ChunkMessage) -> None:
        free = [k for k, until in enumerate(self._lanes) if until < chunk.times_ns[0]]
        lane = free[0] if free else len(self._lanes) % _MOST_LANES
        if lane == len(self._lanes):
            self._lanes.append(0)
        # A last value that is none ends the line.
        t_ns = np.append(chunk.times_ns, chunk.times_ns[-1] + 1)
        self._lanes[lane] = int(t_ns[-1])
        for j, name in enumerate(self._contract.joint_names):
            self._columns(f"joints/{name}/planned/{lane}", t_ns, np.append(chunk.positions[:, j], np.nan))

    def _add_latencies(self, run: Run) -> None:
        arrived = np.array([c.received_ns for c in run.chunks], np.int64)
        stages = [durations_s(CHAIN, c.stamps_ns()) for c in run.chunks]
        for name in CHAIN[:-1]:
            self._columns(f"latency/{name}", arrived, np.array([_MS * s.get(name, np.nan) for s in stages]))
        followed = np.array([s.t_ns for s in run.seams], np.int64)
        total = np.array([_MS * 1e-9 * (s.t_ns - s.stamp_ns) for s in run.seams])
        self._columns("latency/camera_to_first_command", followed, total)

    def _add_event(self, event: RunEvent) -> None:
        level = "INFO"
        if event.kind == "instruction":
            self._state("told/instruction", event.t_ns, event.text)
            text = f'told: "{event.text}"' if event.text else "the instruction has ended"
        elif event.kind == "verdict":
            self._state("told/verdict", event.t_ns, event.name)
            text = f"verdict {event.name}: {event.text}"
        elif event.kind == "policy":
            self._state("policy", event.t_ns, event.text or "ready")
            text = f"policy: {event.text or 'ready'}"
        else:
            level, text = "WARN", f"chunk refused, {event.name}: {event.text}"
        self._text(event.t_ns, level, text)

    def _state(self, entity: str, t_ns: int, state: str) -> None:
        self._at(t_ns)
        self._stream.log(entity, rr.StateChange(state=state) if state else rr.Clear(recursive=False))

    def _text(self, t_ns: int, level: str, text: str) -> None:
        self._at(t_ns)
        self._stream.log("events", rr.TextLog(text, level=level))

    def _at(self, t_ns: int) -> None:
        self._stream.set_time(RUN_TIME, duration=(t_ns - self._zero_ns) * 1e-9)
        self._stream.set_time(_ROS_TIME, timestamp=np.datetime64(t_ns, "ns"))

    def _columns(self, entity: str, t_ns: NDArray[np.int64], values: NDArray[Any]) -> None:
        if not len(t_ns):
            return
        times = [
            rr.TimeColumn(RUN_TIME, duration=(t_ns - self._zero_ns) * 1e-9),
            rr.TimeColumn(_ROS_TIME, timestamp=t_ns.astype("datetime64[ns]")),
        ]
        self._stream.send_columns(entity, times, rr.Scalars.columns(scalars=np.asarray(values, np.float64)))

    def _log_styles(self) -> None:
        def line(entity: str, color: str, name: str, width: float) -> None:
            self._stream.log(entity, rr.SeriesLines(colors=_rgba(color), names=name, widths=width), static=True)

        for joint in self._contract.joint_names:
            line(f"joints/{joint}/commanded", _COMMANDED, "commanded", 2.5)
            line(f"joints/{joint}/measured", MEASURED, "measured", 1.5)
            line(f"joints/{joint}/limits/low", _LIMIT, "limit", 1.0)
            line(f"joints/{joint}/limits/high", _LIMIT, "limit", 1.0)
            seam = rr.SeriesPoints(colors=_rgba("#888888"), names="seam", marker_sizes=2.0, markers="circle")
            self._stream.log(f"joints/{joint}/seam", seam, static=True)
            for lane in range(_MOST_LANES):
                line(f"joints/{joint}/planned/{lane}", _PLANNED, "planned", 1.0)
        for name, color in zip(CHAIN[:-1], STAGE_COLORS, strict=False):
            line(f"latency/{name}", color, str(STAGES[name]), 2.0)
        line("latency/camera_to_first_command", "#ffffff", "camera to first command", 2.5)
        line("speed_scale", "#ffffff", "speed scale", 2.0)
        modes = rr.StateConfiguration(values=list(MODE_COLORS), colors=_rgba(*MODE_COLORS.values()))
        self._stream.log("executor/mode", modes, static=True)
        verdicts = {"PENDING": "#8a8a8a", "DONE": "#3fa34d", "WRONG_OBJECT": _LIMIT, "FAILED": _LIMIT}
        judged = rr.StateConfiguration(values=list(verdicts), colors=_rgba(*verdicts.values()))
        self._stream.log("told/verdict", judged, static=True)


def _rgba(*colors: str) -> NDArray[np.uint32]:
    """Return colours #rrggbb as rerun's numbers."""
    return np.array([(int(color[1:], 16) << 8) | 0xFF for color in colors], np.uint32)
