# SPDX-License-Identifier: Apache-2.0
"""A SmolVLA folder as lerobot writes it, and what becomes of it here."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file
from smolvla_folder import POSTPROCESSOR, PREPROCESSOR, VOCABULARY, weight

from swiftvla_ros.contract import Contract, contract_from_text, load_contract
from swiftvla_ros.policy.tokenizer import trim_tokenizer
from swiftvla_ros.training.importers.smolvla import import_smolvla


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    """Return what lerobot wrote and computed."""
    text = (Path(__file__).parent / "smolvla_lerobot.json").read_text()
    return dict(json.loads(text))


@pytest.fixture(scope="module")
def written(golden: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the files that lerobot writes."""
    folder = tmp_path_factory.mktemp("lerobot") / "smolvla"
    folder.mkdir()
    for name in ("config", "policy_preprocessor", "policy_postprocessor"):
        (folder / f"{name}.json").write_text(json.dumps(golden[name]))
    save_file({n: weight(n, shape) for n, shape in golden["tensors"].items()}, folder / "model.safetensors")
    statistics = {
        f"{feature}.{key}": torch.tensor(values)
        for feature, table in golden["statistics"].items()
        for key, values in table.items()
    }
    for name in (PREPROCESSOR, POSTPROCESSOR):
        save_file(statistics, folder / name)
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """Return a copy that a test may change."""
    return Path(shutil.copytree(written, tmp_path / "lerobot"))


@pytest.fixture(scope="module")
def contract(repository: Path) -> Contract:
    """Return a contract of six joints in degrees, whose cameras have the reference's sizes and names."""
    data = yaml.safe_load(load_contract("so101_sim").text)
    for joint in data["joints"]:
        joint["unit"] = "deg"
    for camera, size in zip(data["cameras"], ([64, 48], [40, 64]), strict=True):
        camera["size"] = size
    data["lerobot"] = {"cameras": {"wrist": "observation.images.hand"}}
    return contract_from_text(yaml.safe_dump(data), repository / "config/robots/degrees.yaml")


@pytest.fixture(scope="module")
def tokenizer(repository: Path) -> str:
    """Return SmolLM2's tokenizer, cut to the reference's vocabulary."""
    return trim_tokenizer((repository / "models/smollm2-tokenizer/tokenizer.json").read_text(), VOCABULARY)


@pytest.fixture(scope="module")
def imported(written: Path, contract: Contract, tokenizer: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the imported checkpoint."""
    out = tmp_path_factory.mktemp("imported") / "checkpoint"
    import_smolvla(written, out, contract, tokenizer)
    return out
