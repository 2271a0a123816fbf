# SPDX-License-Identifier: Apache-2.0
"""The reading thread, on films and on sources that fail; and what is said of a camera's health."""

import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import av
import films
import numpy as np
import pytest

from swiftvla_ros.contract.sections.camera_driver import CameraDriver
from swiftvla_ros.drivers.cameras import reader as reader_module
from swiftvla_ros.drivers.cameras.frames import CameraError, CameraFrame
from swiftvla_ros.drivers.cameras.health import camera_health
from swiftvla_ros.drivers.cameras.reader import OPENING, CameraCounts, CameraReader
from swiftvla_ros.drivers.cameras.sources import CameraSource, source_of

PICTURES = films.jpegs(6)
SIZE, RATE_HZ = (64, 48), 100.0


class Reading:
    """A reader with what it delivered and told."""

    def __init__(self, source: CameraSource) -> None:
        self.frames: list[tuple[CameraFrame, bytes, int]] = []
        self.told: list[str] = []
        self.failures: list[Exception] = []
        self.reader = CameraReader(source, lambda *a: self.frames.append(a), self.told.append, self.failures.append)

    @property
    def pictures(self) -> list[bytes]:
        """The bytes of all that came."""
        return [data for _, data, _ in self.frames]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Start readers, and end them after the test; waits for what was gone are short."""
    monkeypatch.setattr(reader_module, "_FIRST_WAIT_S", 0.01)
    readings: list[Reading] = []

    def start(source: CameraSource) -> Reading:
        readings.append(Reading(source))
        return readings[-1]

    yield start
    assert all(reading.reader.end() for reading in readings)


def film_of(path: Path, *, repeat: bool = False) -> CameraSource:
    """The source of a contract's entry with a film."""
    return source_of(CameraDriver(film=path.name, repeat=repeat), path.parent, SIZE, RATE_HZ)


@pytest.mark.parametrize("kind", ["mjpeg", "mp4"])
def test_a_film_is_passed_on_bit_for_bit_and_in_time(
    read: Any, wait_until: Callable, tmp_path: Path, kind: str
) -> None:
    """Protects the pass-through and the stamps: the film's own JPEGs, a period apart, stamped by the present day."""
    path = tmp_path / f"film.{kind}"
    films.write_mjpeg(path, PICTURES) if kind == "mjpeg" else films.write_mp4(path, PICTURES, round(RATE_HZ))
    reading = read(film_of(path))
    wait_until(lambda: "has ended" in reading.reader.problem, "the film ends")
    assert reading.pictures == PICTURES
    stamps = np.array([stamp for *_, stamp in reading.frames])
    assert abs(time.time_ns() - stamps[-1]) < 5e9
    assert np.all(np.diff(stamps) >= 0.99e9 / RATE_HZ)
    assert reading.reader.counts.undated == 0
    assert reading.told[0] == ""
    assert "write `repeat: true`" in reading.told[1]
    assert len(reading.told) == 2


def test_a_film_that_is_pulled_is_named_and_comes_back(read: Any, wait_until: Callable, tmp_path: Path) -> None:
    """Protects whoever trips over the cable: the reader says so, tries again, and goes on."""
    path = films.write_mjpeg(tmp_path / "film.mjpeg", PICTURES)
    reading = read(film_of(path, repeat=True))
    wait_until(lambda: len(reading.frames) > 2 * len(PICTURES), "the film is repeated")
    path.rename(tmp_path / "away")
    wait_until(lambda: "there is no such film" in reading.reader.problem, "it is tried again", 2)
    assert "film.mjpeg is gone" in reading.told[-2]
    seen = len(reading.frames)
    (tmp_path / "away").rename(path)
    wait_until(lambda: len(reading.frames) > seen and not reading.reader.problem, "it comes back", 2)
    assert reading.reader.counts.opened == 2
    assert reading.failures == []


def test_another_codecs_pictures_are_decoded(read: Any, wait_until: Callable, tmp_path: Path) -> None:
    """Protects films from elsewhere: what is no JPEG comes as pixels."""
    with av.open(str(tmp_path / "film.mp4"), "w") as film:
        stream = film.add_stream("mpeg4", rate=100)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for grey in (50, 200, None):
            picture = (
                None if grey is None else av.VideoFrame.from_ndarray(np.full((48, 64, 3), grey, np.uint8), "rgb24")
            )
            film.mux(stream.encode(picture))
    reading = read(film_of(tmp_path / "film.mp4"))
    wait_until(lambda: "has ended" in reading.reader.problem, "the film ends")
    assert [frame.encoding for frame, *_ in reading.frames] == ["rgb8", "rgb8"]
    assert [round(np.frombuffer(data, np.uint8).mean() / 50) for data in reading.pictures] == [1, 4]


@pytest.mark.parametrize(
    ("driver", "said"),
    [
        (CameraDriver(film="none.mjpeg"), "there is no such film"),
        (CameraDriver(film="text.mp4"), "is no film"),
        (CameraDriver(film="empty.mjpeg"), "empty.mjpeg"),
        (CameraDriver(device="/dev/v4l/by-id/usb-none"), "is not there: plug the camera in"),
        (CameraDriver(device="/dev/null"), "/dev/null can't be opened"),
    ],
)
def test_what_can_not_be_opened_is_named(
    read: Any, wait_until: Callable, tmp_path: Path, driver: CameraDriver, said: str
) -> None:
    """Protects a node that starts before its camera is there: it says why, and tries again."""
    (tmp_path / "text.mp4").write_text("no film")
    (tmp_path / "empty.mjpeg").write_bytes(b"")
    reading = read(source_of(driver, tmp_path, SIZE, RATE_HZ))
    wait_until(lambda: said in reading.reader.problem, f"says {said}, not {reading.reader.problem}", 2)
    assert reading.reader.counts.opened == 0


def test_a_device_is_opened_as_the_contract_says(
    read: Any, wait_until: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects what no machine without a camera shows: the demuxer's options, another size refused, times judged.

    The device is a film here: PyAV reads it where it would read V4L2, everything else is the driver's own code.
    """
    films.write_mp4(tmp_path / "film.mp4", PICTURES, round(RATE_HZ)).rename(tmp_path / "video0")
    asked: dict[str, str] = {}
    really = av.open

    def opened(path: str, *, format: str, options: dict[str, str]) -> Any:  # noqa: A002
        asked.update(options, format=format)
        return really(path)

    monkeypatch.setattr(av, "open", opened)
    driver = CameraDriver(device=str(tmp_path / "video0"), gain=5)
    reading = read(source_of(driver, tmp_path, SIZE, RATE_HZ))
    wait_until(lambda: any("gives no more pictures" in text for text in reading.told), "the device ends", 2)
    assert reading.pictures[: len(PICTURES)] == PICTURES
    assert asked == {
        "format": "v4l2",
        "input_format": "mjpeg",
        "video_size": "64x48",
        "framerate": "100",
        "ts": "default",
    }
    assert reading.reader.notes == ["gain: this camera has no such control; remove the key"]
    assert reading.reader.counts.undated > 0  # a film's times are not the kernel's
    other = read(source_of(driver, tmp_path, (128, 96), RATE_HZ))
    wait_until(lambda: "gives 64×48 px instead of 128×96" in other.reader.problem, "another size is refused", 2)


class Script:
    """A camera that gives what it was told to, each time it is opened; then it is gone, or worse."""

    notes: list[str] = []  # noqa: RUF012

    def __init__(self, frames: list[CameraFrame], end: Exception) -> None:
        self.frames_, self.end = frames, end

    def frames(self, ending: threading.Event) -> Generator[CameraFrame, None, None]:
        yield from self.frames_
        ending.wait(0.01)
        raise self.end


def test_gaps_damage_and_foreign_clocks_are_counted(read: Any, wait_until: Callable) -> None:
    """Protects recordings: what is missing is known, and a damaged picture is not published."""
    now_ns = time.monotonic_ns()
    at_ms = [0, 33, 66, 100, 133, 233, 266]  # two are missing
    taken = [now_ns - 500_000_000 + 1_000_000 * ms for ms in at_ms]
    frames = [CameraFrame(PICTURES[0], "jpeg", *SIZE, ns) for ns in taken]
    frames[2] = CameraFrame(PICTURES[0][:-99], "jpeg", *SIZE, taken[2])
    frames.append(CameraFrame(PICTURES[0], "jpeg", *SIZE, now_ns + 7_000_000_000))
    reading = read(Script(frames, CameraError("cam is gone")))
    wait_until(lambda: "cam is gone" in reading.reader.problem, "the script has ended", 2)
    counts = reading.reader.counts
    first = (counts.frames // counts.opened, counts.lost // counts.opened, counts.damaged // counts.opened)
    assert first[0] == 7
    assert first[2] == 1
    assert counts.lost >= 2
    assert counts.undated >= 1
    assert "its end is missing" in counts.last_damage


def test_a_fault_of_the_program_ends_it(read: Any, wait_until: Callable) -> None:
    """Protects from a thread that dies unseen: the node is told, and ends."""
    reading = read(Script([], ZeroDivisionError("a fault")))
    wait_until(lambda: reading.failures, "the fault is handed on", 2)


NOTHING, SECOND = CameraCounts(), CameraCounts(frames=30, opened=1)


@pytest.mark.parametrize(
    ("now", "more", "severity", "said"),
    [
        (SECOND, {}, "ok", "30.0 pictures a second"),
        (SECOND, {"problem": "film is gone"}, "error", "film is gone"),
        (SECOND, {"silent_s": 0.7}, "error", "no picture for 0.7 s"),
        (SECOND, {"notes": ["gain: this camera has no such control"]}, "warning", "no such control"),
        (CameraCounts(frames=15), {}, "warning", "15.0 pictures a second instead of 30"),
        (CameraCounts(frames=30, lost=2), {}, "warning", "2 pictures lost"),
        (CameraCounts(frames=29, damaged=1, last_damage="x"), {}, "warning", "1 of 30 pictures damaged"),
        (CameraCounts(frames=30, undated=30), {}, "warning", "carry that of arrival"),
    ],
)
def test_health_is_a_sentence(now: CameraCounts, more: dict, severity: str, said: str) -> None:
    """Protects /diagnostics: rate and losses, and what mends them."""
    health = camera_health(NOTHING, now, 1.0, 30.0, **more)
    assert health.severity == severity
    assert said in health.text
    assert not health.hangs


def test_a_camera_that_hangs_is_let_go_of() -> None:
    """Protects from a driver that never comes back: only the end of the process closes it."""
    assert camera_health(NOTHING, SECOND, 1.0, 30.0, silent_s=6.0).hangs
    assert camera_health(NOTHING, NOTHING, 1.0, 30.0, problem=OPENING, silent_s=6.0).hangs
    assert not camera_health(NOTHING, NOTHING, 1.0, 1.0, problem=OPENING, silent_s=6.0).hangs
    assert not camera_health(NOTHING, SECOND, 1.0, 30.0, problem="it is gone").hangs


def test_who_does_not_answer_is_known(read: Any, wait_until: Callable) -> None:
    """Protects the verdict: the time runs while a source is asked, not while it is left alone between two tries."""

    class Deaf(Script):
        def frames(self, ending: threading.Event) -> Generator[CameraFrame, None, None]:
            ending.wait()
            yield from ()

    reading = read(Deaf([], CameraError("")))
    wait_until(lambda: reading.reader.silent_s > 0.2, "it is asked in vain", 2)
    assert reading.reader.problem == OPENING
