# SPDX-License-Identifier: Apache-2.0
"""A checkpoint as a policy: an observation in, a chunk of absolute joint positions out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.action_coding import ActionCoding
from swiftvla_ros.observation.observation import NO_GUIDANCE, Observation, RowsAhead, validate_instruction
from swiftvla_ros.policy.checkpoint import Checkpoint, CheckpointError, check_against_contract, open_checkpoint
from swiftvla_ros.policy.image_preprocessing import prepare_images
from swiftvla_ros.policy.observation_checks import checked_image, checked_state
from swiftvla_ros.policy.policy import Policy
from swiftvla_ros.policy.runtime import LoadedRuntime, NetworkInput, RuntimeOptions, load_runtime
from swiftvla_ros.policy.tokenizer import InstructionTokenizer
from swiftvla_ros.policy.vision_features import pooled
from swiftvla_ros.policy.words.file import WordsError, read_words


def load_checkpoint(folder: Path | str, contract: Contract, options: RuntimeOptions | None = None) -> CheckpointPolicy:
    """Load a checkpoint of ours for the robot of ``contract``, whose joints are matched to the policy's by name.

    Raises
    ------
    CheckpointError
        Names the file, tensor, joint or camera that doesn't fit, the runtime or device that isn't there, or the
        guidance that the checkpoint wasn't trained for.
    """
    checkpoint = open_checkpoint(folder)
    check_against_contract(checkpoint, contract)
    options = options or RuntimeOptions()
    return CheckpointPolicy(checkpoint, contract, load_runtime(checkpoint, options), options)


class CheckpointPolicy(Policy):
    """A loaded checkpoint; a chunk's columns are ``joint_names``, the contract's order."""

    def __init__(
        self, checkpoint: Checkpoint, contract: Contract, loaded: LoadedRuntime, options: RuntimeOptions
    ) -> None:
        runtime, self.runtime, self.why_runtime = loaded
        self._checkpoint, self._contract, self._runtime, self._options = checkpoint, contract, runtime, options
        network = checkpoint.model
        self.checkpoint_sha256, self.step_s = checkpoint.sha256, checkpoint.step_s
        self.camera_names, self.joint_names, self.horizon = (
            checkpoint.camera_names,
            contract.joint_names,
            network.horizon,
        )
        self.device, self.precision, self.threads = runtime.device, runtime.precision, runtime.threads
        self.guidance = options.guidance
        if self.guidance == "trained":
            self.max_executed_rows = network.max_delay_steps
        else:
            self.max_executed_rows = 0 if self.guidance == NO_GUIDANCE else self.horizon - 1
        self._coding = ActionCoding.of(contract, checkpoint.action_kind)
        text = network.text
        self._tokenizer = InstructionTokenizer(checkpoint.tokenizer, text.max_tokens)
        if (ids := self._tokenizer.vocab_size) > text.vocab_size:
            raise CheckpointError(f"{checkpoint.tokenizer}: has {ids} ids, the network {text.vocab_size}")
        try:
            self._words = read_words(checkpoint.folder)
        except WordsError as error:
            raise CheckpointError(str(error)) from error
        # Camera → the image that was seen ahead of its observation, and what the runtime made of it.
        self._seen: dict[str, tuple[NDArray[np.uint8], NDArray[np.float32] | None]] = {}
        # Checkpoint order from contract order, and back.
        self._to_policy = np.array([contract.joint_names.index(n) for n in checkpoint.joint_names])
        self._rows_to_policy = np.array([contract.action_names.index(n) for n in checkpoint.action_names])
        self._rows_to_contract = np.argsort(self._rows_to_policy)

    def sample_noise(self, seed: int, scale: float | None = None) -> NDArray[np.float32]:
        """The initial noise of a chunk, float32 [H, A], the same for the same seed; its scale is the checkpoint's."""
        config = self._checkpoint.model
        noise = np.random.default_rng(seed).standard_normal((config.horizon, config.action_dim), dtype=np.float32)
        return noise * np.float32(config.noise_scale if scale is None else scale)

    def check_instruction(self, text: str) -> str:
        """The instruction as it will be read: where the checkpoint has a reader, a sentence that it was trained on.

        Raises
        ------
        NotUnderstoodError
            The text means nothing that the checkpoint was trained for, as far as its reader can tell.
        InstructionError
            It is refused, too many tokens included.
        """
        valid = validate_instruction(text)
        self._tokenizer(valid)
        return valid if self._words is None else self._words.read(valid)

    def warm_up(self) -> None:
        """Compute once from nothing, so that the first real chunk is as fast as the others."""
        sizes = {name: self._contract.camera(name).size for name in self.camera_names}
        images = {name: np.zeros((height, width, 3), np.uint8) for name, (width, height) in sizes.items()}
        rest = self._contract.rest
        executed = None if self._contract.hand else np.tile(rest, (self.max_executed_rows, 1))
        self.infer(Observation(images, rest, "warm up"), executed=executed)

    def see(self, camera: str, image: NDArray[np.uint8]) -> None:
        """Run a camera's image through the vision tower ahead of its observation, where the runtime can.

        Raises ValueError for an image of the wrong size.
        """
        (prepared,) = self._prepared([checked_image(self._contract, camera, image)])
        self._seen[camera] = image, self._runtime.see(prepared)

    def infer(
        self,
        observation: Observation,
        *,
        noise: NDArray[np.float32] | None = None,
        executed: NDArray[np.float64] | None = None,
        planned: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float64]:
        """Compute a chunk, as :meth:`Policy.infer` says.

        Raises
        ------
        ValueError
            An image is missing or of the wrong size, the state is not finite, geometry doesn't fit, or rows are given
            to a policy without guidance, or too many of them.
        InstructionError
            The instruction is refused.
        """
        state = self._state(observation)
        inputs = self._input(observation, state)
        start = self.sample_noise(0) if noise is None else noise
        chunk = self._runtime.infer(inputs, start, self._rows_ahead(executed, planned, state))
        rows = self._checkpoint.action.denormalize(chunk[:, : len(self._rows_to_policy)].astype(np.float64))
        return self._coding.decode(rows[:, self._rows_to_contract], state)

    def vision_tokens(self) -> tuple[NDArray[np.float32], ...] | None:
        """The vision encoder's tokens [p, d] of each camera's image in the last chunk; None: the runtime can't tell."""
        return self._runtime.vision_tokens()

    def vision_features(self) -> NDArray[np.float32] | None:
        """The same tokens pooled, [cams, D], as :func:`pooled` does."""
        tokens = self.vision_tokens()
        return None if tokens is None else np.stack([pooled(camera) for camera in tokens])

    def keypoints(self, observation: Observation) -> NDArray[np.float32]:
        """Where the policy sees its end effector go: (u, v) [f, 2] in the front image, the goal keypoint first.

        Raises CheckpointError where the auxiliary file doesn't lie beside the weights: its trajectory head tells.
        """
        return self._runtime.keypoints(self.network_input(observation))

    def network_input(self, observation: Observation) -> NetworkInput:
        """What the network reads of an observation; raises as :meth:`infer` does."""
        return self._input(observation, self._state(observation))

    def _rows_ahead(
        self, executed: NDArray[np.float64] | None, planned: NDArray[np.float64] | None, state: NDArray[np.float64]
    ) -> RowsAhead | None:
        """What is executed and planned as the network's own normalised rows."""
        joints = len(self._rows_to_policy)
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
        positions = np.concatenate([first, then])[: self.horizon]
        rows = self._coding.encode(positions, state)[:, self._rows_to_policy]
        return RowsAhead(self._checkpoint.action.normalize(rows).astype(np.float32), len(first))

    def _state(self, observation: Observation) -> NDArray[np.float64]:
        return checked_state(self._contract, observation.state)

    def _input(self, observation: Observation, state: NDArray[np.float64]) -> NetworkInput:
        network = self._checkpoint.model
        images = [checked_image(self._contract, name, observation.images.get(name)) for name in self.camera_names]
        begun = [self._seen.get(name) for name in self.camera_names]
        seen = [entry[1] if entry and entry[0] is image else None for entry, image in zip(begun, images, strict=True)]
        geometry, branch = observation.geometry, network.geometry
        if geometry is not None and not self._options.with_4d:
            raise ValueError("geometry: the policy was loaded without its 4D branch; load it with_4d=True")
        if geometry is not None and branch is not None and geometry.shape != (branch.tokens, branch.dim):
            raise ValueError(f"geometry: expected [{branch.tokens}, {branch.dim}], got {list(geometry.shape)}")
        normalized = np.zeros(network.state_dim, np.float32)
        normalized[: len(state)] = self._checkpoint.state.normalize(state[self._to_policy])
        return NetworkInput(
            self._prepared(images), self._tokenizer(observation.instruction), normalized, geometry, tuple(seen)
        )

    def _prepared(self, images: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        return prepare_images(images, self._checkpoint.image_fit, self._checkpoint.model.vision.image_size)
