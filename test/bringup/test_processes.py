# SPDX-License-Identifier: Apache-2.0
"""The one description of the processes, which launch files and supervisor read."""

import importlib.util
import json
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from swiftvla_ros.bringup.processes import (
    ProcessDescription,
    describe,
    describe_policy,
    describe_recorder,
    describe_replay,
    describe_simulated_robot,
    transport_environment,
)
from swiftvla_ros.bringup.system_options import ReplayOptions, SystemOptions
from swiftvla_ros.contract import ContractError, load_contract
from swiftvla_ros.resources import share_folder


def by_name(processes: list[ProcessDescription]) -> dict[str, ProcessDescription]:
    """Look processes up by their names."""
    return {p.name: p for p in processes}


def test_a_real_robot_gets_a_process_per_camera_and_no_simulator() -> None:
    """Protects: the system matches the contract's cameras, and a real arm never meets the simulated one."""
    contract = load_contract("so101")
    names = set(by_name(describe(SystemOptions("so101", "nowhere"))))
    cameras = {f"camera_{c}" for c in contract.camera_names}
    assert names == cameras | {"joint_state", "policy", "trajectory_executor"}


def test_a_replay_plays_the_robot_that_is_named(tmp_path: Path) -> None:
    """Protects `ros2 launch … replay.launch.py robot:= namespace:=`: both reach the node that opens the bag (A1)."""
    described = describe_replay(ReplayOptions(bag=tmp_path, robot="so101", namespace="arm1"))
    assert described.parameters["robot"] == str(load_contract("so101").path)
    assert described.parameters["namespace"] == described.namespace == "arm1"
    assert describe_replay(ReplayOptions(bag=tmp_path)).parameters["robot"] == ""


def test_only_what_can_come_back_safely_is_respawned() -> None:
    """Protects: an executor or a robot that comes back without its past never moves the arm."""
    processes = by_name(describe(SystemOptions(sim=True)))
    assert {n for n, p in processes.items() if not p.respawn} == {"trajectory_executor", "sim_robot"}
    assert not by_name(describe(SystemOptions(loopback=True)))["loopback_robot"].respawn


def test_two_drivers_for_one_arm_are_refused() -> None:
    """Protects: the simulated and the loop-back robot never answer for the same joints."""
    with pytest.raises(ValueError, match="choose one"):
        describe(SystemOptions(sim=True, loopback=True))
    with pytest.raises(ValueError, match="loopback and emulated_bus"):
        describe(SystemOptions("so101", loopback=True, emulated_bus=True))


def test_the_emulated_bus_has_the_real_drivers_on_it() -> None:
    """Protects dry runs: what drives a real arm drives the emulated one, only ports and calibrations are others."""
    real = by_name(describe(SystemOptions("so101", drivers=True)))
    emulated = by_name(describe(SystemOptions("so101", emulated_bus=True)))
    assert {name for name in real if name.startswith("so101")} == {"so101_driver", "so101_leader"}
    assert set(emulated) - set(real) == {"emulated_bus"}
    assert real["so101_driver"].essential
    assert not real["so101_leader"].essential
    folder = emulated["emulated_bus"].parameters["folder"]
    assert emulated["so101_driver"].parameters["port"] == f"{folder}/follower"
    assert emulated["so101_leader"].parameters["calibration"] == f"{folder}/leader.json"
    with pytest.raises(ValueError, match="drivers: missing"):
        describe(SystemOptions("so101_sim", drivers=True))


def test_own_drivers_are_started_where_the_contract_names_them(tmp_path: Path) -> None:
    """Protects `up --drivers`: a process for each camera with an entry, which comes back; none for the others'."""
    sim = load_contract("so101_sim")
    (tmp_path / sim.file.kinematics.urdf).write_text(sim.urdf_path.read_text())
    robot = tmp_path / "arm.yaml"
    robot.write_text(f"{sim.text}\ndrivers: {{cameras: {{wrist: {{film: wrist.mjpeg}}}}}}\n")
    processes = by_name(describe(SystemOptions(str(robot), "nowhere", drivers=True)))
    assert processes["usb_camera_wrist"].parameters["camera"] == "wrist"
    assert processes["usb_camera_wrist"].respawn
    assert "usb_camera_front" not in processes
    with pytest.raises(ValueError, match="choose one"):
        describe(SystemOptions(loopback=True, drivers=True))


def test_shadow_mode_reaches_the_executor_and_nobody_else() -> None:
    """Protects: a dry run that was asked for is one."""
    processes = describe(SystemOptions("so101", "nowhere", shadow=True))
    given = {p.name: p.parameters.get("shadow") for p in processes}
    assert given.pop("trajectory_executor") is True
    assert set(given.values()) == {None}
    assert by_name(describe(SystemOptions()))["trajectory_executor"].parameters["shadow"] is False


def test_every_process_is_a_module_that_exists() -> None:
    """Protects: a renamed node is found here and not on the robot."""
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    everything = SystemOptions(sim=True, black_box=Path("boxes"), geometry=True, teleop="jog")
    for process in [*describe(everything), *describe(SystemOptions(loopback=True))]:
        assert importlib.util.find_spec(process.module) is not None, process.module


def test_parameters_reach_the_command_line_with_their_types() -> None:
    """Protects: a text that looks like a number stays a text, and a number a number."""
    process = ProcessDescription("camera_1", "camera_node", {"robot": "1", "seed": 2, "film": True}, namespace="/left")
    command = process.command()
    assert command[1:5] == ["-m", "swiftvla_ros.nodes.camera_node", "--ros-args", "-r"]
    assert "__node:=camera_1" in command
    assert "__ns:=/left" in command
    given = dict(argument.split(":=", 1) for before, argument in pairwise(command) if before == "-p")
    assert {k: yaml.safe_load(v) for k, v in given.items()} == {"robot": "1", "seed": 2, "film": True}
    assert given["robot"] == json.dumps("1")


def test_a_contract_file_is_passed_as_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects: nodes that launch starts in another folder find the file."""
    original = load_contract("so101_sim").path
    for name in ("so101_sim.yaml", "so101.urdf"):
        (tmp_path / name).write_text((original.parent / name).read_text())
    monkeypatch.chdir(tmp_path)
    process = describe_simulated_robot(SystemOptions("so101_sim.yaml", seed=7))
    assert process.parameters["robot"] == str(tmp_path / "so101_sim.yaml")
    assert process.parameters["seed"] == 7


def test_a_bad_contract_is_refused_before_anything_starts() -> None:
    """Protects: one clear message instead of five dying processes."""
    with pytest.raises(ContractError, match="no such contract"):
        describe(SystemOptions("so102"))


def test_the_transport_has_room_for_images_unless_the_user_chose() -> None:
    """Protects: images are not lost by Fast DDS's small default segment; a user's own profile stays."""
    (value,) = transport_environment({}).values()
    assert Path(value) == share_folder() / "config" / "fastdds_shm.xml"
    assert Path(value).is_file()
    assert list(transport_environment({"ROS_DISTRO": "humble"})) == ["FASTRTPS_DEFAULT_PROFILES_FILE"]
    assert transport_environment({"FASTRTPS_DEFAULT_PROFILES_FILE": "mine.xml"}) == {}


def test_nobody_who_dies_holds_up_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects: executor and joint states share no lock with other processes: their profile has no shared memory."""
    for name in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"):
        monkeypatch.delenv(name, raising=False)
    profiles = {p.name: p.environment.get("FASTDDS_DEFAULT_PROFILES_FILE") for p in describe(SystemOptions(sim=True))}
    chosen = {name for name, profile in profiles.items() if profile is not None}
    assert chosen == {"joint_state", "trajectory_executor"}
    (profile,) = {profiles[name] for name in chosen}
    text = Path(str(profile)).read_text(encoding="utf-8")
    assert "UDPv4" in text
    assert "SHM" not in text.split("-->")[1]


def test_what_only_watches_never_ends_the_system(tmp_path: Path) -> None:
    """Protects: a full disk under the recorder, or a 4D transformer that dies, does not stop the arm's work."""
    options = SystemOptions(
        "so101", record=tmp_path / "bag", black_box=tmp_path / "boxes", targets=tmp_path / "targets"
    )
    processes = by_name(describe(options))
    assert {n for n, p in processes.items() if not p.essential} == {"recorder", "geometry"}
    recorder, geometry = processes["recorder"].parameters, processes["geometry"].parameters
    assert (recorder["bag"], recorder["black_box"]) == (str(tmp_path / "bag"), str(tmp_path / "boxes"))
    assert Path(str(recorder["checkpoint"])).is_dir()
    assert (geometry["targets"], geometry["bag"]) == (str(tmp_path / "targets"), "bag")
    assert describe_recorder(SystemOptions(black_box=tmp_path)).respawn


def test_a_bag_that_exists_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """Protects: nobody works for an hour believing that it is recorded."""
    with pytest.raises(ValueError, match="never overwritten"):
        describe(SystemOptions(record=tmp_path))


def test_monitors_watch_and_never_end_the_system() -> None:
    """Protects: a monitor is a node and a name on the command line; a wrong name is told before anything starts."""
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    processes = by_name(describe(SystemOptions("so101", monitors="geometry, loopback_robot_node")))
    assert {n for n, p in processes.items() if not p.essential} == {"geometry", "loopback_robot"}
    assert processes["geometry"].parameters == {
        "robot": "so101",
        "checkpoint": processes["policy"].parameters["checkpoint"],
    }
    with pytest.raises(ValueError, match="'watchdog' is no node"):
        describe(SystemOptions(monitors="watchdog"))


def test_a_person_s_node_is_there_where_it_is_asked_for() -> None:
    """Protects: no arm can be led unless somebody chose so, and a person's node that dies ends nothing."""
    assert "teleop" not in by_name(describe(SystemOptions()))
    teleop = by_name(describe(SystemOptions(teleop="leader")))["teleop"]
    assert teleop.parameters["hand"] == "leader"
    assert (teleop.respawn, teleop.essential) == (True, False)


def test_a_bag_in_the_place_of_weights_needs_no_checkpoint(tmp_path: Path) -> None:
    """Protects: a machine without the checkpoint runs the graph, and the bag names no policy that did not run."""
    options = SystemOptions(checkpoint="nowhere", policy_from=tmp_path, record=tmp_path / "bag")
    assert describe_policy(options).parameters["policy_from"] == str(tmp_path)
    assert "checkpoint" not in {**describe_policy(options).parameters, **describe_recorder(options).parameters}


def test_without_a_checkpoint_only_others_move_the_arm() -> None:
    """Protects who drives with LeRobot or by hand: no policy is started that could not load anything."""
    names = set(by_name(describe(SystemOptions(checkpoint="", teleop="leader"))))
    assert {"teleop", "trajectory_executor"} <= names
    assert "policy" not in names


def test_a_pre_flight_runs_where_it_is_asked_for_or_required(tmp_path: Path) -> None:
    """Protects: a contract that requires one is never started without the node that makes it."""
    shipped = load_contract("so101_sim")
    assert shipped.urdf_path is not None
    (tmp_path / "so101.urdf").write_bytes(shipped.urdf_path.read_bytes())
    required = tmp_path / "robot.yaml"
    required.write_text(shipped.text + "\n  require_preflight: true\n", encoding="utf-8")
    assert "preflight" not in by_name(describe(SystemOptions(sim=True)))
    for options in (SystemOptions(sim=True, preflight=True), SystemOptions(str(required), sim=True)):
        node = by_name(describe(options))["preflight"]
        assert node.executable == "preflight_node"
        assert not node.essential
