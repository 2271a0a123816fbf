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

    # Names in every chunk what it was computed by.
    checkpoint_sha256: str = ""
    # Time between two rows, s.
    step_s: float
    # The cameras that are read.
    camera_names: tuple[str, ...] = ()
    # What computes them, and why nothing that comes before it in order does.
    runtime: str = ""
    why_runtime: str = ""
    # Where chunks are computed.
    device: str = ""
    # What they are computed in: "float32", "bfloat16"; empty where nothing is computed.
    precision: str = ""
    # Threads that a CPU computes with; another number rounds otherwise.
    threads: int = 0
    # How chunks continue what will have been executed: "none", "vjp", "identity" or "trained".
    guidance: str = NO_GUIDANCE
    # Most rows of a chunk that `infer` takes as executed; one row at least is left to predict.
    max_executed_rows: int = 0

    def sample_noise(self, seed: int, scale: float | None = None) -> NDArray[np.float32] | None:  # noqa: ARG002
        """The initial noise of a chunk, float32 [H, A], the same for the same seed; None: chunks need none.

        ``scale`` is its standard deviation; None: what the policy runs with, 1 is what it was trained with.
        """
        return None

    def check_instruction(self, text: str) -> str:
        """The instruction as it will be read, in other words perhaps: `infer` takes these.

        Raises InstructionError where it is refused; a NotUnderstoodError where it means nothing to the policy.
        """
        return validate_instruction(text)

    def warm_up(self) -> None:
        """Compute once from nothing, so that the first real chunk is as fast as the others."""
        return

    def vision_features(self) -> NDArray[np.float32] | None:
        """What the vision encoder made of the images of the last chunk, pooled: [cams, D]; None: it can't tell.

        Computed when it is asked for, from what is there anyway: nothing of it touches a chunk.
        """
        return None

    def see(self, camera: str, image: NDArray[np.uint8]) -> None:
        """Begin with an image [h, w, 3] whose observation may yet become complete; a policy may do nothing."""
        del camera, image

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
            [d, J], rad (or m), contract order; at most ``max_executed_rows``. None: nothing is known.
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
