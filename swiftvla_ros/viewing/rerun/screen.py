# SPDX-License-Identifier: Apache-2.0
"""Where the viewer shows what: rerun's blueprint of a run."""

from __future__ import annotations

import rerun as rr
import rerun.blueprint as rrb

from swiftvla_ros.contract import Contract
from swiftvla_ros.viewing.run_picture import position_range, span_s
from swiftvla_ros.viewing.run_summary import Run

RUN_TIME = "run"
"""The timeline that is shown: s since the first chunk."""


def blueprint(contract: Contract, whole: Run | None) -> rrb.Blueprint:
    """Arrange the screen: images and events on the left, the executor's modes above the curves on the right.

    Where the whole run is known, axes show its motion, and not the waiting before.
    """
    cameras = [
        rrb.Spatial2DView(origin=f"observation/{camera}", name=f"{camera}: what the policy sees")
        for camera in contract.camera_names
    ]
    notes = rrb.Tabs(
        rrb.TextLogView(
            origin="events",
            name="events",
            columns=rrb.TextLogColumns(timeline_columns=[RUN_TIME], text_log_columns=["loglevel", "body"]),
        ),
        rrb.TextDocumentView(origin="about", name="about"),
        active_tab=0,
    )
    time = _time_axis(whole)
    modes = rrb.StateTimelineView(
        origin="/", contents=["told/**", "policy/**", "executor/**"], name="told, policy, executor", time_view=time
    )
    joints = [
        rrb.TimeSeriesView(
            origin=f"joints/{name}",
            name=name,
            plot_legend=rrb.PlotLegend(visible=False),
            axis_x=time,
            axis_y=None if whole is None else rrb.ScalarAxis(range=position_range(whole, j)),
        )
        for j, name in enumerate(contract.joint_names)
    ]
    curves = rrb.Tabs(
        rrb.Grid(*joints, grid_columns=2, name="joints: planned, commanded, measured"),
        rrb.TimeSeriesView(origin="latency", name="latency of each chunk, ms", axis_x=time),
        rrb.Vertical(
            rrb.TimeSeriesView(origin="/", contents=["speed_scale"], name="speed scale", axis_x=time),
            rrb.TimeSeriesView(origin="counts", name="ticks at a limit, refused chunks", axis_x=time),
            rrb.TimeSeriesView(origin="limit_excess", name="path bent by limits, rad or m", axis_x=time),
            name="speed and limits",
        ),
        rrb.TimeSeriesView(origin="tracking_error", name="commanded minus measured, rad or m", axis_x=time),
        active_tab=0,
    )
    left = rrb.Vertical(*cameras, notes, row_shares=[2] * (len(cameras) + 1))
    right = rrb.Vertical(modes, curves, row_shares=[3.5, 8])
    return rrb.Blueprint(
        rrb.Horizontal(left, right, column_shares=[1, 2.6]),
        rrb.TimePanel(state="collapsed", timeline=RUN_TIME),
        rrb.BlueprintPanel(state="collapsed"),
        rrb.SelectionPanel(state="collapsed"),
    )


def _time_axis(whole: Run | None) -> rrb.TimeAxis | None:
    if whole is None:
        return None
    begin, end = span_s(whole)
    start, stop = (rr.TimeRangeBoundary.absolute(seconds=s) for s in (begin, end))
    return rrb.TimeAxis(view_range=rr.TimeRange(start=start, end=stop))
