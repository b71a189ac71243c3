"""The Panda in numbers, each with its source; tests hold the compiled model to them.

Kinematics and limits: Franka Emika, "Robot and interface specifications", Franka Control
Interface documentation. Masses, centres, inertias and friction: C. Gaz, M. Cognetti, A. Oliva,
P. Robuffo Giordano, A. De Luca, "Dynamic identification of the Franka Emika Panda robot with
retrieval of feasible parameters using penalty-based optimization", IEEE RA-L 4(4), 2019.
"""

from __future__ import annotations

import math
from dataclasses import replace

from robot_servers.models.base import Inertial
from robot_servers.types import GripperDescription, RobotDescription

DH_CRAIG = (
    (0.0, 0.333, 0.0),
    (0.0, 0.0, -math.pi / 2),
    (0.0, 0.316, math.pi / 2),
    (0.0825, 0.0, math.pi / 2),
    (-0.0825, 0.384, -math.pi / 2),
    (0.0, 0.0, math.pi / 2),
    (0.088, 0.0, math.pi / 2),
)
"""(a_{i-1} [m], d_i [m], alpha_{i-1} [rad]) of joints 1 to 7, Craig's convention."""

FLANGE_M = 0.107
"""From joint 7's frame to the flange, along z."""

HAND_YAW_RAD = -math.pi / 4
"""The hand is mounted turned about the flange's z."""

TCP_M = 0.1034
"""From the hand's frame to the TCP between the finger tips, along z (libfranka's F_T_NE)."""

FINGER_ROOT_M = 0.0584
"""From the hand's frame to the finger's, along z (franka_description)."""

FINGER_TRAVEL_M = 0.04
"""Travel of each finger; the opening is twice this."""


LINK0 = Inertial(
    mass_kg=0.629769,
    com_m=(-0.041018, -0.00014, 0.049974),
    inertia_kg_m2=(0.00315, 0.00388, 0.004285, 8.2904e-07, 0.00015, 8.2299e-06),
)
"""The base does not move; these are franka_description's."""

LINKS = (
    Inertial(
        mass_kg=4.970684,
        com_m=(0.003875, 0.002081, -0.04762),
        inertia_kg_m2=(0.70337, 0.70661, 0.009117, -0.000139, 0.006772, 0.019169),
    ),
    Inertial(
        mass_kg=0.646926,
        com_m=(-0.003141, -0.02872, 0.003495),
        inertia_kg_m2=(0.007962, 0.02811, 0.025995, -0.003925, 0.010254, 0.000704),
    ),
    Inertial(
        mass_kg=3.228604,
        com_m=(0.027518, 0.039252, -0.066502),
        inertia_kg_m2=(0.037242, 0.036155, 0.01083, -0.004761, -0.011396, -0.012805),
    ),
    Inertial(
        mass_kg=3.587895,
        com_m=(-0.05317, 0.104419, 0.027454),
        inertia_kg_m2=(0.025853, 0.019552, 0.028323, 0.007796, -0.001332, 0.008641),
    ),
    Inertial(
        mass_kg=1.225946,
        com_m=(-0.011953, 0.041065, -0.038437),
        inertia_kg_m2=(0.035549, 0.029474, 0.008627, -0.002117, -0.004037, 0.000229),
    ),
    Inertial(
        mass_kg=1.666555,
        com_m=(0.060149, -0.014117, -0.010517),
        inertia_kg_m2=(0.001964, 0.004354, 0.005433, 0.000109, -0.001158, 0.000341),
    ),
    Inertial(
        mass_kg=0.735522,
        com_m=(0.010517, -0.004252, 0.061597),
        inertia_kg_m2=(0.012516, 0.010027, 0.004815, -0.000428, -0.001196, -0.000741),
    ),
)
"""Links 1 to 7, Gaz et al. 2019."""

HAND = Inertial(
    mass_kg=0.73, com_m=(-0.01, 0.0, 0.03), inertia_kg_m2=(0.001, 0.0025, 0.0017, 0.0, 0.0, 0.0)
)
"""Franka Hand, product manual: 0.73 kg without payload."""

FINGER = Inertial(
    mass_kg=0.015,
    com_m=(0.0, 0.0, 0.02),
    inertia_kg_m2=(2.375e-06, 2.375e-06, 7.5e-07, 0.0, 0.0, 0.0),
)
"""franka_description."""

FRICTION_AMPLITUDE_NM = (0.54615, 0.87224, 0.64068, 1.2794, 0.83904, 0.30301, 0.56489)
FRICTION_STEEPNESS_S_PER_RAD = (5.1181, 9.0657, 10.136, 5.5903, 8.3469, 17.133, 10.336)
"""phi_1 and phi_2 of the friction phi_1 / (1 + exp(-phi_2 (dq + phi_3))), Gaz et al. 2019."""

DAMPING_NM_S_PER_RAD = tuple(
    phi_1 * phi_2 / 4
    for phi_1, phi_2 in zip(FRICTION_AMPLITUDE_NM, FRICTION_STEEPNESS_S_PER_RAD, strict=True)
)
"""Slope of that sigmoid at rest (0.7 to 2.0): smooth, so a static push has no dead band. The robot
compensates most of its friction itself, so this is on the high side for fast motion."""

ARMATURE_KG_M2 = 0.1
"""Rotor inertia seen at the joint; Franka publishes none, MuJoCo Menagerie's Panda has 0.1."""

FINGER_ARMATURE_KG = 0.2
"""Motor and belt seen at the finger, so that the stiff finger servo is stable at 2 ms. Assumed."""

FINGER_DAMPING_N_S_PER_M = 20.0
"""Friction of the finger guides. Assumed."""

JOINT_STIFFNESS_NM_PER_RAD = (600.0, 600.0, 600.0, 600.0, 250.0, 150.0, 50.0)
JOINT_DAMPING_NM_S_PER_RAD = (50.0, 50.0, 50.0, 50.0, 30.0, 25.0, 15.0)
"""Joint impedance of libfranka's joint_impedance_control example."""

WRENCH_DAMPING_NM_S_PER_RAD = (8.0, 8.0, 8.0, 8.0, 2.0, 2.0, 2.0)
"""Our choice: in front of the base 20 N end at about 0.6 m/s, and the wrist's 5 N m at 2.5 rad/s,
just below its speed limit."""

DESCRIPTION = RobotDescription(
    name="panda",
    joint_names=tuple(f"joint{i}" for i in range(1, len(LINKS) + 1)),
    q_min_rad=(-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973),
    q_max_rad=(2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973),
    dq_max_rad_per_s=(2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61),
    tau_max_nm=(87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0),
    q_home_rad=(0.0, -0.785, 0.0, -2.35, 0.0, 1.57, math.pi / 4),
    gripper=GripperDescription(
        name="franka_hand",
        width_max_m=2 * FINGER_TRAVEL_M,
        force_max_n=70.0,
        speed_max_m_per_s=0.1,
    ),
)
"""Home is SERL's reset posture. Hand: 70 N continuous, 50 mm/s per finger (product manual)."""

FR3_DESCRIPTION = replace(
    DESCRIPTION,
    name="fr3",
    q_min_rad=(-2.7437, -1.7837, -2.9007, -3.0421, -2.8065, 0.5445, -3.0159),
    q_max_rad=(2.7437, 1.7837, 2.9007, -0.1518, 2.8065, 4.5169, 3.0159),
    dq_max_rad_per_s=(2.62, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26),
)
"""Franka Research 3: "Limits for Franka Research 3" of the same documentation. Its speed limits
shrink towards the ends of each joint; these are the largest, and the joint margin and the arm's own
reflexes guard the ends. Lengths, torques and hand are the Panda's."""
