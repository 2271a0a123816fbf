# SPDX-License-Identifier: Apache-2.0
"""Policies of LeRobot's: what of a folder is refused, by name, and how the other process is asked; without lerobot."""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lerobot_folder import write_folder

from swiftvla_ros.contract import Contract, contract_from_text
from swiftvla_ros.contract.sections.lerobot import ACTION, STATE
from swiftvla_ros.policy import CheckpointError, Observation, load_policy
from swiftvla_ros.policy.lerobot import lerobot_policy, server
from swiftvla_ros.policy.lerobot.lerobot_policy import LeRobotPolicy, load_lerobot
from swiftvla_ros.policy.lerobot.policy_process import PYTHON, PolicyProcess, PolicyProcessError
from swiftvla_ros.policy.loading import policy_sha256
from swiftvla_ros.policy.runtime import RuntimeOptions

STUB = Path(__file__).with_name("stub_server.py")


@pytest.fixture
def written(tmp_path: Path, contract: Contract) -> Callable[..., Path]:
    """Writer of a folder, with changes by their path in ``config.json``."""
    return lambda **changes: write_folder(tmp_path / "act", len(contract.joint_names), changes)


def test_the_server_s_own_names_are_lerobot_s() -> None:
    """Protects the copy in a file that runs without the package: both sides call state and actions the same."""
    assert (server.STATE, server.ACTION) == (STATE, ACTION)


def load(folder: Path, contract: Contract, **options: Any) -> LeRobotPolicy:
    """Load a folder whose process is the stub."""
    return load_lerobot(folder, contract, RuntimeOptions(**options), python=sys.executable, server=STUB)


def observation(contract: Contract, instruction: str = "pick up the red block") -> Observation:
    """Return a random but fixed observation."""
    rng = np.random.default_rng(0)
    images = {n: rng.integers(0, 255, (96, 96, 3), dtype=np.uint8) for n in contract.camera_names}
    return Observation(images, contract.rest, instruction)


def test_a_chunk_in_si_by_seed(written: Any, contract: Contract) -> None:
    """Protects units and replay: rows are SI in contract order, and the noise alone decides what is random."""
    policy = load(written(), contract)
    assert (policy.runtime, policy.device, policy.precision, policy.threads) == ("lerobot 0.0 act", "cpu", "float32", 1)
    assert policy.camera_names == ("front", "wrist")
    one, again, other = (policy.infer(observation(contract), noise=policy.sample_noise(seed)) for seed in (1, 1, 2))
    np.testing.assert_allclose(one[:, :-1], np.tile(contract.rest[:-1], (4, 1)), atol=1e-6)
    np.testing.assert_array_equal(one, again)
    assert (one[:, -1] != other[:, -1]).all()
    calm = load(policy._found.folder, contract, device="calm")
    assert calm.sample_noise(1) is None, "monitors are not told of samples that are no samples"
    calm.infer(observation(contract))


def test_units_are_the_datasets(written: Any, contract: Contract) -> None:
    """Protects the arm: the process sees degrees where the dataset has them, and its rows come back as radians."""
    text = contract.path.read_text() + "\nlerobot: {joints: {elbow_flex: {feature: elbow_flex.pos, unit: deg}}}\n"
    degrees = contract_from_text(text, contract.path)
    policy = load(written(), degrees)
    seen: dict[str, Any] = {}
    ask = policy._process.ask

    def spy(request: Any, arrays: Any = None, **more: Any) -> Any:
        seen.update(arrays)
        return ask(request, arrays, **more)

    policy._process.ask = spy  # type: ignore[method-assign]
    chunk = policy.infer(observation(degrees))
    elbow = degrees.joint_names.index("elbow_flex")
    assert seen["observation.state"][elbow] == pytest.approx(np.degrees(degrees.rest[elbow]), abs=1e-4)
    np.testing.assert_allclose(chunk[:, :-1], np.tile(degrees.rest[:-1], (4, 1)), atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"output_features/action/shape": [7]}, r"'action' of shape \[7\].*has 6 joints"),
        ({"output_features": {}}, "gives no feature 'action'"),
        ({"input_features/observation.state/shape": [12]}, r"'observation.state' of shape \[12\]"),
        ({"input_features/observation.images.front/shape": [3, 480, 640]}, r"cameras.front.size .*write \[640, 480\]"),
        (
            {"input_features/observation.images.top": {"type": "VISUAL", "shape": [3, 96, 96]}},
            r"reads 'observation.images.top', which is none of .*lerobot: \{cameras",
        ),
        (
            {"input_features/observation.environment_state": {"type": "ENV", "shape": [3]}},
            r"reads 'observation.environment_state' \(ENV\)",
        ),
        ({"input_features": {"observation.state": {"type": "STATE", "shape": [6]}}}, "reads no camera"),
        ({"input_features": None}, "config.json: input_features"),
        ({"type": "swiftvla"}, "swiftvla import-lerobot"),
    ],
)
def test_other_robots_policies_are_refused(written: Any, contract: Contract, changes: Any, says: str) -> None:
    """Protects the arm: what doesn't fit the contract is named before any process is started."""
    with pytest.raises(CheckpointError, match=says):
        load(written(**changes), contract)


def test_the_dataset_is_held_against_the_contract(written: Any, contract: Contract, tmp_path: Path) -> None:
    """Protects from another order of joints and another speed, where the dataset still tells them."""
    folder, info = written(), tmp_path / "dataset" / "meta" / "info.json"
    info.parent.mkdir(parents=True)
    (folder / "train_config.json").write_text(
        json.dumps({"dataset": {"repo_id": "me/it", "root": str(info.parents[1])}})
    )
    names = [f"{name}.pos" for name in contract.joint_names]

    def describe(fps: float, names: list[str]) -> None:
        info.write_text(json.dumps({"fps": fps, "features": {"action": {"names": names}}}))

    describe(30, names)
    with pytest.raises(CheckpointError, match=r"30 frames a second.*policy.step_s is 0.1"):
        load(folder, contract)
    describe(10, names[::-1])
    with pytest.raises(CheckpointError, match=r"was trained on actions \['gripper.pos'"):
        load(folder, contract)
    describe(10, names)
    load(folder, contract)


def test_other_numbers_of_a_dataset_are_left_out(written: Any, contract: Contract) -> None:
    """Protects whoever trains on our own exports: their stamps are listed by lerobot-train, and read by no policy."""
    changes = {"input_features/observation.stamp.front": {"type": "STATE", "shape": [1]}}
    assert load(written(**changes), contract).infer(observation(contract)).shape == (4, 6)


def test_a_folder_is_whole(written: Any, contract: Contract) -> None:
    """Protects the user's time: the missing file is named; each file that decides a chunk changes the hash."""
    folder = written()
    before = policy_sha256(folder)
    (folder / "policy_postprocessor.json").write_text(json.dumps({"name": "policy_postprocessor", "steps": [{}]}))
    assert policy_sha256(folder) != before
    (folder / "policy_preprocessor.json").unlink()
    with pytest.raises(CheckpointError, match=r"lacks \['policy_preprocessor.json'\]"):
        load_policy(folder, contract=contract)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"runtime": "torch"}, "runtime 'torch' can't compute; write auto or lerobot"),
        ({"guidance": "vjp"}, "guidance 'vjp' is unknown"),
        ({"precision": "bfloat16"}, "computes in float32, not bfloat16"),
        ({"with_4d": True}, "4D branch"),
    ],
)
def test_options_that_it_lacks(written: Any, contract: Contract, options: Any, says: str) -> None:
    """Protects from silence: what it can't do is said; the name of the runtime in a recording is understood."""
    folder = written()
    load(folder, contract, runtime="lerobot 0.4.4 act", precision="float32", device="cpu")
    with pytest.raises(CheckpointError, match=says):
        load(folder, contract, **options)


@pytest.mark.parametrize(
    ("stub", "says"),
    [
        ("lacks", f"lacks lerobot; set {PYTHON}"),
        ("ends", "ended amid 'load' with exit code 3"),
        ("long", r"wrong are \['rows'\]"),
    ],
)
def test_a_process_that_cant_load(written: Any, contract: Contract, stub: str, says: str) -> None:
    """Protects the user's time: an interpreter without lerobot, or one that falls over, is told with what to do."""
    with pytest.raises(CheckpointError, match=says):
        load(written(stub=stub), contract)


def test_an_interpreter_that_isnt_there(written: Any, contract: Contract, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the user's time: the variable's path is named."""
    monkeypatch.setenv(PYTHON, "/nowhere/python")
    with pytest.raises(CheckpointError, match=f"/nowhere/python: No such file or directory; set {PYTHON}"):
        load_policy(written(), contract=contract)


@pytest.mark.parametrize(
    ("stub", "says"),
    [
        ("garbage", "no message of this protocol"),
        ("not finite", "action: has numbers that are not finite"),
        ("narrow", r"action: expected float32 \[4, 6\], got float32 \[4, 2\]"),
        ("doubles", r"action: expected float32 \[4, 6\], got float64"),
    ],
)
def test_an_answer_that_isnt_one(written: Any, contract: Contract, stub: str, says: str) -> None:
    """Protects the arm: nothing but finite rows of the expected shape becomes a chunk."""
    policy = load(written(stub=stub), contract)
    with pytest.raises(PolicyProcessError, match=says):
        policy.infer(observation(contract))


def test_a_silent_process_is_ended(written: Any, contract: Contract, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the node: an inference has a bound, after which no old answer can be taken for a new one."""
    policy = load(written(stub="hangs"), contract)
    monkeypatch.setattr(lerobot_policy, "_CHUNK_S", 0.3)
    with pytest.raises(PolicyProcessError, match=r"no answer to 'infer' in 0.3 s"):
        policy.infer(observation(contract))
    assert not policy._process.alive


def test_a_process_that_dies_is_started_again(written: Any, contract: Contract, tmp_path: Path) -> None:
    """Protects a run: one lost process costs a chunk, not the policy."""
    policy, seen = load(written(stub="dies once"), contract), observation(contract, str(tmp_path / "mark"))
    with pytest.raises(PolicyProcessError, match="ended amid 'infer' by signal 9"):
        policy.infer(seen)
    assert policy.infer(seen).shape == (4, 6)


def test_what_is_refused_there_is_told_here(written: Any, contract: Contract) -> None:
    """Protects both sides: an input of another shape is refused by the process, which goes on."""
    policy = load(written(), contract)
    with pytest.raises(PolicyProcessError, match=r"observation.state: expected float32 \[6\], got float32 \[3\]"):
        policy._process.ask({"do": "infer", "instruction": "", "seed": 0}, _arrays(3), timeout_s=10.0)
    with pytest.raises(ValueError, match="camera 'wrist': expected uint8"):
        policy.infer(Observation({"front": np.zeros((96, 96, 3), np.uint8)}, contract.rest, ""))
    with pytest.raises(ValueError, match="6 finite positions"):
        policy.infer(Observation(observation(contract).images, contract.rest * np.nan, ""))
    assert policy.infer(observation(contract)).shape == (4, 6)


def _arrays(joints: int) -> server.Arrays:
    images = {f"observation.images.{name}": np.zeros((96, 96, 3), np.uint8) for name in ("front", "wrist")}
    return {**images, "observation.state": np.zeros(joints, np.float32)}


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">4sII", b"SVL1", 5, 0) + b"nope!",
        struct.pack(">4sII", b"SVL1", 2, 0) + b"[]",
        struct.pack(">4sII", b"SVL1", 2, 8) + b"{}" + b"\xff" * 8,
        struct.pack(">4sII", b"SVL1", server.MOST_JSON + 1, 0),
        struct.pack(">4sII", b"SVL1", 2, server.MOST_ARRAYS + 1),
        b"\x80\x04\x95 a pickle, say",
    ],
)
def test_malformed_messages(data: bytes) -> None:
    """Protects both sides: what is no message, or longer than any, is refused before it is read."""
    one, other = socket.socketpair()
    with one, other:
        one.sendall(data)
        with pytest.raises(server.MessageError):
            server.receive(other, 5.0)


def test_half_a_message_is_waited_for_no_longer_than_said() -> None:
    """Protects from one that sends a byte now and then: the bound is for the whole message."""
    one, other = socket.socketpair()
    with one, other:
        one.sendall(struct.pack(">4sII", b"SVL1", 100, 0) + b"{")
        with pytest.raises(TimeoutError):
            server.receive(other, 0.2)


def test_the_process_ends_with_its_parent() -> None:
    """Protects the machine: a node that is killed leaves no process behind, with the weights in its memory."""
    code = (
        "import sys; from swiftvla_ros.policy.lerobot.policy_process import PolicyProcess\n"
        "process = PolicyProcess(); print(process.pid, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    os.kill(child, 0)
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    deadline = time.monotonic() + 10.0
    while Path(f"/proc/{child}").exists() and "State:\tZ" not in Path(f"/proc/{child}/status").read_text():
        assert time.monotonic() < deadline, "the process is still there"
        time.sleep(0.05)


def test_the_server_itself_answers_without_lerobot() -> None:
    """Protects the sentence for the commonest mistake, by the shipped script: this interpreter lacks lerobot."""
    pytest.importorskip("torch")
    process = PolicyProcess(sys.executable)
    request = {"do": "load", "folder": "/nowhere", "inputs": {}, "device": "cpu", "threads": 1}
    with pytest.raises(PolicyProcessError, match=f"lacks lerobot; set {PYTHON}"):
        process.ask(request, timeout_s=60.0)
    with pytest.raises(PolicyProcessError, match="'infer' can't be done here and now"):
        process.ask({"do": "infer"}, timeout_s=10.0)
