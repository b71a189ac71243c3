"""The Panda's MJCF tree: joints and inertia from `constants`, looks from `looks`.

What collides is the least that a tabletop task needs: finger pads, hand, wrist and forearm. All
other geoms are for the eye only.
"""

from __future__ import annotations

import math
from xml.etree.ElementTree import Element

from robot_servers.models.base import element
from robot_servers.models.panda import constants as c
from robot_servers.models.panda import looks
from robot_servers.models.pieces import (
    add_collision,
    add_inertial,
    add_joint_motors,
    add_link,
    add_materials,
)
from robot_servers.types import RobotDescription

PAD_FRICTION = (0.01, 0.01, 0.0001)
"""Sliding, torsional [m], rolling [m]. MuJoCo takes the larger of two coefficients, so the sliding
friction of a grasp is the object's own: a task can vary it."""


def panda_mjcf(robot: RobotDescription, prefix: str, collision_bit: int) -> Element:
    """One arm, its base at the world's origin.

    Args:
        robot: names and limits of its joints.
        prefix: put before every name.
        collision_bit: contype of this arm, a power of two above 1; it meets everything with a
            lower bit (things have bit 1, arms before this one theirs), never itself.
    """
    root = Element("mujoco")
    add_materials(element(root, "asset"), prefix, looks.MATERIALS)
    base = element(element(root, "worldbody"), "body", name=f"{prefix}base", gravcomp=1)
    add_inertial(base, c.LINK0)
    looks.add_link(base, 0, prefix)
    hand = _add_hand(_add_links(robot, base, prefix, collision_bit), prefix, collision_bit)
    for side, sign in (("left", 1), ("right", -1)):
        _add_finger(hand, side, sign, prefix, collision_bit)
    _couple_fingers(element(root, "equality"), prefix)
    _add_actuators(robot, element(root, "actuator"), prefix)
    return root


def _add_links(d: RobotDescription, base: Element, prefix: str, collision_bit: int) -> Element:
    """The seven moving links; returns the last one's body."""
    parent = base
    for i, row in enumerate(c.DH_CRAIG):
        parent = add_link(
            parent,
            prefix,
            d,
            i + 1,
            row,
            damping_nm_s_per_rad=c.DAMPING_NM_S_PER_RAD[i],
            armature_kg_m2=c.ARMATURE_KG_M2,
        )
        add_inertial(parent, c.LINKS[i])
        looks.add_link(parent, i + 1, prefix)
        if i == 4:
            add_collision(
                parent, collision_bit, "capsule", fromto=(0, 0.04, -0.23, 0, 0.06, -0.05), size=0.06
            )
        if i == 5:
            add_collision(parent, collision_bit, "sphere", pos=(0.06, 0, 0), size=0.07)
    return parent


def _add_hand(link7: Element, prefix: str, collision_bit: int) -> Element:
    yaw = c.HAND_YAW_RAD
    hand = element(
        link7,
        "body",
        name=f"{prefix}hand",
        pos=(0, 0, c.FLANGE_M),
        quat=(math.cos(yaw / 2), 0, 0, math.sin(yaw / 2)),
        gravcomp=1,
    )
    add_inertial(hand, c.HAND)
    looks.add_hand(hand, prefix)
    add_collision(
        hand, collision_bit, "capsule", fromto=(0, -0.07, 0.033, 0, 0.07, 0.033), size=0.033
    )
    element(hand, "site", name=f"{prefix}tcp", pos=(0, 0, c.TCP_M), size=(0.002,), group=5)
    element(
        hand,
        "camera",
        name=f"{prefix}wrist",
        pos=(0.09, 0, 0.01),
        xyaxes=(0, 1, 0, 0.949, 0, 0.316),
        fovy=65,
    )
    return hand


def _add_finger(hand: Element, side: str, sign: int, prefix: str, collision_bit: int) -> None:
    """A finger opening along the hand's +y (left) or -y (right)."""
    finger = element(
        hand,
        "body",
        name=f"{prefix}{side}_finger",
        pos=(0, 0, c.FINGER_ROOT_M),
        quat=(1, 0, 0, 0) if sign > 0 else (0, 0, 0, 1),
        gravcomp=1,
    )
    element(
        finger,
        "joint",
        name=f"{prefix}finger_joint{1 if sign > 0 else 2}",
        type="slide",
        axis=(0, 1, 0),
        range=(0, c.FINGER_TRAVEL_M),
        armature=c.FINGER_ARMATURE_KG,
        damping=c.FINGER_DAMPING_N_S_PER_M,
    )
    add_inertial(finger, c.FINGER)
    looks.add_finger(finger, prefix)
    add_collision(
        finger,
        collision_bit,
        "box",
        name=f"{prefix}{side}_pad",
        pos=(0, 0.004, 0.045),
        size=(0.009, 0.004, 0.01),
        friction=PAD_FRICTION,
        solmix=100,
        condim=4,
        solref=(0.004, 1),
        solimp=(0.95, 0.99, 0.001),
    )


def _couple_fingers(equality: Element, prefix: str) -> None:
    """Both fingers hang on one belt: they open by the same amount."""
    element(
        equality,
        "joint",
        joint1=f"{prefix}finger_joint1",
        joint2=f"{prefix}finger_joint2",
        solref=(0.005, 1),
        solimp=(0.95, 0.99, 0.001),
    )


def _add_actuators(d: RobotDescription, actuator: Element, prefix: str) -> None:
    """Torque motors at the joints, force motors at the fingers."""
    add_joint_motors(actuator, prefix, d)
    gripper = d.gripper
    force = gripper.force_max_n if gripper else 0.0
    for name in ("finger_joint1", "finger_joint2"):
        element(
            actuator, "motor", name=prefix + name, joint=prefix + name, forcerange=(-force, force)
        )
