# SPDX-License-Identifier: Apache-2.0
"""The processes of a running system, described once.

``launch/*.launch.py`` turn the descriptions into ``launch_ros`` nodes, :class:`swiftvla_ros.bringup.Supervisor` into
plain processes; neither knows anything of its own, so both start the same system with the same parameters.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swiftvla_ros.bringup.system_options import ReplayOptions, SystemOptions
from swiftvla_ros.contract import load_contract, load_robot
from swiftvla_ros.contract.checks.ros_names import plain_namespace
from swiftvla_ros.errors import UserError
from swiftvla_ros.resources import DEFAULT_GEOMETRY, model_path, share_folder

ParameterValue = bool | int | float | str

# Pools of threads inside numpy, OpenCV and Fast DDS gain nothing on one small image and steal the policy's cores.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
# glibc gives memory of a picture's size back to the kernel at once, and faults its pages in again for the next picture;
# whoever copies pictures all the time keeps what it had: thresholds of mallopt(3), bytes.
_PICTURES = {**_ONE_THREAD, "MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20)}
# A camera driver that hangs may go on publishing its last picture with new stamps.
_REPEATED_FOR_S = 1.0


class SystemOptionError(UserError, ValueError):
    """Choices that make no system; the message says which, and what to choose instead."""


@dataclass(frozen=True)
class ProcessDescription:
    """One process of the system: a node, its parameters, and what to do when it dies.

    The ``executable`` in ``lib/swiftvla_ros`` has the name of its module in ``swiftvla_ros.nodes``; the node's own name
    is also the prefix of each line that it prints.
    """

    name: str
    executable: str
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
    # Started again after it died? Else its death ends the whole system, if it is essential.
    respawn: bool = False
    # Without what is not, the system goes on, also when it can't be configured.
    essential: bool = True
    # On top of the parent's.
    environment: Mapping[str, str] = field(default_factory=dict)
    # The ROS namespace of its relative names; empty for none.
    namespace: str = ""
    # What the kernel sends when the supervisor dies without ending the process (Linux).
    signal_when_orphaned: signal.Signals = signal.SIGKILL

    def __post_init__(self) -> None:
        """Refuse a namespace here, in one sentence, before every process ends in ROS's own words."""
        plain_namespace(self.namespace)

    @property
    def module(self) -> str:
        """The Python module that runs the node."""
        return f"swiftvla_ros.nodes.{self.executable}"

    def command(self) -> list[str]:
        """Return the command line that starts the node without ``launch``."""
        return [sys.executable, "-m", self.module, *self.arguments()]

    def arguments(self) -> list[str]:
        """Return what the node's module is given on that line, or by whoever runs it in a process of its own."""
        arguments = ["--ros-args", "-r", f"__node:={self.name}"]
        if self.namespace:
            arguments += ["-r", f"__ns:=/{plain_namespace(self.namespace)}"]
        for key, value in self.parameters.items():
            # JSON is YAML: quotes keep a text such as "1" or "on" a text.
            arguments += ["-p", f"{key}:={json.dumps(value, ensure_ascii=False)}"]
        return arguments


def describe(options: SystemOptions) -> list[ProcessDescription]:
    """Describe all processes that make the arm do what it is told.

    SystemOptionError where there are two drivers for one arm, ``record`` exists, or a monitor doesn't.
    """
    if options.record and options.record.exists():
        raise SystemOptionError(f"{options.record}: exists already; choose another folder, bags are never overwritten")
    contract = load_robot(options.robot)
    cameras = [
        _describe(
            options,
            f"camera_{camera}",
            "camera_node",
            # A simulated camera's pictures of a scene at rest are alike; a real one's never are.
            {"camera": camera, "repeated_for_s": 0.0 if options.sim else _REPEATED_FOR_S},
            environment=_PICTURES,
            respawn=True,
        )
        for camera in contract.camera_names
    ]
    joint_state, executor = describe_motion(options)
    policy = [describe_policy(options)] if options.checkpoint or options.policy_from else []
    processes = [*describe_robot(options), *cameras, joint_state, *policy, executor]
    if options.teleop != "off":
        processes.append(describe_teleop(options))
    if options.preflight or contract.control.require_preflight:
        # Without it the arm only does not begin to move; it hears no images but while it looks at them.
        processes.append(_describe(options, "preflight", "preflight_node", respawn=True, essential=False))
    if options.record or options.black_box:
        processes.append(describe_recorder(options))
    if options.geometry or options.targets:
        processes.append(describe_geometry(options))
    if options.panel:
        processes.append(describe_panel(options))
    return processes + describe_monitors(options)


def describe_robot(options: SystemOptions) -> list[ProcessDescription]:
    """Describe the chosen robot: the simulated one, the loop-back, our drivers, or none; its death ends the system.

    SystemOptionError where two are chosen.
    """
    chosen = [name for name in ("sim", "loopback", "drivers", "emulated_bus") if getattr(options, name)]
    if len(chosen) > 1:
        raise SystemOptionError(f"{' and '.join(chosen)} are each the robot's driver; choose one")
    if options.sim:
        return [describe_simulated_robot(options)]
    if options.loopback:
        return [_describe(options, "loopback_robot", "loopback_robot_node")]
    return describe_drivers(options) if options.drivers or options.emulated_bus else []


def describe_motion(options: SystemOptions) -> tuple[ProcessDescription, ProcessDescription]:
    """Describe what moves the arm, whoever wants it moved: the measured joints' node and the executor."""
    no_shared_memory = {**_ONE_THREAD, **transport_environment(images=False)}
    return (
        _describe(options, "joint_state", "joint_state_node", respawn=True, environment=no_shared_memory),
        # A new executor knows nothing of the motion that its predecessor was in: the system ends instead.
        _describe(
            options,
            "trajectory_executor",
            "trajectory_executor_node",
            {"shadow": options.shadow},
            environment=no_shared_memory,
            # It brings the arm to rest before it ends, so it is asked to, even when nothing else is left.
            signal_when_orphaned=signal.SIGTERM,
        ),
    )


def describe_teleop(options: SystemOptions) -> ProcessDescription:
    """Describe a person's node: that it died must not end the system, in which the executor holds the arm."""
    environment = {**_ONE_THREAD, **transport_environment(images=False)}
    hand = {"hand": options.teleop}
    return _describe(options, "teleop", "teleop_node", hand, respawn=True, essential=False, environment=environment)


def describe_simulated_robot(options: SystemOptions) -> ProcessDescription:
    """Describe the simulated robot alone; its death ends the system, as a robot driver's would."""
    environment = dict(_PICTURES)
    if sys.platform.startswith("linux"):
        # Software OpenGL: works on a machine without a display and without a GPU.
        environment["MUJOCO_GL"] = os.environ.get("MUJOCO_GL", "egl")
    return _describe(
        options, "sim_robot", "sim_robot_node", {"seed": options.seed, "scene": options.scene}, environment=environment
    )


def describe_drivers(options: SystemOptions) -> list[ProcessDescription]:
    """Describe this package's own drivers of what the contract's ``drivers`` names, or of emulated servos and films.

    The arm's death ends the system; without a leader it goes on.
    """
    contract = load_robot(options.robot)
    cameras = contract.drivers.cameras
    arms = {"follower": contract.drivers.arm, "leader": contract.drivers.leader}
    if options.emulated_bus and arms["follower"] is None:
        raise SystemOptionError(
            f"{contract.path}: drivers.arm: missing, and that is what emulated_bus stands in for; "
            "config/robots/so101.yaml has one"
        )
    if not (cameras or any(arms.values())):
        raise SystemOptionError(f"{contract.path}: drivers: missing, and that is what would be started; docs/so101.md")
    processes, places = [], dict[str, dict[str, ParameterValue]]()
    if options.emulated_bus:
        folder = emulated_bus_folder(options.namespace)
        processes.append(_describe(options, "emulated_bus", "emulated_bus_node", {"folder": str(folder)}))
        # Ports and calibrations appear while the drivers start.
        places = {
            role: {"port": str(folder / role), "calibration": str(folder / f"{role}.json"), "wait_s": 30.0}
            for role in arms
        }
        cameras = {name: camera for name, camera in cameras.items() if camera.film}
    if arms["follower"] is not None:
        processes.append(
            _describe(
                options,
                "so101_driver",
                "so101_driver_node",
                places.get("follower"),
                environment={**_ONE_THREAD, **transport_environment(images=False)},
                # It lets the arm go limp before it ends, so it is asked to, even when nothing else is left.
                signal_when_orphaned=signal.SIGTERM,
            )
        )
    if arms["leader"] is not None:
        processes.append(_describe(options, "so101_leader", "so101_leader_node", places.get("leader"), essential=False))
    # A camera whose driver hangs ends its process, and comes back.
    processes += [
        _describe(options, f"usb_camera_{camera}", "usb_camera_node", {"camera": camera}, respawn=True)
        for camera in cameras
    ]
    return processes


def emulated_bus_folder(namespace: str = "") -> Path:
    """Where the emulated bus has its ports: a place for each user, ROS domain and namespace."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    domain = os.environ.get("ROS_DOMAIN_ID", "0") or "0"
    parts = ["swiftvla_bus", str(user), domain, *filter(None, [plain_namespace(namespace).replace("/", "_")])]
    return Path(tempfile.gettempdir()) / "_".join(parts)


def describe_policy(options: SystemOptions) -> ProcessDescription:
    """Describe the process that makes chunks, or plays those of a bag."""
    threads = policy_threads()
    parameters: dict[str, ParameterValue] = {"runtime": options.runtime, "device": options.device, "threads": threads}
    if options.policy_from:
        parameters["policy_from"] = str(options.policy_from.resolve())
    else:
        parameters["checkpoint"] = str(model_path(options.checkpoint))
    return _describe(
        options, "policy", "policy_node", parameters, respawn=True, environment={"OMP_NUM_THREADS": str(threads)}
    )


def describe_recorder(options: SystemOptions, **more: ParameterValue) -> ProcessDescription:
    """Describe the process that records topics, chunks, commands and states into a bag or only a black box.

    An empty ``checkpoint`` is not named in the bag; ``more`` are parameters of the node, such as ``images``.
    """
    parameters: dict[str, ParameterValue] = {}
    if options.record:
        parameters["bag"] = str(options.record.resolve())
    if options.black_box:
        parameters["black_box"] = str(options.black_box.resolve())
    if options.checkpoint and not options.policy_from:
        parameters["checkpoint"] = str(model_path(options.checkpoint))
    # A bag is never overwritten, so a recorder that died can't go on; one with nothing but a black box can. The robot
    # goes on without either.
    respawn = options.record is None
    return _describe(options, "recorder", "recorder_node", parameters | more, respawn=respawn, essential=False)


def describe_geometry(options: SystemOptions) -> ProcessDescription:
    """Describe the 4D transformer beside the policy; it only watches: the robot goes on without it."""
    parameters: dict[str, ParameterValue] = {"geometry": str(model_path(DEFAULT_GEOMETRY))}
    if options.targets:
        parameters["targets"] = str(options.targets.resolve())
    if options.record:
        parameters["bag"] = options.record.name
    return _describe(options, "geometry", "geometry_node", parameters, respawn=True, essential=False)


def describe_panel(options: SystemOptions, token_file: Path | None = None) -> ProcessDescription:
    """Describe the operator's page; the robot goes on without it, as its contract says."""
    parameters: dict[str, ParameterValue] = {"address": options.panel_address}
    if token_file is not None:
        parameters["token_file"] = str(token_file.resolve())
    return _describe(options, "panel", "panel_node", parameters, respawn=True, essential=False, environment=_PICTURES)


def describe_monitors(options: SystemOptions) -> list[ProcessDescription]:
    """Describe the chosen nodes that watch, ``NAME`` or ``NAME_node``: the robot goes on without them."""
    monitors = []
    # Those that know the checkpoint's training data are told which one it is.
    checkpoint = model_path(options.checkpoint) if options.checkpoint and not options.policy_from else ""
    for name in filter(None, (name.strip().removesuffix("_node") for name in options.monitors.split(","))):
        executable = f"{name}_node"
        told = {"checkpoint": str(checkpoint)}
        monitor = _describe(options, name, executable, told, respawn=True, essential=False)
        if not executable.isidentifier() or importlib.util.find_spec(monitor.module) is None:
            raise SystemOptionError(
                f"monitors: '{name}' is no node of swiftvla_ros; write names of swiftvla_ros/nodes/"
            )
        monitors.append(monitor)
    return monitors


def describe_demonstration(options: SystemOptions, session: Path, **more: ParameterValue) -> list[ProcessDescription]:
    """Describe what records demonstrations into the folder ``session``, the chosen drivers, and what leads the arm.

    ``more`` are parameters of its node, such as ``instruction``.
    """
    leading = [] if options.teleop == "off" else [*describe_motion(options), describe_teleop(options)]
    # An episode that was cut off is found, kept and marked by the next process.
    parameters = {"session": str(session.resolve()), "teleop": options.teleop != "off", **more}
    recorder = _describe(options, "demonstration", "demonstration_node", parameters, respawn=True)
    return [*describe_robot(options), *leading, recorder]


def describe_replay(options: ReplayOptions) -> ProcessDescription:
    """Describe the process that plays a bag's sensors into the graph; the node finds the contract in the bag."""
    return ProcessDescription(
        name="replay",
        executable="replay_node",
        parameters={
            "bag": str(options.bag.resolve()),
            "robot": str(load_contract(options.robot).path.resolve()) if options.robot else "",
            "namespace": options.namespace,
            "rate": options.rate,
            "loop": options.loop,
            "sensors": options.sensors,
        },
        environment=_ONE_THREAD,
        namespace=options.namespace,
    )


def _describe(
    options: SystemOptions,
    name: str,
    executable: str,
    parameters: Mapping[str, ParameterValue] | None = None,
    environment: Mapping[str, str] = _ONE_THREAD,
    **fate: Any,
) -> ProcessDescription:
    """Describe a node of the system: with its robot, in its namespace."""
    file = Path(options.robot)
    # A contract file by its absolute path, so that each process finds it; a shipped one by its name.
    robot = str(file.resolve()) if file.is_file() else options.robot
    parameters = {"robot": robot, **(parameters or {})}
    return ProcessDescription(
        name, executable, parameters, environment=environment, namespace=options.namespace, **fate
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
