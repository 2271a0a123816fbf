# SPDX-License-Identifier: Apache-2.0
"""Forward kinematics of the end effector, read from a URDF."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray

from swiftvla_ros.contract.base import did_you_mean

Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Link:
    """One URDF joint on the way to the end effector: a fixed transform, then a motion along ``axis``."""

    origin: Array  # [4, 4]
    axis: Array  # [3], unit length
    column: int  # index into q, or -1 for a fixed joint
    sliding: bool


@dataclass(frozen=True)
class KinematicChain:
    """The chain of joints from the URDF's root to one link."""

    links: tuple[_Link, ...]

    @classmethod
    def from_urdf(cls, path: Path, end_effector: str, joint_names: list[str]) -> KinematicChain:
        """Read the chain that ends at link ``end_effector``; all that moves in it must be among the joints."""
        root = _root(path)
        parents = {_attribute(joint, "child", "link"): joint for joint in root.findall("joint")}
        links: list[_Link] = []
        at = end_effector
        if at not in parents:
            raise ValueError(f"{path}: link '{at}' is the child of no joint; {did_you_mean(at, sorted(parents))}")
        while at in parents:
            joint = parents[at]
            kind = joint.get("type")
            name = str(joint.get("name"))
            column = -1
            if kind in ("revolute", "continuous", "prismatic"):
                if name not in joint_names:
                    raise ValueError(
                        f"{path}: joint '{name}' moves link '{at}' but is not among the joints {joint_names}; "
                        "call that joint of the contract the same"
                    )
                column = joint_names.index(name)
            elif kind != "fixed":
                raise ValueError(
                    f"{path}: joint '{name}' has type '{kind}'; use revolute, continuous, prismatic or fixed"
                )
            axis = _numbers(joint.find("axis"), "xyz", (1.0, 0.0, 0.0))
            length = np.linalg.norm(axis)
            if not length:
                raise ValueError(f"{path}: joint '{name}': <axis xyz=…> has no direction; write e.g. 0 0 1")
            links.append(_Link(_origin(joint), axis / length, column, kind == "prismatic"))
            at = _attribute(joint, "parent", "link")
            if len(links) > 256:
                raise ValueError(f"{path}: the links above '{end_effector}' form a loop")
        return cls(tuple(reversed(links)))

    def pose(self, q: Array) -> Array:
        """Pose of the end effector in the root frame for ``q`` [..., J] (rad or m): [..., 4, 4]."""
        q = np.asarray(q, dtype=np.float64)
        pose = np.broadcast_to(np.eye(4), (*q.shape[:-1], 4, 4))
        for link in self.links:
            pose = pose @ link.origin
            if link.column >= 0:
                pose = pose @ _motion(link, q[..., link.column])
        return pose


@dataclass(frozen=True)
class UrdfLimit:
    """What a URDF says of a moving joint, where it says it: rad or m, and per second."""

    slides: bool
    continuous: bool
    range: tuple[float, float] | None
    velocity: float | None


def urdf_limits(path: Path) -> dict[str, UrdfLimit]:
    """Read the limits of a URDF's moving joints by name; a value that is left out, or is no number, is None."""
    found = {}
    for joint in _root(path).findall("joint"):
        kind = joint.get("type")
        if kind not in ("revolute", "continuous", "prismatic"):
            continue
        limit = joint.find("limit")
        lower, upper, velocity = (_limit(limit, key) for key in ("lower", "upper", "velocity"))
        ends = (lower, upper) if lower is not None and upper is not None and kind != "continuous" else None
        found[str(joint.get("name"))] = UrdfLimit(kind == "prismatic", kind == "continuous", ends, velocity or None)
    return found


def _limit(limit: ET.Element | None, key: str) -> float | None:
    try:
        value = float(limit.get(key, "nan")) if limit is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _root(path: Path) -> ET.Element:
    try:
        return ET.fromstring(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: not UTF-8 text (byte 0x{error.object[error.start]:02x}); save it as UTF-8"
        ) from error
    except ET.ParseError as error:
        raise ValueError(f"{path}: not XML: {error}; name a URDF, made of its .xacro where it has one") from error


def _motion(link: _Link, value: Array) -> Array:
    """Transform [..., 4, 4] of a joint at ``value`` (Rodrigues' formula for a turning one)."""
    out = np.zeros((*value.shape, 4, 4))
    out[..., 3, 3] = 1
    if link.sliding:
        out[..., :3, :3] = np.eye(3)
        out[..., :3, 3] = value[..., None] * link.axis
        return out
    x, y, z = link.axis
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    sin, cos = np.sin(value)[..., None, None], np.cos(value)[..., None, None]
    out[..., :3, :3] = np.eye(3) + sin * k + (1 - cos) * (k @ k)
    return out


def _origin(joint: ET.Element) -> Array:
    origin = joint.find("origin")
    roll, pitch, yaw = _numbers(origin, "rpy", (0.0, 0.0, 0.0))
    cr, sr, cp, sp, cy, sy = np.cos(roll), np.sin(roll), np.cos(pitch), np.sin(pitch), np.cos(yaw), np.sin(yaw)
    pose = np.eye(4)
    # URDF: fixed-axis roll, pitch, yaw, i.e. Rz(yaw) Ry(pitch) Rx(roll).
    pose[:3, :3] = (
        np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
        @ np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
        @ np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    )
    pose[:3, 3] = _numbers(origin, "xyz", (0.0, 0.0, 0.0))
    return pose


def _numbers(element: ET.Element | None, key: str, default: tuple[float, ...]) -> Array:
    text = None if element is None else element.get(key)
    if element is None or text is None:
        return np.array(default, dtype=np.float64)
    try:
        values = np.array([float(v) for v in text.split()], dtype=np.float64)
    except ValueError:
        values = np.array([])
    if values.shape != (len(default),) or not np.isfinite(values).all():
        raise ValueError(f"<{element.tag} {key}={text[:40]!r}> is not {len(default)} numbers; correct the URDF")
    return values


def _attribute(joint: ET.Element, tag: str, key: str) -> str:
    element = joint.find(tag)
    if element is None or element.get(key) is None:
        raise ValueError(f"joint '{joint.get('name')}' has no <{tag} {key}=…>")
    return str(element.get(key))
