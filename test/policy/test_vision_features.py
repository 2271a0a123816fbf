# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from swiftvla_ros.contract import Contract
from swiftvla_ros.monitoring.envelope_file import read_envelope
from swiftvla_ros.policy import Observation, load_policy
from swiftvla_ros.resources import model_path

SHIPPED = model_path("models/swiftvla-nano-so101")


def observation(contract: Contract) -> Observation:
    """Random pictures at rest."""
    rng = np.random.default_rng(0)
    images = {c.name: rng.integers(0, 256, (*c.size[::-1], 3)).astype(np.uint8) for c in contract.cameras}
    return Observation(images, contract.rest, "pick up the red block")


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_runtimes_see_the_same_and_asking_changes_no_chunk(contract: Contract, runtime: str) -> None:
    """Protects: an envelope fitted with torch judges a graph's features, and nothing of it touches a chunk's bits."""
    pytest.importorskip(runtime)
    asked, plain = (load_policy(SHIPPED, contract=contract, runtime=runtime, threads=1) for _ in range(2))
    torch = load_policy(SHIPPED, contract=contract, runtime="torch", threads=1)
    seen = observation(contract)
    assert asked.vision_features() is None
    torch.infer(seen)
    for _ in range(2):
        np.testing.assert_array_equal(asked.infer(seen), plain.infer(seen))
        features, reference = asked.vision_features(), torch.vision_features()
        assert features is not None
        assert reference is not None
        assert features.shape == (2, 192)
        np.testing.assert_allclose(features, reference, atol=2e-3 * float(np.abs(reference).max()))


def test_the_shipped_checkpoint_has_its_envelope(contract: Contract) -> None:
    """Protects: `--monitors envelope_monitor` judges something, and not by bounds of other weights."""
    policy = load_policy(SHIPPED, contract=contract, threads=1)
    envelope = read_envelope(SHIPPED, policy.checkpoint_sha256, contract)
    assert envelope.camera_names == policy.camera_names
    assert len(envelope.cameras[0].centre) == 192
