# SPDX-License-Identifier: Apache-2.0
"""Bags of a running system: rosbag2 folders with MCAP storage, readable by rosbag2, Foxglove, ``rosbags`` and ``mcap``.

The messages are stored as their serialized bytes, unchanged. The robot's contract lies in the bag's ``contract``
folder, so a bag alone says what its numbers mean.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from swiftvla_ros.contract import Contract, load_contract
from swiftvla_ros.contract.load import robots_folders

# Distributions since Iron agree on the definitions of all messages that are recorded here.
_STORE = Stores.ROS2_JAZZY
_OWN_MESSAGES = ("ActionChunk", "ExecutorState", "GeometryFeatures", "PolicyState", "TaskVerdict")


class BagError(ValueError):
    """A bag that can't be used; the message names the folder, what is wrong and the fix."""


@dataclass(frozen=True)
class RecordedTopic:
    """A topic that the recorder stores: its relative (or absolute) name and type, as ``package/msg/Name``."""

    name: str
    msgtype: str


def recorded_topics(contract: Contract) -> list[RecordedTopic]:
    """List what a recording holds: what the policy saw and wanted, what was commanded and what was measured."""
    # Goals of an action are no topic: what they command is in executor_state, as for every output.
    kinds = {
        "forward_position": "std_msgs/msg/Float64MultiArray",
        "forward_velocity": "std_msgs/msg/Float64MultiArray",
        "joint_trajectory": "trajectory_msgs/msg/JointTrajectory",
    }
    control, gripper = contract.control, contract.gripper
    commands = [RecordedTopic(control.topic, kinds[control.output])] if control.output in kinds else []
    if gripper is not None and gripper.topic is not None:
        commands.append(RecordedTopic(gripper.topic, kinds["forward_position"]))
    return [
        *(RecordedTopic(f"observation/{name}", "sensor_msgs/msg/Image") for name in contract.camera_names),
        RecordedTopic("observation/state", "sensor_msgs/msg/JointState"),
        RecordedTopic(contract.joint_states.topic, "sensor_msgs/msg/JointState"),
        RecordedTopic("action_chunk", "swiftvla_ros/msg/ActionChunk"),
        RecordedTopic("executor_state", "swiftvla_ros/msg/ExecutorState"),
        RecordedTopic("policy_state", "swiftvla_ros/msg/PolicyState"),
        RecordedTopic("task_verdict", "swiftvla_ros/msg/TaskVerdict"),
        RecordedTopic("speed_scale", "std_msgs/msg/Float64"),
        RecordedTopic("shadow/predicted", "trajectory_msgs/msg/JointTrajectory"),
        RecordedTopic("shadow/error", "sensor_msgs/msg/JointState"),
        *commands,
    ]


def film_topic(camera: str) -> str:
    """Name the topic of small JPEGs of a camera's raw images, recorded for people; no policy sees them.

    Their time of reception in the bag is when the driver published the raw image.
    """
    return f"film/{camera}"


class BagWriter:
    """Writes serialized messages into a new bag; a context manager.

    Parameters
    ----------
    folder
        The bag; must not exist yet.
    contract
        Copied into the bag.

    Raises
    ------
    BagError
        The folder exists, or the package's message definitions are not installed.
    """

    def __init__(self, folder: Path, contract: Contract) -> None:
        if folder.exists():
            raise BagError(f"{folder}: exists already; choose another folder, bags are never overwritten")
        self._writer = Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP)
        self._contract = contract
        self._typestore = message_types()
        self._connections: dict[str, Any] = {}

    def __enter__(self) -> BagWriter:
        self._writer.open()
        _store_contract(self._contract, self._writer.path / "contract")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Also after an error: what was recorded until then is what explains it.
        self._writer.close()

    def write(self, topic: str, msgtype: str, received_ns: int, data: bytes) -> None:
        """Append one message: its full topic name, type, time of reception (ns) and CDR bytes."""
        connection = self._connections.get(topic)
        if connection is None:
            connection = self._writer.add_connection(topic, msgtype, typestore=self._typestore)
            self._connections[topic] = connection
        self._writer.write(connection, received_ns, data)

    def write_message(self, topic: str, message: Any, received_ns: int) -> None:
        """Append one message made with :func:`message_types`."""
        self.write(
            topic, message.__msgtype__, received_ns, bytes(self._typestore.serialize_cdr(message, message.__msgtype__))
        )

    def counts(self) -> dict[str, int]:
        """Count the messages written so far, by topic."""
        return {topic: self._writer.counts[c.id] for topic, c in self._connections.items()}


@dataclass(frozen=True)
class Commands:
    """What was commanded: ``t_ns`` int64 [N] (times of the control ticks), ``positions`` float64 [N, J], SI."""

    t_ns: NDArray[np.int64]
    positions: NDArray[np.float64]


class Bag:
    """A recorded bag; reading needs no ROS.

    Parameters
    ----------
    folder
        The folder with ``metadata.yaml``.
    contract
        The robot's, where the bag was recorded without one.

    Raises
    ------
    BagError
        The folder is not a bag.
    """

    def __init__(self, folder: str | Path, contract: Contract | None = None) -> None:
        self.folder = Path(folder)
        self._contract = contract
        if not (self.folder / "metadata.yaml").is_file():
            raise BagError(
                f"{self.folder}: not a bag, metadata.yaml is missing; write the folder, and if the recorder was killed "
                "run `ros2 bag reindex`"
            )
        try:
            with AnyReader([self.folder], default_typestore=message_types()) as reader:
                self.counts = {c.topic: c.msgcount for c in reader.connections}
                self.start_ns, self.end_ns = reader.start_time, reader.end_time
        except (AnyReaderError, OSError, ValueError, KeyError) as error:
            raise BagError(f"{self.folder}: can't be read: {error}") from error

    @cached_property
    def contract(self) -> Contract:
        """The contract given, or recorded with the bag; raises :class:`BagError` where there is none."""
        if self._contract is not None:
            return self._contract
        files = sorted((self.folder / "contract").glob("*.yaml"))
        if not files:
            raise BagError(f"{self.folder}: holds no contract (not recorded by swiftvla); name one with --robot")
        return load_contract(files[0])

    def topic(self, name: str) -> str | None:
        """Find the full name of a topic given without its namespace, such as ``action_chunk``; None when not there."""
        suffix = "/" + name.strip("/")
        found = [t for t in self.counts if t.endswith(suffix)]
        return min(found, key=len) if found else None

    def messages(self, name: str) -> Iterator[tuple[int, Any]]:
        """Yield (time of reception in ns, message) of one topic, in the order of recording."""
        topic = self.topic(name)
        if topic is None:
            return
        with AnyReader([self.folder], default_typestore=message_types()) as reader:
            wanted = [c for c in reader.connections if c.topic == topic]
            for connection, received_ns, data in reader.messages(wanted):
                yield received_ns, reader.deserialize(data, connection.msgtype)

    def received_ns(self) -> dict[str, list[int]]:
        """Return the times of reception (ns) of all messages, by full topic name."""
        times: dict[str, list[int]] = {topic: [] for topic in self.counts}
        with AnyReader([self.folder], default_typestore=message_types()) as reader:
            for connection, received_ns, _ in reader.messages():
                times[connection.topic].append(received_ns)
        return times

    def commands(self) -> list[Commands]:
        """Return all commands, by the ticks that the executor reports: one piece for each time it was commanding.

        Forward commands carry no stamp, so ``executor_state`` is read: it says what was commanded at which tick. A new
        piece begins where the executor had let go of the arm, as somebody else may have moved it meanwhile.

        Raises
        ------
        BagError
            None was recorded, or with other joints than the contract's.
        """
        names = self.contract.joint_names
        pieces: list[Commands] = []
        times: list[int] = []
        positions: list[NDArray[np.float64]] = []
        for _, state in self.messages("executor_state"):
            if state.mode in (state.IDLE, state.RELEASED) or not len(state.commanded_position):
                pieces += _piece(times, positions)
                times, positions = [], []
                continue
            if tuple(state.joint_names) != names:
                raise BagError(f"{self.folder}: executor_state has joints {state.joint_names}, the contract {names}")
            ns = stamp_ns(state.header.stamp)
            if not times or ns > times[-1]:
                times.append(ns)
                positions.append(np.array(state.commanded_position))
        pieces += _piece(times, positions)
        if not pieces:
            raise BagError(f"{self.folder}: no executor_state with a commanded position; was that topic recorded?")
        return pieces


def _piece(times: list[int], positions: list[NDArray[np.float64]]) -> list[Commands]:
    return [Commands(np.array(times, dtype=np.int64), np.array(positions))] if times else []


def stamp_ns(stamp: Any) -> int:
    """Return a ``builtin_interfaces/Time`` in ns."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def message_types() -> Typestore:
    """Return the types that bags hold, this package's own included.

    Raises
    ------
    BagError
        The package's ``msg`` folder is not installed.
    """
    typestore = get_typestore(_STORE)
    folder = next((f.parents[1] / "msg" for f in robots_folders() if (f.parents[1] / "msg").is_dir()), None)
    if folder is None:
        raise BagError("swiftvla_ros: the msg folder is not installed beside config; install the package again")
    for name in _OWN_MESSAGES:
        text = (folder / f"{name}.msg").read_text(encoding="utf-8")
        typestore.register(get_types_from_msg(text, f"swiftvla_ros/msg/{name}"))
    return typestore


def _store_contract(contract: Contract, folder: Path) -> None:
    """Copy the contract and the URDF that it names, side by side."""
    folder.mkdir()
    data = yaml.safe_load(contract.text)
    if contract.file.kinematics is not None:
        urdf = (contract.path.parent / contract.file.kinematics.urdf).resolve()
        shutil.copyfile(urdf, folder / urdf.name)
        data["kinematics"]["urdf"] = urdf.name
    text = contract.text if data == yaml.safe_load(contract.text) else yaml.safe_dump(data, sort_keys=False)
    (folder / f"{contract.robot}.yaml").write_text(text, encoding="utf-8")
