# SPDX-License-Identifier: Apache-2.0
"""What a policy is to all that use one: the node, the simulator, replay and tests."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.observation.observation import NO_GUIDANCE, Observation, validate_instruction


class Policy(Protocol):
    """An observation in, a chunk of absolute joint positions out. One thread calls it.

    What is not abstract here is how the simplest policy does it: one without guidance that needs no warming up.
    """

    @property
    def checkpoint_sha256(self) -> str:
        """Names in every chunk what it was computed by."""
        return ""

    @property
    def step_s(self) -> float:
        """Time between two rows, s."""

    @property
    def camera_names(self) -> tuple[str, ...]:
        """The cameras that are read."""
        return ()

    @property
    def device(self) -> str:
        """Where chunks are computed."""
        return ""

    @property
    def precision(self) -> str:
        """What they are computed in: "float32", "bfloat16"; empty where nothing is computed."""
        return ""

    @property
    def threads(self) -> int:
        """Threads that a CPU computes with; another number rounds otherwise."""
        return 0

    @property
    def guidance(self) -> str:
        """How chunks continue what will have been executed: "none", "vjp", "identity" or "trained"."""
        return NO_GUIDANCE

    @property
    def max_executed_rows(self) -> int:
        """Most rows of a chunk that :meth:`infer` takes as executed."""
        return 0

    def sample_noise(self, seed: int) -> NDArray[np.float32] | None:  # noqa: ARG002
        """The initial noise of a chunk, float32 [H, A], the same for the same seed; None: chunks need none."""
        return None

    def check_instruction(self, text: str) -> str:
        """The instruction as it will be read; raises InstructionError where it is refused."""
        return validate_instruction(text)

    def warm_up(self) -> None:
        """Compute once from nothing, so that the first real chunk is as fast as the others."""
        return

    def infer(
        self,
        observation: Observation,
        *,
        noise: NDArray[np.float32] | None = None,
        executed: NDArray[np.float64] | None = None,
        planned: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float64]:
        """Compute a chunk; the same observation, noise and rows give the same chunk.

        Parameters
        ----------
        observation
            Conditioned images, state in contract order, instruction.
        noise
            From :meth:`sample_noise`; None is seed 0.
        executed
            What will have been commanded by the time that the chunk arrives: its rows 0 to d-1 as absolute positions
            [d, J], rad (or m), contract order; at most :attr:`max_executed_rows`. None: nothing is known.
        planned
            What would be commanded next, without this chunk: the rows from d on [n, J]. "vjp" and "identity" lead over
            from it softly; "trained" doesn't read it.

        Returns
        -------
        NDArray[np.float64]
            Absolute joint positions [H, J], rad (or m), contract order; row i is for the observation's time + i steps.

        Raises
        ------
        ValueError
            The observation is not complete or not finite, or the rows don't fit.
        InstructionError
            The instruction is refused.
        """
