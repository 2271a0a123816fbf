# SPDX-License-Identifier: Apache-2.0
"""What the running system does when a part of it fails: one test a fault, one row each of ``docs/faults.md``."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install '.[ros]' or source a ROS setup")

from lifecycle_msgs.msg import Transition

from swiftvla_ros.contract import load_contract
from swiftvla_ros.contract.exit_codes import EXIT_STOOD_STILL
from swiftvla_ros.motion import check_limits
from swiftvla_ros.msg import ExecutorState
from swiftvla_ros.observation.message_fields import stamp_ns

pytestmark = [pytest.mark.ros, pytest.mark.timeout(180)]
CONTRACT = load_contract("so101_sim")
HERE = Path(__file__).parent
FRESH, TAIL, HOLD = ExecutorState.FRESH, ExecutorState.TAIL, ExecutorState.HOLD

# What a message's way through the graph may add to a time that the contract gives.
TRANSPORT_S = 0.15
# The last chunk's last row is 0.9 s after its observation; rest follows within 0.5 s of it.
ROWS_END_S = 0.9 + 0.5 + TRANSPORT_S
# Joint states older than this slow the arm down, which takes 0.5 s.
STATE_END_S = CONTRACT.policy.max_state_age_s + 0.5 + TRANSPORT_S
NO_CHUNKS = (ExecutorState.REASON_ROWS_EXHAUSTED, ExecutorState.REASON_CHUNK_LATE)


@contextmanager
def beside(*arguments: object) -> Iterator[Callable[[], str]]:
    """Run a script of this folder; gives a function that returns what it printed so far."""
    lines: list[str] = []
    command = [sys.executable, "-u", str(HERE / str(arguments[0])), *map(str, arguments[1:])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        reader = threading.Thread(target=lines.extend, args=(process.stdout,), daemon=True)
        reader.start()
        try:
            yield lambda: "".join(lines)
        finally:
            process.terminate()
            process.wait(10)
            reader.join(10)


# -- cameras -----------------------------------------------------------------------------------------------------------


def test_camera_dead(system: Any, fault: Any) -> None:
    """A camera driver that ends: the rows that are left, then hold; the policy names the camera."""
    row = fault("camera dead", "the driver publishes no more wrist images")
    system.driver.dead.add("wrist")
    row.ends_in(HOLD, ROWS_END_S, *NO_CHUNKS, policy="camera 'wrist' stopped")
    system.driver.heal()
    row.recovers("images are back")


def test_camera_frozen(system: Any, fault: Any) -> None:
    """A driver that repeats its last image, stamp and all: the same as a dead one."""
    row = fault("camera frozen", "the driver repeats its last front image")
    system.driver.frozen.add("front")
    row.ends_in(HOLD, ROWS_END_S, *NO_CHUNKS, policy="camera 'front' stopped")
    system.driver.heal()
    row.recovers("new images")


def test_cameras_late(system: Any, fault: Any) -> None:
    """Images that show the scene of 0.7 s ago are not acted on."""
    row = fault("cameras late", "all images arrive 0.7 s after their stamps")
    system.driver.late_s = 0.7
    row.ends_in(HOLD, ROWS_END_S, *NO_CHUNKS, policy="s behind this clock")
    system.driver.heal()
    row.recovers("images in time")


def test_camera_of_wrong_size(system: Any, fault: Any) -> None:
    """A driver that starts again at another resolution: refused with both sizes named, never a distorted view."""
    row = fault("camera at wrong size", "images of 320×240 px instead of 640×480")
    system.driver.size = (320, 240)
    row.ends_in(HOLD, ROWS_END_S, *NO_CHUNKS, policy="stopped: its newest stamp is")
    assert "got 320×240 px, expected 640×480" in system.nodes["camera_front"].output()
    system.driver.heal()
    row.recovers("right size")


def test_camera_node_hung(system: Any, fault: Any) -> None:
    """A camera process that stops computing: the same as a dead camera."""
    row = fault("camera process hung", "SIGSTOP to camera_node")
    system.send(signal.SIGSTOP, "camera_front")
    row.ends_in(HOLD, ROWS_END_S, *NO_CHUNKS, policy="camera 'front' stopped")
    system.send(signal.SIGCONT, "camera_front")
    row.recovers("SIGCONT")


# -- joint states ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "name", "injected"),
    [
        ("dead", "joint states dead", "the driver publishes no more joint states"),
        ("nan", "joint states NaN", "one position of each joint state is NaN"),
    ],
)
def test_joint_states_fail(system: Any, fault: Any, kind: str, name: str, injected: str) -> None:
    """Without a measured pose the arm does not run on: it slows down at once and holds."""
    row = fault(name, injected)
    system.driver.joints = kind
    row.ends_in(HOLD, STATE_END_S, ExecutorState.REASON_STATE_STALE, policy="the joint state stopped")
    if kind == "nan":
        assert f"{CONTRACT.joint_names[1]} = nan" in system.nodes["joint_state"].output()
    system.driver.heal()
    row.recovers("joint states are back")


@pytest.mark.parametrize(
    ("kind", "name", "injected"),
    [
        ("permuted", "joint states permuted", "names and positions in reverse order"),
        ("disorder", "joint states out of order", "each second joint state after its successor"),
    ],
)
def test_joint_states_in_another_order(system: Any, fault: Any, kind: str, name: str, injected: str) -> None:
    """Joints are taken by name and states by stamp: the arm goes on, and never sees itself elsewhere."""
    row = fault(name, injected)
    system.driver.joints = kind
    chunk = system.states.last.chunk_id
    row.goes_on(lambda: system.states.last.chunk_id > chunk + 8, "chunks are followed")
    errors = np.array([state.tracking_error for _, state in row.states()])
    assert np.abs(errors).max() < 0.3
    system.driver.heal()
    row.recovers()


def test_a_second_joint_state_publisher(system: Any, fault: Any) -> None:
    """Zeros from a joint_state_publisher beside the driver (report F3): nothing moves, and both nodes are named."""
    system.ready()
    topic = CONTRACT.joint_states.topic
    with beside("rival_publisher.py", topic) as printed:
        row = fault("second joint-state publisher", "a joint_state_publisher of zeros beside the driver")
        system.wait(lambda: "publishing" in printed(), "the rival is there", 60)
        system.wait(lambda: system.graph.node.count_publishers(topic) > 1, "it is discovered")
        row.begins()
        row.ends_in(HOLD, 0.5 + STATE_END_S, ExecutorState.REASON_STATE_STALE, policy="the joint state stopped")
        text = system.states.last.reason_text
        assert "/joint_state_publisher" in text, text
        assert "/test" in text, text
        errors = np.array([state.tracking_error for _, state in row.states()])
        assert np.abs(errors).max() < 0.3
    row.recovers("it is ended", within_s=6.0)


def test_joint_states_glitch_to_zero(system: Any, fault: Any) -> None:
    """One message of zeros now and then, as after a failed read (report F3): it reaches nobody, and is named."""
    row = fault("joint states glitch to zero", "one joint state in 60 is all zeros")
    system.driver.joints = "glitch"
    chunk = system.states.last.chunk_id
    row.goes_on(
        lambda: (
            system.states.last.chunk_id > chunk + 8 and "a state was refused" in system.nodes["joint_state"].output()
        ),
        "chunks are followed, and a state is refused",
        "the log names joint, from and to",
    )
    errors = np.array([state.tracking_error for _, state in row.states()])
    assert np.abs(errors).max() < 0.3
    system.driver.heal()
    row.recovers()


def test_camera_repeats_a_picture(system: Any, fault: Any) -> None:
    """A driver that gives its last picture new stamps while the arm moves: camera_node refuses it after its time."""
    row = fault("camera repeats a picture", "one front picture with fresh stamps (camera_node: repeated_for_s 0.5)")
    system.driver.repeated.add("front")
    row.ends_in(HOLD, 0.5 + ROWS_END_S, *NO_CHUNKS, policy="camera 'front' stopped")
    assert "the driver repeats it" in system.nodes["camera_front"].output()
    system.driver.heal()
    row.recovers("new images")


def test_still_scene(system: Any, fault: Any) -> None:
    """A simulated scene in which nothing moves, with fresh stamps: the resting arm's pictures are believed (F5)."""
    row = fault("still simulator", "pictures with fresh stamps that change with the arm alone, which rests")
    system.change_state("policy", Transition.TRANSITION_DEACTIVATE)
    system.wait(lambda: system.states.last.mode == HOLD, "the arm holds")
    system.driver.still = True
    row.begins()
    system.wait(lambda: time.time() - row.begin_s > 1.5, "the scene is still for longer than repeated_for_s")
    system.change_state("policy", Transition.TRANSITION_ACTIVATE)
    assert system.instruct("pick up the red block").success
    row.safe, row.codes = "goes on", "no complaint"
    row.recovers("the policy is told what to do")
    system.driver.heal()


# -- clocks of two machines --------------------------------------------------------------------------------------------


def test_clock_ahead(system: Any, fault: Any) -> None:
    """Stamps of a robot whose clock is ahead: named with their offset, and used by their time of receipt (F9)."""
    row = fault("clock ahead", "the driver's stamps are 0.4 s ahead")
    names = ("joint_state", "camera_front", "camera_wrist")
    said = {name: len(system.nodes[name].output()) for name in names}
    system.driver.offset_s = 0.4
    chunk = system.states.last.chunk_id
    told = r"is stamped 0\.[234]\d s ahead of this clock; synchronise the clocks \(chrony\)"
    try:
        row.goes_on(
            lambda: system.states.last.chunk_id > chunk + 8,
            "chunks are followed",
            "log: stamped 0.40 s ahead of this clock; synchronise the clocks (chrony)",
        )
        for name in names:
            system.wait(lambda name=name: re.search(told, system.nodes[name].output()[said[name] :]), f"{name} says so")
        system.driver.heal()
        row.recovers()
    finally:
        system.driver.heal()
        healed_s = time.time()
        system.wait(lambda: time.time() - healed_s > 2.5, "a hundred stamps were good, so they count again")


def test_clock_behind(system: Any, fault: Any) -> None:
    """Stamps of a robot whose clock is behind may as well be late: nothing moves, and the offset is told (F9)."""
    row = fault("clock behind", "the driver's stamps are 1 s behind")
    system.driver.offset_s = -1.0
    row.ends_in(HOLD, STATE_END_S, ExecutorState.REASON_STATE_STALE, policy="s behind this clock")
    system.driver.heal()
    row.recovers("stamps of this clock")


# -- policy ------------------------------------------------------------------------------------------------------------


def test_policy_hung(system: Any, fault: Any) -> None:
    """A policy that hangs: the rows that are left, then hold; its first chunk afterwards is too old to be followed."""
    row = fault("policy hung", "SIGSTOP to policy_node")
    system.send(signal.SIGSTOP, "policy")
    row.ends_in(HOLD, ROWS_END_S, *NO_CHUNKS)
    system.send(signal.SIGCONT, "policy")
    row.recovers("SIGCONT")


def test_policy_killed(system: Any, fault: Any) -> None:
    """A policy that is killed: the rows that are left, then hold; a new process takes over without a jump."""
    row = fault("policy killed", "SIGKILL to policy_node")
    system.send(signal.SIGKILL, "policy")
    row.ends_in(HOLD, ROWS_END_S, *NO_CHUNKS)
    held = np.array(system.states.last.commanded_position)
    system.nodes["policy"].wait()
    system.start_policy()
    system.wait(lambda: system.policy_states.messages, "a new policy is active", 120)
    np.testing.assert_array_equal(system.states.last.commanded_position, held)
    assert system.instruct("pick up the red block").success
    row.recovers("a new process and an instruction")


def test_policy_slow(system: Any, fault: Any) -> None:
    """Inference that is held up a quarter of the time: chunks are joined at their stamps, and the arm goes on."""
    row = fault("policy slow", "policy_node gets the processor for 75 ms of every 100 ms")
    chunk = system.states.last.chunk_id
    with system.slowed("policy", run_s=0.075, stop_s=0.025):
        row.goes_on(lambda: system.states.last.chunk_id > chunk + 6, "chunks are followed", late_chunks=True)
    latency_s = dict(zip(system.policy_states.last.latency_stages, system.policy_states.last.latency_s, strict=True))
    row.safe += f", chunks take {latency_s['inference']:.1f} s"
    row.recovers()


def test_policy_floods(system: Any, fault: Any) -> None:
    """Chunks as fast as a processor can send them: the arm follows them inside its limits, and no tick is missed."""
    system.ready()
    with beside("flooding_policy.py", 0.3, "same") as printed:
        system.wait(lambda: "flooding" in printed(), "the flood begins", 60)
        row = fault("policy flooding", "chunks as fast as a process can send them")
        # Not stopped: who is, for longer than its lease, may be lost to the others for minutes (docs/faults.md).
        system.change_state("policy", Transition.TRANSITION_DEACTIVATE)
        accepted = system.states.last.chunks_accepted
        row.goes_on(lambda: system.states.last.chunks_accepted > accepted + 200, "the flood is followed")
        row.safe += f", ticks at most {row.longest_tick_s():.2f} s apart"
        # The sender and the executor take a processor each; what else runs may cost a tick, never a pause.
        assert row.longest_tick_s() < 0.3
    system.wait(lambda: system.states.last.mode == HOLD, "the arm holds")
    system.change_state("policy", Transition.TRANSITION_ACTIVATE)
    assert system.instruct("pick up the red block").success
    row.recovers("the flood ends, the policy is activated and told what to do")


# -- executor and driver -----------------------------------------------------------------------------------------------


def test_executor_killed_in_motion(system: Any, fault: Any) -> None:
    """The last trajectory's own tail brings the arm to rest inside the limits; a new executor starts from there."""
    system.nodes["trajectory_executor"].end()
    system.states.clear()
    system.start_executor(str(system.trajectory_contract))
    system.wait(lambda: system.states.messages, "the executor is there", 60)
    row = fault("executor killed in motion", "SIGKILL to trajectory_executor_node (joint_trajectory)")
    system.send(signal.SIGKILL, "trajectory_executor")
    system.nodes["trajectory_executor"].wait()
    begin_ns = round(row.begin_s * 1e9)
    system.wait(lambda: system.driver.track[-1][0] - system.driver.rests_since_ns() > 300_000_000, "the arm rests")
    row.safe, row.bound_s, row.codes = "the driver rests", 0.7, "no executor_state"
    row.safe_s = max(0, system.driver.rests_since_ns() - begin_ns) / 1e9
    assert row.safe_s <= row.bound_s
    track = [(ns, q) for ns, q in system.driver.track if ns > begin_ns - 200_000_000]
    report = check_limits(
        np.array([ns for ns, _ in track]),
        np.array([q for _, q in track]),
        CONTRACT.limits,
        CONTRACT.joint_names,
        tick_s=0.02,
    )
    # Between the points of a trajectory a driver interpolates, so what it does is known to its velocity.
    assert report.ratios[:2].max() <= 1.0, report.as_dict()
    system.states.clear()
    row.first = 0
    system.start_executor()
    system.wait(lambda: system.states.messages, "a new executor is there", 60)
    row.recovers("a new process, from the measured pose")


def test_pose_outside_limits(system: Any, fault: Any) -> None:
    """Limits that were narrowed (report F1): from the measured pose inwards at limited speed, or not at all if far."""
    row = fault("pose outside limits", "an executor whose limits end 0.1 rad from the arm, then one 0.6 rad")
    name, limits = CONTRACT.joint_names[0], CONTRACT.limits
    for beyond in (0.1, 0.6):
        system.killed.add("trajectory_executor")
        system.nodes["trajectory_executor"].end()
        system.wait(lambda: system.driver.track[-1][0] - system.driver.rests_since_ns() > 300_000_000, "the arm rests")
        begin, pose = len(system.driver.track), system.driver.track[-1][1]
        system.states.clear()
        system.start_executor(str(system.narrowed(round(float(pose[0]) + beyond, 4))))
        system.wait(lambda: system.states.messages, "the executor is there", 60)
        if beyond == 0.1:
            lowest = pose[0] + beyond
            system.wait(lambda at=lowest: system.driver.track[-1][1][0] >= at - 1e-3, "the arm is inside")
            track = system.driver.track[begin:]
            on_the_way = np.array([q[0] for _, q in track])
            outside = on_the_way[: np.flatnonzero(on_the_way >= lowest - 1e-3)[0]]
            assert (np.diff(outside, prepend=pose[0]) >= -1e-9).all()
            report = check_limits(
                np.array([ns for ns, _ in track]), np.array([q for _, q in track]), limits, CONTRACT.joint_names,
                tick_s=0.02,
            )  # fmt: skip
            assert report.ratios[:2].max() <= 1.0, report.as_dict()
        else:
            refused = ExecutorState.REFUSAL_FAR_FROM_MEASURED
            system.wait(lambda code=refused: system.states.last.last_refusal == code, "the chunks are refused")
            assert f"'{name}' stands at" in system.states.last.last_refusal_text
            assert all((q == pose).all() for _, q in system.driver.track[begin:])
    row.safe, row.codes = "comes inside slowly; farther than start_tolerance_rad: refused", "FAR_FROM_MEASURED"
    system.killed.add("trajectory_executor")
    system.nodes["trajectory_executor"].end()
    system.states.clear()
    row.first = 0
    system.start_executor()
    system.wait(lambda: system.states.messages, "an executor with the right limits is there", 60)
    row.recovers("the right limits")


def test_driver_deaf(system: Any, fault: Any) -> None:
    """An arm that no longer obeys is not commanded further and further away: latched until an operator resets it."""
    row = fault("driver deaf", "the driver ignores commands, and publishes the same joint states")
    system.driver.deaf = True
    row.ends_in(HOLD, 3.0, ExecutorState.REASON_JOINT_FROZEN, ExecutorState.REASON_TRACKING_ERROR)
    system.driver.heal()
    assert system.graph.trigger("trajectory_executor/reset").success
    row.recovers("~/reset")


def test_controller_takes_another_order(system: Any, fault: Any) -> None:
    """An array's joints in another order (report F4): the arm is let go of, activation refused until it is right."""
    system.ready()
    with beside("wrong_controller.py", CONTRACT.control.topic) as printed:
        row = fault("controller order", "a controller whose `joints` begin with the elbow takes the arrays")
        system.wait(lambda: "listening" in printed(), "the controller is there", 60)
        system.wait(lambda: system.graph.node.count_subscribers(CONTRACT.control.topic) > 1, "it is discovered")
        row.begins()
        # An inactive node hears no joint states, so these may be told as too old before the arm has slowed down.
        reasons = (ExecutorState.REASON_DEACTIVATED, ExecutorState.REASON_STATE_STALE)
        row.ends_in(ExecutorState.RELEASED, 0.5 + 0.5 + TRANSPORT_S, *reasons)
        output = system.nodes["trajectory_executor"].output()
        assert "in the order ['elbow_flex', 'shoulder_pan'," in output
        assert "write control.joints: [elbow_flex, shoulder_pan," in output
        with pytest.raises(AssertionError):
            system.change_state("trajectory_executor", Transition.TRANSITION_ACTIVATE)
    system.wait(lambda: system.graph.node.count_subscribers(CONTRACT.control.topic) == 1, "the controller has left")

    def activated() -> bool:
        try:
            system.change_state("trajectory_executor", Transition.TRANSITION_ACTIVATE)
        except AssertionError:
            return False
        return True

    system.wait(activated, "the executor is active")
    assert system.instruct("pick up the red block").success
    row.recovers("it is ended, the executor activated")


# -- connections -------------------------------------------------------------------------------------------------------


def test_discovery_lost(system: Any, fault: Any) -> None:
    """What stood still for longer than its lease ends itself, to be started anew: the arm goes on at once then."""
    feeding = [name for name in system.nodes if name != "trajectory_executor"]
    row = fault("DDS discovery lost", "SIGSTOP to all other nodes for longer than their lease of 4 s, then SIGCONT")
    system.send(signal.SIGSTOP, *feeding)
    row.ends_in(HOLD, STATE_END_S, ExecutorState.REASON_STATE_STALE)
    node = system.graph.node
    system.wait(
        lambda: node.count_publishers("action_chunk") == node.count_publishers("observation/state") == 0,
        "the graph has lost them",
    )
    system.killed |= set(feeding)
    system.send(signal.SIGCONT, *feeding)
    for name in feeding:
        assert system.nodes[name].wait() == EXIT_STOOD_STILL, system.nodes[name].output()
        assert "this process stood still for" in system.nodes[name].output()
    system.start_sensors()
    system.start_policy()
    system.wait(lambda: system.policy_states.messages, "a new policy is active", 120)
    assert system.instruct("pick up the red block").success
    row.codes += "; each ends with exit code 3"
    row.recovers("new processes and an instruction", within_s=6.0)


def test_bag_replayed_into_the_live_graph(system: Any, fault: Any) -> None:
    """Chunks, states and images of another time on the live topics: all old, none is followed, the arm goes on."""
    system.ready()
    bag = system.record(chunks=15)
    system.ignore_before_ns = stamp_ns(system.states.last.header.stamp)
    try:
        with beside("replay_bag.py", bag, CONTRACT.control.topic):
            refused = system.live().chunks_refused
            system.wait(lambda: system.live().chunks_refused > refused, "the bag's first chunk arrives", 60)
            row = fault("bag replayed into the live graph", "all recorded topics but the driver's commands")
            before = system.live()
            row.goes_on(
                lambda: (
                    system.live().chunk_id > before.chunk_id + 20
                    and system.live().chunks_refused > before.chunks_refused
                ),
                "chunks are followed, and the bag's are refused",
                late_chunks=True,
            )
            row.refuses(ExecutorState.REFUSAL_STALE)
        row.recovers()
    finally:
        system.ignore_before_ns = 0


# -- operator ----------------------------------------------------------------------------------------------------------


def test_instruction_of_a_megabyte(system: Any, fault: Any) -> None:
    """A text that no tokenizer was made for is refused, with its size, while the arm moves on."""
    row = fault("1 MB instruction", "set_instruction with 1 000 000 characters")
    before = system.policy_states.last.instruction_id
    answer = system.instruct("pick " * 200_000)
    assert not answer.success
    assert len(answer.message) < 500
    chunk = system.states.last.chunk_id
    row.goes_on(lambda: system.states.last.chunk_id > chunk + 2, "chunks are followed", "refused in the answer")
    assert system.policy_states.last.instruction_id == before
    row.recovers()


def test_instruction_flood(system: Any, fault: Any) -> None:
    """Words that change faster than a chunk is computed: no chunk of outdated words is followed, so the arm holds."""
    row = fault("instruction flood", "set_instruction without pause, 20 calls at a time")
    before = system.policy_states.last.instruction_id
    with beside("flooding_operator.py"):
        system.wait(lambda: system.policy_states.last.instruction_id > before + 100, "the flood has come", 60)
        row.begins()
        row.ends_in(HOLD, ROWS_END_S, *NO_CHUNKS)
    answer = system.instruct("pick up the red block")
    assert answer.success
    row.recovers("one instruction")
    assert system.policy_states.last.instruction_id == answer.instruction_id


# -- the machine -------------------------------------------------------------------------------------------------------


def test_no_home(system: Any, fault: Any) -> None:
    """A node without HOME and ROS_LOG_DIR runs, and says once where its log files go (E)."""
    row = fault("no HOME", "joint_state_node is ended, and started without HOME and ROS_LOG_DIR")
    system.killed.add("joint_state")
    assert system.nodes["joint_state"].end() == 0
    row.ends_in(HOLD, STATE_END_S, ExecutorState.REASON_STATE_STALE)
    system.start_joint_state(HOME="", ROS_LOG_DIR="")
    system.wait(lambda: system.graph.node.count_publishers("observation/state"), "the node is there", 60)
    row.recovers("it is there: log files go to a temporary folder")
    assert system.nodes["joint_state"].output().count("log files go to") == 1


def test_small_shared_memory(system: Any, passed: Any, repository: Path, wait_until: Any) -> None:
    """Docker's /dev/shm of 64 MB: images go over UDP, each process that found no room says what to do (F10)."""
    if subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/dev/shm"], check=False).returncode:
        pytest.skip("no user namespaces, or no mounts in them: /dev/shm can't be made small here")
    log = system.folder / "small_shared_memory.log"
    bag = repository / "test" / "replay" / "bags" / "pick_red"
    up = f"{sys.executable} -m swiftvla_ros.cli.main up --loopback --policy-from {bag}"
    environment = {name: value for name, value in os.environ.items() if name != "FASTDDS_DEFAULT_PROFILES_FILE"}
    environment["ROS_DOMAIN_ID"] = str(int(os.environ["ROS_DOMAIN_ID"]) + 1)
    with log.open("wb") as stream:
        process = subprocess.Popen(
            ["unshare", "-rm", "sh", "-c", f"mount -t tmpfs -o size=64m tmpfs /dev/shm && exec {up}"],
            stdout=stream, stderr=stream, env=environment, start_new_session=True,
        )  # fmt: skip
    told = "/dev/shm has 64 MiB"
    try:
        wait_until(lambda: told in log.read_text(errors="replace"), "it is named", 60)
        assert "docker run --shm-size" in log.read_text(errors="replace")
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(30)
    injected = "a whole system (--loopback) in a namespace of its own"
    passed("64 MB /dev/shm", injected, "images go over UDP", f"log: {told} …")


# -- clock (last: from here on the nodes read /clock) ------------------------------------------------------------------


def test_no_clock(system: Any, fault: Any) -> None:
    """use_sim_time without /clock: nothing moves, and that is named within 2 s; not one line was said (C)."""
    row = fault("no /clock", "the executor is ended, and started with use_sim_time")
    system.killed.add("trajectory_executor")
    system.nodes["trajectory_executor"].end()
    system.states.clear()
    row.first = 0
    system.start_executor(use_sim_time=True)
    told = "use_sim_time is true and no time comes on /clock"
    system.wait(lambda: told in system.nodes["trajectory_executor"].output(), "the clock is named", 60)
    assert not system.states.messages
    row.safe, row.codes = "nothing is commanded", f"log: {told}"
    system.driver.clock_on = True
    system.wait(lambda: system.states.messages, "the executor ticks")
    row.recovers("/clock comes")


@pytest.mark.parametrize(
    ("name", "jump_s"), [("clock jumps back", -20), ("clock jumps forward", 30)], ids=["back", "forward"]
)
def test_clock_jumps(system: Any, fault: Any, name: str, jump_s: int) -> None:
    """A time that is another: the plan of the old one is not followed; with chunks of the new time the arm goes on."""
    system.use_clock(True)
    row = fault(name, f"/clock and all stamps by {jump_s:+d} s")
    before_ns = stamp_ns(system.states.last.header.stamp)
    system.driver.jumped_ns += jump_s * 1_000_000_000
    stopped = (ExecutorState.DECELERATING, HOLD)
    system.wait(lambda: any(s.mode in stopped for _, s in row.states()), "the arm brakes")
    at_s, state = next((at_s, s) for at_s, s in row.states() if s.mode in stopped)
    assert state.reason == ExecutorState.REASON_CLOCK_JUMP, row.trace()
    row.safe, row.safe_s, row.bound_s, row.codes = "brakes", at_s - row.begin_s, TRANSPORT_S, "CLOCK_JUMP"
    assert row.safe_s <= row.bound_s
    assert abs(stamp_ns(state.header.stamp) - before_ns) > (abs(jump_s) - 5) * 1e9
    row.recovers("chunks of the new time")
