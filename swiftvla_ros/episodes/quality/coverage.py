# SPDX-License-Identifier: Apache-2.0
"""How much of the world the episodes show: where the arm starts, and where things lie in the first pictures."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.episodes.quality.findings import Array, Digest, Finding

# From so many episodes on it is told that they all begin alike.
ENOUGH = 5
# Starts within 1° of each other are one start: a policy that begins elsewhere has never been there.
SAME_START_RAD = 0.02
# Of the picture's width: places that spread less are one place.
SAME_PLACE = 0.03
# Grey values between a first picture and the usual one that are a thing, not noise; and its least share of the picture.
_CHANGED, _LEAST_AREA = 40, 0.001


def check_coverage(digests: Sequence[Digest], contract: Contract) -> list[Finding]:
    """Judge where the episodes begin."""
    if len(digests) < ENOUGH:
        return []
    found = []
    spread = np.std([digest.start for digest in digests], axis=0)
    if spread.max() < SAME_START_RAD:
        joint = contract.joint_names[int(np.argmax(spread))]
        text = f"all {len(digests)} episodes start in one pose (largest spread {spread.max():.4f} rad)"
        fix = "begin from other poses, too: the policy will be somewhere else"
        found.append(Finding("starts", "warning", "", joint, float(spread.max()), text, fix))
    camera = contract.camera_names[0]
    places = object_places(digests, camera)
    if len(places) >= ENOUGH and (width := float(np.std(places, axis=0).max())) < SAME_PLACE:
        text = f"what differs between the first pictures lies at one place (spread {100 * width:.1f} % of the picture)"
        found.append(Finding("places", "warning", "", camera, width, text, "lay the objects elsewhere, too"))
    return found


def usual_picture(digests: Sequence[Digest], camera: str) -> NDArray[np.uint8]:
    """Return the median of the first pictures: the scene without what moves."""
    return np.median([digest.first_images[camera] for digest in digests], axis=0).astype(np.uint8)


def object_places(digests: Sequence[Digest], camera: str) -> Array:
    """Return where the largest thing lies that a first picture has and the usual one has not: [N, 2], 0 … 1.

    Episodes without such a thing have no row.
    """
    usual = usual_picture(digests, camera).astype(np.int16)
    places = []
    for digest in digests:
        image = digest.first_images[camera]
        changed = (np.abs(image.astype(np.int16) - usual).max(axis=2) > _CHANGED).astype(np.uint8)
        count, _, stats, centres = cv2.connectedComponentsWithStats(changed)
        if count < 2:
            continue
        largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
        if stats[largest, cv2.CC_STAT_AREA] >= _LEAST_AREA * changed.size:
            places.append(centres[largest] / (image.shape[1], image.shape[0]))
    return np.array(places).reshape(-1, 2)
