# SPDX-License-Identifier: Apache-2.0
"""Which processes a command's simulated system has."""

import pytest

from swiftvla_ros.bringup.system_options import SystemOptions
from swiftvla_ros.cli.live.simulated_system import describe_simulated


@pytest.mark.parametrize("checkpoint", ["", "models/swiftvla-nano-so101-v2"])
def test_the_expert_stands_in_the_policys_place(checkpoint: str) -> None:
    """Demonstrations over ROS have one process that takes instructions, whether or not a checkpoint was named."""
    processes = describe_simulated(SystemOptions(checkpoint=checkpoint), expert=True)
    assert [process.executable for process in processes if process.name == "policy"] == ["expert_node"]
    assert "policy_node" not in [process.executable for process in processes]


def test_a_policy_stays_a_policy() -> None:
    """An evaluation over ROS asks the checkpoint."""
    processes = describe_simulated(SystemOptions(checkpoint="models/swiftvla-nano-so101-v2"))
    assert [process.executable for process in processes if process.name == "policy"] == ["policy_node"]
