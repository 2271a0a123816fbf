# SPDX-License-Identifier: Apache-2.0
"""The simulated robot, its table and its cameras."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract import Contract, ContractError
from swiftvla_ros.contract.schema import CameraPose
from swiftvla_ros.sim.backend import mujoco
from swiftvla_ros.sim.block_layout import BLOCK_HALF_M, HALVES_M, SceneLayout, sample_layout, sample_spot
from swiftvla_ros.sim.language import COLORS
from swiftvla_ros.sim.scene import TABLE, Scene, SceneSetup

Array = NDArray[np.float64]
Image = NDArray[np.uint8]
Depth = NDArray[np.float32]

MAX_STAND_M = 0.06
"""The highest stand: how much of it can look out of the table."""

_SCENE = Path(__file__).with_name("so101_scene.xml")
_DISTRACTORS = ("ball", "can", "slab")
_DISTRACTOR_HEIGHT_M = {"ball": 0.015, "can": 0.018, "slab": 0.006}
# Colours that no block has and no instruction names.
_DISTRACTOR_RGB = np.array(
    [[0.5, 0.5, 0.52], [0.85, 0.75, 0.15], [0.15, 0.15, 0.15], [0.9, 0.9, 0.9], [0.45, 0.3, 0.2]]
)
_OUT_OF_SIGHT = np.array([0.0, 0.0, -1.0])
_STAND_SHADE = (0.2, 0.8)
# Half the edge of a stand that bears a block of the usual size.
_STAND_HALF_M = 0.02
# What compiling a model derives from sizes.
_BY_SIZE = (
    *("geom_size", "geom_rbound", "geom_aabb", "bvh_aabb", "body_inertia", "body_invweight0", "dof_invweight0"),
    *("dof_M0", "dof_length", "actuator_acc0", "body_mass", "body_subtreemass"),
)
_HAND_BODIES = ("gripper_body", "moving_jaw")


@dataclass(frozen=True)
class Contact:
    """The hand touches the block ``color``; the highest contact point is ``height_m`` above its centre."""

    color: str
    height_m: float


class SimWorld:
    """A MuJoCo SO-101 with three coloured blocks, driven by joint positions as the real arm is.

    Parameters
    ----------
    contract
        Names the joints, gives their limits and the front camera's pose.
    seed
        Scene of the first :meth:`reset`.
    scene
        The variant that all scenes are of.

    Attributes
    ----------
    nominal_contract
        The one given.
    contract
        The same, but with the front camera where it stands in this scene.
    layout
        Where the blocks were put.
    stands
        Heights [3] of the stands that bear the blocks, m; 0 is no stand.
    halves_m
        Half the blocks' edges [3].
    fixtures
        Places [F, 3] (x, y, yaw) of the scene's other bodies.
    setup
        What the scene has beside the blocks.

    Notes
    -----
    Free the OpenGL contexts with :meth:`close`, or use the world in a ``with`` statement.
    """

    def __init__(self, contract: Contract, seed: int = 0, scene: Scene = TABLE) -> None:
        self.nominal_contract = self.contract = contract
        self.scene = scene
        self._model = self._spec().compile()
        self._data = mujoco.MjData(self._model)
        self._renderers: dict[tuple[int, int], mujoco.Renderer] = {}
        missing = [name for name in contract.joint_names if not _has_joint(self._model, name)]
        if missing:
            raise ContractError(
                f"{contract.path}: joints {', '.join(missing)} are not joints of the simulated SO-101; take so101_sim"
            )
        self._qpos = np.array([self._model.joint(name).qposadr[0] for name in contract.joint_names])
        self._dof = np.array([self._model.joint(name).dofadr[0] for name in contract.joint_names])
        self._actuator = np.array([self._model.actuator(name).id for name in contract.joint_names])
        self._block_qpos = np.array([self._model.joint(color).qposadr[0] for color in COLORS])
        self._block_geom = {self._model.geom(color).id: color for color in COLORS}
        hand = {self._model.body(name).id for name in _HAND_BODIES}
        self._hand_geoms = {i for i in range(self._model.ngeom) if self._model.geom_bodyid[i] in hand}
        self._low, self._high = contract.limits.min_position, contract.limits.max_position
        self._plain_rgba = self._model.geom_rgba.copy()
        self._plain_light = self._model.light_diffuse.copy()
        self._plain_light_direction = self._model.light_dir.copy()
        self.reset(seed)

    def __enter__(self) -> SimWorld:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the renderers. MuJoCo's EGL contexts complain when the interpreter has to do it."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()

    def reset(
        self,
        seed: int,
        *,
        layout: SceneLayout | None = None,
        arm: Array | None = None,
        distractors: int = 0,
        setup: SceneSetup | None = None,
    ) -> None:
        """Start a new scene.

        Parameters
        ----------
        seed
            Decides everything that is random, light, table shade and block hue included: the same gives the same scene.
        layout
            Where things lie; drawn from the seed by default.
        arm
            Joint positions [J], rad; the contract's rest pose by default.
        distractors
            Number (0…3) of other objects put on the table. They have no collision shape.
        setup
            What the scene has beside the blocks; what its variant draws from the seed by default.

        Raises
        ------
        ValueError
            A stand is too high or of negative height, or a block too small or too large for the jaws.
        """
        setup = self.scene.sample(self.nominal_contract, seed) if setup is None else setup
        self.stands = np.zeros(len(COLORS)) if setup.stands is None else np.asarray(setup.stands, dtype=np.float64)
        if self.stands.shape != (len(COLORS),) or (self.stands < 0).any() or (self.stands > MAX_STAND_M).any():
            raise ValueError(f"stands {self.stands.tolist()}: give {len(COLORS)} heights between 0 and {MAX_STAND_M} m")
        halves = np.full(len(COLORS), BLOCK_HALF_M) if setup.halves_m is None else setup.halves_m
        self.halves_m = np.asarray(halves, dtype=np.float64)
        low, high = HALVES_M
        if self.halves_m.shape != (len(COLORS),) or not ((self.halves_m >= low) & (self.halves_m <= high)).all():
            raise ValueError(
                f"halves_m {self.halves_m.tolist()}: give {len(COLORS)} halves of edges between {low} and {high} m: "
                "the jaws hold no others"
            )
        self._resize(self.halves_m)
        layout_rng, look_rng = (np.random.default_rng([seed, stream]) for stream in (1, 2))
        self.layout = sample_layout(layout_rng) if layout is None else layout
        fixtures = setup.fixtures if self.layout.fixtures is None else self.layout.fixtures
        self.fixtures = np.zeros((0, 3)) if fixtures is None else fixtures
        mujoco.mj_resetData(self._model, self._data)
        pose = self.contract.rest if arm is None else np.asarray(arm, dtype=np.float64)
        self._data.qpos[self._qpos] = pose
        sizes = zip(self.stands, self.halves_m, strict=True)
        places = zip(COLORS, self._block_qpos, self.layout.xy, self.layout.yaw, sizes, strict=True)
        for color, address, xy, yaw, (height, half) in places:
            turned = [np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]
            self._data.qpos[address : address + 3] = [*xy, height + half]
            self._data.qpos[address + 3 : address + 7] = turned
            stand = self._model.body(f"stand_{color}")
            stand.pos[:] = [*xy, height - MAX_STAND_M / 2] if height > 0 else _OUT_OF_SIGHT
            stand.quat[:] = turned
        for name, (x, y, yaw) in zip(self.scene.fixtures, self.fixtures, strict=True):
            fixture = self._model.body(name)
            fixture.pos[:2] = x, y
            fixture.quat[:] = np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)
        self._place_front_camera(setup.front_pose)
        self.setup = SceneSetup(self.stands, self.halves_m, self.contract.camera("front").pose, self.fixtures)
        self._place_distractors(look_rng, distractors)
        self._paint(look_rng)
        self.command(pose)
        mujoco.mj_forward(self._model, self._data)

    @property
    def time_s(self) -> float:
        """Simulated seconds since the reset."""
        return float(self._data.time)

    def command(self, q: Array) -> None:
        """Set the servos' set-points [J] (rad, contract order), clipped to the contract's position limits."""
        self._command = np.clip(np.asarray(q, dtype=np.float64), self._low, self._high)
        self._data.ctrl[self._actuator] = self._command

    def commanded(self) -> Array:
        """The set-points [J] that the servos follow."""
        return self._command.copy()

    def advance(self, dt_s: float) -> None:
        """Run the physics (500 Hz) for ``dt_s`` seconds."""
        mujoco.mj_step(self._model, self._data, nstep=max(1, round(dt_s / self._model.opt.timestep)))

    def state(self) -> Array:
        """Measured joint positions [J], rad, contract order."""
        return self._data.qpos[self._qpos].copy()

    def joint_velocity(self) -> Array:
        """Measured joint velocities [J], rad/s, contract order."""
        return self._data.qvel[self._dof].copy()

    def positions(self) -> Array:
        """Where everything that moves is: of joints, rad; of free bodies, m and a quaternion. A copy."""
        return self._data.qpos.copy()

    def block_positions(self) -> Array:
        """Centres of the blocks [3, 3], m, base frame, in the order of the colours."""
        return np.stack([self._data.qpos[a : a + 3] for a in self._block_qpos])

    def layout_now(self) -> SceneLayout:
        """Where things lie now, as :meth:`reset` takes it."""
        w, z = (np.array([self._data.qpos[a + i] for a in self._block_qpos]) for i in (3, 6))
        return SceneLayout(self.block_positions()[:, :2], 2 * np.arctan2(z, w), self.fixtures)

    def end_effector_position(self) -> Array:
        """Tool centre point [3], m, base frame, of the simulated (not the commanded) arm."""
        return self._data.site("gripper_frame").xpos.copy()

    def contacts(self) -> tuple[Contact, ...]:
        """Which blocks the hand touches now."""
        highest: dict[str, float] = {}
        for i in range(self._data.ncon):
            contact = self._data.contact[i]
            for block, other in ((contact.geom1, contact.geom2), (contact.geom2, contact.geom1)):
                if block in self._block_geom and other in self._hand_geoms:
                    color = self._block_geom[block]
                    height = float(contact.pos[2] - self._data.geom_xpos[block][2])
                    highest[color] = max(height, highest.get(color, -1.0))
        return tuple(Contact(color, height) for color, height in highest.items())

    def render(self, camera: str, width: int = 320, height: int = 240) -> Image:
        """What a camera sees: RGB uint8 [height, width, 3]; at most 640×480."""
        renderer = self._renderer(width, height)
        renderer.update_scene(self._data, camera=camera)
        return np.asarray(renderer.render(), dtype=np.uint8)

    def render_depth(self, camera: str, width: int = 320, height: int = 240) -> Depth:
        """How far away a camera sees things: float32 [height, width], m along its optical axis; at most 640×480."""
        renderer = self._renderer(width, height)
        renderer.enable_depth_rendering()
        try:
            renderer.update_scene(self._data, camera=camera)
            return np.asarray(renderer.render(), dtype=np.float32)
        finally:
            renderer.disable_depth_rendering()

    def camera_pose(self, camera: str) -> Array:
        """Pose [4, 4] of a camera's optical frame (x right, y down, z forward; m) in the base frame, as it is now."""
        pose = np.eye(4)
        # MuJoCo's cameras look along -z with y up.
        pose[:3, :3] = self._data.camera(camera).xmat.reshape(3, 3) * [1, -1, -1]
        pose[:3, 3] = self._data.camera(camera).xpos
        return pose

    def camera_fovy_rad(self, camera: str) -> float:
        """Vertical field of view of a camera, rad."""
        return float(np.radians(self._model.camera(camera).fovy[0]))

    def _spec(self) -> mujoco.MjSpec:
        spec = mujoco.MjSpec.from_file(str(_SCENE))
        self.scene.build(spec)
        return spec

    def _renderer(self, width: int, height: int) -> mujoco.Renderer:
        """The renderer of one picture size; made when it is first needed."""
        renderer = self._renderers.get((width, height))
        if renderer is None:
            renderer = mujoco.Renderer(self._model, height=height, width=width)
            for flag in (
                mujoco.mjtRndFlag.mjRND_SHADOW,
                mujoco.mjtRndFlag.mjRND_REFLECTION,
                mujoco.mjtRndFlag.mjRND_SKYBOX,
            ):
                renderer.scene.flags[flag] = 0
            self._renderers[(width, height)] = renderer
        return renderer

    def _resize(self, halves_m: Array) -> None:
        """Give the blocks and their stands their sizes; what a block weighs stays: the hand that lifts one lifts each.

        All that follows from a size is taken of a model that is compiled with it; the renderers keep theirs.
        """
        sized = [self._model.geom(color).size[0] for color in COLORS]
        if np.array_equal(sized, halves_m):
            return
        spec = self._spec()
        for color, half_m in zip(COLORS, halves_m.tolist(), strict=True):
            spec.geom(color).size[:] = half_m
            spec.body(f"stand_{color}").first_geom().size[:2] = _STAND_HALF_M * (half_m / BLOCK_HALF_M)
        fresh = spec.compile()
        for name in _BY_SIZE:
            getattr(self._model, name)[:] = getattr(fresh, name)

    def _place_front_camera(self, pose: CameraPose | None) -> None:
        """Move the front camera, so that the projection of :attr:`contract` is the simulation's."""
        self.contract = self.nominal_contract
        if pose is not None:
            self.contract = self.contract.with_camera_pose("front", pose)
        pose = self.contract.camera("front").pose
        if pose is None:
            raise ContractError(
                f"{self.contract.path}: cameras: front: pose: missing; the simulation has to know where it stands"
            )
        camera = self._model.camera("front")
        x, y, z, w = pose.quaternion_xyzw
        flipped = np.zeros(4)
        # MuJoCo's cameras look along -z with y up; the optical frame looks along +z with y down: half a turn about x.
        mujoco.mju_mulQuat(flipped, np.array([w, x, y, z]), np.array([0.0, 1.0, 0.0, 0.0]))
        camera.pos[:] = pose.position_m
        camera.quat[:] = flipped
        camera.fovy[:] = pose.fovy_deg

    def _place_distractors(self, rng: np.random.Generator, count: int) -> None:
        taken = list(self.layout.xy)
        chosen = rng.permutation(len(_DISTRACTORS))[:count]
        for index, name in enumerate(_DISTRACTORS):
            body = self._model.body(name)
            body.pos[:] = _OUT_OF_SIGHT
            if index not in chosen:
                continue
            for _ in range(50):
                spot = sample_spot(rng)
                if all(np.hypot(*(spot - other)) > 0.05 for other in taken):
                    taken.append(spot)
                    body.pos[:] = [*spot, _DISTRACTOR_HEIGHT_M[name]]
                    angle = rng.uniform(-np.pi, np.pi)
                    body.quat[:] = [np.cos(angle / 2), 0, 0, np.sin(angle / 2)]
                    break

    def _paint(self, rng: np.random.Generator) -> None:
        rgba = self._plain_rgba.copy()
        table = self._model.geom("table").id
        self._model.light_diffuse[:] = self._plain_light * rng.uniform(0.8, 1.25, (len(self._plain_light), 1))
        rgba[table, :3] = rng.uniform(0.35, 0.7) + rng.uniform(-0.06, 0.06, 3)
        for geom in self._block_geom:
            rgba[geom, :3] = np.clip(rgba[geom, :3] * rng.uniform(0.85, 1.15) + rng.uniform(-0.05, 0.05, 3), 0, 1)
        for name in _DISTRACTORS:
            geom = self._model.body(name).geomadr[0]
            rgba[geom, :3] = _DISTRACTOR_RGB[rng.integers(len(_DISTRACTOR_RGB))]
        # Last, so that scenes without stands look as they did before there were any.
        for color in COLORS:
            rgba[self._model.body(f"stand_{color}").geomadr[0], :3] = rng.uniform(*_STAND_SHADE)
        self._model.geom_rgba[:] = rgba


def _has_joint(model: mujoco.MjModel, name: str) -> bool:
    return mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_JOINT, name) >= 0
