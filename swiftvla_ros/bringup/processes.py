# SPDX-License-Identifier: Apache-2.0
"""The processes of a running system, described once.

``launch/*.launch.py`` turn the descriptions into ``launch_ros`` nodes, :class:`swiftvla_ros.bringup.Supervisor` into
plain processes; neither knows anything of its own, so both start the same system with the same parameters.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from swiftvla_ros.contract import load_contract
from swiftvla_ros.contract.load import robots_folders

ParameterValue = bool | int | float | str

DEFAULT_ROBOT = "so101_sim"
DEFAULT_CHECKPOINT = "models/swiftvla-nano-so101"
DEFAULT_GEOMETRY = "models/geometry-nano"

# A node ends with this when its parameters, contract or checkpoint can't be used.
EXIT_CONFIGURATION = 2

# Pools of threads inside numpy, OpenCV and Fast DDS gain nothing on one small image and steal the policy's cores.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


# A camera driver that hangs may go on publishing its last picture with new stamps.
_REPEATED_FOR_S = 1.0


@dataclass(frozen=True)
class ProcessDescription:
    """One process of the system: a node, its parameters, and what to do when it dies.

    Attributes
    ----------
    name
        The node's name; also the prefix of each line that it prints.
    executable
        The program in ``lib/swiftvla_ros`` and the module in ``swiftvla_ros.nodes``: they share their name.
    parameters
        The node's ROS parameters.
    respawn
        True: started again after it died. False: its death ends the whole system, if it is essential.
    essential
        False: the system goes on without it, also when it can't be configured.
    environment
        Variables set for this process on top of the parent's.
    namespace
        The ROS namespace of its relative names; empty for none.
    signal_when_orphaned
        What the kernel sends when the supervisor dies without ending the process (Linux).
    """

    name: str
    executable: str
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
    respawn: bool = False
    essential: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)
    namespace: str = ""
    signal_when_orphaned: signal.Signals = signal.SIGKILL

    @property
    def module(self) -> str:
        """The Python module that runs the node."""
        return f"swiftvla_ros.nodes.{self.executable}"

    def command(self) -> list[str]:
        """Return the command line that starts the node without ``launch``."""
        arguments = [sys.executable, "-m", self.module, "--ros-args", "-r", f"__node:={self.name}"]
        if self.namespace:
            arguments += ["-r", f"__ns:=/{self.namespace.strip('/')}"]
        for key, value in self.parameters.items():
            # JSON is YAML: quotes keep a text such as "1" or "on" a text.
            arguments += ["-p", f"{key}:={json.dumps(value, ensure_ascii=False)}"]
        return arguments


def describe(
    robot: str | Path = DEFAULT_ROBOT,
    checkpoint: str | Path = DEFAULT_CHECKPOINT,
    *,
    device: str = "auto",
    namespace: str = "",
    sim: bool = False,
    loopback: bool = False,
    shadow: bool = False,
    seed: int = 0,
    record: str | Path | None = None,
    black_box: str | Path | None = None,
    geometry: bool = False,
    targets: str | Path | None = None,
) -> list[ProcessDescription]:
    """Describe all processes that make the arm do what it is told.

    Parameters
    ----------
    robot
        Contract: a file, or the name of a shipped one.
    checkpoint
        The policy's folder; a relative one is looked for here and then in the installed share folder.
    device
        ``auto``, ``cpu`` or ``cuda``.
    namespace
        ROS namespace of all nodes.
    sim, seed
        With ``sim`` the simulated robot is started too; ``seed`` chooses its first scene.
    loopback
        The loop-back robot is started too: an arm that is where it is told to be, and grey pictures.
    shadow
        Nothing is commanded; what would be is published.
    record
        A new bag's folder: everything is recorded into it.
    black_box
        Folder in which the last seconds are written when something goes wrong.
    geometry, targets
        The 4D transformer is started, too; with ``targets`` it writes teacher targets into that folder.

    Raises
    ------
    ContractError
        The contract can't be used.
    ValueError
        ``sim`` and ``loopback`` together: two drivers for one arm. Or ``record`` exists.
    """
    if sim and loopback:
        raise ValueError("sim and loopback are both the robot's driver; choose one")
    if record and Path(record).exists():
        raise ValueError(f"{record}: exists already; choose another folder, bags are never overwritten")
    contract = load_contract(robot)
    robot_parameter = {"robot": _robot_parameter(robot)}
    processes = describe_simulated_robot(robot, namespace=namespace, seed=seed) if sim else []
    if loopback:
        processes.append(describe_loopback_robot(robot, namespace=namespace))
    processes += [
        ProcessDescription(
            name=f"camera_{camera}",
            executable="camera_node",
            # A simulated camera's pictures of a scene at rest are alike; a real one's never are.
            parameters={**robot_parameter, "camera": camera, "repeated_for_s": 0.0 if sim else _REPEATED_FOR_S},
            respawn=True,
            environment=_ONE_THREAD,
            namespace=namespace,
        )
        for camera in contract.camera_names
    ]
    processes.append(
        ProcessDescription(
            name="joint_state",
            executable="joint_state_node",
            parameters=robot_parameter,
            respawn=True,
            environment={**_ONE_THREAD, **transport_environment(images=False)},
            namespace=namespace,
        )
    )
    threads = policy_threads()
    processes.append(
        ProcessDescription(
            name="policy",
            executable="policy_node",
            parameters={
                **robot_parameter,
                "checkpoint": str(checkpoint_folder(checkpoint)),
                "device": device,
                "threads": threads,
            },
            respawn=True,
            environment={"OMP_NUM_THREADS": str(threads)},
            namespace=namespace,
        )
    )
    # A new executor knows nothing of the motion that its predecessor was in: the system ends instead.
    processes.append(
        ProcessDescription(
            name="trajectory_executor",
            executable="trajectory_executor_node",
            parameters={**robot_parameter, "shadow": shadow},
            environment={**_ONE_THREAD, **transport_environment(images=False)},
            # It brings the arm to rest before it ends, so it is asked to, even when nothing else is left.
            signal_when_orphaned=signal.SIGTERM,
            namespace=namespace,
        )
    )
    if record or black_box:
        recorder = describe_recorder(
            record or None, robot, namespace=namespace, checkpoint=checkpoint, black_box=black_box or None
        )
        processes.append(recorder)
    if geometry or targets:
        bag = Path(record).name if record else ""
        processes.append(describe_geometry(robot, namespace=namespace, targets=targets or None, bag=bag))
    return processes


def describe_simulated_robot(
    robot: str | Path = DEFAULT_ROBOT, *, namespace: str = "", seed: int = 0
) -> list[ProcessDescription]:
    """Describe the simulated robot alone; its death ends the system, as a robot driver's would."""
    environment = dict(_ONE_THREAD)
    if sys.platform.startswith("linux"):
        # Software OpenGL: works on a machine without a display and without a GPU.
        environment["MUJOCO_GL"] = os.environ.get("MUJOCO_GL", "egl")
    return [
        ProcessDescription(
            name="sim_robot",
            executable="sim_robot_node",
            parameters={"robot": _robot_parameter(robot), "seed": seed},
            environment=environment,
            namespace=namespace,
        )
    ]


def describe_loopback_robot(robot: str | Path = DEFAULT_ROBOT, *, namespace: str = "") -> ProcessDescription:
    """Describe the loop-back robot alone; as a driver's, its death ends the system."""
    return ProcessDescription(
        name="loopback_robot",
        executable="loopback_robot_node",
        parameters={"robot": _robot_parameter(robot)},
        environment=_ONE_THREAD,
        namespace=namespace,
    )


def describe_recorder(
    bag: str | Path | None = None,
    robot: str | Path = DEFAULT_ROBOT,
    *,
    namespace: str = "",
    checkpoint: str | Path | None = None,
    black_box: str | Path | None = None,
    name: str = "recorder",
    options: Mapping[str, ParameterValue] | None = None,
) -> ProcessDescription:
    """Describe the process that records topics, chunks, commands and states.

    Parameters
    ----------
    bag
        The new bag's folder; None: only a black box.
    checkpoint
        The policy's folder, to be named in the bag.
    black_box
        Folder for the last seconds before a fault or a stop; None: no black box.
    options
        More parameters of the node, such as ``images`` or ``compression``.
    """
    parameters: dict[str, ParameterValue] = {"robot": _robot_parameter(robot)}
    if bag is not None:
        parameters["bag"] = str(Path(bag).resolve())
    if black_box is not None:
        parameters["black_box"] = str(Path(black_box).resolve())
    if checkpoint is not None:
        parameters["checkpoint"] = str(checkpoint_folder(checkpoint))
    return ProcessDescription(
        name=name,
        executable="recorder_node",
        parameters={**parameters, **(options or {})},
        # A bag is never overwritten, so a recorder that died can't go on; one with nothing but a black box can. The
        # robot goes on without either.
        respawn=bag is None,
        essential=False,
        environment=_ONE_THREAD,
        namespace=namespace,
    )


def describe_geometry(
    robot: str | Path = DEFAULT_ROBOT,
    *,
    namespace: str = "",
    geometry: str | Path = DEFAULT_GEOMETRY,
    device: str = "cpu",
    targets: str | Path | None = None,
    bag: str = "",
    depth: bool = False,
    points: bool = False,
) -> ProcessDescription:
    """Describe the 4D transformer beside the policy.

    Parameters
    ----------
    geometry
        Its checkpoint; a relative one is looked for here and then in the installed share folder.
    targets
        Folder for teacher targets; None: none are written.
    bag
        Name of the bag that is recorded meanwhile, for the targets; empty for none.
    depth, points
        Publish depth images and point clouds, too.
    """
    return ProcessDescription(
        name="geometry",
        executable="geometry_node",
        parameters={
            "robot": _robot_parameter(robot),
            "geometry": str(checkpoint_folder(geometry)),
            "device": device,
            "targets": "" if targets is None else str(Path(targets).resolve()),
            "bag": bag,
            "depth": depth,
            "points": points,
        },
        respawn=True,
        # It only watches: the robot goes on without it.
        essential=False,
        environment=_ONE_THREAD,
        namespace=namespace,
    )


def describe_replay(
    bag: str | Path, *, namespace: str = "", rate: float = 1.0, loop: bool = False, sensors: str = "auto"
) -> ProcessDescription:
    """Describe the process that plays a bag's sensors into the graph; the node finds the contract in the bag."""
    return ProcessDescription(
        name="replay",
        executable="replay_node",
        parameters={"bag": str(Path(bag).resolve()), "rate": rate, "loop": loop, "sensors": sensors},
        environment=_ONE_THREAD,
        namespace=namespace,
    )


def policy_threads() -> int:
    """Return the threads for inference: half the cores, so that cameras and executor keep theirs; at most 8."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(8, cores // 2))


def transport_environment(environment: Mapping[str, str] | None = None, *, images: bool = True) -> dict[str, str]:
    """Return the variables that choose a Fast DDS profile: ``config/fastdds_shm.xml``, or ``fastdds_udp.xml``.

    For ``images``, a shared-memory segment that is large enough: the default of 512 kB is smaller than one 640×480
    image, and more than half of them are lost. Without, UDP: nobody who hangs or dies can hold up such a process. Fast
    DDS renamed the variable with version 3; a profile that the user chose is left alone.
    """
    environment = os.environ if environment is None else environment
    names = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
    if any(environment.get(name) for name in names):
        return {}
    profile = str(share_folder() / "config" / ("fastdds_shm.xml" if images else "fastdds_udp.xml"))
    # Fast DDS 3 (Kilted and later) warns of the old name, and older ones know nothing else.
    if environment.get("ROS_DISTRO") in ("humble", "jazzy"):
        return {names[1]: profile}
    return {names[0]: profile}


def share_folder() -> Path:
    """Return the folder that holds ``config`` and ``models``: the checkout, or the installed share.

    Raises
    ------
    FileNotFoundError
        Neither is there: the package is not installed whole.
    """
    for robots in robots_folders():
        return robots.parents[1]
    raise FileNotFoundError("swiftvla_ros: config/robots is not installed; install the package with colcon or pip")


def checkpoint_folder(checkpoint: str | Path) -> Path:
    """Return ``checkpoint`` as an absolute path: as given where it exists, else below the share folder.

    A folder that exists nowhere is returned as given: the policy node names it when it refuses to start.
    """
    path = Path(checkpoint).expanduser()
    if path.exists() or path.is_absolute():
        return path.resolve()
    installed = share_folder() / path
    return installed if installed.exists() else path.resolve()


def _robot_parameter(robot: str | Path) -> str:
    """Return a contract file by its absolute path, so that each process finds it; a shipped one by its name."""
    path = Path(robot)
    return str(path.resolve()) if path.is_file() else str(robot)
