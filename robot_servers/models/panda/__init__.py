"""Franka Emika Panda with a Franka Hand, built from primitives: no meshes.

The FR3 is the same body and kinematics with its own joint limits.
"""

from dataclasses import replace
from functools import partial

from robot_servers.control import se3
from robot_servers.models.base import MODELS, ArmNames, RobotModel
from robot_servers.models.kinematics import Kinematics
from robot_servers.models.panda import constants
from robot_servers.models.panda.mjcf import panda_mjcf

PANDA = MODELS.register("panda")(
    RobotModel(
        description=constants.DESCRIPTION,
        names=ArmNames(
            tcp_site="tcp",
            wrench_bodies=("hand", "left_finger", "right_finger"),
            finger_joints=("finger_joint1", "finger_joint2"),
        ),
        mjcf=partial(panda_mjcf, constants.DESCRIPTION),
        joint_stiffness_nm_per_rad=constants.JOINT_STIFFNESS_NM_PER_RAD,
        joint_damping_nm_s_per_rad=constants.JOINT_DAMPING_NM_S_PER_RAD,
        wrench_damping_nm_s_per_rad=constants.WRENCH_DAMPING_NM_S_PER_RAD,
        kinematics=Kinematics(constants.DH_CRAIG, constants.FLANGE_M),
        T_flange_tcp=se3.pose_from_rotvec(
            (0.0, 0.0, constants.TCP_M), (0.0, 0.0, constants.HAND_YAW_RAD)
        ),
    )
)

FR3 = MODELS.register("fr3")(
    replace(
        PANDA,
        description=constants.FR3_DESCRIPTION,
        mjcf=partial(panda_mjcf, constants.FR3_DESCRIPTION),
    )
)
