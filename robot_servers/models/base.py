"""What a robot model brings, and the list of them.

`describe(name)` needs no simulator; `RobotModel.mjcf` builds the body of one arm as an XML tree,
every name of which carries the arm's prefix, so that a cell can hold several.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement

from robot_servers.types import RobotDescription
from serl.registry import Registry

MODELS: Registry[RobotModel] = Registry("robot model", "robot_servers.models")
"""Robot models by name: 'panda'."""


@dataclass(frozen=True, kw_only=True)
class ArmNames:
    """Names inside the compiled model that a backend looks up, without the arm's prefix."""

    tcp_site: str
    wrench_bodies: tuple[str, ...]
    """Bodies whose contacts count as force at the TCP: the hand and what moves on it."""

    finger_joints: tuple[str, ...] = ()


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
