# SPDX-License-Identifier: Apache-2.0
"""Every red row of a pre-flight, and a system that has the fault which it is about.

Files are real ones, edited: the shipped contract with its URDF, the shipped checkpoint. Messages, chunk and latencies
are those of the run that is kept in the repository, changed as the fault has it; a Jetson is a tree of files as its
kernel writes them. No graph runs, so the command takes seconds::

    python benchmarks/preflight_faults.py
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rosbags.typesys import Stores, get_typestore

from swiftvla_ros.contract import load_contract
from swiftvla_ros.contract.executor_codes import Mode
from swiftvla_ros.contract.latency_stages import POLICY, durations_s
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.observation.message_fields import read_chunk, stamp_ns
from swiftvla_ros.policy.checkpoint import CONTRACT, STATS
from swiftvla_ros.preflight.checks import check_everything
from swiftvla_ros.preflight.facts import PreflightFacts, TrialChunk, read_checkpoint
from swiftvla_ros.preflight.graph import (
    Endpoint,
    ExpectedTopic,
    GraphFacts,
    LoadedPolicy,
    NodeFacts,
    TopicFacts,
    expected_topics,
    own_nodes,
)
from swiftvla_ros.preflight.heard import Heard
from swiftvla_ros.preflight.machine import read_board
from swiftvla_ros.preflight.row import GB, MB, Row

ROOT = Path(__file__).parents[1]
_NS = 1_000_000_000
_LISTENED_S = 3.0
_STEP_IN_BAG = 3


@dataclass
class System:
    """A system that is well until a fault edits it; ``facts`` gathers of it what a pre-flight judges."""

    folder: Path
    positions: dict[str, float] = field(default_factory=dict)
    latency_s: dict[str, float] = field(default_factory=dict)
    rows: Any = None
    image: dict[str, Any] = field(default_factory=lambda: {"encoding": "rgb8", "width": 640, "height": 480})
    behind_s: float = 0.02
    graph: dict[str, Any] = field(default_factory=dict)
    rivals: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()
    free: int = 100 * GB
    edits_after_loading: list[Callable[[], object]] = field(default_factory=list)

    @classmethod
    def healthy(cls, folder: Path) -> System:
        """The shipped robot, checkpoint and run."""
        for name in ("so101_sim.yaml", "so101.urdf"):
            shutil.copyfile(ROOT / "config/robots" / name, folder / name)
        shutil.copytree(ROOT / "models/swiftvla-nano-so101", folder / "checkpoint", copy_function=_link)
        bag = Bag(ROOT / "test/replay/bags/pick_red")
        _, message = list(bag.messages("action_chunk"))[_STEP_IN_BAG]
        chunk = read_chunk(message)
        states = {stamp_ns(m.header.stamp): m for _, m in bag.messages("observation/state")}
        state = states[chunk.state_stamp_ns]
        positions = dict(zip(state.name, map(float, state.position), strict=True))
        return cls(folder, positions, durations_s(POLICY, chunk.stamps_ns()), chunk.positions)

    @property
    def robot(self) -> Path:
        """The contract's file."""
        return self.folder / "so101_sim.yaml"

    def contract(self, *, checkpoint: bool = False) -> _Edit:
        """Edit the contract, or the one that the checkpoint was trained on."""
        return _Edit(
            self.folder / "checkpoint" / CONTRACT if checkpoint else self.robot, yaml.safe_load, yaml.safe_dump
        )

    def statistics(self) -> _Edit:
        """Edit the checkpoint's statistics."""
        return _Edit(self.folder / "checkpoint" / STATS, json.loads, json.dumps)

    def facts(self) -> PreflightFacts:
        """Gather all of it."""
        contract = load_contract(str(self.robot))
        loaded = read_checkpoint(self.folder / "checkpoint")
        for edit in self.edits_after_loading:
            edit()
        sha256 = loaded.checkpoint.sha256 if loaded.checkpoint is not None else "0" * 64
        running = {name: NodeFacts(1, "active", {"use_sim_time": False}) for name in own_nodes(contract, "")}
        graph = GraphFacts(
            "",
            _LISTENED_S,
            {name: facts for name, facts in running.items() if name not in self.ended},
            tuple(self._topic(topic) for topic in expected_topics(contract, "")),
            connections=20,
            policy=LoadedPolicy("", "pick up the red block", sha256, "cpu", self.latency_s),
            executor=(Mode.HOLD, "holding"),
        )
        rows = self.rows[:, : len(contract.joints)]
        return PreflightFacts(
            contract,
            replace(graph, **self.graph),
            read_checkpoint(self.folder / "checkpoint"),
            TrialChunk(rows, self.latency_s),
            read_board(self.folder, lambda: "NV Power Mode: MAXN\n0\n"),
            (self.folder, self.free, True),
            max_rate_hz=10.0,
            edited=self.robot.read_text(encoding="utf-8") != contract.text,
        )

    def _topic(self, topic: ExpectedTopic) -> TopicFacts:
        driver = {"camera": "/driver", "joint states": "/driver"}.get(topic.role, topic.publisher)
        ends = tuple(Endpoint(name, topic.type) for name in (driver, *(self.rivals if topic.role == "command" else ())))
        ends = tuple(end for end in ends if end.node not in self.ended)
        facts = TopicFacts(topic, ends, (Endpoint("/driver", topic.type),))
        if not topic.rate_hz or topic.publisher in self.ended:
            return facts
        heard = Heard()
        for k in range(round(_LISTENED_S * topic.rate_hz)):
            at_ns = _NS * 1000 + round(k * _NS / topic.rate_hz)
            heard.arrivals.append(at_ns)
            heard.sent.append(at_ns)
            heard.offsets.append(-round((self.behind_s if topic.role == "camera" else 0.01) * _NS))
        if topic.role == "camera":
            heard.see(_image(**self.image))
        elif topic.type.endswith("/JointState"):
            heard.see(_joint_state(self.positions))
        stream = heard.stream(driver, 1.0, heard.arrivals[-1])
        return replace(facts, streams=(stream,))


def _link(source: str, target: str) -> None:
    """Copy what faults edit, and only point to the weights."""
    if source.endswith((".json", ".yaml", ".md")):
        shutil.copyfile(source, target)
    else:
        Path(target).symlink_to(source)


_TYPES = get_typestore(Stores.ROS2_JAZZY).types


def _header() -> Any:
    return _TYPES["std_msgs/msg/Header"](_TYPES["builtin_interfaces/msg/Time"](0, 0), "")


def _image(encoding: str, width: int, height: int) -> Any:
    bytes_a_pixel = {"rgb8": 3, "16UC1": 2}[encoding]
    data = np.zeros(width * height * bytes_a_pixel, np.uint8)
    return _TYPES["sensor_msgs/msg/Image"](_header(), height, width, encoding, 0, bytes_a_pixel * width, data)


def _joint_state(positions: dict[str, float]) -> Any:
    nothing = np.zeros(0)
    values = np.array(list(positions.values()))
    return _TYPES["sensor_msgs/msg/JointState"](_header(), list(positions), values, nothing, nothing)


@dataclass
class _Edit:
    """A file that is read, changed and written again: ``with system.contract() as data: …``."""

    path: Path
    read: Callable[[str], Any]
    write: Callable[[Any], str]

    def __enter__(self) -> Any:
        self._data = self.read(self.path.read_text(encoding="utf-8"))
        return self._data

    def __exit__(self, *error: object) -> None:
        self.path.write_text(self.write(self._data), encoding="utf-8")


@dataclass(frozen=True)
class Fault:
    """What is wrong, what makes it so, the row that turns red, and a word of what it says."""

    what: str
    row: str
    says: str
    make: Callable[[System], object]


def _contract(keys: str, value: Any, *, checkpoint: bool = False) -> Callable[[System], object]:
    """Set one value of a contract; ``keys`` are separated by dots, entries of lists are numbers."""

    def edit(system: System) -> None:
        with system.contract(checkpoint=checkpoint) as data:
            *path, last = (int(key) if key.isdigit() else key for key in keys.split("."))
            for key in path:
                data = data[key]
            data[last] = value

    return edit


def _statistics(change: Callable[[dict[str, Any]], object]) -> Callable[[System], object]:
    def edit(system: System) -> None:
        with system.statistics() as data:
            change(data)

    return edit


def _set(**values: Any) -> Callable[[System], object]:
    def edit(system: System) -> None:
        for name, value in values.items():
            setattr(system, name, value)

    return edit


def _stand(**positions: float) -> Callable[[System], object]:
    return lambda system: system.positions.update(positions)


def _in_degrees(system: System) -> None:
    system.positions = {name: float(np.degrees(value)) for name, value in system.positions.items()}


def _other_names(system: System) -> None:
    system.positions = {f"joint_{k}": value for k, value in enumerate(system.positions.values())}


def _renamed_joint(system: System) -> None:
    with system.contract() as data:
        data["joints"][0]["name"] = "base_yaw"
        data.pop("kinematics")
    system.positions["base_yaw"] = system.positions["shoulder_pan"]


def _camera_renamed(system: System) -> None:
    with system.contract() as data:
        data["cameras"][1]["name"] = "gripper_camera"


def _inactive(data: dict[str, Any]) -> None:
    for row in data["state"].values():
        row.update(mean=0.0, std=1.0)


def _scaled(data: dict[str, Any]) -> None:
    for row in data["state"].values():
        row.update({key: float(np.degrees(value)) for key, value in row.items()})


def _changed_after(system: System) -> None:
    def edit() -> None:
        with system.statistics() as data:
            data["state"]["gripper"]["std"] *= 1.01

    system.edits_after_loading.append(edit)


def _contract_changed_after(system: System) -> None:
    system.edits_after_loading.append(lambda: _contract("joints.0.velocity", 2.4)(system))


def _jetson(system: System) -> None:
    """An Orin whose processor has reached the temperature at which its clocks are lowered."""
    zone = system.folder / "sys/class/thermal/thermal_zone0"
    for path, text in (
        (system.folder / "proc/device-tree/model", "NVIDIA Jetson Orin Nano Developer Kit\0"),
        (zone / "type", "tj-thermal"),
        (zone / "temp", "99500"),
        (zone / "trip_point_0_type", "passive"),
        (zone / "trip_point_0_temp", "99000"),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


_CAMERA, _STATES = "/camera/front/image_raw", "/joint_states"

FAULTS = (
    Fault("the driver names its joints otherwise", _STATES, "no message names shoulder_pan", _other_names),
    Fault("the driver tells degrees", "units", "inside them as deg", _in_degrees),
    Fault("the arm stands outside its limits", "pose", "outside the limits", _stand(elbow_flex=2.2)),
    Fault("the arm stands where it never was", "pose as in training", "in training from", _stand(shoulder_lift=1.2)),
    Fault("the first chunk begins elsewhere", "first chunk", "the executor will refuse", _stand(wrist_roll=2.3)),
    Fault("a camera sends depth", _CAMERA, "can't be used", lambda s: s.image.update(encoding="16UC1")),
    Fault("a camera sends another size", _CAMERA, "320×240", lambda s: s.image.update(width=320, height=240)),
    Fault("a camera's clock is behind", _CAMERA, "behind this clock", _set(behind_s=1.5)),
    Fault("a camera is called otherwise", "checkpoint's cameras", "reads cameras ['wrist']", _camera_renamed),
    Fault("pictures of another size", "checkpoint's image sizes", "96×96", _contract("cameras.0.size", [128, 128])),
    Fault("a joint is called otherwise", "checkpoint's joints", "base_yaw", _renamed_joint),
    Fault("another step", "checkpoint's step", "steps of 0.1 s", _contract("policy.step_s", 0.05)),
    Fault("rows mean something else", "checkpoint's actions", "'absolute'", _contract("policy.actions", "velocity")),
    Fault("statistics lack a joint", "checkpoint", "gripper", _statistics(lambda s: s["state"].pop("gripper"))),
    Fault(
        "a statistic of no width",
        "checkpoint",
        "zero width",
        _statistics(lambda s: s["state"]["gripper"].update(std=0.0)),
    ),
    Fault("statistics that do nothing", "state statistics", "change nothing", _statistics(_inactive)),
    Fault("statistics in degrees", "state statistics", "degrees", _statistics(_scaled)),
    Fault(
        "statistics of another scale",
        "action statistics",
        "comes back",
        _statistics(lambda s: s["action"]["gripper"].update(mean=3e7, std=1.0)),
    ),
    Fault("the checkpoint was changed after it was loaded", "checkpoint", "were changed since", _changed_after),
    Fault(
        "pictures are cut otherwise than in training",
        "trained on",
        "cameras.front.crop",
        _contract("cameras.0.crop", [80, 0, 480, 480], checkpoint=True),
    ),
    Fault("the contract was edited after it was loaded", "contract", "was edited", _contract_changed_after),
    Fault("limits beyond the URDF's", "limits of the URDF", "goes beyond", _contract("joints.0.position", [-2.5, 2.5])),
    Fault(
        "limits inside the training data", "training inside limits", "98 %", _contract("joints.1.position", [-0.8, 1.7])
    ),
    Fault("limits slower than training", "training speeds", "faster than", _contract("joints.0.velocity", 0.3)),
    Fault("chunks take longer than they last", "latency", "used up", lambda s: s.latency_s.update(inference=1.2)),
    Fault("chunks longer than are accepted", "time-outs", "each is refused", _contract("control.max_chunk_s", 0.8)),
    Fault("a tail ends before the next chunk", "time-outs", "stops between", _contract("control.tail_timeout_s", 0.05)),
    Fault("pictures are too old when they come", "ages", "nothing is inferred", _set(behind_s=0.6)),
    Fault("the disk is full", "disk", "recordings end", _set(free=100 * MB)),
    Fault("a Jetson is too hot", "board", "too hot", _jetson),
    Fault("the policy does not run", "/policy", "does not run", _set(ended=("/policy",))),
    Fault("somebody else commands the arm", "/forward_position_controller/commands", "too", _set(rivals=("/moveit",))),
    Fault("the executor is stopped", "executor", "STOPPED", _set(graph={"executor": (Mode.STOPPED, "a joint froze")})),
)


def judged(folder: Path, fault: Fault | None = None) -> list[Row]:
    """All rows of a system in an empty ``folder``, with a fault or without."""
    system = System.healthy(folder)
    if fault is not None:
        fault.make(system)
    return [row for rows in check_everything(system.facts()).values() for row in rows]


def main() -> None:
    """Print the table of docs/preflight.md."""
    print("| what is wrong | the row that turns red | what it says |\n|---|---|---|")
    for fault in FAULTS:
        with tempfile.TemporaryDirectory() as folder:
            red = [row for row in judged(Path(folder), fault) if row.status == "fail" and row.name == fault.row]
        finding = next((row.finding for row in red if fault.says in row.finding), "NOT RED").replace(folder, "…")
        print(f"| {fault.what} | {fault.row} | {finding.replace('|', '/')} |")


if __name__ == "__main__":
    main()
