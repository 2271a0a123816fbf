# SPDX-License-Identifier: Apache-2.0
"""Simulated scenes that are unlike those that the policy was trained on, by kind, and what the hand hits in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract
from swiftvla_ros.sim.backend import mujoco
from swiftvla_ros.sim.block_layout import sample_layout
from swiftvla_ros.sim.language import COLORS
from swiftvla_ros.sim.scene import TABLE, Scene, SceneSetup
from swiftvla_ros.sim.world import SimWorld

Array = NDArray[np.float64]
Image = NDArray[np.uint8]
Shift = Callable[["ShiftedWorld", np.random.Generator], None]

HIT = ("table", "other block", "object")
"""What the hand must not touch; the columns of :meth:`ShiftedWorld.forces`."""
_LATEST_ONSET_S = 1.2
_FAR_AWAY = np.array([0.0, 0.0, -0.9])
# How far from every block a strange object stands at least, m.
_CLEAR_M = 0.06


class StrangeObject(Scene):
    """The table with a thing on it that no demonstration has: solid, standing, as high as a cup or a bottle."""

    name = "strange object"
    fixtures = ("stranger",)

    def build(self, spec: mujoco.MjSpec) -> None:
        """Add it; its size and colour are set for each scene."""
        body = spec.worldbody.add_body(name="stranger", pos=_FAR_AWAY)
        solid: dict[str, Any] = {"contype": 1, "conaffinity": 1, "friction": [1, 0.01, 0.001]}
        body.add_geom(name="stranger", type=mujoco.mjtGeom.mjGEOM_CYLINDER, size=[0.02, 0.05, 0], **solid)

    def sample(self, contract: Contract, seed: int) -> SceneSetup:  # noqa: ARG002  (a place for every robot)
        """Somewhere among the blocks, clear of each."""
        blocks = sample_layout(np.random.default_rng([seed, 1])).xy
        rng = np.random.default_rng([seed, 9])
        for _ in range(200):
            radius, angle = rng.uniform(0.14, 0.30), rng.uniform(-0.8, 0.8)
            spot = np.array([0.04 + radius * np.cos(angle), radius * np.sin(angle)])
            if np.hypot(*(blocks - spot).T).min() > _CLEAR_M:
                break
        return SceneSetup(fixtures=np.array([[*spot, 0.0]]))


class ShiftedWorld(SimWorld):
    """A world that :meth:`shift` makes unlike itself; the next :meth:`reset` undoes it."""

    def __init__(self, contract: Contract, seed: int = 0, scene: Scene = TABLE) -> None:
        self.lens: dict[str, Callable[[Image], Image]] = {}
        super().__init__(contract, seed, scene)
        model = self._model
        self._plain = {
            name: getattr(model, name).copy()
            for name in ("light_diffuse", "cam_pos", "cam_quat", "geom_friction", "geom_size")
        }
        self._headlight = model.vis.headlight.ambient.copy(), model.vis.headlight.diffuse.copy()
        self._table = model.geom("table").id

    @property
    def model(self) -> mujoco.MjModel:
        """The compiled model, to be changed while it runs."""
        return self._model

    def begin(self, seed: int, arm: Array | None = None) -> None:
        """Start the plain scene of a seed; what stands in it unasked comes with the shift."""
        if self._headlight is not None:
            for name, values in self._plain.items():
                getattr(self._model, name)[:] = values
            self._model.vis.headlight.ambient[:], self._model.vis.headlight.diffuse[:] = self._headlight
        self.lens.clear()
        self.reset(seed, arm=arm)
        for name in self.scene.fixtures:
            self._model.body(name).pos[:] = _FAR_AWAY

    def render(self, camera: str, width: int = 320, height: int = 240) -> Image:
        """What a camera sees through whatever is before its lens."""
        image = super().render(camera, width, height)
        return self.lens[camera](image) if camera in self.lens else image

    def forces(self, color: str) -> Array:
        """Normal forces [3] of the hand on what it must not touch (:data:`HIT`), N; ``color`` is the task's block."""
        found, wrench = np.zeros(len(HIT)), np.zeros(6)
        for i in range(self._data.ncon):
            contact = self._data.contact[i]
            pair = {contact.geom1, contact.geom2}
            if not pair & self._hand_geoms or not pair - self._hand_geoms:
                continue
            (other,) = pair - self._hand_geoms
            if other == self._table:
                what = 0
            elif other in self._block_geom:
                if self._block_geom[other] == color:
                    continue
                what = 1
            else:
                what = 2
            mujoco.mj_contactForce(self._model, self._data, i, wrench)
            found[what] = max(found[what], wrench[0])
        return found


def _lights(low: float, high: float) -> Shift:
    def shift(world: ShiftedWorld, rng: np.random.Generator) -> None:
        factor, model = rng.uniform(low, high), world.model
        model.light_diffuse[:] *= factor
        model.vis.headlight.ambient[:] *= factor
        model.vis.headlight.diffuse[:] *= factor

    return shift


def _coloured(world: ShiftedWorld, rng: np.random.Generator) -> None:
    """A lamp of another colour: one channel of all lights is nearly gone."""
    tint = np.ones(3)
    tint[rng.integers(3)] = rng.uniform(0.2, 0.4)
    model = world.model
    model.light_diffuse[:] *= tint
    model.vis.headlight.ambient[:] *= tint
    model.vis.headlight.diffuse[:] *= tint


def _moved(metres: tuple[float, float], degrees: tuple[float, float]) -> Shift:
    """The front camera is pushed."""

    def shift(world: ShiftedWorld, rng: np.random.Generator) -> None:
        camera = world.model.camera("front")
        push = rng.standard_normal(3)
        camera.pos[:] += rng.uniform(*metres) * push / np.linalg.norm(push)
        axis, turned = rng.standard_normal(3), np.zeros(4)
        turn = np.zeros(4)
        mujoco.mju_axisAngle2Quat(turn, axis / np.linalg.norm(axis), np.radians(rng.uniform(*degrees)))
        mujoco.mju_mulQuat(turned, camera.quat, turn)
        camera.quat[:] = turned

    return shift


def _covered(camera: str) -> Shift:
    """A hand, a cloth or tape is before the lens: a dim, nearly even picture, or half of one."""

    def shift(world: ShiftedWorld, rng: np.random.Generator) -> None:
        shade, half = rng.uniform(5, 90, 3), rng.random() < 0.5
        side = int(rng.integers(4))

        def cover(image: Image) -> Image:
            covered = np.clip(shade + rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8)
            if half:
                turned, plain = np.rot90(covered, side).copy(), np.rot90(image, side)
                turned[len(turned) // 2 :] = plain[len(plain) // 2 :]
                return np.ascontiguousarray(np.rot90(turned, -side))
            return covered

        world.lens[camera] = cover

    return shift


def _frozen(world: ShiftedWorld, rng: np.random.Generator) -> None:  # noqa: ARG001
    """The front camera's driver repeats its last picture."""
    last = world.render("front")
    world.lens["front"] = lambda image: last if image.shape == last.shape else image


def _object(world: ShiftedWorld, rng: np.random.Generator) -> None:
    """The strange object appears, in a size and a colour of its own."""
    model = world.model
    geom, body = model.geom("stranger"), model.body("stranger")
    radius, half = rng.uniform(0.015, 0.03), rng.uniform(0.02, 0.07)
    geom.size[:] = radius, half, 0
    geom.rgba[:3] = rng.uniform(0.05, 0.95, 3)
    body.pos[:] = *world.fixtures[0, :2], half


def _slippery(world: ShiftedWorld, rng: np.random.Generator) -> None:  # noqa: ARG001
    """Blocks that no hand can hold; nothing of it is in any picture."""
    for color in COLORS:
        world.model.geom(color).friction[:] = 0.02, 0.0, 0.0
    for pad in ("fixed_jaw_pad", "moving_jaw_pad"):
        world.model.geom(pad).friction[:] = 0.02, 0.0, 0.0


def _nothing(world: ShiftedWorld, rng: np.random.Generator) -> None:
    """As trained."""


@dataclass(frozen=True)
class Kind:
    """A way in which an episode is unlike training: ``shift`` sets in at a random time, or the rest from the start."""

    shift: Shift = _nothing
    scene: Scene = TABLE
    odd_pose: bool = False  # the arm starts where no demonstration is
    odd_words: bool = False  # the instruction asks for something that was never shown
    visible: bool = True  # whether one observation or chunk can show it


KINDS: dict[str, Kind] = {
    "nominal": Kind(),
    "lights dimmed": Kind(_lights(0.3, 0.5)),
    "lights brighter": Kind(_lights(1.6, 2.2)),
    "light coloured": Kind(_coloured),
    "camera moved": Kind(_moved((0.04, 0.10), (4.0, 10.0))),
    "camera nudged": Kind(_moved((0.01, 0.02), (1.0, 2.0))),
    "front lens covered": Kind(_covered("front")),
    "wrist lens covered": Kind(_covered("wrist")),
    "unknown object": Kind(_object, StrangeObject()),
    "pose outside": Kind(odd_pose=True),
    "unknown words": Kind(odd_words=True, visible=False),
    "slippery blocks": Kind(_slippery, visible=False),
    "front picture frozen": Kind(_frozen, visible=False),
}
ODD_WORDS = (
    "fold the towel",
    "open the drawer on the left",
    "push everything off the table",
    "wave to the audience",
    "pour the water into the cup",
    "stack all the plates",
)


def onset_s(kind: Kind, rng: np.random.Generator) -> float:
    """When the shift sets in; at once where it is the start or the words."""
    drawn = float(rng.uniform(0, _LATEST_ONSET_S))
    return 0.0 if kind.odd_pose or kind.odd_words else drawn
