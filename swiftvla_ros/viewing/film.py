# SPDX-License-Identifier: Apache-2.0
"""Turns a bag into pictures of the arm at work: all cameras side by side as MP4, GIF and PNG."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.bags.topics import film_topic
from swiftvla_ros.observation.image_decoding import ImageDecodingError, rgb_of
from swiftvla_ros.observation.message_fields import stamp_ns
from swiftvla_ros.viewing.run_summary import summarize

Picture = NDArray[np.uint8]

_BAR_HEIGHT = 34
_BAR_COLOR = (24, 24, 28)
_VERDICT_COLOR = {"DONE": (70, 200, 110), "WRONG_OBJECT": (235, 90, 80), "FAILED": (235, 90, 80)}
_LINGER_S = 1.0
_GIF_WIDTH = 480
_GIF_RATE_HZ = 5
_STRIP_MOMENTS = 4


@dataclass(frozen=True)
class Film:
    """Frames RGB uint8 [H, W, 3] of one size, and their rate."""

    frames: list[Picture]
    rate_hz: int


def film(bag: Bag, rate_hz: int = 15) -> Film:
    """Put the cameras' recorded frames side by side, from the first chunk until a moment after the verdict.

    A bar below says the instruction, the time since the first chunk and what the task watcher found.
    """
    cameras = [_camera_frames(bag, name) for name in bag.contract.camera_names]
    cameras = [c for c in cameras if c[0]]
    if not cameras:
        return Film([], rate_hz)
    run = summarize(bag)
    chunks = [(c.stamp_ns, c.instruction) for c in run.chunks]
    # Once judged, the instruction is over, and the watcher waits for the next one.
    verdicts = [(e.t_ns, e.name) for e in run.of("verdict") if e.name != "PENDING"]
    first, last = max(c[0][0] for c in cameras), min(c[0][-1] for c in cameras)
    begin = max(first, chunks[0][0]) if chunks else first
    ends = [ns for ns, _ in verdicts if ns > begin]
    end = min(last, ends[0] + round(_LINGER_S * 1e9)) if ends else last
    frames = []
    for ns in range(begin, end + 1, round(1e9 / rate_hz)):
        pictures = [images[_at(stamps, ns)] for stamps, images in cameras]
        height = min(p.shape[0] for p in pictures)
        row = np.hstack([p[:height] for p in pictures])
        text = _newest(chunks, ns, "")
        frames.append(np.vstack([row, _bar(row.shape[1], text, (ns - begin) * 1e-9, _newest(verdicts, ns, ""))]))
    return Film(frames, rate_hz)


def write_mp4(movie: Film, path: Path) -> None:
    """Write H.264 where this PyAV has it, else MPEG-4."""
    import av

    height, width = (side // 2 * 2 for side in movie.frames[0].shape[:2])
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(movie.rate_hz))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = 1_500_000
        for frame in movie.frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[:height, :width]), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def write_gif(movie: Film, path: Path) -> None:
    """Write a small GIF that waits a moment at its end."""
    from PIL import Image

    step = max(1, movie.rate_hz // _GIF_RATE_HZ)
    chosen = movie.frames[::step]
    height = round(_GIF_WIDTH * chosen[0].shape[0] / chosen[0].shape[1])
    # One palette for all frames: without it colours flicker and the file is twice as large.
    small = [Image.fromarray(cv2.resize(f, (_GIF_WIDTH, height), interpolation=cv2.INTER_AREA)) for f in chosen]
    palette = small[len(small) // 2].quantize(96)
    pictures = [s.quantize(palette=palette, dither=Image.Dither.NONE) for s in small]
    durations = [1000 * step // movie.rate_hz] * len(pictures)
    durations[-1] += 1500
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=durations, loop=0, optimize=True)


def write_strip(movie: Film, path: Path) -> None:
    """Write one PNG of a few moments below each other, the last one the end."""
    moments = np.linspace(0, len(movie.frames) - 1, _STRIP_MOMENTS).round().astype(int)
    picture = np.vstack([movie.frames[i] for i in moments])
    cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


def _camera_frames(bag: Bag, camera: str) -> tuple[list[int], list[Picture]]:
    stamps, images = [], []
    for _, message in bag.messages(film_topic(camera)):
        try:
            images.append(rgb_of(message))
        except ImageDecodingError:
            continue  # a film may lack a picture
        stamps.append(stamp_ns(message.header.stamp))
    return stamps, images


def _at(stamps: list[int], ns: int) -> int:
    """Return the place of the newest stamp that is not after ``ns``."""
    return max(0, int(np.searchsorted(stamps, ns, side="right")) - 1)


def _newest(events: list[tuple[int, str]], ns: int, before: str) -> str:
    return next((text for at, text in reversed(events) if at <= ns), before)


def _bar(width: int, instruction: str, seconds: float, verdict: str) -> Picture:
    bar = np.full((_BAR_HEIGHT, width, 3), _BAR_COLOR, np.uint8)
    font, y = cv2.FONT_HERSHEY_SIMPLEX, 23
    cv2.putText(bar, f'"{instruction}"', (10, y), font, 0.55, (235, 235, 235), 1, cv2.LINE_AA)
    right = f"{seconds:4.1f} s"
    if verdict in _VERDICT_COLOR:
        right = f"{verdict.replace('_', ' ').lower()}   {right}"
    (size, _), _ = cv2.getTextSize(right, font, 0.55, 1)
    color = _VERDICT_COLOR.get(verdict, (170, 170, 175))
    cv2.putText(bar, right, (width - size - 10, y), font, 0.55, color, 1, cv2.LINE_AA)
    return bar
