# SPDX-License-Identifier: Apache-2.0
"""A policy of LeRobot's as one of ours: its process is asked for each chunk."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.contract.sections.lerobot import ACTION, STATE
from swiftvla_ros.observation.observation import NO_GUIDANCE, Observation, validate_instruction
from swiftvla_ros.policy.checkpoint import CheckpointError
from swiftvla_ros.policy.lerobot.folder import LeRobotFolder, lerobot_problems, open_lerobot
from swiftvla_ros.policy.lerobot.policy_process import SERVER, PolicyProcess, PolicyProcessError
from swiftvla_ros.policy.lerobot.server import MOST_ROWS, Arrays, MessageError, check_array
from swiftvla_ros.policy.observation_checks import checked_image, checked_state
from swiftvla_ros.policy.policy import Policy
from swiftvla_ros.policy.runtime import RuntimeOptions

NAME = "lerobot"
"""The runtime's name; a loaded policy adds lerobot's version and the policy's type."""

# Weights of several GB come from a slow disk, and are computed with twice.
_LOAD_S = 900.0
# A chunk that takes longer is of no use to any arm.
_CHUNK_S = 60.0


def load_lerobot(
    folder: Path | str, contract: Contract, options: RuntimeOptions, *, python: str = "", server: Path = SERVER
) -> LeRobotPolicy:
    """Load a folder of LeRobot's for the robot of ``contract``.

    ``python`` is the interpreter that has lerobot; empty: the one that the environment names, else this one.
    ``server`` is what it runs.

    Raises
    ------
    CheckpointError
        Names the file, feature, camera or joint that doesn't fit, what the options ask for and lerobot can't do, or
        the interpreter that lacks lerobot.
    """
    found = open_lerobot(folder)
    for _, problem in lerobot_problems(found, contract):
        raise CheckpointError(f"checkpoint '{found.folder}': {problem}")
    if options.runtime != "auto" and options.runtime.split()[0] != NAME:
        raise CheckpointError(
            f"checkpoint '{found.folder}': is LeRobot's, of a policy of type '{found.type}', which runtime "
            f"'{options.runtime}' can't compute; write auto or {NAME}"
        )
    if options.guidance != NO_GUIDANCE:
        raise CheckpointError(f"guidance '{options.guidance}' is unknown to runtime '{NAME}'; write {NO_GUIDANCE}")
    if options.with_4d:
        raise CheckpointError(f"runtime '{NAME}' can't run the 4D branch; leave with_4d out")
    policy = LeRobotPolicy(found, contract, options, python, server)
    if options.precision not in ("auto", policy.precision):
        raise CheckpointError(
            f"checkpoint '{found.folder}': computes in {policy.precision}, not {options.precision}; write auto"
        )
    return policy


class LeRobotPolicy(Policy):
    """A loaded policy; a chunk's columns are the contract's joints. Its process is started again where it ended."""

    def __init__(
        self, found: LeRobotFolder, contract: Contract, options: RuntimeOptions, python: str, server: Path
    ) -> None:
        self._found, self._contract, self._options = found, contract, options
        self._python, self._server = python, server
        columns = [contract.lerobot_joints[name] for name in contract.joint_names]
        # SI = scale · dataset + offset.
        self._scale = np.array([column.scale for column in columns])
        self._offset = np.array([column.offset for column in columns])
        self._features = found.cameras(contract)
        self.checkpoint_sha256, self.step_s = found.sha256, contract.policy.step_s
        self.camera_names, self.joint_names = tuple(self._features), contract.joint_names
        try:
            told = self._start()
        except PolicyProcessError as error:
            ours = f"; or make it ours: `swiftvla import-smolvla {found.folder} OUT`" if found.type == "smolvla" else ""
            raise CheckpointError(f"checkpoint '{found.folder}': {error}{ours}") from error
        self.runtime = f"{NAME} {told['lerobot']} {told['type']}"
        self.device, self.precision, self.threads = told["device"], told["precision"], told["threads"]
        self.horizon: int = told["rows"]
        self._draws: bool = told["draws"]
        if told["differs_by"]:
            self.why_runtime = (
                f"the same observation and seed gave chunks that differ by {told['differs_by']:.2g}, so that a replay "
                "can't be exact"
            )

    def sample_noise(self, seed: int, scale: float | None = None) -> NDArray[np.float32] | None:
        """What the other process' random numbers are seeded by [H, J], at its own scale; None: it draws none."""
        del scale
        if not self._draws:
            return None
        shape = self.horizon, len(self.joint_names)
        return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)

    def check_instruction(self, text: str) -> str:
        """The instruction as it will be given; how many words are read is the policy's own affair."""
        return validate_instruction(text)

    def infer(
        self,
        observation: Observation,
        *,
        noise: NDArray[np.float32] | None = None,
        executed: NDArray[np.float64] | None = None,
        planned: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float64]:
        """Compute a chunk, as :meth:`Policy.infer` says; raises PolicyProcessError where the process fails."""
        if any(rows is not None and len(rows) for rows in (executed, planned)):
            raise ValueError(f"executed, planned: runtime '{NAME}' knows no guidance")
        if observation.geometry is not None:
            raise ValueError(f"geometry: runtime '{NAME}' reads none")
        arrays: Arrays = {
            feature: np.ascontiguousarray(checked_image(self._contract, camera, observation.images.get(camera)))
            for camera, feature in self._features.items()
        }
        state = checked_state(self._contract, observation.state)
        if STATE in self._found.inputs:
            arrays[STATE] = ((state - self._offset) / self._scale).astype(np.float32)
        start = self.sample_noise(0) if noise is None else noise
        seed = 0 if start is None else random_seed(start)
        request = {"do": "infer", "instruction": observation.instruction, "seed": seed}
        if not self._process.alive:
            self._start()
        _, given = self._process.ask(request, arrays, timeout_s=_CHUNK_S)
        chunk = given.get(ACTION)
        try:
            check_array(ACTION, chunk, (self.horizon, len(self.joint_names)), "float32")
        except MessageError as error:
            raise PolicyProcessError(f"{self._process.python}: {error}") from error
        return self._offset + self._scale * given[ACTION].astype(np.float64)

    def _start(self) -> dict[str, Any]:
        """Start the process, load the policy there, and give what it says of itself."""
        shapes: dict[str, list[int]] = {
            feature: [*self._contract.camera(camera).size[::-1], 3] for camera, feature in self._features.items()
        }
        if STATE in self._found.inputs:
            shapes[STATE] = [len(self.joint_names)]
        self._process = PolicyProcess(self._python, self._server)
        told, _ = self._process.ask(
            {
                "do": "load",
                "folder": str(self._found.folder.resolve()),
                "inputs": shapes,
                "device": self._options.device,
                "threads": self._options.threads or 0,
            },
            timeout_s=_LOAD_S,
        )
        kinds = {"lerobot": str, "type": str, "device": str, "precision": str, "threads": int, "rows": int}
        kinds |= {"columns": int, "differs_by": float, "draws": bool}
        wrong = sorted(key for key, kind in kinds.items() if not isinstance(told.get(key), kind))
        if wrong or not 0 < told["rows"] <= MOST_ROWS:
            raise PolicyProcessError(f"{self._process.python}: an answer that isn't one; wrong are {wrong or ['rows']}")
        if told["columns"] != len(self.joint_names):
            raise PolicyProcessError(f"gives {told['columns']} columns for {len(self.joint_names)} joints")
        return told


def random_seed(noise: NDArray[np.float32]) -> int:
    """A seed that differs wherever the noise does: 0 to 2**63 - 1."""
    digest = hashlib.sha256(np.ascontiguousarray(noise).tobytes()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
