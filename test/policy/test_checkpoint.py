# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: what is written is read, and what is broken is refused by name."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file
from spoiled import edit_json, edit_weights, pointer

from swiftvla_ros.contract import ActionCoding, Contract, contract_from_text, load_contract
from swiftvla_ros.model.config import GeometryBranchConfig, swiftvla_nano
from swiftvla_ros.model.objective import Auxiliary
from swiftvla_ros.model.swiftvla import SwiftVLA
from swiftvla_ros.policy import CheckpointError, InstructionError, Observation, load_policy
from swiftvla_ros.policy.tokenizer import trim_tokenizer
from swiftvla_ros.training.checkpoint_writer import write_policy


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, repository: Path, contract: Contract) -> Path:
    """Return a checkpoint with random weights."""
    torch.manual_seed(0)
    tokenizer = trim_tokenizer((repository / "models/smollm2-tokenizer/tokenizer.json").read_text(), 6144)
    row = {"mean": 0.1, "std": 0.5, "min": -1.0, "max": 1.0, "q01": -0.9, "q99": 0.9}
    statistics = {what: {name: dict(row) for name in contract.joint_names} for what in ("state", "action")}
    folder = tmp_path_factory.mktemp("checkpoint") / "nano"
    write_policy(folder, SwiftVLA(swiftvla_nano()), statistics, tokenizer, contract, "# random\n")
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """Return a copy that a test may break."""
    return Path(shutil.copytree(written, tmp_path / "nano"))


def observation(contract: Contract, instruction: str = "pick up the red block") -> Observation:
    """Return a random but fixed observation."""
    rng = np.random.default_rng(0)
    images = {n: rng.integers(0, 255, (96, 96, 3), dtype=np.uint8) for n in contract.camera_names}
    return Observation(images, contract.rest, instruction)


def test_infer_is_deterministic(written: Path, contract: Contract) -> None:
    """Protects replay: the same observation and noise give the same chunk, bit for bit, also after loading again."""
    policy = load_policy(written, contract=contract, device="cpu", threads=1)
    noise = policy.sample_noise(7)
    chunk = policy.infer(observation(contract), noise=noise)
    assert chunk.shape == (policy.horizon, len(contract.joint_names))
    again = load_policy(written, contract=contract, device="cpu", threads=1)
    np.testing.assert_array_equal(chunk, again.infer(observation(contract), noise=again.sample_noise(7)))
    other = policy.infer(observation(contract), noise=np.ones_like(noise))
    assert not np.array_equal(chunk, other)


def test_joints_are_matched_by_name(written: Path, contract: Contract, repository: Path) -> None:
    """Protects against permuted joints: a contract in another order gets the same motion of each named joint."""
    data = yaml.safe_load(contract.text)
    data["joints"] = data["joints"][::-1]
    reversed_contract = contract_from_text(yaml.safe_dump(data), repository / "config/robots/reversed.yaml")
    plain = load_policy(written, contract=contract, device="cpu").infer(observation(contract))
    turned = load_policy(written, contract=reversed_contract, device="cpu").infer(observation(reversed_contract))
    np.testing.assert_allclose(plain, turned[:, ::-1], atol=1e-5)


def test_a_contract_with_its_urdf_in_a_folder_is_kept(written: Path, contract: Contract, tmp_path: Path) -> None:
    """Protects the checkpoint's own contract: wherever the robot's URDF lay, the copy in the folder loads."""
    assert contract.urdf_path is not None
    (tmp_path / "urdf").mkdir()
    shutil.copy(contract.urdf_path, tmp_path / "urdf" / "arm.urdf")
    data = yaml.safe_load(contract.text)
    data["kinematics"]["urdf"] = "urdf/arm.urdf"
    own = contract_from_text(yaml.safe_dump(data), tmp_path / "robot.yaml")
    statistics = json.loads((written / "stats.json").read_text())
    tokenizer = (written / "tokenizer.json").read_text()
    write_policy(tmp_path / "out", SwiftVLA(swiftvla_nano()), statistics, tokenizer, own, "# random\n")
    load_policy(tmp_path / "out", contract=load_contract(tmp_path / "out" / "contract.yaml"), device="cpu")


def test_hash_names_the_weights(folder: Path, written: Path, contract: Contract) -> None:
    """Protects provenance: one changed statistic gives the checkpoint another name."""
    before = load_policy(written, contract=contract, device="cpu").checkpoint_sha256
    stats = json.loads((folder / "stats.json").read_text())
    stats["state"]["gripper"]["mean"] += 1e-6
    (folder / "stats.json").write_text(json.dumps(stats))
    assert load_policy(folder, contract=contract, device="cpu").checkpoint_sha256 != before


def _truncate(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])


BREAKS: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "file missing": (lambda f: (f / "stats.json").unlink(), ["stats.json", "lacks"]),
    "weights truncated": (_truncate, ["model.safetensors", "corrupt"]),
    "weights are a pickle": (lambda f: torch.save({}, f / "model.safetensors"), ["model.safetensors", "corrupt"]),
    "tensor missing": (edit_weights(lambda w: w.pop("fusion.tokens")), ["missing fusion.tokens"]),
    "tensor unknown": (edit_weights(lambda w: w.update(extra=torch.ones(1))), ["unknown extra"]),
    "tensor of other shape": (
        edit_weights(lambda w: w.update({"fusion.tokens": torch.ones(2, 2)})),
        ["fusion.tokens has shape [2, 2]"],
    ),
    "tensor with NaN": (edit_weights(lambda w: w["fusion.tokens"].fill_(float("nan"))), ["fusion.tokens", "NaN"]),
    "other format": (edit_json("config.json", lambda d: d.update(format="v0")), ["config.json", "format"]),
    # E: each was a traceback, or said something else.
    "weights behind a pointer": (
        pointer("model.safetensors"),
        ["model.safetensors", "LFS pointer", "git lfs pull"],
    ),
    "statistics behind a pointer": (pointer("stats.json"), ["stats.json", "Git LFS pointer", "git lfs pull"]),
    "a size as text": (edit_json("config.json", lambda d: d["model"].update(horizon="10")), ["model: horizon", "'10'"]),
    "a size beyond all": (edit_json("config.json", lambda d: d["model"].update(horizon=10**9)), ["model: horizon"]),
    "joints as one text": (edit_json("config.json", lambda d: d.update(joint_names="abc")), ["joint_names", "list"]),
    "a step of no time": (edit_json("config.json", lambda d: d.update(step_s=0)), ["step_s", "greater than 0"]),
    "more cameras than the network": (
        edit_json("config.json", lambda d: d["camera_names"].append("third")),
        ["3 camera_names", "2 cameras"],
    ),
    "statistics as text": (
        edit_json("stats.json", lambda d: d["state"]["gripper"].update(std="wide")),
        ["stats.json", "gripper", "not finite"],
    ),
    "tokenizer cut": (lambda f: (f / "tokenizer.json").write_text('{"model"'), ["tokenizer.json", "corrupt"]),
    "config not JSON": (lambda f: (f / "config.json").write_text("{"), ["config.json", "not JSON"]),
    "unknown model field": (edit_json("config.json", lambda d: d["model"].update(x=1)), ["config.json", "x"]),
    "statistic missing": (
        edit_json("stats.json", lambda d: d["state"]["gripper"].pop("std")),
        ["stats.json", "state", "gripper"],
    ),
    "statistic of no joint": (
        edit_json("stats.json", lambda d: d["action"].update(nose=d["action"]["gripper"])),
        ["stats.json", "action", "nose"],
    ),
    "zero width": (
        edit_json("stats.json", lambda d: d["action"]["elbow_flex"].update(std=0.0)),
        ["stats.json", "elbow_flex", "zero width"],
    ),
    "statistic NaN": (
        edit_json("stats.json", lambda d: d["state"]["gripper"].update(mean=float("nan"))),
        ["gripper", "not finite"],
    ),
    "other joints": (
        edit_json("config.json", lambda d: d.update(joint_names=["a", *d["joint_names"][1:]])),
        ["stats.json", "a"],
    ),
    "other step": (edit_json("config.json", lambda d: d.update(step_s=0.05)), ["step_s", "0.05"]),
    "other camera": (edit_json("config.json", lambda d: d.update(camera_names=["front", "left"])), ["left"]),
}


@pytest.mark.parametrize("case", BREAKS)
def test_a_broken_checkpoint_is_refused_by_name(folder: Path, contract: Contract, case: str) -> None:
    """Protects the arm: a checkpoint with this fault is never run, and the message names file and fault."""
    spoil, expected = BREAKS[case]
    spoil(folder)
    with pytest.raises(CheckpointError) as caught:
        load_policy(folder, contract=contract, device="cpu")
    for part in expected:
        assert part in str(caught.value)


def test_a_checkpoint_for_other_joints_is_refused(written: Path, contract: Contract, repository: Path) -> None:
    """Protects against the wrong robot: both lists of joints stand in the message."""
    data = yaml.safe_load(contract.text)
    data["joints"][0]["name"] = "base_yaw"
    data.pop("kinematics")
    other = contract_from_text(yaml.safe_dump(data), repository / "config/robots/other.yaml")
    with pytest.raises(CheckpointError, match=r"shoulder_pan.*base_yaw"):
        load_policy(written, contract=other, device="cpu")


def test_no_checkpoint_says_how_to_get_one(tmp_path: Path, contract: Contract) -> None:
    """Protects the first start: a missing folder points at training and models/README.md."""
    with pytest.raises(CheckpointError, match="swiftvla train"):
        load_policy(tmp_path / "nothing", contract=contract)


def test_a_folder_above_and_a_hub_id_are_told(written: Path, contract: Contract) -> None:
    """Protects the user's time (report E): both were "not JSON, train it again"."""
    with pytest.raises(CheckpointError, match=rf"did you mean {written}"):
        load_policy(written.parent, contract=contract)
    with pytest.raises(CheckpointError, match="hf download somebody/policy --local-dir"):
        load_policy("somebody/policy", contract=contract)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_without_a_gpu_is_refused(written: Path, contract: Contract) -> None:
    """Protects against a silent fall-back to the CPU: asking for CUDA where there is none is an error with the fix."""
    with pytest.raises(CheckpointError, match="device:=cpu"):
        load_policy(written, contract=contract, device="cuda")


@pytest.mark.parametrize("text", ["", "   ", "x" * 257, "pick up\x00 the block", "日本" * 100])
def test_refused_instructions(written: Path, contract: Contract, text: str) -> None:
    """Protects the policy from empty, over-long or binary text; a chunk without words may only be looked at."""
    policy = load_policy(written, contract=contract, device="cpu")
    with pytest.raises(InstructionError):
        policy.check_instruction(text)
    if not text:
        assert np.isfinite(policy.infer(observation(contract, text))).all()
        return
    with pytest.raises(InstructionError):
        policy.infer(observation(contract, text))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda o: o.images.pop("wrist"),
        lambda o: o.images.update(front=np.zeros((480, 640, 3), np.uint8)),
        lambda o: o.state.__setitem__(2, np.nan),
    ],
)
def test_refused_observations(written: Path, contract: Contract, spoil: Callable[[Observation], object]) -> None:
    """Protects inference from a missing or wrong-sized image and from a NaN in the state."""
    policy = load_policy(written, contract=contract, device="cpu")
    broken = observation(contract)
    broken = Observation(broken.images, broken.state.copy(), broken.instruction)
    spoil(broken)
    with pytest.raises(ValueError, match="expected"):
        policy.infer(broken)


@pytest.fixture(scope="module")
def with_auxiliary(written: Path, contract: Contract, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint that was trained with a 4D branch, its auxiliary weights beside it."""
    torch.manual_seed(1)
    config = dataclasses.replace(swiftvla_nano(), geometry=GeometryBranchConfig(dim=16, tokens=4))
    folder = tmp_path_factory.mktemp("checkpoint") / "with_4d"
    statistics = json.loads((written / "stats.json").read_text())
    tokenizer = (written / "tokenizer.json").read_text()
    write_policy(folder, SwiftVLA(config), statistics, tokenizer, contract, "# random\n", Auxiliary(config))
    return folder


def test_deployed_policy_needs_no_auxiliary_file(with_auxiliary: Path, contract: Contract, tmp_path: Path) -> None:
    """Protects deployment: chunks come from the deployed weights alone, and keypoints say what they lack."""
    alone = Path(shutil.copytree(with_auxiliary, tmp_path / "alone"))
    (alone / "auxiliary.safetensors").unlink()
    both = [load_policy(folder, contract=contract, device="cpu") for folder in (with_auxiliary, alone)]
    chunks = [policy.infer(observation(contract)) for policy in both]
    np.testing.assert_array_equal(*chunks)
    assert both[0].checkpoint_sha256 == both[1].checkpoint_sha256
    assert both[0].keypoints(observation(contract)).shape == (7, 2)
    with pytest.raises(CheckpointError, match=r"auxiliary\.safetensors: missing"):
        both[1].keypoints(observation(contract))
    with pytest.raises(CheckpointError, match=r"auxiliary\.safetensors: missing"):
        load_policy(alone, contract=contract, device="cpu", with_4d=True)


def test_4d_input_is_for_studies(with_auxiliary: Path, contract: Contract) -> None:
    """Protects the comparison with and without 4D: features change the chunk, and only where they were asked for."""
    policy = load_policy(with_auxiliary, contract=contract, device="cpu", with_4d=True)
    features = np.random.default_rng(0).standard_normal((4, 16), dtype=np.float32)
    seen = dataclasses.replace(observation(contract), geometry=features)
    chunks = [policy.infer(given) for given in (observation(contract), seen)]
    assert np.abs(chunks[0] - chunks[1]).max() > 1e-6
    with pytest.raises(ValueError, match=r"expected \[4, 16\], got \[4, 8\]"):
        policy.infer(dataclasses.replace(seen, geometry=features[:, :8]))
    deployed = load_policy(with_auxiliary, contract=contract, device="cpu")
    np.testing.assert_allclose(deployed.infer(observation(contract)), chunks[0], atol=1e-6)
    with pytest.raises(ValueError, match="with_4d"):
        deployed.infer(seen)


def test_a_checkpoint_without_4d_is_not_run_with_it(written: Path, contract: Contract, tmp_path: Path) -> None:
    """Protects studies from a branch that was never trained."""
    folder = Path(shutil.copytree(written, tmp_path / "flat"))
    save_file(Auxiliary(swiftvla_nano()).state_dict(), folder / "auxiliary.safetensors")
    with pytest.raises(CheckpointError, match="without 4D tokens"):
        load_policy(folder, contract=contract, device="cpu", with_4d=True)


def test_bfloat16_is_nearly_the_same(written: Path, contract: Contract) -> None:
    """Protects the small precision: the same motion to within its rounding, and an unknown one is refused."""
    exact = load_policy(written, contract=contract, device="cpu").infer(observation(contract))
    rounded = load_policy(written, contract=contract, device="cpu", precision="bfloat16").infer(observation(contract))
    assert 0 < np.abs(exact - rounded).max() < 0.05 * np.abs(exact - contract.rest).max()
    for precision, refusal in (("float16", "needs a GPU.*write bfloat16 or float32"), ("int4", "'int4' is unknown")):
        with pytest.raises(CheckpointError, match=refusal):
            load_policy(written, contract=contract, device="cpu", precision=precision)


def trained_for(folder: Path, rows: int) -> Path:
    """Let a checkpoint say that it was trained with so many executed rows."""
    config = json.loads((folder / "config.json").read_text())
    config["model"]["max_delay_steps"] = rows
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("guidance", ["vjp", "identity", "trained"])
def test_a_chunk_goes_on_from_executed_rows(folder: Path, contract: Contract, guidance: str) -> None:
    """Protects chunk guidance end to end: positions in, positions out, in the robot's joint order and units."""
    policy = load_policy(trained_for(folder, 4), contract=contract, device="cpu", threads=1, guidance=guidance)
    plain = policy.infer(observation(contract))
    executed = plain[:3] + 0.1
    guided = policy.infer(observation(contract), executed=executed, planned=plain[3:8] + 0.1)
    missed = np.abs(guided[:3] - executed).max()
    assert missed < (1e-6 if guidance == "trained" else 0.05)
    assert np.abs(guided[3:] - plain[3:]).max() > 1e-3
    # Nothing known is the policy as it is.
    np.testing.assert_allclose(policy.infer(observation(contract), executed=executed[:0]), plain, atol=1e-6)


def test_refused_executed_rows(folder: Path, contract: Contract) -> None:
    """Protects against rows that nobody could have meant: without guidance, too many, NaN, another arm's."""
    rows = np.tile(contract.rest, (10, 1))
    with pytest.raises(ValueError, match="without guidance"):
        load_policy(folder, contract=contract, device="cpu").infer(observation(contract), executed=rows[:1])
    with pytest.raises(CheckpointError, match="max-delay-steps"):
        load_policy(folder, contract=contract, device="cpu", guidance="trained")
    with pytest.raises(CheckpointError, match="'rtc' is unknown"):
        load_policy(folder, contract=contract, device="cpu", guidance="rtc")
    policy = load_policy(trained_for(folder, 4), contract=contract, device="cpu", guidance="trained")
    assert policy.max_executed_rows == 4
    for bad in (rows[:5], np.full((2, 6), np.nan), rows[:2, :5]):
        with pytest.raises(ValueError, match="executed"):
            policy.infer(observation(contract), executed=bad)


@pytest.mark.parametrize("kind", ["delta_to_state", "delta_per_step", "velocity"])
def test_other_kinds_of_actions_become_positions(folder: Path, contract: Contract, repository: Path, kind: str) -> None:
    """Protects the topic: whatever the network's rows mean, positions come out, and executed rows come back."""
    data = yaml.safe_load(contract.text)
    data["policy"]["actions"] = kind
    moving = contract_from_text(yaml.safe_dump(data), repository / "config/robots/moving.yaml")
    with pytest.raises(CheckpointError, match=f"trained for actions 'absolute'.*'{kind}'"):
        load_policy(folder, contract=moving, device="cpu")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "action": kind}))
    with pytest.raises(CheckpointError, match=f"trained for actions '{kind}'.*'absolute'"):
        load_policy(folder, contract=contract, device="cpu")
    policy = load_policy(trained_for(folder, 4), contract=moving, device="cpu", threads=1, guidance="trained")
    plain = policy.infer(observation(moving))
    executed = moving.rest + 0.01 * np.arange(1, 4)[:, None]
    np.testing.assert_allclose(policy.infer(observation(moving), executed=executed)[:3], executed, atol=1e-6)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "action": "absolute positions"}))
    rows = load_policy(folder, contract=contract, device="cpu", threads=1).infer(observation(contract))
    expected = ActionCoding.of(contract, kind).decode(rows, contract.rest)
    np.testing.assert_allclose(plain, expected, atol=1e-6)
