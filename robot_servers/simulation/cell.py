"""The cell as one MJCF text: arms on a table, light and cameras, and a task's fragment.

The fragment is merged as an XML tree: its bodies, cameras and lights, with their assets, become
part of the cell. Angles in it are radians, as in all our models.
"""

# pyright: reportAttributeAccessIssue=false
# (mujoco ships no types for what its extension modules export)

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np

from robot_servers.control.se3 import Array, pose_to_quat
from robot_servers.models.base import MODELS
from robot_servers.simulation.burden import Burden
from serl.errors import UserError

SECTIONS = ("asset", "worldbody", "default", "contact", "equality", "tendon", "actuator")
"""Sections of a fragment, in the order they are merged."""

WORLD_CHILDREN = ("body", "camera", "light", "geom", "site")
"""May also stand directly under <mujoco>; they are put into the world."""

BASE_XML = Path(__file__).with_name("cell.xml")
"""The empty cell."""


def build_cell(
    arms: Mapping[str, str],
    base_poses: Mapping[str, Array],
    physics_dt_s: float,
    fragment: str = "",
    burden: Burden | None = None,
) -> str:
    """MJCF of the whole cell.

    Args:
        arms: model name by arm name; names inside the cell get the prefix "<arm>/".
        base_poses: T_world_base (4, 4) by arm name; missing is the identity.
        fragment: a task's MJCF, may be empty.
        burden: what every arm has besides its model.
    """
    root = ElementTree.fromstring(BASE_XML.read_text())
    option = root.find("option")
    assert option is not None
    option.set("timestep", f"{physics_dt_s:.12g}")
    for i, (name, model) in enumerate(arms.items()):
        robot = MODELS.get(model)
        tree = robot.mjcf(arm_prefix(name), 2 << i)
        if burden is not None:
            burden.put_on(tree, arm_prefix(name), robot)
        _place(tree, base_poses.get(name))
        root.extend(list(tree))
    root.extend(_fragment_sections(fragment))
    return ElementTree.tostring(root, encoding="unicode")


def arm_prefix(name: str) -> str:
    """Prefix of an arm's names in the cell; the single arm "" has none."""
    return f"{name}/" if name else ""


def check_mujoco() -> Any:
    """The mujoco module, imported with care: it refuses a MUJOCO_GL that it does not know.

    Raises:
        ImportError: it is not installed.
        UserError: it cannot be imported on this machine as it is set up.
    """
    try:
        import mujoco
    except RuntimeError as error:
        raise UserError(
            f"MuJoCo does not start: {one_line(error)}. Unset MUJOCO_GL, or choose egl or osmesa."
        ) from error
    return mujoco


def compile_cell(xml: str) -> Any:
    """The compiled MjModel. Raises UserError with the compiler's words on one line."""
    import mujoco

    try:
        return mujoco.MjModel.from_xml_string(xml)
    except ValueError as error:
        raise UserError(f"the scene's MJCF does not compile: {one_line(error)}") from error


def one_line(error: Exception) -> str:
    """An exception's message without line breaks."""
    return " ".join(str(error).split())


def _place(tree: Element, T_world_base: Array | None) -> None:
    """Move the arm's base body."""
    if T_world_base is None:
        return
    p, (x, y, z, w) = pose_to_quat(np.asarray(T_world_base, dtype=np.float64))
    base = tree.find("worldbody/body")
    assert base is not None
    base.set("pos", " ".join(repr(float(v)) for v in p))
    base.set("quat", " ".join(repr(float(v)) for v in (w, x, y, z)))


def _fragment_sections(fragment: str) -> list[Element]:
    """The fragment's sections. Refuses what would change the cell itself."""
    if not fragment.strip():
        return []
    try:
        root = ElementTree.fromstring(fragment)
    except ElementTree.ParseError as error:
        raise UserError(f"the scene's MJCF is not well-formed XML: {one_line(error)}") from error
    if root.tag != "mujoco":
        raise UserError(f"the scene's MJCF starts with <{root.tag}>; wrap it in <mujoco>.")
    world = Element("worldbody")
    sections = []
    for child in root:
        if child.tag in WORLD_CHILDREN:
            world.append(child)
        elif child.tag not in SECTIONS:
            raise UserError(
                f"the scene's MJCF has <{child.tag}>, which belongs to the cell; allowed are "
                f"{', '.join(SECTIONS + WORLD_CHILDREN)}."
            )
        elif child.tag == "default" and not child.get("class"):
            raise UserError(
                "the scene's MJCF has a <default> without class, which would change the arm; "
                "give it a class."
            )
        else:
            sections.append(child)
    for body in [*world.iter("body"), *(b for s in sections for b in s.iter("body"))]:
        free = body.find("freejoint") is not None
        if free and not body.get("name"):
            raise UserError("the scene's MJCF has a free body without a name; name it.")
    _refuse_paths(root)
    return [*sections, world] if len(world) else sections


def _refuse_paths(root: Element) -> None:
    """A fragment is data: it reads no file."""
    for node in root.iter():
        if node.get("file") is not None or node.tag == "include":
            raise UserError(
                f"the scene's MJCF names a file in <{node.tag}>; use primitives or inline assets."
            )
