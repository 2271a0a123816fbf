# SPDX-License-Identifier: Apache-2.0
"""Where frames come from: a V4L2 device, or a film that is played in its place. Both are read by PyAV, undecoded."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

from swiftvla_ros.contract.sections.camera_driver import CameraDriver
from swiftvla_ros.drivers.cameras import v4l2
from swiftvla_ros.drivers.cameras.devices import PROC, open_problem, users_of
from swiftvla_ros.drivers.cameras.frames import CameraError, CameraFrame, FilmEndedError, FrameEncoding
from swiftvla_ros.drivers.cameras.settings import apply_settings

_NS = 1_000_000_000
_INPUT_FORMATS = {"mjpeg": "mjpeg", "yuyv": "yuyv422"}


class CameraSource(Protocol):
    """A camera, or what stands in for one."""

    @property
    def notes(self) -> list[str]:
        """What it does not do as the contract says, though it gives pictures; known once it is open."""
        ...

    def frames(self, ending: threading.Event) -> Generator[CameraFrame, None, None]:
        """Open it, and give each frame as soon as it is there, until ``ending``; then, and on any error, close it.

        Raises
        ------
        CameraError
            It can't be opened, or is gone.
        FilmEndedError
            A film is over.
        """
        ...


class V4l2Camera:
    """A device, opened with the contract's size and rate, and set as its entry says.

    The wait for a frame is inside the kernel and ends when the device is gone, not before: a camera that hangs is for
    others to notice.
    """

    def __init__(self, path: Path, driver: CameraDriver, size: tuple[int, int], rate_hz: float) -> None:
        self.notes: list[str] = []
        self._path, self._driver, self._size, self._rate_hz = path, driver, size, rate_hz

    def frames(self, ending: threading.Event) -> Generator[CameraFrame, None, None]:
        """Read the device."""
        import av

        width, height = self._size
        options = {
            "input_format": _INPUT_FORMATS[self._driver.format],
            "video_size": f"{width}x{height}",
            "framerate": f"{self._rate_hz:g}",
            "ts": "default",  # the kernel's own time of each buffer
        }
        try:
            # By its present name, so that a link which moves on does not matter while it is open.
            container = av.open(str(self._path.resolve()), format="v4l2", options=options)
        except (av.FFmpegError, OSError) as error:
            raise CameraError(self._refusal(error)) from error
        with closing(container):
            stream = container.streams.video[0]
            if (stream.width, stream.height) != self._size:
                raise CameraError(
                    f"{self._path} gives {stream.width}×{stream.height} px instead of {width}×{height}; it has "
                    f"{self._modes()}: correct source_size in the contract"
                )
            self.notes = self._set_up(stream.average_rate)
            encoding: FrameEncoding = "jpeg" if self._driver.format == "mjpeg" else "yuv422_yuy2"
            try:
                # A packet is one of the driver's own buffers: none may outlive the container, or be held for long.
                with closing(container.demux(stream)) as packets:
                    for packet in packets:
                        if ending.is_set() or packet.pts is None:
                            break
                        taken_ns, data = int(packet.pts * packet.time_base * _NS), bytes(packet)
                        del packet
                        yield CameraFrame(data, encoding, width, height, taken_ns)
            except (av.FFmpegError, OSError) as error:
                raise CameraError(f"{self._path} is gone: {_reason(error)}") from error
        if not ending.is_set():
            raise CameraError(f"{self._path} gives no more pictures")

    def _set_up(self, rate: Any) -> list[str]:
        try:
            notes = apply_settings(self._path, self._driver)
        except OSError as error:
            raise CameraError(open_problem(self._path, error)) from error
        if rate and abs(float(rate) - self._rate_hz) > 0.01 * self._rate_hz:
            notes.append(
                f"rate_hz: the camera chose {float(rate):g} Hz instead of {self._rate_hz:g} at this size; it has "
                f"{self._modes()}"
            )
        return notes

    def _refusal(self, error: Exception) -> str:
        if not self._path.exists():
            error = FileNotFoundError()
        if getattr(error, "errno", None) == errno.EINVAL:
            return f"{self._path} does not take format {self._driver.format}; it has {self._modes()}"
        if isinstance(error, OSError):
            return open_problem(self._path, error, users_of(self._path.resolve(), PROC))
        return f"{self._path} can't be opened: {_reason(error)}"

    def _modes(self) -> str:
        try:
            with v4l2.opened(self._path) as device:
                return "; ".join(map(str, v4l2.modes(device))) or "no mode that its driver would tell"
        except OSError as error:
            return f"modes that can't be asked for ({error.strerror})"


class FilmCamera:
    """A film that is played in real time: its JPEGs as they are, the pictures of other codecs as RGB.

    Its file is the cable: while it is not there, nor is the camera.
    """

    def __init__(self, path: Path, size: tuple[int, int], rate_hz: float, *, repeat: bool) -> None:
        self.notes: list[str] = []
        self._path, self._size, self._rate_hz, self._repeat = path, size, rate_hz, repeat

    def frames(self, ending: threading.Event) -> Generator[CameraFrame, None, None]:
        """Play it, once or again and again."""
        start_ns = time.monotonic_ns()
        while True:
            played_ns = 0
            for after_ns, frame in self._once():
                now_ns = time.monotonic_ns()
                # Pictures that nobody could take in time come later, as all that follow; never at once.
                start_ns = max(start_ns, now_ns - after_ns - self._period_ns)
                if ending.wait(max(0, start_ns + after_ns - now_ns) / _NS):
                    return
                if not self._path.exists():
                    raise CameraError(f"{self._path} is gone: the film was removed while it was played")
                played_ns = after_ns + self._period_ns
                yield CameraFrame(*frame, taken_ns=start_ns + after_ns)
            if not self._repeat:
                raise FilmEndedError(f"{self._path} has ended; write `repeat: true` to have it played again and again")
            if not played_ns:
                raise CameraError(f"{self._path} has no pictures; name another film")
            start_ns += played_ns

    @property
    def _period_ns(self) -> int:
        return round(_NS / self._rate_hz)

    def _once(self) -> Iterator[tuple[int, tuple[bytes, Any, int, int]]]:
        """Each picture with its time since the first, ns."""
        import av

        # A bare stream of JPEGs has no times of its own.
        bare = self._path.suffix.lower() in (".mjpeg", ".mjpg")
        options = {"framerate": f"{self._rate_hz:g}"} if bare else {}
        try:
            container = av.open(str(self._path), format="mjpeg" if bare else None, options=options)
        except (av.FFmpegError, OSError) as error:
            if not self._path.exists():
                raise CameraError(f"{self._path}: there is no such film; check the path") from error
            raise CameraError(f"{self._path} is no film: {_reason(error)}") from error
        with closing(container):
            if not container.streams.video:
                raise CameraError(f"{self._path} has no pictures; name another film")
            stream = container.streams.video[0]
            jpegs = stream.codec_context.name == "mjpeg"
            first_ns: int | None = None
            try:
                for part in container.demux(stream) if jpegs else container.decode(stream):
                    if part.pts is None:
                        continue  # the end
                    at_ns = int(part.pts * part.time_base * _NS)
                    first_ns = at_ns if first_ns is None else first_ns
                    if jpegs:
                        picture = (bytes(part), "jpeg", *self._size)
                    else:
                        picture = (part.to_ndarray(format="rgb24").tobytes(), "rgb8", part.width, part.height)
                    yield at_ns - first_ns, picture
            except (av.FFmpegError, OSError) as error:
                raise CameraError(f"{self._path} is damaged: {_reason(error)}") from error


def source_of(driver: CameraDriver, folder: Path, size: tuple[int, int], rate_hz: float) -> CameraSource:
    """Make the source that a contract's entry names.

    Parameters
    ----------
    driver
        The entry.
    folder
        Of the contract, which a film's path is relative to.
    size
        [width, height] of the pictures, px.
    rate_hz
        Pictures a second.
    """
    if driver.film is not None:
        return FilmCamera(folder / driver.film, size, rate_hz, repeat=driver.repeat)
    return V4l2Camera(Path(driver.device or ""), driver, size, rate_hz)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
