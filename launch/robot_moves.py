"""Moves that an operator asks for: step by step from here, so that Ctrl-C stops them.

Every step goes through the server's limits like any other command.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice

import numpy as np

from launch.robot_link import CONTROL_HZ, RobotLink, ticks
from robot_servers.control import se3
from robot_servers.types import (
    ArmCommand,
    Array,
    CartesianTarget,
    GripperTarget,
    JointTarget,
    RobotState,
)
from serl.errors import UserError

TURN_RAD_PER_M = 3.0
"""A move turns at this many rad/s for each m/s of its speed."""
ARRIVED_M = 0.005
ARRIVED_RAD = 0.03
AT_REST_M_PER_S = 0.02
SETTLE_S = 5.0
"""After its last step a move has this long to come to rest."""
ARRIVED_JOINT_RAD = 0.01
AT_REST_RAD_PER_S = 0.05
JOINT_LIMIT_S = 60.0
GRIPPER_START_S = 0.3
"""A gripper that has not moved by then has nothing to do."""
GRIPPER_LIMIT_S = 10.0


def target_pose(words: Sequence[float], T_base_tcp: Array) -> Array:
    """The pose behind `move-to`: x y z, then nothing (keep the orientation), a rotation vector
    rx ry rz [rad], or a quaternion x y z w."""
    position, turn = words[:3], words[3:]
    if len(words) == 3:
        return se3.pose(T_base_tcp[:3, :3], position)
    if len(words) == 6:
        return se3.pose_from_rotvec(position, turn)
    if len(words) == 7:
        norm = math.hypot(*turn)
        if abs(norm - 1.0) > 1e-3:
            raise UserError(
                f"the quaternion (x y z w) has length {norm:.4g}; it must be 1 within 0.001."
            )
        return se3.pose_from_quat(position, turn)
    raise UserError(
        f"move-to takes 3 numbers (x y z), 6 (and a rotation vector) or 7 (and a quaternion "
        f"x y z w); {len(words)} were given."
    )


def straight_path(T_from: Array, T_to: Array, speed_m_per_s: float, hz: float) -> list[Array]:
    """Poses of a straight line and a steady turn, one per control period; the last is `T_to`."""
    error = se3.pose_error(T_to, T_from)
    far_m = max(np.linalg.norm(error[:3]), np.linalg.norm(error[3:]) / TURN_RAD_PER_M)
    steps = max(1, math.ceil(far_m / speed_m_per_s * hz))
    return [se3.interpolate(T_from, T_to, k / steps) for k in range(1, steps)] + [T_to]


def move_straight(robot: RobotLink, T_base_goal: Array, speed_m_per_s: float) -> RobotState:
    """Along a straight line; returns at rest. Raises UserError where it does not arrive."""
    path = straight_path(robot.state().T_base_tcp, T_base_goal, speed_m_per_s, CONTROL_HZ)
    settle = [T_base_goal] * round(SETTLE_S * CONTROL_HZ)
    state = robot.state()
    for step, (T, _) in enumerate(zip(path + settle, ticks(), strict=False)):
        robot.command(ArmCommand(target=CartesianTarget(T_base_tcp=T)))
        state = robot.state()
        if step >= len(path) and _arrived(state, T_base_goal):
            return state
    far_m, far_rad = _distance(state, T_base_goal)
    raise UserError(
        f"stopped {100 * far_m:.1f} cm and {far_rad:.2f} rad short of the goal: a limit of the "
        "server or an obstacle is in the way."
    )


def move_joints(robot: RobotLink, q_rad: Array) -> RobotState:
    """A joint move; the same target goes out again until it is reached."""
    joints = robot.robot.joint_names
    if q_rad.shape != (len(joints),):
        raise UserError(
            f"{q_rad.size} joint positions were given; {robot.robot.name} has {len(joints)} joints."
        )
    command = ArmCommand(target=JointTarget(q_rad=q_rad))
    for _ in islice(ticks(), round(JOINT_LIMIT_S * CONTROL_HZ)):
        robot.command(command)
        state = robot.state()
        at_rest = np.abs(state.dq_rad_per_s).max() < AT_REST_RAD_PER_S
        if np.abs(state.q_rad - q_rad).max() < ARRIVED_JOINT_RAD and at_rest:
            return state
    error = np.abs(robot.state().q_rad - q_rad)
    raise UserError(
        f"{joints[int(error.argmax())]} is still {error.max():.2f} rad from its goal after "
        f"{JOINT_LIMIT_S:g} s. Clear its way."
    )


def move_gripper(robot: RobotLink, target: GripperTarget) -> RobotState:
    """Until the fingers stand still, on something or at their goal."""
    command = ArmCommand(gripper=target)
    robot.command(command)
    for elapsed_s in ticks():
        state = robot.state()
        if elapsed_s > GRIPPER_START_S and not state.gripper_moving:
            return state
        if elapsed_s > GRIPPER_LIMIT_S:
            raise UserError(
                f"the gripper still moves after {GRIPPER_LIMIT_S:g} s, at "
                f"{1000 * state.gripper_width_m:.1f} mm; see what it does."
            )
    raise AssertionError("ticks never end")


def _distance(state: RobotState, T_base_goal: Array) -> tuple[float, float]:
    error = se3.pose_error(T_base_goal, state.T_base_tcp)
    return float(np.linalg.norm(error[:3])), float(np.linalg.norm(error[3:]))


def _arrived(state: RobotState, T_base_goal: Array) -> bool:
    far_m, far_rad = _distance(state, T_base_goal)
    speed = np.linalg.norm(state.twist_base_tcp[:3])
    return bool(far_m < ARRIVED_M and far_rad < ARRIVED_RAD and speed < AT_REST_M_PER_S)
