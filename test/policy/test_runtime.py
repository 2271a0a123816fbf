# SPDX-License-Identifier: Apache-2.0
"""The seam for runtimes: another one is a module and a line in the registry."""

import json
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract, load_contract
from swiftvla_ros.observation.observation import RowsAhead
from swiftvla_ros.policy import CheckpointError, Observation, load_policy, runtime
from swiftvla_ros.policy.checkpoint import Checkpoint
from swiftvla_ros.policy.deployment import Deployment
from swiftvla_ros.policy.runtime import Capabilities, NetworkInput, PolicyRuntime, RuntimeOptions
from swiftvla_ros.runtime_registry import RUNTIMES, RegisteredRuntime

CHECKPOINT = Path(__file__).parents[2] / "models" / "swiftvla-nano-so101"


class RecordedRows(PolicyRuntime):
    """Gives back normalised rows that lie in the checkpoint's place of weights, whatever it sees."""

    def __init__(self, checkpoint: Checkpoint, options: RuntimeOptions) -> None:
        self.rows = np.zeros((checkpoint.model.horizon, checkpoint.model.action_dim), np.float32)
        self.device, self.precision, self.threads = options.device, options.precision, options.threads or 1
        self.inputs: list[NetworkInput] = []

    def infer(
        self, inputs: NetworkInput, noise: NDArray[np.float32], ahead: RowsAhead | None = None
    ) -> NDArray[np.float32]:
        self.inputs.append(inputs)
        assert noise.shape == self.rows.shape
        assert ahead is None
        return self.rows


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> list[RecordedRows]:
    """Register a runtime as a developer would, and a second whose library is not installed; return what was loaded."""
    loaded: list[RecordedRows] = []

    def load(checkpoint: Checkpoint, options: RuntimeOptions) -> PolicyRuntime:
        loaded.append(RecordedRows(checkpoint, options))
        return loaded[-1]

    module = ModuleType("recorded_rows_runtime")
    devices = {"npu": "no NPU is plugged in", "cpu": ""}
    vars(module).update(capabilities=lambda: Capabilities(devices, ("int8",)), load=load)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    modules = {"absent": "mujoco.a_library_that_is_not_there", "recorded": module.__name__}
    table = {name: RegisteredRuntime(path, tuple(devices)) for name, path in modules.items()}
    monkeypatch.setattr(runtime, "RUNTIMES", table)
    return loaded


@pytest.fixture(scope="module")
def contract() -> Contract:
    """Return the contract of the shipped checkpoint."""
    return load_contract(CHECKPOINT / "contract.yaml")


def test_a_second_runtime_drives_the_same_policy(contract: Contract, registered: list[RecordedRows]) -> None:
    """Protects the seam: "auto" passes over what isn't installed; preparation and coding are outside the runtime."""
    policy = load_policy(CHECKPOINT, contract=contract, precision="int8", threads=3)
    assert (policy.device, policy.precision, policy.threads) == ("cpu", "int8", 3)
    images = {c.name: np.full((*c.size[::-1], 3), 255, np.uint8) for c in contract.cameras}
    chunk = policy.infer(Observation(images, contract.rest, "pick up the red block"))
    mean = json.loads((CHECKPOINT / "stats.json").read_text())["action"]
    expected = contract.rest + [mean[name]["mean"] for name in contract.joint_names]
    np.testing.assert_allclose(chunk, np.tile(expected, (policy.horizon, 1)))
    (seen,) = registered[0].inputs
    assert seen.images.dtype == np.float32
    assert seen.images.shape == (2, 3, 96, 96)
    assert (seen.images == 1).all()
    assert seen.token_ids.ndim == 1
    with pytest.raises(CheckpointError, match="keypoints"):
        policy.keypoints(Observation(images, contract.rest, "pick up the red block"))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"runtime": "onnx"}, r"'onnx' is unknown; write auto or one of \['absent', 'recorded'\]"),
        ({"runtime": "absent"}, r"'absent': this needs mujoco.*pip install 'swiftvla_ros\[sim\]'"),
        ({"device": "cuda"}, r"'cuda' is unknown.*\['auto', 'npu', 'cpu'\]"),
        ({"device": "npu"}, "'npu' was asked for, but no NPU is plugged in"),
        ({"precision": "float32"}, "'float32' is unknown.*write int8"),
        ({"guidance": "vjp"}, r"'vjp' is unknown.*\['none'\]"),
        ({"with_4d": True}, "can't run the 4D branch"),
    ],
)
def test_what_a_runtime_cannot_do_is_refused(contract: Contract, wanted: dict, message: str) -> None:
    """Protects from a silent fall-back: capabilities are checked by name before anything is loaded."""
    with pytest.raises(CheckpointError, match=message):
        load_policy(CHECKPOINT, contract=contract, **{"precision": "int8", **wanted})


@pytest.mark.parametrize("name", RUNTIMES)
def test_the_registry_tells_a_runtimes_devices(name: str) -> None:
    """Protects: a device that a runtime knows can be asked for with `swiftvla up`, and each graph has a known kind."""
    line = RUNTIMES[name]
    assert {*line.graphs} <= {*get_args(Deployment.model_fields["graphs"].annotation)}
    try:
        module = import_module(line.module)
    except ModuleNotFoundError as error:
        pytest.skip(f"{error.name} is not installed")
    assert {*module.capabilities().devices} <= {*line.devices}
