# SPDX-License-Identifier: Apache-2.0
"""How well a camera does, in a sentence and in numbers: its rate, and what was lost on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from swiftvla_ros.drivers.cameras.reader import CameraCounts

_NS = 1_000_000_000
# A driver that gives nothing for so long, though the camera is there, does not come back by itself.
HANGS_S = 5.0
_SLOW = 0.8
_SILENT_S = 0.5


@dataclass(frozen=True)
class CameraHealth:
    """What can be said of a camera; ``hangs``: nothing but the end of the process lets go of it."""

    severity: Literal["ok", "warning", "error"]
    text: str
    values: dict[str, str | int]
    hangs: bool = False


def camera_health(
    before: CameraCounts,
    now: CameraCounts,
    seconds: float,
    rate_hz: float,
    problem: str = "",
    notes: Sequence[str] = (),
    silent_s: float = 0.0,
) -> CameraHealth:
    """Judge what came in the last ``seconds``.

    Parameters
    ----------
    before, now
        The reader's counts at their begin and end.
    rate_hz
        Of the contract.
    problem
        Why nothing comes.
    notes
        What the camera does not do as the contract says.
    silent_s
        For how long the camera has not answered.
    """
    came, lost, damaged = now.frames - before.frames, now.lost - before.lost, now.damaged - before.damaged
    undated, came_hz = now.undated - before.undated, came / seconds
    values: dict[str, str | int] = {
        "pictures a second": f"{came_hz:.1f}",
        "expected": f"{rate_hz:g}",
        "lost": now.lost,
        "damaged": now.damaged,
        "without the driver's time": now.undated,
        "opened": now.opened,
    }
    if problem or silent_s > max(_SILENT_S, 3 / rate_hz):
        text = f"no picture for {silent_s:.1f} s, though the camera is there"
        return CameraHealth("error", problem or text, values, hangs=silent_s > max(HANGS_S, 10 / rate_hz))
    odd = list(notes)
    if damaged:
        odd.append(
            f"{damaged} of {came + damaged} pictures damaged, the last one because {now.last_damage}: try another "
            "cable or socket, or fewer devices on this hub"
        )
    if came_hz < _SLOW * rate_hz:
        odd.append(
            f"{came_hz:.1f} pictures a second instead of {rate_hz:g}: too dark for the exposure that it chooses "
            "(lock exposure_ms), a mode without this rate (`swiftvla cameras`), or a USB bus that is full"
        )
    if lost:
        odd.append(f"{lost} pictures lost between others: the machine or the USB bus is too busy")
    if undated:
        odd.append(f"{undated} pictures without a time of the driver that can be believed: they carry that of arrival")
    return CameraHealth("warning" if odd else "ok", "; ".join(odd) or f"{came_hz:.1f} pictures a second", values)
