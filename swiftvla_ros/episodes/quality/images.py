# SPDX-License-Identifier: Apache-2.0
"""Pictures that show nothing: frozen, dark, glaring, blurred, or the same again."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.episodes.quality.findings import Digest, ExaminedEpisode, Finding

# As live (observation/repeated_picture.py): what a camera that looks at the arm has to see, 3°.
SEEN_RAD = 0.05
# A driver that repeats one picture does so until it is started again; shorter is a frame that came late.
FROZEN_S = 0.5
# Mean grey value, 0 … 255: below, a lens cap or no light; above, a lamp in the lens. A lit table is at 60 to 200.
DARK, GLARING = 20.0, 240.0
# Share of an episode's pictures that are dark or glaring before it is told: single ones are a hand over the lens.
SHARE = 0.1
# Variance of the Laplacian over that of the grey values: pictures in focus are at 0.05 and more, of a lens out of focus
# below 0.01 (measured by blurring this package's own pictures).
BLURRED = 0.01
# An episode with less than this share of the usual sharpness of its camera: the lens was touched, or is dirty.
LESS_SHARP = 0.4
# Share of steps that see the picture of the step before though the arm moves.
REPEATED_SHARE = 0.25
_ENOUGH_EPISODES = 3


def check_images(evidence: ExaminedEpisode) -> list[Finding]:
    """Judge an episode's pictures."""
    found: list[Finding] = []
    for camera, images in evidence.episode.images.items():
        grey = np.stack([cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images])
        bright = grey.mean(axis=(1, 2))
        for share, name, fix in (
            (float((bright < DARK).mean()), "dark", "take the cap off, light the scene, lock the exposure"),
            (float((bright > GLARING).mean()), "glaring", "turn the camera away from the lamp, lock the exposure"),
        ):
            if share > SHARE:
                text = f"{100 * share:.0f} % of its pictures are {name} (mean grey {np.median(bright):.0f} of 255)"
                found.append(evidence.find(name, "error" if share > 0.5 else "warning", camera, share, text, fix))
        if DARK <= np.median(bright) <= GLARING and (value := sharpness(images)) < BLURRED:
            text = f"its pictures are blurred (sharpness {value:.4f}, {BLURRED} is the least)"
            found.append(evidence.find("blurred", "warning", camera, value, text, "focus the lens, or clean it"))
        if np.median(bright) >= DARK:  # what shows nothing repeats itself
            found += _repeated(evidence, camera, grey)
    return found


def sharpness(images: NDArray[np.uint8]) -> float:
    """How much of the contrast of images [T, h, w, 3] is in fine detail: their median."""
    values = []
    for image in images[:: max(1, len(images) // 20)]:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        values.append(cv2.Laplacian(grey, cv2.CV_64F).var() / (16 * grey.var() + 1))
    return float(np.median(values))


def check_sharpness(digests: Sequence[Digest]) -> list[Finding]:
    """Compare each episode's sharpness with what its camera usually has."""
    if len(digests) < _ENOUGH_EPISODES:
        return []
    found = []
    for camera in digests[0].sharpness:
        usual = float(np.median([digest.sharpness[camera] for digest in digests]))
        for digest in digests:
            share = digest.sharpness[camera] / usual if usual else 1.0
            if share < LESS_SHARP and digest.sharpness[camera] >= BLURRED:
                text = f"has {100 * share:.0f} % of the sharpness that the camera usually has"
                fix = "clean the lens or focus it, and record this one again"
                found.append(Finding("blurred", "warning", digest.name, camera, share, text, fix))
    return found


def _repeated(evidence: ExaminedEpisode, camera: str, grey: NDArray[np.uint8]) -> list[Finding]:
    if evidence.contract.camera(camera).may_repeat or len(grey) < 2:
        return []
    episode = evidence.episode
    same = (np.diff(grey.astype(np.int16), axis=0) == 0).all(axis=(1, 2))
    moved = np.abs(np.diff(episode.state, axis=0)).max(axis=1)
    begin = 0
    longest = (0.0, 0, 0)
    for step in range(1, len(grey) + 1):
        if step < len(grey) and same[step - 1]:
            continue
        reached = np.abs(episode.state[begin:step] - episode.state[begin]).max()
        seconds = float(episode.stamps_s[step - 1] - episode.stamps_s[begin])
        if reached > SEEN_RAD and seconds > FROZEN_S:
            longest = max(longest, (seconds, begin, step))
        begin = step
    if longest[0]:
        at_s = episode.stamps_s[longest[1]] - episode.stamps_s[0]
        text = f"shows one picture for {longest[0]:.1f} s from {at_s:.1f} s on while the arm moves"
        fix = "start the camera's driver again and leave the episode out"
        return [evidence.find("frozen", "error", camera, longest[0], text, fix)]
    moving = moved > SEEN_RAD / 10
    share = float(same[moving].mean()) if moving.any() else 0.0
    if share > REPEATED_SHARE:
        text = f"{100 * share:.0f} % of the steps see the picture of the step before while the arm moves"
        fix = f"let the camera run faster than {1 / evidence.contract.policy.step_s:g} Hz"
        return [evidence.find("repeated", "warning", camera, share, text, fix)]
    return []
