"""The control loop of a simulated cell: reference, law, gripper, physics; once per physics step.

Written in the NumPy subset that numba compiles. `physics_*` below are stand-ins: `loop.py` binds
them to MuJoCo's C functions (compiled) or to its Python bindings (not compiled), and the rest is
the same code on both paths.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_servers.control.impedance import impedance_torque, limit_rate
from robot_servers.control.reference import advance_reference, approach_speed
from robot_servers.types import Mode

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

JOINT_MODE = int(Mode.JOINT)

GRIPPER_STIFFNESS_N_PER_M = 6000.0
GRIPPER_DAMPING_N_S_PER_M = 120.0
"""Finger servo; stable at 2 ms with the finger's armature."""


class Physics(NamedTuple):
    """One MuJoCo model and data: addresses (or objects, not compiled) and views into mjData."""

    model: int
    data: int
    dt_s: float
    qpos: Array
    qvel: Array
    ctrl: Array
    bias: Array
    gravity: Array
    site_xpos: Array
    site_xmat: Array
    jacobian: Array
    """Scratch, (6, nv)."""


class Arms(NamedTuple):
    """Every arm of the cell, leading axis A; joint arrays are padded to the longest arm."""

    joints: Ints
    """Joints of each arm (A,)."""
    first_q: Ints
    first_dof: Ints
    first_ctrl: Ints
    site: Ints
    fingers: Ints
    """qpos, dof and ctrl index of the first finger; -1 without a gripper. (A, 3)"""

    base_p: Array
    base_R: Array  # noqa: N815
    """Pose of each base in the world (A, 3), (A, 3, 3)."""

    mode: Ints
    gains: Array
    limits: Array
    q_rest: Array
    tau: Array
    """Last commanded torques, gravity excluded (A, n)."""

    p: Array
    R: Array
    v: Array
    w: Array
    """The reference in base: position, rotation, velocities."""
    p_goal: Array
    R_goal: Array
    p_target: Array
    R_target: Array

    q_start: Array
    q_goal: Array
    move: Array
    """Joint move: way travelled in [0, 1], its speed [1/s], speed and acceleration limit. (A, 4)"""
    joint_stiffness: Array
    joint_damping: Array

    gripper: Array
    """Width reference [m], target [m], speed [m/s], force [N]. (A, 4)"""


def physics_step1(physics: Physics) -> None:
    """Positions, velocities, contacts of the present state."""
    raise NotImplementedError


def physics_step2(physics: Physics) -> None:
    """Forces, accelerations, and one step of time."""
    raise NotImplementedError


def physics_jacobian(physics: Physics, site: int) -> None:
    """Jacobian of a site, in the world, into `physics.jacobian`."""
    raise NotImplementedError


def physics_external_forces(physics: Physics) -> None:
    """External wrench of each body (cfrc_ext) of the step just taken."""
    raise NotImplementedError


def tcp_pose(physics: Physics, arms: Arms, a: int) -> tuple[Array, Array]:
    """Measured position (3,) and rotation (3, 3) of arm `a`'s TCP in its base."""
    to_base = arms.base_R[a].T
    p = to_base @ (physics.site_xpos[arms.site[a]] - arms.base_p[a])
    return p, to_base @ physics.site_xmat[arms.site[a]].reshape(3, 3)


def tcp_jacobian(physics: Physics, arms: Arms, a: int) -> Array:
    """Jacobian of arm `a`'s TCP in its base, (6, n)."""
    physics_jacobian(physics, arms.site[a])
    first = arms.first_dof[a]
    to_base = arms.base_R[a].T
    J = np.empty((6, arms.joints[a]))
    for i in range(3):
        for j in range(arms.joints[a]):
            linear, angular = 0.0, 0.0
            for k in range(3):
                linear += to_base[i, k] * physics.jacobian[k, first + j]
                angular += to_base[i, k] * physics.jacobian[3 + k, first + j]
            J[i, j] = linear
            J[3 + i, j] = angular
    return J


def cartesian_torque(
    physics: Physics, arms: Arms, a: int, q: Array, dq: Array, coriolis: Array
) -> Array:
    """Advance the reference one tick; torques of the impedance law towards it."""
    p, R = tcp_pose(physics, arms, a)
    arms.p[a], arms.R[a], arms.v[a], arms.w[a], arms.p_goal[a], arms.R_goal[a] = advance_reference(
        arms.p[a],
        arms.R[a],
        arms.v[a],
        arms.w[a],
        arms.p_goal[a],
        arms.R_goal[a],
        arms.p_target[a],
        arms.R_target[a],
        arms.limits[a],
        physics.dt_s,
    )
    q_rest = arms.q_rest[a][: len(q)]
    J = tcp_jacobian(physics, arms, a)
    return impedance_torque(J, q, dq, p, R, arms.p[a], arms.R[a], q_rest, coriolis, arms.gains[a])


def hold_reference(physics: Physics, arms: Arms, a: int) -> None:
    """Reference, goal and target on the measured pose, at rest."""
    p, R = tcp_pose(physics, arms, a)
    arms.p[a] = p
    arms.R[a] = R
    arms.p_goal[a] = p
    arms.R_goal[a] = R
    arms.p_target[a] = p
    arms.R_target[a] = R
    arms.v[a] = 0.0
    arms.w[a] = 0.0


def joint_torque(
    physics: Physics, arms: Arms, a: int, q: Array, dq: Array, coriolis: Array
) -> Array:
    """Advance the joint move one tick; torques of a joint spring and damper towards it.

    All joints travel together: the way is a straight line in joint space. The Cartesian reference
    stays on the measured pose, so that leaving this mode starts where the arm is.
    """
    n = len(q)
    move = arms.move[a]
    speed = approach_speed(1.0 - move[0], move[2], move[3], physics.dt_s)
    move[1] = min(speed, move[1] + move[3] * physics.dt_s)
    move[0] = min(1.0, move[0] + move[1] * physics.dt_s)
    way = arms.q_goal[a][:n] - arms.q_start[a][:n]
    q_ref = arms.q_start[a][:n] + move[0] * way
    hold_reference(physics, arms, a)
    dq_ref = move[1] * way
    spring = arms.joint_stiffness[a][:n] * (q_ref - q)
    return spring + arms.joint_damping[a][:n] * (dq_ref - dq) + coriolis


def drive_gripper(physics: Physics, arms: Arms, a: int) -> None:
    """Move the width reference at its speed; push each finger after it with limited force.

    The reference leads the measured width by no more than gives full force, so that a blocked
    gripper opens again at once.
    """
    q_at, dof_at, ctrl_at = arms.fingers[a]
    grip = arms.gripper[a]
    width = physics.qpos[q_at] + physics.qpos[q_at + 1]
    lead = 2.0 * grip[3] / GRIPPER_STIFFNESS_N_PER_M
    step = grip[2] * physics.dt_s
    grip[0] += min(max(grip[1] - grip[0], -step), step)
    grip[0] = min(max(grip[0], width - lead), width + lead)
    for i in range(2):
        error = 0.5 * grip[0] - physics.qpos[q_at + i]
        push = (
            GRIPPER_STIFFNESS_N_PER_M * error - GRIPPER_DAMPING_N_S_PER_M * physics.qvel[dof_at + i]
        )
        physics.ctrl[ctrl_at + i] = min(max(push, -grip[3]), grip[3])


def control_arm(physics: Physics, arms: Arms, a: int) -> None:
    """Set one arm's motors for this tick."""
    n = arms.joints[a]
    first_q, first_dof = arms.first_q[a], arms.first_dof[a]
    dofs = slice(first_dof, first_dof + n)
    q = physics.qpos[first_q : first_q + n]
    dq = physics.qvel[dofs]
    coriolis = physics.bias[dofs] - physics.gravity[dofs]
    if arms.mode[a] == JOINT_MODE:
        tau = joint_torque(physics, arms, a, q, dq, coriolis)
    else:
        tau = cartesian_torque(physics, arms, a, q, dq, coriolis)
    tau = limit_rate(tau, arms.tau[a][:n], arms.gains[a][12], physics.dt_s)
    arms.tau[a][:n] = tau
    physics.ctrl[arms.first_ctrl[a] : arms.first_ctrl[a] + n] = tau
    if arms.fingers[a, 0] >= 0:
        drive_gripper(physics, arms, a)


def run_ticks(physics: Physics, arms: Arms, ticks: int) -> None:
    """Advance `ticks` physics steps.

    Before and after, positions and contacts are those of the present state (`physics_step1` has
    run); the external wrenches are those of the last step taken.
    """
    for tick in range(ticks):
        for a in range(len(arms.joints)):
            control_arm(physics, arms, a)
        physics_step2(physics)
        if tick == ticks - 1:
            physics_external_forces(physics)
        physics_step1(physics)
