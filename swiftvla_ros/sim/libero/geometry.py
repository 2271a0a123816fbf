# SPDX-License-Identifier: Apache-2.0
"""Where a thing's boxes are, and between which fingers it fits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Half of what the fingers open to, their own half width and thickness, m.
OPEN_M, _FINGER_M, _THICK_M = 0.04, 0.011, 0.02
# The palm above the grip site, and how deep fingers go below the top of what they hold at most, m.
_DEPTH_M, _SLICE_M, _FLOOR_M = 0.035, 0.012, 0.012
_ANGLES = np.deg2rad(np.arange(-90, 90, 10))
# What a degree away from where the hand is costs, against a millimetre of width, and what hits another thing.
_TURN_COST, _HIT_COST = 0.02, 10.0


@dataclass(frozen=True)
class Grip:
    """Where the grip site goes, and along which horizontal axis the fingers close."""

    point: Array  # [3], world, m
    axis: Array  # [3], world
    width_m: float


def corners_in_world(boxes: Array, pose: Array) -> Array:
    """Corners [n, 8, 3] in the thing's frame, with its position and quaternion wxyz [7], in the world."""
    return boxes @ rotation(pose[3:]).T + pose[:3]


def rotation(wxyz: Array) -> Array:
    """The matrix [3, 3] of a unit quaternion."""
    w, x, y, z = wxyz
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def turn_between(wanted: Array, now: Array) -> Array:
    """The rotation from one matrix to another as axis times angle [3], world."""
    apart = wanted @ now.T
    angle = float(np.arccos(np.clip((np.trace(apart) - 1) / 2, -1.0, 1.0)))
    axis = np.array([apart[2, 1] - apart[1, 2], apart[0, 2] - apart[2, 0], apart[1, 0] - apart[0, 1]])
    length = float(np.linalg.norm(axis))
    return np.zeros(3) if length < 1e-9 else axis / length * angle


def hand_pointing_down(axis: Array) -> Array:
    """The hand's rotation [3, 3] with its fingers along ``axis``, and pointing down."""
    down = np.array([0.0, 0.0, -1.0])
    return np.stack([axis, np.cross(down, axis), down], axis=1)


def body_grip(corners: Array, others: Array, hand: Array) -> Grip:
    """How to take a thing from above across its body, as near to how the ``hand`` [3, 3] is turned as may be.

    ``corners`` [n, 8, 3] are the thing's boxes and ``others`` [m, 8, 3] what stands around, all in the world.
    """
    top, bottom = corners[..., 2].max(), corners[..., 2].min()
    height = max(top - _DEPTH_M, min(bottom + _FLOOR_M, top))
    inside = (corners[..., 2].min(1) < height + _SLICE_M) & (corners[..., 2].max(1) > height - _SLICE_M)
    across = corners[inside].reshape(-1, 3)[:, :2]
    best: tuple[float, Grip] | None = None
    for angle in np.arctan2(hand[1, 0], hand[0, 0]) + _ANGLES:
        axis, side = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
        along, beside = across @ axis, across @ side
        centre = axis * (along.max() + along.min()) / 2 + side * (beside.max() + beside.min()) / 2
        width = float(np.ptp(along))
        turned = abs((angle - np.arctan2(hand[1, 0], hand[0, 0]) + np.pi / 2) % np.pi - np.pi / 2)
        cost = width + _TURN_COST * turned + _HIT_COST * (width > 2 * OPEN_M - 0.006)
        cost += _HIT_COST * _hits(centre, axis, height, others)
        grip = Grip(np.array([*centre, height]), np.array([*axis, 0.0]), width)
        if best is None or cost < best[0]:
            best = cost, grip
    assert best is not None
    return best[1]


def rim_grip(corners: Array, hand: Array) -> Grip:
    """How to take a bowl: one finger inside, at the rim's nearest place to where the hand's fingers point."""
    top = corners[..., 2].max()
    upper = corners[corners[..., 2].max(1) > top - 0.02].reshape(-1, 3)
    centre = (upper.max(0) + upper.min(0))[:2] / 2
    axis = hand[:2, 0] / np.linalg.norm(hand[:2, 0])
    radius = float(((upper[:, :2] - centre) @ axis).max())
    point = centre + axis * (radius - 0.008)
    return Grip(np.array([*point, top - 0.025]), np.array([*axis, 0.0]), 0.01)


def _hits(centre: Array, axis: Array, height: float, others: Array) -> int:
    """Into how many fingers' ways other things reach."""
    if not len(others):
        return 0
    tall = others[others[..., 2].max(1) > height - 0.02][..., :2]
    if not len(tall):
        return 0
    low, high, hits = tall.min(1), tall.max(1), 0
    for end in (-1, 1):
        tip = centre + end * axis * (OPEN_M + _THICK_M / 2)
        room = _FINGER_M + 0.004
        hits += bool(((low - room < tip) & (tip < high + room)).all(1).any())
    return hits
