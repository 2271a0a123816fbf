# SPDX-License-Identifier: Apache-2.0
"""Who moves the benchmark's hand: a policy, the expert, or one demonstration's actions without looking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import mujoco
import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import CameraPose, Contract
from swiftvla_ros.contract.images import condition_image
from swiftvla_ros.contract.sections.hand import HAND_ACTIONS
from swiftvla_ros.observation.observation import Observation
from swiftvla_ros.policy import Policy
from swiftvla_ros.sim.libero.process import SceneMoment, View

Array = NDArray[np.float64]

REPLAN_STEPS = 5
"""Rows of a chunk that are executed before the next look, as openpi's evaluation does."""


class HandDriver(Protocol):
    """One episode's driver."""

    def looks(self, step: int) -> bool:
        """Whether step ``step`` needs pictures."""

    def act(self, step: int, moment: SceneMoment) -> Array:
        """The action [7]."""


class BlindReplay:
    """The actions of one demonstration, whatever is there; then the hand rests, as it is."""

    def __init__(self, actions: Array) -> None:
        self._actions = actions

    def looks(self, step: int) -> bool:
        """It never does."""
        del step
        return False

    def act(self, step: int, moment: SceneMoment) -> Array:
        """The action [7]."""
        del moment
        if step < len(self._actions):
            return np.asarray(self._actions[step])
        return np.array([*np.zeros(len(HAND_ACTIONS) - 1), self._actions[-1][-1]])


class PolicyHand:
    """A policy, which is told ``instruction`` and looks again after every few rows."""

    def __init__(
        self, policy: Policy, contract: Contract, instruction: str, seed: int, replan_steps: int = REPLAN_STEPS
    ) -> None:
        self._policy, self._contract, self._replan = policy, contract, replan_steps
        self._instruction, self._seed = policy.check_instruction(instruction), seed
        self._chunk: Sequence[Array] = ()

    def looks(self, step: int) -> bool:
        """At the first step, and after as many as are executed of a chunk."""
        return step % self._replan == 0

    def act(self, step: int, moment: SceneMoment) -> Array:
        """The action [7]."""
        if self.looks(step):
            observation = Observation(policy_views(moment, self._contract), moment.state, self._instruction)
            self._chunk = list(self._policy.infer(observation, noise=self._policy.sample_noise(self._seed + step)))
        return np.asarray(self._chunk[min(step % self._replan, len(self._chunk) - 1)])


def policy_views(moment: SceneMoment, contract: Contract) -> dict[str, NDArray[np.uint8]]:
    """The images of a moment as the contract gives them to a policy."""
    return {name: condition_image(moment.views[name].image, contract.camera(name)) for name in contract.camera_names}


def camera_pose(view: View) -> CameraPose:
    """Where the camera of a view stood, which was seen with depth: what places in the picture are labelled by."""
    assert view.world_from_camera is not None
    wxyz = np.empty(4)
    mujoco.mju_mat2Quat(wxyz, np.ascontiguousarray(view.world_from_camera[:3, :3]).ravel())
    w, x, y, z = wxyz.tolist()
    px, py, pz = view.world_from_camera[:3, 3].tolist()
    return CameraPose(position_m=(px, py, pz), quaternion_xyzw=(x, y, z, w), fovy_deg=view.fovy_deg, mirrored=True)
