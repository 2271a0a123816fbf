# SPDX-License-Identifier: Apache-2.0
"""Graphs of a checkpoint: they compute what it does, without torch, and the gate catches those that don't."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from onnxruntime import InferenceSession
from spoiled import edit_json

from swiftvla_ros.contract import Contract
from swiftvla_ros.deploy.check import GateError, check, export
from swiftvla_ros.deploy.evidence import Evidence, from_episodes, from_simulation
from swiftvla_ros.deploy.gate import precision_problems
from swiftvla_ros.deploy.graph_content import onnx_content
from swiftvla_ros.deploy.quantisation import quantise_vision
from swiftvla_ros.episodes.datasets.store import Episode, save_episode
from swiftvla_ros.model.config import SwiftVLAConfig, swiftvla_nano
from swiftvla_ros.model.swiftvla import SwiftVLA
from swiftvla_ros.observation.observation import Observation
from swiftvla_ros.policy import CheckpointError, load_policy
from swiftvla_ros.policy.checkpoint import open_checkpoint
from swiftvla_ros.policy.deployment import read_deployment
from swiftvla_ros.policy.tokenizer import trim_tokenizer
from swiftvla_ros.runtime_registry import RUNTIMES
from swiftvla_ros.training.checkpoint_writer import write_policy


def tiny() -> SwiftVLAConfig:
    """The nano network with two layers, so that an export takes seconds."""
    nano = swiftvla_nano()
    vision, text = dataclasses.replace(nano.vision, num_layers=1), dataclasses.replace(nano.text, num_layers=2)
    return dataclasses.replace(nano, vision=vision, text=text, denoise_steps=3, noise_scale=1.0, max_delay_steps=4)


@pytest.fixture(scope="module")
def evidence(contract: Contract) -> Evidence:
    """Return random observations, two for each purpose."""
    rng = np.random.default_rng(0)
    found = [
        Observation(
            {n: rng.integers(0, 255, (96, 96, 3), dtype=np.uint8) for n in contract.camera_names},
            contract.rest,
            f"pick up the {color} block",
        )
        for color in ("red", "green", "blue", "yellow")
    ]
    return Evidence(found[:2], found[2:])


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, repository: Path, contract: Contract) -> Path:
    """Return a checkpoint with random weights."""
    torch.manual_seed(0)
    tokenizer = trim_tokenizer((repository / "models/smollm2-tokenizer/tokenizer.json").read_text(), 6144)
    row = {"mean": 0.1, "std": 0.5}
    statistics = {what: {name: dict(row) for name in contract.joint_names} for what in ("state", "action")}
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    write_policy(folder, SwiftVLA(tiny()), statistics, tokenizer, contract, "# random\n")
    return folder


@pytest.fixture(scope="module")
def deployed(source: Path, contract: Contract, evidence: Evidence, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return its graphs in ONNX, which passed the gate with both runtimes."""
    folder = tmp_path_factory.mktemp("deployed") / "tiny"
    found = export(source, folder, contract, "onnx", "float32", evidence)
    assert {"openvino", "onnxruntime"} <= set(found.parity) <= set(RUNTIMES)
    return folder


@pytest.fixture
def exported(deployed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give an export the graphs that torch made of the same checkpoint before: that takes most of its time."""

    def again(_network: SwiftVLA, folder: Path, _weights: Path) -> None:
        for path in deployed.glob("*.onnx"):
            shutil.copy(path, folder)

    monkeypatch.setattr("swiftvla_ros.deploy.export.export_graphs", again)


@pytest.fixture
def copy(deployed: Path, tmp_path: Path) -> Path:
    """Return a copy that a test may break."""
    return Path(shutil.copytree(deployed, tmp_path / "copy"))


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("guidance", ["none", "identity", "trained"])
def test_a_runtime_computes_what_torch_does(
    deployed: Path, contract: Contract, evidence: Evidence, runtime: str, guidance: str
) -> None:
    """Protects the arm: the same observation gives the same chunk with every runtime, guided or not."""
    ahead: dict[str, Any] = {}
    if guidance != "none":
        rows = contract.rest + 0.01 * np.arange(6)[:, None]
        ahead = {"executed": rows[:2], "planned": rows[2:]}
    chunks = [
        load_policy(deployed, contract=contract, runtime=name, guidance=guidance).infer(evidence.judging[0], **ahead)
        for name in ("torch", runtime)
    ]
    np.testing.assert_allclose(chunks[1], chunks[0], atol=2e-5)


def test_an_image_seen_ahead_gives_the_same_bits(deployed: Path, contract: Contract, evidence: Evidence) -> None:
    """Protects replay: whether a camera was seen before its observation was complete shows in no bit of the chunk."""
    policy, observation = load_policy(deployed, contract=contract), evidence.judging[0]
    chunk = policy.infer(observation)
    policy.see("front", np.zeros_like(observation.images["front"]))
    np.testing.assert_array_equal(policy.infer(observation), chunk)
    policy.see("front", observation.images["front"])
    np.testing.assert_array_equal(policy.infer(observation), chunk)


def test_auto_takes_the_graphs_and_says_so(deployed: Path, source: Path, contract: Contract) -> None:
    """Protects whoever wonders why it is slow: which runtime was taken is told, and why not one before it."""
    fast = load_policy(deployed, contract=contract)
    assert (fast.runtime, fast.precision, fast.device) == ("openvino", "float32", "cpu")
    plain = load_policy(source, contract=contract)
    assert plain.runtime == "torch"
    assert "has no graphs; `swiftvla export" in plain.why_runtime
    guided = load_policy(deployed, contract=contract, guidance="vjp")
    assert guided.runtime == "torch"
    assert "guidance 'vjp' is unknown to runtime 'openvino'" in guided.why_runtime


def test_the_graphs_weights_are_the_checkpoints_own(deployed: Path) -> None:
    """Protects disk and trust: no second copy of the weights, so none that could differ."""
    sizes = {path.name: path.stat().st_size for path in deployed.glob("*.onnx")}
    assert len(sizes) == 3
    assert sum(sizes.values()) < 0.02 * (deployed / "model.safetensors").stat().st_size


WITHOUT_TORCH = """
import json, sys
sys.modules["torch"] = None
import numpy as np
from swiftvla_ros.contract import load_contract
from swiftvla_ros.policy import Observation, load_policy
folder, runtime = sys.argv[1:]
contract = load_contract(folder + "/contract.yaml")
policy = load_policy(folder, contract=contract, runtime=runtime)
images = {c.name: np.zeros((*c.size[::-1], 3), np.uint8) for c in contract.cameras}
print(policy.infer(Observation(images, contract.rest, "touch it")).shape, policy.runtime)
"""


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_a_robot_needs_no_torch(deployed: Path, runtime: str) -> None:
    """Protects the light robot: with graphs a policy is loaded and infers where torch can't even be imported."""
    command = [sys.executable, "-c", WITHOUT_TORCH, str(deployed), runtime]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == f"(10, 6) {runtime}\n", done.stderr


@pytest.mark.usefixtures("exported")
def test_an_ir_stands_alone(source: Path, contract: Contract, evidence: Evidence, tmp_path: Path) -> None:
    """Protects the robot's disk: 8-bit weights, no other ones, the same name in every chunk."""
    found = export(source, tmp_path / "ir", contract, "openvino", "int8-weights", evidence)
    assert not (tmp_path / "ir" / "model.safetensors").exists()
    policy = load_policy(tmp_path / "ir", contract=contract)
    assert policy.precision == "int8-weights"
    assert policy.checkpoint_sha256 == open_checkpoint(source).sha256
    assert found.deployment.gate["openvino"]["chunk_mrad"] > 0.1
    with pytest.raises(CheckpointError, match="holds graphs alone"):
        load_policy(tmp_path / "ir", contract=contract, runtime="torch")


def test_the_shipped_graphs_pass(checkpoint: Path, contract: Contract) -> None:
    """Protects the default: what runs where nothing is chosen computes what the shipped weights do, here and now."""
    found = check(checkpoint, checkpoint, contract, from_simulation(contract, 2))
    assert {"openvino", "onnxruntime"} <= set(found.parity) <= set(RUNTIMES)
    assert found.problems == ()


def test_a_tower_of_eight_bits_is_near(copy: Path, source: Path, contract: Contract, evidence: Evidence) -> None:
    """Protects the one place where activations have eight bits: every product by weights does, and little is lost."""
    policy = load_policy(source, contract=contract, runtime="torch")
    images = [image for observation in evidence.calibration for image in policy.network_input(observation).images]
    before, exact = onnx_content(copy / "vision.onnx"), InferenceSession(copy / "vision.onnx")
    quantise_vision(copy / "vision.onnx", images)
    after = onnx_content(copy / "vision.onnx")
    # What stays in float is the patches' convolution, positions, biases and norms.
    assert after.weight_bytes["int8"] > after.weight_bytes["float"]
    assert after.nodes["MatMul"] == before.nodes["MatMul"]
    session = InferenceSession(copy / "vision.onnx")
    for image in images:
        own, expected = (run.run(None, {"image": image[None]})[0] for run in (session, exact))
        assert 0 < np.linalg.norm(own - expected) < 0.08 * np.linalg.norm(expected)


def test_recorded_observations_are_spread_and_shared_out(contract: Contract, tmp_path: Path) -> None:
    """Protects the gate from judging by what it was calibrated with: other episodes, or a lone one's other half."""
    images = {camera.name: np.zeros((8, *camera.size[::-1], 3), np.uint8) for camera in contract.cameras}
    rows = np.tile(contract.rest.astype(np.float32), (8, 1))
    for number in range(3):
        rows[:, 0] = 10 * number + np.arange(8)
        episode = Episode(f"pick {number}", images, rows, rows, np.ones(8, bool), np.arange(8.0))
        save_episode(tmp_path / f"episode_{number}.safetensors", episode, contract)
    found = from_episodes(tmp_path, contract, 4)
    assert {o.instruction for o in found.calibration} == {"pick 0", "pick 2"}
    assert [float(o.state[0]) for o in found.judging] == [10, 12, 14, 17]
    for number in (1, 2):
        (tmp_path / f"episode_{number}.safetensors").unlink()
    alone = from_episodes(tmp_path, contract, 2)
    assert max(o.state[0] for o in alone.calibration) < min(o.state[0] for o in alone.judging)


def scaled_step(folder: Path) -> None:
    """Make every step's latent two percent larger."""
    path = folder / "step.onnx"
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer.append(numpy_helper.from_array(np.array(1.02, np.float32), "factor"))
    model.graph.node[-1].output[0] = "before"
    model.graph.node.append(onnx.helper.make_node("Mul", ["before", "factor"], ["latent"]))
    path.write_bytes(model.SerializeToString())


def cut_text(folder: Path) -> None:
    """Let the prefix see no word from the sixth on, whatever is given to it."""
    path = folder / "prefix.onnx"
    model = onnx.load(path, load_external_data=False)
    values = {"from": [5], "to": [2**31], "axis": [1], "zero": [0]}
    for name, value in values.items():
        model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.int64), f"cut_{name}"))
    slices = [
        onnx.helper.make_node("Slice", ["text", "cut_zero", "cut_from", "cut_axis"], ["text_kept"]),
        onnx.helper.make_node("Slice", ["text", "cut_from", "cut_to", "cut_axis"], ["text_left"]),
        onnx.helper.make_node("Sub", ["text_left", "text_left"], ["text_nothing"]),
        onnx.helper.make_node("Concat", ["text_kept", "text_nothing"], ["text_cut"], axis=1),
    ]
    for node in model.graph.node:
        node.input[:] = ["text_cut" if name == "text" else name for name in node.input]
    nodes = [*slices, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("spoil", "failure"), [(scaled_step, "step 0 differs by 1.98%"), (cut_text, "prefix differs by")]
)
def test_the_gate_catches_another_graph(
    copy: Path, source: Path, contract: Contract, evidence: Evidence, spoil: Callable[[Path], object], failure: str
) -> None:
    """Protects from parity that lies: a step that is 2 % off and a text that is cut are both named."""
    spoil(copy)
    rehash(copy)
    found = check(copy, source, contract, evidence)
    assert any(failure in problem for problem in found.problems), found.problems


def rehash(folder: Path) -> None:
    """Write the hashes of what lies there now, as a careless tool might."""
    from swiftvla_ros.contract.hashing import file_blocks, sha256

    data = json.loads((folder / "deploy.json").read_text())
    data["files"] = {name: sha256(file_blocks(folder / name)) for name in data["files"]}
    (folder / "deploy.json").write_text(json.dumps(data))


def test_an_exchanged_file_or_checkpoint_is_refused(copy: Path, contract: Contract) -> None:
    """Protects from graphs of another network: both are told by their hash, before anything is computed."""
    scaled_step(copy)
    with pytest.raises(CheckpointError, match=r"\['step.onnx'\] are missing or not those that were exported"):
        load_policy(copy, contract=contract, runtime="openvino")
    edit_json("stats.json", lambda d: d["state"]["gripper"].update(mean=0.2))(copy)
    with pytest.raises(CheckpointError, match=r"which it is no more .*export it again"):
        load_policy(copy, contract=contract, runtime="openvino")
    assert load_policy(copy, contract=contract).runtime == "torch"


def test_a_precision_is_counted_not_believed(deployed: Path) -> None:
    """Protects from a name: float32 graphs that claim eight bits or bfloat16 are refused."""
    deployment = read_deployment(deployed)
    assert deployment is not None
    assert precision_problems(deployment) == []
    for precision in ("int8-weights", "float16"):
        assert len(precision_problems(deployment.model_copy(update={"precision": precision}))) == 3
    assert len(precision_problems(deployment.model_copy(update={"precision": "int8-vision"}))) == 1


def test_nothing_is_written_where_the_gate_is_shut(
    source: Path,
    deployed: Path,
    contract: Contract,
    evidence: Evidence,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Protects the robot's folder: a failed export leaves nothing that could be started."""
    from swiftvla_ros.deploy import check as module

    monkeypatch.setattr(module, "write_deployment", lambda _checkpoint, folder, *_: shutil.copytree(deployed, folder))
    monkeypatch.setattr(module, "precision_problems", lambda _deployment: ["vision: claims what it isn't"])
    with pytest.raises(GateError, match="was not written: vision: claims what it isn't"):
        export(source, tmp_path / "out", contract, "onnx", "float32", evidence)
    assert list(tmp_path.iterdir()) == []


def test_a_broken_description_is_refused_by_name(copy: Path, contract: Contract) -> None:
    """Protects from a damaged deploy.json: the key is named, and no path leads out of the folder."""
    edit_json("deploy.json", lambda d: d.update(ends="../ends.safetensors"))(copy)
    with pytest.raises(CheckpointError, match=r"deploy.json: ends"):
        load_policy(copy, contract=contract)
