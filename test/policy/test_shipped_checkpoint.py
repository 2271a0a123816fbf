# SPDX-License-Identifier: Apache-2.0
"""The checkpoint in ``models/``: it loads, it is small, and it listens."""

from pathlib import Path

import numpy as np
import pytest
from first_scenes import first_scenes

from swiftvla_ros.contract import Contract
from swiftvla_ros.policy import Observation, Policy, load_policy
from swiftvla_ros.sim.evaluation.first_step import FirstScene


@pytest.fixture(scope="module")
def policy(checkpoint: Path, contract: Contract) -> Policy:
    """Load the shipped checkpoint, with the runtime that also tells keypoints."""
    return load_policy(checkpoint, contract=contract, runtime="torch", device="cpu", threads=1)


@pytest.fixture(scope="module")
def scenes(contract: Contract) -> list[FirstScene]:
    """Render twelve fresh scenes before any motion."""
    return list(first_scenes(contract, 12, seed=20_000))


def test_it_is_small(checkpoint: Path) -> None:
    """Protects the clone's size: the whole checkpoint stays below 30 MB."""
    assert sum(file.stat().st_size for file in checkpoint.iterdir()) < 30e6


def test_the_instruction_changes_the_chunk(policy: Policy, scenes: list[FirstScene]) -> None:
    """Protects the one thing a language policy is for: in every scene, every colour word gives another chunk."""
    for scene in scenes:
        observation = scene.observation
        chunks = [
            policy.infer(Observation(observation.images, observation.state, f"pick up the {color} block"))
            for color in ("red", "green", "blue")
        ]
        for a, b in ((0, 1), (0, 2), (1, 2)):
            assert np.abs(chunks[a] - chunks[b]).max() > 0.05


def test_the_goal_keypoint_is_on_the_commanded_block(
    policy: Policy, contract: Contract, scenes: list[FirstScene]
) -> None:
    """Protects first-step accuracy: before any motion the Fusion Tokens point at the block that is meant."""
    for scene in scenes:
        for index, color in enumerate(("red", "green", "blue")):
            observation = Observation(scene.observation.images, scene.observation.state, f"pick up the {color} block")
            blocks = contract.project("front", scene.blocks)
            distance = np.linalg.norm(blocks - policy.keypoints(observation)[0], axis=1)
            assert distance.argmin() == index


def test_the_chunk_starts_at_the_arm(policy: Policy, contract: Contract, scenes: list[FirstScene]) -> None:
    """Protects the first motion: row 0 lies near the measured state, and no row leaves the joint limits by much."""
    limits = contract.limits
    for scene in scenes:
        chunk = policy.infer(scene.observation)
        assert np.abs(chunk[0] - scene.observation.state).max() < 0.1
        assert (chunk > limits.min_position - 0.05).all()
        assert (chunk < limits.max_position + 0.05).all()
