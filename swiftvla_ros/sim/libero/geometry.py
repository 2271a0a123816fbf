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
_ROUND = np.deg2rad(np.arange(0, 360, 10))
# A rim is taken so far inside its outer edge and below its top, m.
_RIM_M, _RIM_DEPTH_M = 0.008, 0.025
# The palm is so far above the grip site, and reaches so far along the fingers' axis and beside it, m.
_PALM_M, _PALM_ALONG_M, _PALM_BESIDE_M = 0.045, 0.1, 0.03
# What a degree away from where the hand is costs, against a millimetre of width, and what hits another thing.
_TURN_COST, _HIT_COST = 0.02, 10.0
# What a metre costs by which the arm would be stretched: its elbow may bend the wrong way there.
_FAR_M, _FAR_COST = 0.75, 3.0


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


def rim_grip(corners: Array, others: Array, hand: Array, shoulder: Array) -> Grip:
    """How to take a bowl: one finger inside, at the rim's nearest place to where the hand's fingers point.

    As :func:`body_grip` otherwise: fingers and palm are kept out of what stands around. Of a bowl far from the
    ``shoulder`` (x, y) the nearer rim is taken.
    """
    top = corners[..., 2].max()
    upper = corners[corners[..., 2].max(1) > top - 0.02].reshape(-1, 3)
    centre = (upper.max(0) + upper.min(0))[:2] / 2
    best: tuple[float, Grip] | None = None
    for angle in np.arctan2(hand[1, 0], hand[0, 0]) + _ROUND:
        out = np.array([np.cos(angle), np.sin(angle)])
        point = centre + out * (float(((upper[:, :2] - centre) @ out).max()) - _RIM_M)
        # Either finger may be the inner one, whichever way round the hand needs to turn less.
        axis = out if out @ hand[:2, 0] >= 0 else -out
        turned = float(np.arccos(np.clip(axis @ hand[:2, 0] / np.linalg.norm(hand[:2, 0]), -1.0, 1.0)))
        far_m = max(0.0, float(np.linalg.norm(point - shoulder)) - _FAR_M)
        cost = _TURN_COST * turned + _FAR_COST * far_m + _HIT_COST * _hits(point, axis, top - _RIM_DEPTH_M, others)
        if best is None or cost < best[0] - 1e-9:
            best = cost, Grip(np.array([*point, top - _RIM_DEPTH_M]), np.array([*axis, 0.0]), 0.01)
    assert best is not None
    return best[1]


def highest_on_way(points: Array, move: Array, others: Array) -> float:
    """The top of what ``points`` [p, 2] (x, y) meet at half its height while they move by ``move``, m; -inf: nothing.

    ``others`` [n, 8, 3] are boxes in the world.
    """
    way = (points + np.linspace(np.zeros(2), move, 24)[:, None]).reshape(-1, 1, 2)
    middle = np.broadcast_to(others[..., 2].mean(1)[None, :, None], (len(way), len(others), 1))
    places = np.concatenate([np.broadcast_to(way, (len(way), len(others), 2)), middle], axis=-1)
    return float(others[_inside(places, others).any(0)][..., 2].max(initial=-np.inf))


def _hits(centre: Array, axis: Array, height: float, others: Array) -> int:
    """Into how many of the fingers' and the palm's ways other things reach."""
    side = np.array([-axis[1], axis[0]])
    # As close as the thinnest boxes, of 3 mm, are high.
    heights = height + np.arange(-0.01, _PALM_M, 0.0025)
    in_way = 0
    for end in (-1, 1):
        tip = centre + end * axis * (OPEN_M + _THICK_M / 2)
        finger = [tip + a * axis * _THICK_M / 2 + b * side * _FINGER_M for a in (-1, 0, 1) for b in (-1, 0, 1)]
        in_way += _any_inside(finger, heights, others)
    palm = [
        centre + a * axis * _PALM_ALONG_M + b * side * _PALM_BESIDE_M for a in (-1, -0.5, 0, 0.5, 1) for b in (-1, 1)
    ]
    return in_way + _any_inside(palm, heights - heights[0] + height + _PALM_M, others)


def _any_inside(places: list[Array], heights: Array, boxes: Array) -> bool:
    """Whether any of the ``places`` (x, y), at any of the ``heights``, lies in a box of corners [n, 8, 3]."""
    points = np.array([[*place, height] for place in places for height in heights])
    return bool(_inside(np.broadcast_to(points[:, None], (len(points), len(boxes), 3)), boxes).any())


def _inside(points: Array, boxes: Array) -> NDArray[np.bool_]:
    """Which of ``points`` [p, n, 3] lie in the box beside which they stand, of ``boxes`` [n, 8, 3]."""
    # The corners count through z, y and x: from the first one lead three edges.
    edges = boxes[:, [4, 2, 1]] - boxes[:, :1]
    along = np.einsum("pnk,nek->pne", points - boxes[:, 0], edges) / (edges**2).sum(-1)
    return ((along > 0) & (along < 1)).all(-1)
