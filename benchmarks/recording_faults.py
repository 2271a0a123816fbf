# SPDX-License-Identifier: Apache-2.0
"""What is left of an episode when its recorder is killed, its disk gets full, or a camera is pulled; and who says so.

    python benchmarks/recording_faults.py
    unshare -rm python benchmarks/recording_faults.py      # as an ordinary user: the small disk has to be mounted

Runs the SO-101's drivers on the emulated bus, two camera drivers that play films of 640×480 px at 30 Hz, and the node
of `swiftvla demonstrate`; each fault comes three seconds into an episode. Prints a Markdown table:
the sentence that names the fault and after how long it came, what `episode.json` says, and how much of the bag can be
read: the joint states from the episode's begin on, and the time between the fault and the last of them (negative: they
go on after it). Each time counts from the fault itself; of a full disk from the last row that was written.
"""

import argparse
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg

from swiftvla_ros.bringup.processes import describe_demonstration
from swiftvla_ros.bringup.system_options import SystemOptions
from swiftvla_ros.cli.live.graph import GraphError, LiveGraph, own_domain
from swiftvla_ros.cli.live.simulated_system import SimulatedSystem
from swiftvla_ros.contract import load_contract
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.session.session_folder import read_episode_record

_START_S, _PATIENCE_S = 90.0, 40.0
_BEFORE_S, _AFTER_S = 3.0, 2.0
_SMALL_MB, _KEPT_MB = 64, 20
_PICTURES = 30
_JOINTS = load_contract("so101").joint_states.topic


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    os.environ.update(own_domain())
    print("| fault | told within, s | it says | `episode.json` | read back, s | from the fault to the last row, s |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        robot = _robot(folder)
        with Desk(robot, folder / "session", folder / "first") as desk:
            desk.row("the recorder is killed (kill -9)", desk.kill)
            desk.row("a camera is pulled", lambda: desk.pull(folder / "front.mjpeg"))
        with _small_disk(folder / "small") as small, Desk(robot, small / "session", folder / "second") as desk:
            desk.row("the disk gets full", desk.fill)


class Desk:
    """A running system, and whoever records with it."""

    def __init__(self, robot: Path, session: Path, log: Path) -> None:
        self._session = session
        options = SystemOptions(robot=str(robot), emulated_bus=True)
        shown = {"instruction": "pick up the red block", "min_free_mb": _KEPT_MB}
        self._system = SimulatedSystem(describe_demonstration(options, session, **shown), log)
        self._graph = LiveGraph(check=self._system.check)
        self._states: list[Any] = []

    def __enter__(self) -> "Desk":
        from swiftvla_ros.msg import DemonstrationState
        from swiftvla_ros.nodes.ros import qos

        self._system.__enter__()
        self._graph.__enter__()
        self._graph.listen(DemonstrationState, "demonstration_state", self._states.append, qos.LATCHED)
        return self

    def __exit__(self, *error: Any) -> None:
        self._graph.__exit__(*error)
        self._system.__exit__(*error)

    def row(self, fault: str, order: Callable[[], tuple[int, float, str]]) -> None:
        """Record, order the fault, and tell what became of the episode."""
        self._ready()
        bag = self._session / self._states[-1].episode
        self._graph.trigger("demonstration/begin")
        self._graph.spin(_BEFORE_S)
        at_ns, named_s, says = order()
        record = read_episode_record(bag)
        assert record is not None
        stamps = [ns for ns, _ in Bag(bag).messages(_JOINTS) if ns >= record.began_ns]
        note = f": {record.note}".replace(str(self._session), "SESSION") if record.note else ""
        read_s, missing_s = (stamps[-1] - record.began_ns) / 1e9, (at_ns - stamps[-1]) / 1e9
        print(
            f"| {fault} | {named_s:.1f} | {says} | {record.outcome}{note} | {read_s:.1f} | {missing_s:.2f} |",
            flush=True,
        )

    def kill(self) -> tuple[int, float, str]:
        """Kill the recorder; the next one finds what it left."""
        events = self._system.events
        starts = [e.text for e in events if (e.kind, e.process) == ("started", "demonstration")]
        pid = int(starts[-1].rpartition(" ")[2])
        seen, at_ns, begin_s = len(events), time.time_ns(), time.monotonic()
        os.kill(pid, signal.SIGKILL)
        self._wait(lambda: any(e.kind == "died" for e in events[seen:]), "the supervisor says that it died")
        named_s = time.monotonic() - begin_s
        text = next(e.text for e in events[seen:] if e.kind == "died")
        self._states.clear()
        self._ready()
        return at_ns, named_s, f"{text}; ready for the next episode after {time.monotonic() - begin_s:.0f} s"

    def pull(self, film: Path) -> tuple[int, float, str]:
        """Take a camera's film away, as its cable; the operator discards nothing and calls it failed."""
        from swiftvla_ros.srv import JudgeEpisode

        at_ns, begin_s = time.time_ns(), time.monotonic()
        film.rename(film.with_suffix(".away"))
        self._wait(lambda: any("front" in w for w in self._states[-1].warnings), "the camera is missed")
        named_s = time.monotonic() - begin_s
        # At first it is slow, then silent, then its driver says why.
        self._graph.spin(_AFTER_S)
        says = next(w for w in self._states[-1].warnings if "front" in w)
        film.with_suffix(".away").rename(film)
        request = JudgeEpisode.Request(verdict=JudgeEpisode.Request.FAILED)
        self._graph.call(JudgeEpisode, "demonstration/judge", request)
        return at_ns, named_s, says.replace(str(film.parent), "…")

    def fill(self) -> tuple[int, float, str]:
        """Let the pictures fill the disk until what has to stay free is reached."""
        self._wait(lambda: self._states[-1].last_outcome == "unjudged", "the episode was ended")
        told_ns, state = time.time_ns(), self._states[-1]
        last_ns = max(ns for ns, _ in Bag(self._session / state.last_episode).messages(_JOINTS))
        return last_ns, (told_ns - last_ns) / 1e9, "the node's log, and the note"

    def _ready(self) -> None:
        self._wait(lambda: self._states and not self._states[-1].blocked, "an episode may begin", timeout_s=_START_S)

    def _wait(
        self, condition: Callable[[], Any], what: str, timeout_s: float = _PATIENCE_S, every_s: float = 0.02
    ) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise GraphError(f"{what}: not within {timeout_s:g} s; {self._states[-1:]}")
            self._graph.spin(every_s)


def _robot(folder: Path) -> Path:
    """The SO-101's contract with films in place of its cameras."""
    contract = load_contract("so101")
    text = contract.text
    devices = "{front: {device: /dev/video0}, wrist: {device: /dev/video2}}"
    assert devices in text
    films = ", ".join(f"{camera}: {{film: {camera}.mjpeg, repeat: true}}" for camera in contract.camera_names)
    (folder / "arm.yaml").write_text(text.replace(devices, f"{{{films}}}"), encoding="utf-8")
    assert contract.urdf_path is not None
    shutil.copy(contract.urdf_path, folder / contract.urdf_path.name)
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    jpegs = [simplejpeg.encode_jpeg(np.ascontiguousarray(np.roll(noise, 7 * k, 1))) for k in range(_PICTURES)]
    for camera in contract.camera_names:
        (folder / f"{camera}.mjpeg").write_bytes(b"".join(jpegs))
    return folder / "arm.yaml"


@contextmanager
def _small_disk(place: Path) -> Iterator[Path]:
    """A disk that an episode fills."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_SMALL_MB}m", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


if __name__ == "__main__":
    main()
