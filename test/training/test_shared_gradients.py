# SPDX-License-Identifier: Apache-2.0
"""What is left of an auxiliary gradient beside the action's."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from swiftvla_ros.training.shared_gradients import restrained_by

vectors = st.lists(st.floats(-100, 100, width=32), min_size=3, max_size=3).map(torch.tensor)


@given(action=vectors, auxiliary=vectors)
def test_nothing_against_the_action_and_no_more_than_it(action: torch.Tensor, auxiliary: torch.Tensor) -> None:
    """Protects the action loss: what is left neither opposes its gradient nor outweighs it."""
    left = restrained_by(action, auxiliary)
    scale = float(action.norm())
    assert float(left @ action) >= -1e-3 * scale * (1 + float(auxiliary.norm()))
    assert float(left.norm()) <= scale * (1 + 1e-4) + 1e-6


def test_what_helps_is_kept() -> None:
    """Protects the knowledge that is to be moved: a smaller gradient that doesn't oppose is left as it is."""
    action, auxiliary = torch.tensor([3.0, 0.0]), torch.tensor([0.5, 1.0])
    assert torch.equal(restrained_by(action, auxiliary), auxiliary)
    torch.testing.assert_close(restrained_by(action, torch.tensor([-2.0, 1.0])), torch.tensor([0.0, 1.0]))
