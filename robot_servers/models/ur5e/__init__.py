"""A UR5e-like arm: six joints, a stylus for a tool, built from primitives."""

from robot_servers.control import se3
from robot_servers.models.base import MODELS, ArmNames, RobotModel
from robot_servers.models.kinematics import Kinematics
from robot_servers.models.ur5e import constants
from robot_servers.models.ur5e.mjcf import ur5e_mjcf

UR5E = MODELS.register("ur5e")(
    RobotModel(
        description=constants.DESCRIPTION,
        names=ArmNames(tcp_site="tcp", wrench_bodies=("tool",)),
        mjcf=ur5e_mjcf,
        joint_stiffness_nm_per_rad=constants.JOINT_STIFFNESS_NM_PER_RAD,
        joint_damping_nm_s_per_rad=constants.JOINT_DAMPING_NM_S_PER_RAD,
        wrench_damping_nm_s_per_rad=constants.WRENCH_DAMPING_NM_S_PER_RAD,
        kinematics=Kinematics(constants.DH_CRAIG, flange_m=0.0),
        T_flange_tcp=se3.pose_from_rotvec((0.0, 0.0, constants.TOOL_M), (0.0, 0.0, 0.0)),
    )
)
