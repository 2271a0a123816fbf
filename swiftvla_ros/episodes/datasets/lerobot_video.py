# SPDX-License-Identifier: Apache-2.0
"""The videos of a LeRobotDataset v3 as they are written."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from numpy.typing import NDArray

Codec = Literal["h264", "av1"]

# A key frame every second one, as LeRobot's own videos have: training reads frames in any order. One thread: with
# another number of them x264 writes other bytes, and machines differ in it. Nor does it choose algorithms by the
# processor, or weigh blocks by later frames, of which there is one at most: with these one export in thirty differed.
_CODECS = {
    "h264": ("libx264", {"g": "2", "bf": "0", "preset": "medium", "x264-params": "no-mbtree=1:cpu-independent=1"}),
    "av1": ("libsvtav1", {"g": "2", "preset": "8", "svtav1-params": "lp=1"}),
}


class Video:
    """One MP4 that grows by episodes; a context is not needed: :meth:`close` ends it."""

    def __init__(self, path: Path, size: tuple[int, int], fps: int, codec: Codec, crf: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        encoder, options = _CODECS[codec]
        # SVT-AV1 tells its settings on stderr otherwise, past all loggers.
        os.environ.setdefault("SVT_LOG", "1")
        self._container = av.open(str(path), "w")
        self._stream = self._container.add_stream(encoder, rate=fps, options={**options, "crf": str(crf)})
        self._stream.width, self._stream.height = size
        self._stream.thread_count = 1
        # Colours of two by two pixels are one in yuv420p.
        self._stream.pix_fmt = "yuv420p" if all(side % 2 == 0 for side in size) or codec == "av1" else "yuv444p"
        # The stream's own becomes the container's as soon as its header is written.
        self._fps, self._step = fps, Fraction(1, fps)
        self.frames = 0

    def add(self, images: NDArray[np.uint8]) -> None:
        """Append RGB images [T, h, w, 3]."""
        for image in images:
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = self.frames, self._step
            self._container.mux(self._stream.encode(frame))
            self.frames += 1

    def close(self) -> None:
        """End the file."""
        self._container.mux(self._stream.encode())
        self._container.close()

    def describe(self) -> dict[str, Any]:
        """What ``meta/info.json`` says of it."""
        return {
            "video.height": self._stream.height,
            "video.width": self._stream.width,
            "video.codec": self._stream.codec.canonical_name,
            "video.pix_fmt": self._stream.pix_fmt,
            "video.is_depth_map": False,
            "video.fps": self._fps,
            "video.channels": 3,
            "has_audio": False,
        }
