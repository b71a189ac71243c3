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

COLLISION_GROUP = 3
"""Geom group that viewers and `render` leave out."""

PAD_FRICTION = (0.01, 0.01, 0.0001)
"""Sliding, torsional [m], rolling [m]. MuJoCo takes the larger of two coefficients, so the sliding
friction of a grasp is the object's own: a task can vary it."""


def panda_mjcf(prefix: str, collision_bit: int) -> Element:
    """One arm, its base at the world's origin.

    Args:
        prefix: put before every name.
        collision_bit: contype of this arm, a power of two above 1; it meets everything with a
            lower bit (things have bit 1, arms before this one theirs), never itself.
    """
    root = Element("mujoco")
    looks.add_materials(element(root, "asset"), prefix)
    base = element(element(root, "worldbody"), "body", name=f"{prefix}base", gravcomp=1)
    add_inertial(base, c.LINK0)
    looks.add_link(base, 0, prefix)
    hand = _add_hand(_add_links(base, prefix, collision_bit), prefix, collision_bit)
    for side, sign in (("left", 1), ("right", -1)):
        _add_finger(hand, side, sign, prefix, collision_bit)
    _couple_fingers(element(root, "equality"), prefix)
    _add_actuators(element(root, "actuator"), prefix)
    return root


def add_inertial(body: Element, inertial: c.Inertial) -> None:
    """Mass properties, as MJCF wants them."""
    element(
        body,
        "inertial",
        mass=inertial.mass_kg,
        pos=inertial.com_m,
        fullinertia=inertial.inertia_kg_m2,
    )


def _add_links(base: Element, prefix: str, collision_bit: int) -> Element:
    """The seven moving links; returns the last one's body."""
    d = c.DESCRIPTION
    parent = base
    for i, (a, offset, alpha) in enumerate(c.DH_CRAIG):
        parent = element(
            parent,
            "body",
            name=f"{prefix}link{i + 1}",
            pos=(a, -math.sin(alpha) * offset, math.cos(alpha) * offset),
            quat=(math.cos(alpha / 2), math.sin(alpha / 2), 0, 0),
            gravcomp=1,
        )
        element(
            parent,
            "joint",
            name=prefix + d.joint_names[i],
            axis=(0, 0, 1),
            range=(d.q_min_rad[i], d.q_max_rad[i]),
            damping=c.DAMPING_NM_S_PER_RAD[i],
            armature=c.ARMATURE_KG_M2,
            actuatorgravcomp=True,
            actuatorfrcrange=(-d.tau_max_nm[i], d.tau_max_nm[i]),
        )
        add_inertial(parent, c.LINKS[i])
        looks.add_link(parent, i + 1, prefix)
        if i == 4:
            _add_collision(
                parent, collision_bit, "capsule", fromto=(0, 0.04, -0.23, 0, 0.06, -0.05), size=0.06
            )
        if i == 5:
            _add_collision(parent, collision_bit, "sphere", pos=(0.06, 0, 0), size=0.07)
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
    _add_collision(
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
    _add_collision(
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


def _add_collision(body: Element, bit: int, kind: str, **attributes: object) -> None:
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


def _add_actuators(actuator: Element, prefix: str) -> None:
    """Plain torque and force motors; joint torques are limited at the joint, gravity included."""
    for name in c.DESCRIPTION.joint_names:
        element(actuator, "motor", name=prefix + name, joint=prefix + name)
    gripper = c.DESCRIPTION.gripper
    force = gripper.force_max_n if gripper else 0.0
    for name in ("finger_joint1", "finger_joint2"):
        element(
            actuator, "motor", name=prefix + name, joint=prefix + name, forcerange=(-force, force)
        )
