# SPDX-License-Identifier: Apache-2.0
"""A dataset for all tests, and LeRobot's commands in this process."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from exported_dataset import Exported, Run, export
from swiftvla_ros.contract import Contract, load_contract


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep LeRobot from the hub, and torch from a GPU and from threads that a busy machine doesn't run."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def contract() -> Contract:
    """Return the simulated arm."""
    return load_contract("so101_sim")


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, contract: Contract) -> Exported:
    """Return the dataset."""
    return export(tmp_path_factory.mktemp("demonstrations"), contract)


@pytest.fixture
def lerobot_train(monkeypatch: pytest.MonkeyPatch, exported: Exported) -> Run:
    """Return a function that runs ``lerobot-train`` with some more options."""

    def run(out: Path, *options: str, fresh: bool = True) -> None:
        from lerobot.scripts import lerobot_train as script

        words = [
            f"--dataset.repo_id=local/{exported.folder.name}", f"--dataset.root={exported.folder}",
            "--dataset.video_backend=pyav", "--policy.device=cpu", "--policy.push_to_hub=false", "--num_workers=0",
            f"--output_dir={out}", "--log_freq=1", "--seed=7", "--wandb.enable=false",
        ]  # fmt: skip
        monkeypatch.setattr(sys, "argv", ["lerobot-train", *(words if fresh else []), *options])
        script.main()

    return run


@pytest.fixture
def lerobot_eval(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict]:
    """Return a function that runs ``lerobot-eval`` and returns what it wrote."""

    def run(policy: Path, out: Path, *options: str) -> dict:
        from lerobot.scripts import lerobot_eval as script

        words = [f"--policy.path={policy}", "--env.type=swiftvla", f"--output_dir={out}", "--policy.device=cpu"]
        monkeypatch.setattr(sys, "argv", ["lerobot-eval", *words, *options])
        script.main()
        return json.loads((out / "eval_info.json").read_text())

    return run
