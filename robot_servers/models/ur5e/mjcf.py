"""The UR5e's MJCF tree: joints and inertia from `constants`, looks from primitives: no meshes.

What collides is the stylus, the flange and the last wrist link; all else is for the eye only.
"""

from __future__ import annotations

import math
from dataclasses import replace
from xml.etree.ElementTree import Element

import numpy as np

from robot_servers.control import se3
from robot_servers.models.base import Inertial, element
from robot_servers.models.pieces import (
    add_collision,
    add_inertial,
    add_joint_motors,
    add_link,
    add_materials,
    add_visual,
)
from robot_servers.models.ur5e import constants as c

MATERIALS: dict[str, dict[str, object]] = {
    "tube": {"rgba": (0.78, 0.79, 0.80, 1), "specular": 0.5, "shininess": 0.6},
    "cap": {"rgba": (0.36, 0.60, 0.78, 1), "specular": 0.3, "shininess": 0.5},
    "dark": {"rgba": (0.20, 0.21, 0.22, 1), "specular": 0.4, "shininess": 0.4},
}

UPPER_Z_M, FOREARM_Z_M = 0.138, 0.007
"""How far the tubes of links 2 and 3 stand beside their joints, along z (UR's own description)."""

LOOKS: tuple[tuple[tuple[str, str, tuple[float, ...], float | tuple[float, ...]], ...], ...] = (
    (
        ("cylinder", "dark", (0, 0, 0, 0, 0, 0.02), 0.075),
        ("cylinder", "tube", (0, 0, 0.02, 0, 0, 0.1), 0.06),
    ),
    (
        ("cylinder", "tube", (0, 0, -0.06, 0, 0, 0.045), 0.06),
        ("cylinder", "tube", (0, 0, 0, 0, -0.07, 0), 0.058),
        ("cylinder", "cap", (0, 0.058, 0, 0, 0.066, 0), 0.056),
        ("cylinder", "tube", (0, 0, 0, 0, 0.058, 0), 0.058),
    ),
    (
        ("cylinder", "tube", (0, 0, 0.072, 0, 0, 0.19), 0.058),
        ("cylinder", "cap", (0, 0, 0.19, 0, 0, 0.198), 0.056),
        ("cylinder", "tube", (0, 0, UPPER_Z_M, -0.425, 0, UPPER_Z_M), 0.045),
        ("cylinder", "tube", (-0.425, 0, 0.068, -0.425, 0, 0.186), 0.052),
        ("cylinder", "cap", (-0.425, 0, 0.186, -0.425, 0, 0.194), 0.05),
    ),
    (
        ("cylinder", "tube", (0, 0, -0.045, 0, 0, 0.066), 0.052),
        ("cylinder", "cap", (0, 0, -0.053, 0, 0, -0.045), 0.05),
        ("cylinder", "tube", (0, 0, FOREARM_Z_M, -0.3922, 0, FOREARM_Z_M), 0.038),
        ("cylinder", "tube", (-0.3922, 0, -0.04, -0.3922, 0, 0.072), 0.042),
        ("cylinder", "cap", (-0.3922, 0, -0.047, -0.3922, 0, -0.04), 0.04),
    ),
    (
        ("cylinder", "tube", (0, 0, -0.06, 0, 0, 0.042), 0.042),
        ("cylinder", "cap", (0, 0, 0.042, 0, 0, 0.049), 0.04),
        ("cylinder", "tube", (0, 0, 0, 0, -0.055, 0), 0.042),
    ),
    (
        ("cylinder", "tube", (0, 0, -0.043, 0, 0, 0.042), 0.042),
        ("cylinder", "cap", (0, 0, 0.042, 0, 0, 0.049), 0.04),
        ("cylinder", "tube", (0, 0, 0, 0, 0.055, 0), 0.042),
    ),
    (("cylinder", "dark", (0, 0, -0.043, 0, 0, 0), 0.0375),),
)
"""Per link, 0 is the base: (shape, material, fromto in the link's frame [m], radius [m])."""


def ur5e_mjcf(prefix: str, collision_bit: int) -> Element:
    """One arm, its base at the world's origin. Args as `panda_mjcf`'s."""
    root = Element("mujoco")
    add_materials(element(root, "asset"), prefix, MATERIALS)
    parent = element(element(root, "worldbody"), "body", name=f"{prefix}base", gravcomp=1)
    _show(parent, 0, prefix)
    for i, row in enumerate(c.DH_CRAIG):
        parent = add_link(
            parent,
            prefix,
            c.DESCRIPTION,
            i + 1,
            row,
            damping_nm_s_per_rad=c.DAMPING_NM_S_PER_RAD[i],
            armature_kg_m2=c.ARMATURE_KG_M2,
        )
        add_inertial(parent, in_craigs_frame(i))
        _show(parent, i + 1, prefix)
        if i == 4:
            add_collision(
                parent, collision_bit, "capsule", fromto=(0, 0, 0, 0, 0.05, 0), size=0.042
            )
    _add_tool(parent, prefix, collision_bit)
    add_joint_motors(element(root, "actuator"), prefix, c.DESCRIPTION)
    return root


def in_craigs_frame(i: int) -> Inertial:
    """Link i + 1's mass properties, from the far end of the link to its joint."""
    a, _, alpha = c.DH[i]
    T = se3.pose_from_rotvec((a, 0, 0), (alpha, 0, 0))
    xx, yy, zz, xy, xz, yz = c.LINKS[i].inertia_kg_m2
    R = T[:3, :3]
    inertia = R @ np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]) @ R.T
    x, y, z = (T @ np.append(c.LINKS[i].com_m, 1.0))[:3].tolist()
    (xx, xy, xz), (_, yy, yz), (_, _, zz) = inertia.tolist()
    return replace(c.LINKS[i], com_m=(x, y, z), inertia_kg_m2=(xx, yy, zz, xy, xz, yz))


def _add_tool(flange: Element, prefix: str, collision_bit: int) -> None:
    """A stylus whose tip is the TCP, and a camera beside it."""
    tool = element(flange, "body", name=f"{prefix}tool", gravcomp=1)
    add_inertial(tool, c.TOOL)
    add_visual(tool, "cylinder", prefix + "dark", (0, 0, 0, 0, 0, 0.02), 0.03)
    add_visual(tool, "capsule", prefix + "cap", (0, 0, 0.02, 0, 0, c.TOOL_M - 0.008), 0.008)
    add_collision(
        tool, collision_bit, "capsule", fromto=(0, 0, 0, 0, 0, c.TOOL_M - 0.008), size=0.008
    )
    element(tool, "site", name=f"{prefix}tcp", pos=(0, 0, c.TOOL_M), size=(0.002,), group=5)
    tilt = math.radians(18)
    element(
        tool,
        "camera",
        name=f"{prefix}wrist",
        pos=(0.09, 0, -0.04),
        xyaxes=(0, 1, 0, math.cos(tilt), 0, math.sin(tilt)),
        fovy=65,
    )


def _show(body: Element, index: int, prefix: str) -> None:
    for shape, material, place, size in LOOKS[index]:
        add_visual(body, shape, prefix + material, place, size)
