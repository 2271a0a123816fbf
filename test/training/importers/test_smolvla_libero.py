# SPDX-License-Identifier: Apache-2.0
"""The two commands that train a pretrained SmolVLA on the benchmark's own data, on two episodes of its form."""

from pathlib import Path

import pytest
from libero_dataset import write_dataset

from swiftvla_ros.contract import Contract, contract_from_text, load_contract
from swiftvla_ros.policy import CheckpointError, load_policy
from swiftvla_ros.training.importers.smolvla import import_smolvla
from swiftvla_ros.training.loop import TrainingRun
from swiftvla_ros.training.options import TrainOptions
from swiftvla_ros.training.stages import PolicyStart, train_policy


@pytest.fixture
def robot() -> Contract:
    """The 450M network's robot, with the image size of the small SmolVLA here."""
    shipped = load_contract("libero_panda_450m")
    return contract_from_text(shipped.text.replace("[512, 512]", "[64, 64]"), shipped.path)


def test_a_pretrained_start_is_trained_on_the_benchmarks_data(
    folder: Path, robot: Contract, tokenizer: str, tmp_path: Path
) -> None:
    """Protects the way to a full-size policy: weights for other cameras and joints become a start, and a policy."""
    imported = import_smolvla(folder, tmp_path / "start", robot, tokenizer, for_training=True)
    assert imported.camera_names == ("agent", "wrist")
    assert sum("takes the place of" in note for note in imported.notes) == 2
    with pytest.raises(CheckpointError, match="none of the cameras"):
        import_smolvla(folder, tmp_path / "policy", robot, tokenizer)
    options = TrainOptions(steps=1, batch=2, scene_share=0.0, validate_every=1, noise_samples=1, precision="no")
    run = TrainingRun(tmp_path / "out", None, robot, options, processes=1, device="cpu")
    data = tmp_path / "data"
    data.mkdir()
    train_policy(run, PolicyStart(write_dataset(data), tmp_path / "start"), lambda _: None)
    policy = load_policy(run.out, contract=robot, threads=1)
    policy.warm_up()
    assert policy.camera_names == ("agent", "wrist")
