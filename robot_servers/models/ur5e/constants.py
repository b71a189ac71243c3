"""The UR5e in numbers, each with its source; tests hold the compiled model to them.

Lengths, masses and centres: Universal Robots, "DH parameters for calculations of kinematics and
dynamics" (support article). Inertias: Universal_Robots_ROS2_Description, config/ur5e; the article
calls them negligible and gives none. Limits: e-Series user manual UR5e, 5.8, and "Max. joint
torques" (support article).
"""

from __future__ import annotations

import math

from robot_servers.models.base import Inertial
from robot_servers.types import RobotDescription

DH = (
    (0.0, 0.1625, math.pi / 2),
    (-0.425, 0.0, 0.0),
    (-0.3922, 0.0, 0.0),
    (0.0, 0.1333, math.pi / 2),
    (0.0, 0.0997, -math.pi / 2),
    (0.0, 0.0996, 0.0),
)
"""(a_i [m], d_i [m], alpha_i [rad]) of joints 1 to 6, in the classic convention as published."""

DH_CRAIG = tuple(
    (before[0], joint[1], before[2])
    for before, joint in zip(((0.0, 0.0, 0.0), *DH[:-1]), DH, strict=True)
)
"""The same in Craig's: a and alpha belong to the link before. Joint 6's frame is the flange."""

TOOL_M = 0.1
"""Length of the stylus on the flange, along z; its tip is the TCP. Ours."""

LINKS = (
    Inertial(
        mass_kg=3.761,
        com_m=(0.0, -0.02561, 0.00193),
        inertia_kg_m2=(0.0070021, 0.00648091, 0.00657286, 7.3e-07, -1.053e-05, 0.00049994),
    ),
    Inertial(
        mass_kg=8.058,
        com_m=(0.2125, 0.0, 0.11336),
        inertia_kg_m2=(0.01505885, 0.33388086, 0.33247207, -5.4e-05, 5.63e-06, -1.81e-06),
    ),
    Inertial(
        mass_kg=2.846,
        com_m=(0.15, 0.0, 0.0265),
        inertia_kg_m2=(0.00399632, 0.07879254, 0.0784851, -1.365e-05, 0.00137272, -6.6e-06),
    ),
    Inertial(
        mass_kg=1.37,
        com_m=(0.0, -0.0018, 0.01634),
        inertia_kg_m2=(0.00165491, 0.00135962, 0.00126279, -2.82e-06, -4.38e-06, 0.00010157),
    ),
    Inertial(
        mass_kg=1.3,
        com_m=(0.0, 0.0018, 0.01634),
        inertia_kg_m2=(0.00135617, 0.00127827, 0.00096614, -2.74e-06, 4.44e-06, -5.048e-05),
    ),
    Inertial(
        mass_kg=0.365,
        com_m=(0.0, 0.0, -0.001159),
        inertia_kg_m2=(0.00018694, 0.00018908, 0.00025756, 6e-08, -1.7e-07, -9.2e-07),
    ),
)
"""Links 1 to 6, in the classic frames: at the link's far end, after a_i and alpha_i."""

TOOL = Inertial(
    mass_kg=0.2,
    com_m=(0.0, 0.0, 0.03),
    inertia_kg_m2=(1.5e-4, 1.5e-4, 4e-5, 0.0, 0.0, 0.0),
)
"""The stylus. Ours."""

DAMPING_NM_S_PER_RAD = (2.0, 2.0, 2.0, 1.0, 1.0, 1.0)
ARMATURE_KG_M2 = 0.1
"""Friction and rotor inertia at the joint. UR publishes none; as the Panda's."""

JOINT_STIFFNESS_NM_PER_RAD = (1000.0, 1000.0, 800.0, 300.0, 150.0, 50.0)
JOINT_DAMPING_NM_S_PER_RAD = (110.0, 110.0, 60.0, 30.0, 25.0, 15.0)
"""Joint impedance of the joint move: critically damped for the stretched arm. Our choice."""

WRENCH_DAMPING_NM_S_PER_RAD = (8.0, 8.0, 8.0, 4.0, 2.0, 2.0)
"""As the Panda's, by the same rule."""

DESCRIPTION = RobotDescription(
    name="ur5e",
    joint_names=tuple(f"joint{i}" for i in range(1, len(LINKS) + 1)),
    q_min_rad=(-2 * math.pi, -2 * math.pi, -math.pi, -2 * math.pi, -2 * math.pi, -2 * math.pi),
    q_max_rad=(2 * math.pi, 2 * math.pi, math.pi, 2 * math.pi, 2 * math.pi, 2 * math.pi),
    dq_max_rad_per_s=(math.pi,) * 6,
    tau_max_nm=(150.0, 150.0, 150.0, 28.0, 28.0, 28.0),
    q_home_rad=(0.2699, -1.5516, -1.6866, -1.4742, 1.5708, -1.3009),
)
"""Home looks straight down with the TCP at (0.5, 0, 0.35). The elbow's range is the upper arm's
doing, as in UR's own description."""
