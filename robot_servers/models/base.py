"""What a robot model brings, and the list of them.

`describe(name)` and the kinematics need no simulator; `RobotModel.mjcf` builds the body of one arm
as an XML tree, every name of which carries the arm's prefix, so that a cell can hold several.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, SubElement

import numpy as np
from numpy.typing import ArrayLike

from robot_servers.models.kinematics import Array, Kinematics
from robot_servers.types import RobotDescription
from serl.registry import Registry

MODELS: Registry[RobotModel] = Registry("robot model", "robot_servers.models")
"""Robot models by name: 'fr3', 'panda', 'ur5e'."""


@dataclass(frozen=True, kw_only=True)
class ArmNames:
    """Names inside the compiled model that a backend looks up, without the arm's prefix."""

    tcp_site: str
    wrench_bodies: tuple[str, ...]
    """Bodies whose contacts count as force at the TCP: the hand and what moves on it."""

    finger_joints: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Inertial:
    """Mass, centre of mass in the link's frame, and inertia about that centre, same axes."""

    mass_kg: float
    com_m: tuple[float, float, float]
    inertia_kg_m2: tuple[float, float, float, float, float, float]
    """xx, yy, zz, xy, xz, yz."""


@dataclass(frozen=True, kw_only=True)
class RobotModel:
    """One kind of arm."""

    description: RobotDescription
    names: ArmNames
    mjcf: Callable[[str, int], Element]
    """(prefix, collision bit) -> <mujoco> tree: asset, worldbody, equality, actuator."""

    joint_stiffness_nm_per_rad: tuple[float, ...]
    """Spring of the joint move, per joint."""

    joint_damping_nm_s_per_rad: tuple[float, ...]

    wrench_damping_nm_s_per_rad: tuple[float, ...]
    """Damping of the wrench mode, per joint."""

    kinematics: Kinematics
    """From the base to the flange."""

    T_flange_tcp: Array = field(default_factory=lambda: np.eye(4), compare=False)
    """The tool centre point where nobody gives another, (4, 4)."""

    def T_base_flange(self, q_rad: ArrayLike) -> Array:
        """Pose of the flange (..., 4, 4) at joint positions (..., n) [rad]."""
        return self.kinematics.frames(q_rad)[-1]

    def T_base_tcp(self, q_rad: ArrayLike, T_flange_tcp: Array | None = None) -> Array:
        """Pose of the TCP (..., 4, 4) at joint positions (..., n) [rad]."""
        tool = self.T_flange_tcp if T_flange_tcp is None else T_flange_tcp
        return self.T_base_flange(q_rad) @ tool

    def jacobian(self, q_rad: ArrayLike, T_flange_tcp: Array | None = None) -> Array:
        """Of the TCP in base axes (6, n): linear rows, then angular; q (n,) [rad]."""
        tool = self.T_flange_tcp if T_flange_tcp is None else T_flange_tcp
        return self.kinematics.jacobian(q_rad, tool)


def describe(name: str) -> RobotDescription:
    """Constants of the robot called `name`."""
    return MODELS.get(name).description


def element(parent: Element, tag: str, **attributes: object) -> Element:
    """Append a child; numbers and sequences of numbers become MJCF text.

    >>> element(Element("body"), "geom", size=(0.1, 0.2), type="capsule").attrib
    {'size': '0.1 0.2', 'type': 'capsule'}
    """
    return SubElement(parent, tag, {name: _text(value) for name, value in attributes.items()})


def _text(value: object) -> str:
    if isinstance(value, (tuple, list)):
        return " ".join(_text(item) for item in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.12g}" if isinstance(value, float) else str(value)
