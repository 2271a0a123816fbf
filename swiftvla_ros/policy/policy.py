# SPDX-License-Identifier: Apache-2.0
"""The policy: an observation in, a chunk of absolute joint positions out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract, absolute_rows, relative_rows
from swiftvla_ros.observation.observation import NO_GUIDANCE, Observation, RowsAhead, validate_instruction
from swiftvla_ros.policy.checkpoint import Checkpoint, CheckpointError, check_against_contract, open_checkpoint
from swiftvla_ros.policy.tokenizer import InstructionTokenizer

if TYPE_CHECKING:
    from swiftvla_ros.policy.torch_runtime import TorchRuntime


def load_policy(
    folder: Path | str,
    *,
    contract: Contract,
    device: str = "auto",
    threads: int | None = None,
    precision: str = "float32",
    with_4d: bool = False,
    guidance: str = NO_GUIDANCE,
) -> Policy:
    """Load a checkpoint folder for the robot of ``contract``.

    Parameters
    ----------
    folder
        The checkpoint.
    contract
        The robot's contract; the policy's joints are matched to it by name.
    device
        "auto" (a GPU if torch sees one), "cpu" or "cuda".
    threads
        CPU threads for torch; None leaves torch's default.
    precision
        What weights and activations are: "float32" or "bfloat16" (half the memory, and several times faster where the
        processor multiplies bfloat16).
    with_4d
        For studies: also load the 4D branch, from the auxiliary file beside the weights, so that :meth:`Policy.infer`
        takes geometry features. A deployed policy runs without it.
    guidance
        How chunks are made to continue what will have been executed when they arrive (docs/guidance.md): "none",
        "vjp", "identity" or "trained".

    Raises
    ------
    CheckpointError
        Names the file, tensor, joint or camera that doesn't fit, the device that isn't there, or the guidance that the
        checkpoint wasn't trained for.
    """
    checkpoint = open_checkpoint(folder)
    check_against_contract(checkpoint, contract)
    from swiftvla_ros.policy.torch_runtime import TorchRuntime

    runtime = TorchRuntime(checkpoint, device, threads, precision, with_4d=with_4d, guidance=guidance)
    return Policy(checkpoint, contract, runtime)


class Policy:
    """A loaded checkpoint. Not thread-safe: one thread calls :meth:`infer`."""

    def __init__(self, checkpoint: Checkpoint, contract: Contract, runtime: TorchRuntime) -> None:
        self._checkpoint = checkpoint
        self._contract = contract
        self._runtime = runtime
        self._tokenizer = InstructionTokenizer(checkpoint.tokenizer, runtime.config.text.max_tokens)
        if self._tokenizer.vocab_size > runtime.config.text.vocab_size:
            raise CheckpointError(
                f"{checkpoint.tokenizer}: has {self._tokenizer.vocab_size} ids, "
                f"the network {runtime.config.text.vocab_size}"
            )
        # Checkpoint order from contract order, and back.
        self._to_policy = np.array([contract.joint_names.index(n) for n in checkpoint.joint_names])
        self._to_contract = np.argsort(self._to_policy)
        self._grippers = contract.gripper_mask[self._to_policy]

    @property
    def checkpoint_sha256(self) -> str:
        """Names the checkpoint in every chunk."""
        return self._checkpoint.sha256

    @property
    def horizon(self) -> int:
        """Rows of a chunk."""
        return self._runtime.config.horizon

    @property
    def step_s(self) -> float:
        """Time between two rows, s."""
        return self._checkpoint.step_s

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Columns of a chunk: the contract's order."""
        return self._contract.joint_names

    @property
    def camera_names(self) -> tuple[str, ...]:
        """The cameras that are read."""
        return self._checkpoint.camera_names

    @property
    def device(self) -> str:
        """Where the network runs."""
        return self._runtime.device

    @property
    def precision(self) -> str:
        """What the network computes in: "float32" or "bfloat16"."""
        return self._runtime.precision

    @property
    def threads(self) -> int:
        """Threads that it computes with on a CPU; another number rounds otherwise."""
        return self._runtime.threads

    @property
    def guidance(self) -> str:
        """How chunks continue what will have been executed: "none", "vjp", "identity" or "trained"."""
        return self._runtime.guidance

    @property
    def max_executed_rows(self) -> int:
        """Most rows of a chunk that :meth:`infer` takes as executed; one row at least is left to predict."""
        if self.guidance == "trained":
            return self._runtime.config.max_delay_steps
        return 0 if self.guidance == NO_GUIDANCE else self.horizon - 1

    def sample_noise(self, seed: int) -> NDArray[np.float32]:
        """The initial noise of a chunk, float32 [H, A], the same for the same seed."""
        config = self._runtime.config
        noise = np.random.default_rng(seed).standard_normal((config.horizon, config.action_dim), dtype=np.float32)
        return noise * np.float32(config.noise_scale)

    def check_instruction(self, text: str) -> str:
        """The instruction as it will be read; raises InstructionError where it is refused, too many tokens included."""
        self._tokenizer(text)
        return validate_instruction(text)

    def infer(
        self,
        observation: Observation,
        *,
        noise: NDArray[np.float32] | None = None,
        geometry: NDArray[np.float32] | None = None,
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
        geometry
            For studies: the front view's pooled 4D features [64, dim]; the policy must be loaded ``with_4d``.
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
            An image is missing or of the wrong size, the state is not finite, geometry doesn't fit, or rows are given
            to a policy without guidance, or too many of them.
        InstructionError
            The instruction is refused.
        """
        images, token_ids, state, normalized = self._prepare(observation)
        start = self.sample_noise(0) if noise is None else noise
        ahead = self._rows_ahead(executed, planned, state)
        chunk = self._runtime.infer(images, token_ids, normalized, start, geometry, ahead)
        rows = self._checkpoint.action.denormalize(chunk[:, : len(state)].astype(np.float64))
        checkpoint = self._checkpoint
        if checkpoint.relative_actions:
            positions = state + rows
        else:
            positions = absolute_rows(checkpoint.actions, rows, state, self.step_s, gripper=self._grippers)
        return positions[:, self._to_contract]

    def keypoints(self, observation: Observation) -> NDArray[np.float32]:
        """Where the policy sees its end effector go: (u, v) [f, 2] in the front image, the goal keypoint first.

        Raises CheckpointError where the auxiliary file doesn't lie beside the weights: its trajectory head tells.
        """
        images, token_ids, _, normalized = self._prepare(observation)
        return self._runtime.keypoints(images, token_ids, normalized)

    def _rows_ahead(
        self, executed: NDArray[np.float64] | None, planned: NDArray[np.float64] | None, state: NDArray[np.float64]
    ) -> RowsAhead | None:
        """What is executed and planned as the network's own normalised rows."""
        joints = len(self.joint_names)
        first = np.zeros((0, joints)) if executed is None else np.asarray(executed, dtype=np.float64)
        then = np.zeros((0, joints)) if planned is None else np.asarray(planned, dtype=np.float64)
        for name, rows in (("executed", first), ("planned", then)):
            if rows.ndim != 2 or rows.shape[1] != joints or not np.isfinite(rows).all():
                raise ValueError(f"{name}: expected finite rows of {joints} positions, got {list(rows.shape)}")
        if not len(first) + len(then):
            return None
        if self.guidance == NO_GUIDANCE:
            raise ValueError("executed, planned: the policy was loaded without guidance; load it with one")
        if len(first) > self.max_executed_rows:
            raise ValueError(
                f"executed: {len(first)} rows, but with guidance '{self.guidance}' this policy takes at most "
                f"{self.max_executed_rows}"
            )
        positions = np.concatenate([first, then])[: self.horizon, self._to_policy]
        checkpoint = self._checkpoint
        if checkpoint.relative_actions:
            rows = positions - state
        else:
            rows = relative_rows(checkpoint.actions, positions, state, self.step_s, gripper=self._grippers)
        return RowsAhead(checkpoint.action.normalize(rows).astype(np.float32), len(first))

    def _prepare(
        self, observation: Observation
    ) -> tuple[list[NDArray[np.uint8]], NDArray[np.int64], NDArray[np.float64], NDArray[np.float32]]:
        images = []
        for name in self.camera_names:
            image = observation.images.get(name)
            width, height = self._contract.camera(name).size
            if image is None or image.shape != (height, width, 3) or image.dtype != np.uint8:
                got = "nothing" if image is None else f"{image.dtype} {list(image.shape)}"
                raise ValueError(f"camera '{name}': expected uint8 [{height}, {width}, 3], got {got}")
            images.append(image)
        state = np.asarray(observation.state, dtype=np.float64)
        if state.shape != (len(self.joint_names),) or not np.isfinite(state).all():
            raise ValueError(f"state: expected {len(self.joint_names)} finite positions, got {state}")
        state = state[self._to_policy]
        normalized = np.zeros(self._runtime.config.state_dim, np.float32)
        normalized[: len(state)] = self._checkpoint.state.normalize(state)
        return images, self._tokenizer(observation.instruction), state, normalized
