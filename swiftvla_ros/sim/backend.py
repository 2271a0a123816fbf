# SPDX-License-Identifier: Apache-2.0
"""MuJoCo, imported after an OpenGL backend that works without a display was chosen."""

from __future__ import annotations

import ctypes.util
import os

# MuJoCo reads MUJOCO_GL once, on import. EGL and OSMesa both render in software at the same speed.
if not os.environ.get("MUJOCO_GL"):
    os.environ["MUJOCO_GL"] = "egl" if ctypes.util.find_library("EGL") else "osmesa"

import mujoco

__all__ = ["mujoco"]
