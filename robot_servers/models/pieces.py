"""Pieces of MJCF that every arm is built of: links from a DH table, inertia, shapes, motors."""

from __future__ import annotations

import math
from xml.etree.ElementTree import Element

from robot_servers.models.base import Inertial, element
from robot_servers.types import RobotDescription

VISUAL_GROUP = 2
COLLISION_GROUP = 3
"""Geom group that viewers and `render` leave out."""


def add_link(
    parent: Element,
    prefix: str,
    robot: RobotDescription,
    index: int,
    dh_craig: tuple[float, float, float],
    *,
    damping_nm_s_per_rad: float,
    armature_kg_m2: float,
) -> Element:
    """The body of link `index` (1 is the first to move), with its joint about z.

    Args:
        dh_craig: (a_{i-1} [m], d_i [m], alpha_{i-1} [rad]).
    """
    a, offset, alpha = dh_craig
    body = element(
        parent,
        "body",
        name=f"{prefix}link{index}",
        pos=(a, -math.sin(alpha) * offset, math.cos(alpha) * offset),
        quat=(math.cos(alpha / 2), math.sin(alpha / 2), 0, 0),
        gravcomp=1,
    )
    i = index - 1
    element(
        body,
        "joint",
        name=prefix + robot.joint_names[i],
        axis=(0, 0, 1),
        range=(robot.q_min_rad[i], robot.q_max_rad[i]),
        damping=damping_nm_s_per_rad,
        armature=armature_kg_m2,
        actuatorgravcomp=True,
        actuatorfrcrange=(-robot.tau_max_nm[i], robot.tau_max_nm[i]),
    )
    return body


def add_inertial(body: Element, inertial: Inertial) -> None:
    """Mass properties, as MJCF wants them."""
    element(
        body,
        "inertial",
        mass=inertial.mass_kg,
        pos=inertial.com_m,
        fullinertia=inertial.inertia_kg_m2,
    )


def add_joint_motors(actuator: Element, prefix: str, robot: RobotDescription) -> None:
    """Plain torque motors; torques are limited at the joint, gravity included."""
    for name in robot.joint_names:
        element(actuator, "motor", name=prefix + name, joint=prefix + name)


def add_collision(body: Element, bit: int, kind: str, **attributes: object) -> None:
    """A geom that is felt and not seen, and adds no mass; it meets every lower bit."""
    element(
        body,
        "geom",
        type=kind,
        contype=bit,
        conaffinity=bit - 1,
        group=COLLISION_GROUP,
        mass=0,
        **attributes,
    )


def add_visual(body: Element, shape: str, material: str, place: tuple, size: object) -> None:
    """A geom for the eye only; `place` is pos (3) or fromto (6) [m]."""
    where = {"fromto": place} if len(place) == 6 else {"pos": place}
    element(
        body,
        "geom",
        type=shape,
        material=material,
        size=size,
        contype=0,
        conaffinity=0,
        group=VISUAL_GROUP,
        mass=0,
        **where,
    )


def add_materials(asset: Element, prefix: str, materials: dict[str, dict[str, object]]) -> None:
    """An arm's materials."""
    for name, look in materials.items():
        element(asset, "material", name=prefix + name, **look)
