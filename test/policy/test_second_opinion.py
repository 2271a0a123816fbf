# SPDX-License-Identifier: Apache-2.0
"""The first observation, computed by another runtime."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from swiftvla_ros.contract import Contract
from swiftvla_ros.policy import Observation, load_policy
from swiftvla_ros.policy import second_opinion as module
from swiftvla_ros.policy.second_opinion import SecondOpinion


@pytest.fixture(scope="module")
def observation(contract: Contract) -> Observation:
    """Return a random but fixed observation."""
    rng = np.random.default_rng(0)
    images = {n: rng.integers(0, 255, (96, 96, 3), dtype=np.uint8) for n in contract.camera_names}
    return Observation(images, contract.rest, "pick up the red block")


def ask(
    checkpoint: Path, contract: Contract, observation: Observation, chunk: np.ndarray, wait_until: Callable[..., None]
) -> module.Agreement:
    """Ask for a second opinion and wait for it."""
    second = SecondOpinion(checkpoint, contract, "openvino")
    second.ask(observation, None, chunk)
    wait_until(lambda: second.agreement is not None, "the second opinion", 30)
    assert second.agreement is not None
    return second.agreement


def test_another_runtime_agrees_and_catches_what_differs(
    checkpoint: Path, contract: Contract, observation: Observation, wait_until: Callable[..., None]
) -> None:
    """Protects the arm from a runtime that computes wrongly on this machine alone: it is told, in mrad."""
    policy = load_policy(checkpoint, contract=contract)
    assert policy.runtime == "openvino"
    chunk = policy.infer(observation)
    found = ask(checkpoint, contract, observation, chunk, wait_until)
    assert found.alike
    assert found.difference_mrad is not None
    assert found.difference_mrad < 0.1
    wrong = ask(checkpoint, contract, observation, chunk + 0.02, wait_until)
    assert not wrong.alike
    assert "onnxruntime differs from openvino by 20.0" in wrong.text


def test_a_full_machine_is_not_asked(
    checkpoint: Path,
    contract: Contract,
    observation: Observation,
    wait_until: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Protects a robot that has just enough memory: the second copy of the weights is not loaded then."""
    monkeypatch.setattr(module, "_free_bytes", lambda: 1 << 20)
    found = ask(checkpoint, contract, observation, np.zeros((10, 6)), wait_until)
    assert found.alike
    assert "1 MB of memory are free" in found.text
