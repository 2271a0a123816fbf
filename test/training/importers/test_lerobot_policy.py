# SPDX-License-Identifier: Apache-2.0
"""Checkpoints to LeRobot's folders and back, without LeRobot."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.torch import load_file
from typer.testing import CliRunner

from swiftvla_ros.cli.main import app
from swiftvla_ros.contract import Contract, contract_from_text, load_contract
from swiftvla_ros.files import read_json_object
from swiftvla_ros.model.config import SwiftVLAConfig
from swiftvla_ros.policy import CheckpointError, load_policy
from swiftvla_ros.policy.checkpoint import open_checkpoint
from swiftvla_ros.policy.tokenizer import trim_tokenizer
from swiftvla_ros.training.checkpoint_writer import write_policy
from swiftvla_ros.training.importers.lerobot_policy import export_policy, import_policy
from swiftvla_ros.training.trainer import build

FULL = Path(__file__).parents[3] / "models" / "smollm2-tokenizer" / "tokenizer.json"
SHIPPED = Path(__file__).parents[3] / "models" / "swiftvla-nano-so101"


@pytest.fixture(scope="module")
def robot() -> Contract:
    """Return the simulated arm, whose images have the networks' size."""
    return load_contract("so101_sim")


def checkpoint(folder: Path, config: SwiftVLAConfig, robot: Contract) -> Path:
    """Write a policy of random weights, with statistics that tell joints apart."""
    rng = np.random.default_rng(0)
    row = ("mean", "min", "max", "q01", "q99")
    statistics = {
        what: {
            name: {**{key: float(rng.normal()) for key in row}, "std": float(rng.uniform(0.2, 1))}
            for name in robot.joint_names
        }
        for what in ("state", "action")
    }
    objective = build(config, 0)
    tokenizer = trim_tokenizer(FULL.read_text(), config.text.vocab_size)
    write_policy(folder, objective.policy, statistics, tokenizer, robot, "# A policy\n", objective.auxiliary)
    return folder


def in_degrees(robot: Contract, **joint: object) -> Contract:
    """The contract of a robot whose datasets have other names and units."""
    data = yaml.safe_load(robot.text)
    data["lerobot"] = {
        "cameras": {"front": "observation.images.table"},
        "joints": {
            "shoulder_pan": {"feature": "pan", "unit": "deg"},
            "gripper": {"feature": "jaw", "unit": "percent", "percent_of": [-0.17, 1.7], **joint},
        },
    }
    return contract_from_text(yaml.safe_dump(data), robot.path)


def test_the_way_there_and_back_loses_nothing(tmp_path: Path, tiny: SwiftVLAConfig, robot: Contract) -> None:
    """Protects from two policies of one training: a checkpoint that went to LeRobot and came back has the same hash."""
    ours = checkpoint(tmp_path / "ours", tiny, robot)
    for words in (["export-lerobot-policy", "ours", "theirs"], ["import-lerobot", "theirs", "again"]):
        result = CliRunner().invoke(app, [words[0], *(str(tmp_path / word) for word in words[1:])])
        assert result.exit_code == 0, result.output
    assert open_checkpoint(tmp_path / "again").sha256 == open_checkpoint(ours).sha256
    auxiliary = [load_file(tmp_path / name / "auxiliary.safetensors") for name in ("ours", "again")]
    assert auxiliary[0].keys() == auxiliary[1].keys()
    assert all((auxiliary[1][name] == value).all() for name, value in auxiliary[0].items())


def test_the_shipped_policy_comes_back(tmp_path: Path) -> None:
    """Protects the round trip of a real checkpoint: weights, statistics and words."""
    export_policy(SHIPPED, tmp_path / "theirs")
    import_policy(tmp_path / "theirs", tmp_path / "again")
    assert open_checkpoint(tmp_path / "again").sha256 == open_checkpoint(SHIPPED).sha256


def test_units_and_names_are_the_datasets(tmp_path: Path, tiny: SwiftVLAConfig, robot: Contract) -> None:
    """Protects arms whose datasets are in degrees: LeRobot's statistics are in them, and ours again in rad."""
    mapped = in_degrees(robot)
    ours = checkpoint(tmp_path / "ours", tiny, mapped)
    export_policy(ours, tmp_path / "theirs")
    told = read_json_object(tmp_path / "theirs/config.json")
    assert told["joint_names"][0] == "pan"
    assert told["cameras"] == ["observation.images.table", "observation.images.wrist"]
    si, there = read_json_object(ours / "stats.json"), told["statistics"]
    assert there["state"]["pan"]["mean"] == pytest.approx(np.degrees(si["state"]["shoulder_pan"]["mean"]))
    # A position has the unit's offset, a relative row has none.
    assert there["state"]["jaw"]["mean"] == pytest.approx((si["state"]["gripper"]["mean"] + 0.17) / 1.87 * 100)
    assert there["action"]["jaw"]["mean"] == pytest.approx(si["action"]["gripper"]["mean"] / 1.87 * 100)
    import_policy(tmp_path / "theirs", tmp_path / "again", mapped)
    again = read_json_object(tmp_path / "again/stats.json")
    for what in ("state", "action"):
        for joint, row in si[what].items():
            assert again[what][joint] == pytest.approx(row, abs=1e-12)


@pytest.mark.parametrize("what", ["joint", "camera", "step", "weights", "type", "direction"])
def test_what_does_not_fit_is_refused(what: str, tmp_path: Path, tiny: SwiftVLAConfig, robot: Contract) -> None:
    """Protects from running another robot's policy: the sentence names the file and what differs."""
    mapped = in_degrees(robot, percent_of=[1.7, -0.17]) if what == "direction" else robot
    ours = checkpoint(tmp_path / "ours", tiny, mapped)
    if what == "direction":
        with pytest.raises(CheckpointError, match="gripper: runs the other way"):
            export_policy(ours, tmp_path / "theirs")
        return
    theirs = tmp_path / "theirs"
    export_policy(ours, theirs)
    config = read_json_object(theirs / "config.json")
    changes = {
        "joint": {"joint_names": [*config["joint_names"][:-1], "claw"]},
        "camera": {"cameras": ["observation.images.top", "observation.images.wrist"]},
        "step": {"step_s": 1 / 30},
        "weights": {"network": {**config["network"], "horizon": 5, "num_cameras": 2, "action_dim": 7}},
        "type": {"type": "act"},
    }
    (theirs / "config.json").write_text(json.dumps({**config, **changes[what]}))
    named = {"joint": "claw", "camera": "observation.images.top", "step": "step_s", "weights": "action_out_proj"}
    with pytest.raises(CheckpointError, match=named.get(what, "type 'act'")):
        import_policy(theirs, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_lerobots_own_folder_needs_the_robot(tmp_path: Path, tiny: SwiftVLAConfig, robot: Contract) -> None:
    """Protects folders that `lerobot-train` wrote, which have no contract: they are asked for one, and then run."""
    export_policy(checkpoint(tmp_path / "ours", tiny, robot), tmp_path / "theirs")
    shutil.copytree(tmp_path / "theirs", tmp_path / "bare", ignore=shutil.ignore_patterns("contract.yaml", "*.urdf"))
    with pytest.raises(CheckpointError, match="--robot"):
        import_policy(tmp_path / "bare", tmp_path / "again")
    import_policy(tmp_path / "bare", tmp_path / "again", robot)
    load_policy(tmp_path / "again", contract=robot, runtime="torch", device="cpu").warm_up()
