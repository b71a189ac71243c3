"""One sample as SERL's clients read it: their fields, units and signs.

    pose    x, y, z [m], qx, qy, qz, qw of the TCP in base
    vel     linear [m/s], angular [rad/s] of the TCP in base
    force   [N]   what the ROBOT exerts on the environment, on the TCP's axes
    torque  [N m] the same, about the TCP

libfranka reports K_F_ext_hat_K, on the axes of its stiffness frame K (the TCP's), with the sign
opposite to `RobotState.wrench_base_ext`, which is what the environment does to the robot.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from robot_servers.control import se3
from robot_servers.types import Array, RobotState

FIELDS = {
    "getpos": "pose",
    "getvel": "vel",
    "getforce": "force",
    "gettorque": "torque",
    "getq": "q",
    "getdq": "dq",
    "getjacobian": "jacobian",
}
"""Endpoints that answer with one field of /getstate."""


def pose_list(state: RobotState) -> list[float]:
    """x, y, z, qx, qy, qz, qw."""
    position, quat = se3.pose_to_quat(state.T_base_tcp)
    return [*position.tolist(), *quat.tolist()]


def euler_list(state: RobotState) -> list[float]:
    """x, y, z, then roll, pitch, yaw about fixed axes ('xyz')."""
    rpy = se3.rpy_from_matrix(state.T_base_tcp[:3, :3])
    return [*state.T_base_tcp[:3, 3].tolist(), *rpy.tolist()]


def wrench_on_environment(state: RobotState) -> Array:
    """(6,): force [N] and torque [N m] in libfranka's sign, on the TCP's axes.

    >>> from types import SimpleNamespace
    >>> pushed = SimpleNamespace(T_base_tcp=np.eye(4), wrench_base_ext=np.eye(6)[0] * 10.0)
    >>> wrench_on_environment(pushed)[0]
    -10.0
    """
    R_tcp_base = state.T_base_tcp[:3, :3].T
    return -np.concatenate([R_tcp_base @ part for part in np.split(state.wrench_base_ext, 2)])


def state_json(state: RobotState, jacobian: Array, gripper_pos: float) -> dict[str, Any]:
    """The reply of /getstate."""
    wrench = wrench_on_environment(state).tolist()
    return {
        "pose": pose_list(state),
        "vel": state.twist_base_tcp.tolist(),
        "force": wrench[:3],
        "torque": wrench[3:],
        "q": state.q_rad.tolist(),
        "dq": state.dq_rad_per_s.tolist(),
        "jacobian": jacobian.tolist(),
        "gripper_pos": gripper_pos,
    }
