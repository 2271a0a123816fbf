# SPDX-License-Identifier: Apache-2.0
"""The whole walk of docs/first_arm.md without hardware: demonstrations, their check, training, the policy on the arm.

    python benchmarks/first_arm.py [--out runs/first_arm]

The arm and its leader are servos on an emulated bus, driven by the real drivers; the cameras play films of the
simulated scene; a hand moves the leader. Ten episodes are shown: of them two are discarded and one is judged failed.
Then come `swiftvla check-demonstrations`, a short `swiftvla train`, and `swiftvla up` with what was trained, which is
told to do something. Little is learnt from seven swings of an arm: what is shown is that every step takes what the one
before left. Exit code 1 if a step fails, or the arm does not move.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg

from swiftvla_ros.bringup.processes import transport_environment
from swiftvla_ros.cli.live.graph import LiveGraph, own_domain
from swiftvla_ros.contract import Contract, load_contract
from swiftvla_ros.episodes.session.session_folder import SessionFolder

_SWIFTVLA = [sys.executable, "-m", "swiftvla_ros.cli.main"]
_INSTRUCTION = "pick up the red block"
_VERDICTS = (*["SUCCEEDED"] * 3, "DISCARDED", *["SUCCEEDED"] * 2, "FAILED", "DISCARDED", *["SUCCEEDED"] * 2)
_FILM_S, _FILM_HZ, _JPEG_QUALITY = 4.0, 30, 90
_EPISODE_S = 4.0
_PERIOD_S = 0.02
_START_TIMEOUT_S, _REST_TIMEOUT_S = 120.0, 20.0


def main() -> int:
    """Walk; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="default: a temporary folder")
    parser.add_argument("--steps", type=int, default=20, help="of training")
    options = parser.parse_args()
    os.environ.update(own_domain() | transport_environment())
    with tempfile.TemporaryDirectory(prefix="first_arm_") as temporary:
        out = options.out or Path(temporary)
        out.mkdir(parents=True, exist_ok=True)
        return _walk(out, options.steps)


def _walk(out: Path, steps: int) -> int:
    contract = _station(out)
    robot, session, policy = str(contract.path), out / "session", out / "policy"
    bus = ("--robot", robot, "--emulated-bus")
    with _running("demonstrate", _INSTRUCTION, session, *bus, "--teleop", "leader", "--episodes", 7) as demonstrate:
        with LiveGraph(check=lambda: _alive(demonstrate)) as graph:
            operator = _Operator(graph, contract)
            for number, verdict in enumerate(_VERDICTS):
                operator.show(number, verdict)
        # The seventh that succeeded ends the session, and the command.
        demonstrate.wait(60)
    outcomes = [record.outcome for record in SessionFolder(session).records().values()]
    print(f"recorded: {', '.join(outcomes)}")
    failed = _run("check-demonstrations", session, "--robot", robot)
    failed |= _run("train", session, policy, "--robot", robot, "--scenes", 0, "--steps", steps, "--batch", 8)
    with (
        _running("up", *bus, "--checkpoint", policy, "--record", out / "run") as up,
        LiveGraph(check=lambda: _alive(up)) as graph,
    ):
        graph.wait_until_ready(contract, _START_TIMEOUT_S)
        told = graph.run_instruction(_INSTRUCTION, 6.0)
        print(f"told '{_INSTRUCTION}': {told.name}: {told.message}")
    moved = _moved(out / "run")
    print(f"the policy moved the emulated arm by {moved:.2f} rad")
    failed |= _run("check-motion", out / "run")
    expected = {"SUCCEEDED": "succeeded", "DISCARDED": "discarded", "FAILED": "failed"}
    return 0 if outcomes == [expected[verdict] for verdict in _VERDICTS] and moved > 0.01 and not failed else 1


def _station(out: Path) -> Contract:
    """Write the contract of a station whose cameras are films; return it."""
    from swiftvla_ros.sim.world import SimWorld

    simulated = load_contract("so101_sim")
    text = load_contract("so101").path.read_text(encoding="utf-8")
    urdf = load_contract("so101").urdf_path
    assert urdf is not None
    (out / urdf.name).write_bytes(urdf.read_bytes())
    films = {camera: out / f"{camera}.mjpeg" for camera in simulated.camera_names}
    with SimWorld(simulated, seed=0) as world:
        frames: dict[str, list[bytes]] = {camera: [] for camera in films}
        for k in range(round(_FILM_S * _FILM_HZ)):
            world.command(simulated.rest + _swing(k / _FILM_HZ, 0, len(simulated.joints)))
            world.advance(1 / _FILM_HZ)
            for camera, pictures in frames.items():
                pictures.append(simplejpeg.encode_jpeg(world.render(camera, 640, 480), quality=_JPEG_QUALITY))
    for camera, film in films.items():
        film.write_bytes(b"".join(frames[camera]))
    head = text[: text.index("  cameras: {front: {device")]
    played = ", ".join(f"{camera}: {{film: {film.resolve()}, repeat: true}}" for camera, film in films.items())
    path = out / "station.yaml"
    path.write_text(f"{head}  cameras: {{{played}}}\n", encoding="utf-8")
    return load_contract(path)


def _swing(t_s: float, number: int, joints: int) -> np.ndarray:
    """Where a hand has the arm after so long, relative to where it began [J], rad."""
    rng = np.random.default_rng(number)
    size, pace = rng.uniform(0.15, 0.4, joints), rng.uniform(0.8, 1.6, joints)
    return size * np.sin(pace * t_s) * min(1.0, t_s)


class _Operator:
    """A person between the leader arm and the keys."""

    def __init__(self, graph: LiveGraph, contract: Contract) -> None:
        from sensor_msgs.msg import JointState

        from swiftvla_ros.msg import DemonstrationState, TeleopState
        from swiftvla_ros.nodes.ros import qos

        self._graph, self._contract = graph, contract
        self._session, self._teleop, self._leader = _Newest(), _Newest(), _Newest()
        graph.listen(DemonstrationState, "demonstration_state", self._session, qos.LATCHED)
        graph.listen(TeleopState, "teleop_state", self._teleop, qos.LATCHED)
        graph.listen(JointState, contract.leader.topic, self._leader, qos.STATE_INPUT)
        self._hand = graph.publisher(JointState, "emulated_bus/hand", qos.COMMAND)

    def show(self, number: int, verdict: str) -> None:
        """Engage, begin, move, judge."""
        from swiftvla_ros.msg import TeleopState
        from swiftvla_ros.srv import JudgeEpisode

        graph = self._graph
        graph.wait_for(lambda: all((self._session.there, self._teleop.there, self._leader.there)),
                       _START_TIMEOUT_S, "demonstration_node, teleop_node or the leader does not speak")  # fmt: skip
        if number == 0:
            self._move(lambda _: self._contract.rest, 1.0)
        graph.trigger("teleop/engage")
        graph.wait_for(lambda: self._teleop.it.phase == TeleopState.FOLLOWING, _REST_TIMEOUT_S, "the arm follows")
        graph.wait_for(lambda: not self._session.it.blocked, _START_TIMEOUT_S, self._session.it.blocked)
        graph.trigger("demonstration/begin")
        self._move(lambda t: self._contract.rest + _swing(t, number, len(self._contract.joints)), _EPISODE_S)
        request = JudgeEpisode.Request(verdict=getattr(JudgeEpisode.Request, verdict))
        print(graph.call(JudgeEpisode, "demonstration/judge", request).message, flush=True)
        self._move(lambda _: self._contract.rest, 1.0)

    def _move(self, pose: Callable[[float], np.ndarray], seconds: float) -> None:
        from sensor_msgs.msg import JointState

        began = time.monotonic()
        while (t := time.monotonic() - began) < seconds:
            self._hand.publish(JointState(name=list(self._contract.joint_names), position=pose(t).tolist()))
            self._graph.spin(_PERIOD_S)


class _Newest:
    """Keeps a topic's newest message."""

    def __init__(self) -> None:
        self.it: Any = None

    def __call__(self, message: Any) -> None:
        self.it = message

    @property
    def there(self) -> bool:
        return self.it is not None


def _moved(bag: Path) -> float:
    """How far the policy's commands moved any joint, rad."""
    from swiftvla_ros.episodes.bags.bag import Bag

    return max((float(np.ptp(piece.positions, axis=0).max()) for piece in Bag(bag).commands()), default=0.0)


def _alive(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() not in (None, 0):
        raise SystemExit(f"swiftvla ended with exit code {process.returncode}")


@contextmanager
def _running(*arguments: object) -> Iterator["subprocess.Popen[bytes]"]:
    command = [str(a) for a in arguments]
    print(f"\n== swiftvla {' '.join(command)}", flush=True)
    process = subprocess.Popen([*_SWIFTVLA, *command], stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def _run(*arguments: object) -> bool:
    """Run a command; return whether it failed."""
    command = [str(a) for a in arguments]
    print(f"\n== swiftvla {' '.join(command)}", flush=True)
    done = subprocess.run([*_SWIFTVLA, *command], check=False)
    if done.returncode:
        print(f"exit code {done.returncode}")
    return bool(done.returncode)


if __name__ == "__main__":
    sys.exit(main())
