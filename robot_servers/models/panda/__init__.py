"""Franka Emika Panda with a Franka Hand, built from primitives: no meshes."""

from robot_servers.models.base import MODELS, ArmNames, RobotModel
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
        mjcf=panda_mjcf,
        joint_stiffness_nm_per_rad=constants.JOINT_STIFFNESS_NM_PER_RAD,
        joint_damping_nm_s_per_rad=constants.JOINT_DAMPING_NM_S_PER_RAD,
    )
)
