# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest

from swiftvla_ros.contract import Contract
from swiftvla_ros.monitoring.calibration import AlarmBounds, FalseAlarms
from swiftvla_ros.monitoring.envelope import Envelope, EnvelopeError, Looks, TrainedRange
from swiftvla_ros.monitoring.envelope_file import ENVELOPE, read_envelope, write_envelope
from swiftvla_ros.monitoring.envelope_monitor import EnvelopeMonitor, Look
from swiftvla_ros.monitoring.principal import PrincipalDirections
from swiftvla_ros.monitoring.verdict import VerdictLevel

SHA = "ab" * 32
CAMERAS = ("front", "wrist")
HORIZON, DIM = 4, 8


def looks(contract: Contract, count: int = 300, seed: int = 0) -> Looks:
    """Looks around the rest pose."""
    rng, joints = np.random.default_rng(seed), len(contract.joints)
    states = contract.rest + 0.1 * rng.normal(size=(count, joints))
    return Looks(states, 0.05 * rng.normal(size=(count, HORIZON, joints)), rng.normal(size=(count, 2, DIM)))


@pytest.fixture
def envelope(contract: Contract) -> Envelope:
    """An envelope of such looks."""
    shown = looks(contract)
    assert shown.features is not None
    parts = 2 * len(contract.joints) + 4
    slow = np.full(parts, 0.2)
    slow[-4:] = 3.0
    return Envelope(
        SHA,
        contract.joint_names,
        CAMERAS,
        TrainedRange.of(shown.states),
        TrainedRange.of(shown.motions),
        PrincipalDirections.of(shown.states),
        PrincipalDirections.of(shown.motions.reshape(300, -1)),
        tuple(PrincipalDirections.of(shown.features[:, i]) for i in range(2)),
        AlarmBounds(slow, 2 * slow, FalseAlarms(), 20, 0.1),
    )


def usual(contract: Contract, number: int, **other: object) -> Look:
    """A look like training's."""
    state = contract.rest.copy()
    fields = {
        "stamp_ns": number * 100_000_000,
        "chunk_id": number,
        "checkpoint_sha256": SHA,
        "rows": np.tile(state, (HORIZON, 1)),
        "state": state,
        "camera_names": CAMERAS,
        "features": np.zeros((2, DIM)),
    }
    return Look(**{**fields, **other})  # type: ignore[arg-type]


def test_it_comes_back_from_its_file_as_it_was(tmp_path: Path, envelope: Envelope, contract: Contract) -> None:
    """Protects: the monitor judges by what was fitted, to float32, from a file of kilobytes."""
    path = write_envelope(tmp_path, envelope, "a test")
    again, other = read_envelope(tmp_path, SHA, contract), looks(contract, 20, seed=1)
    np.testing.assert_allclose(again.distances(other), envelope.distances(other), rtol=1e-4, atol=1e-5)
    assert again.parts == envelope.parts
    assert path.stat().st_size < 20_000


def test_one_of_another_checkpoint_or_damaged_is_refused(
    tmp_path: Path, envelope: Envelope, contract: Contract
) -> None:
    """Protects: bounds of other weights judge nothing, and the sentence says how to get the right ones."""
    with pytest.raises(EnvelopeError, match="fit-envelope"):
        read_envelope(tmp_path, SHA, contract)
    path = write_envelope(tmp_path, envelope, "a test")
    with pytest.raises(EnvelopeError, match="belongs to checkpoint abababababab, not to cdcdcdcdcdcd"):
        read_envelope(tmp_path, "cd" * 32, contract)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(EnvelopeError, match=f"{ENVELOPE}: corrupt"):
        read_envelope(tmp_path, SHA, contract)


def test_what_is_unlike_training_is_named_and_slows_or_holds(envelope: Envelope, contract: Contract) -> None:
    """Protects: a joint out of its range, and a camera's strange picture, are told by name."""
    monitor = EnvelopeMonitor(envelope, contract)
    assert monitor.look(usual(contract, 1)).level is VerdictLevel.USUAL
    strange = np.zeros((2, DIM))
    strange[1] = 9.0
    for number in (2, 3):
        verdict = monitor.look(usual(contract, number, features=strange))
    assert verdict.level is VerdictLevel.HOLD
    assert verdict.percent == 0.0
    assert "camera wrist is unlike what was trained: " in verdict.text
    assert "front" not in verdict.text
    # A joint state that got lost sets no held arm free.
    unseen = monitor.look(usual(contract, 4, state=None))
    assert (unseen.level, unseen.percent) == (VerdictLevel.BLIND, 0.0)
    assert "camera wrist is unlike" in unseen.text
    monitor = EnvelopeMonitor(envelope, contract)
    far = contract.rest.copy()
    far[2] += 2.0
    for number in (1, 2):
        verdict = monitor.look(usual(contract, number, state=far, rows=np.tile(far, (HORIZON, 1))))
    assert f"joint {contract.joint_names[2]} stands where it never was" in verdict.text


def test_what_it_can_not_judge_it_says(envelope: Envelope, contract: Contract) -> None:
    """Protects: blind is not "as trained", and joints are judged where cameras can't be."""
    monitor = EnvelopeMonitor(envelope, contract)
    verdict = monitor.look(usual(contract, 1, features=None, camera_names=()))
    assert verdict.level is VerdictLevel.BLIND
    assert "cameras are not judged" in verdict.text
    assert verdict.parts[0] == f"state {contract.joint_names[0]}"
    assert "of checkpoint cdcdcdcdcdcd" in monitor.look(usual(contract, 2, checkpoint_sha256="cd" * 32)).text
    assert monitor.look(usual(contract, 3, state=None)).level is VerdictLevel.BLIND
    absent = EnvelopeMonitor("no envelope here", contract).look(usual(contract, 4))
    assert (absent.level, absent.text, absent.percent) == (VerdictLevel.BLIND, "no envelope here", 100.0)
