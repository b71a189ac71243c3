"""The control loop of a simulated cell: reference, law, gripper, physics; once per physics step.

Written in the NumPy subset that numba compiles. `physics_*` below are stand-ins: `loop.py` binds
them to MuJoCo's C functions (compiled) or to its Python bindings (not compiled), and the rest is
the same code on both paths.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_servers.control.impedance import TORQUE_RATE, impedance_torque, limit_rate
from robot_servers.control.reference import advance_reference, approach_speed
from robot_servers.control.small import copy_into, times, transpose_times
from robot_servers.control.wrench import wrench_in_base, wrench_in_box, wrench_torque
from robot_servers.types import Mode

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

IDLE_MODE = int(Mode.IDLE)
JOINT_MODE = int(Mode.JOINT)
WRENCH_MODE = int(Mode.WRENCH)

GRIPPER_STIFFNESS_N_PER_M = 4000.0
GRIPPER_DAMPING_N_S_PER_M = 40.0
"""Finger servo, critically damped with the finger's own mass and damping; stable at 2 ms."""

BRAKE_S = 0.1
"""Braking takes no longer than this; then the spring holds whatever is left."""

BRAKE_TIME_S = 0.008
"""T of the brake: the last part of a stop dies away with it. Four ticks of 2 ms."""

BRAKE_RATE_SHARE = 0.7
"""Share of the torque rate the brake plans with."""

STANDING_M_PER_S = 0.005
"""A TCP slower than this has stopped."""


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
    """(sites, 3, 3)."""
    jacobian: Array
    """Scratch, (6, nv)."""
    momentum: Array
    """Scratch, (nv,)."""


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

    T_world_base: Array
    """Pose of each base, (A, 4, 4) as all poses here."""

    mode: Ints
    gains: Array
    limits: Array
    q_rest: Array
    tau: Array
    """Last commanded torques, gravity excluded (A, n)."""

    T_base_ref: Array
    twist_ref: Array
    """The reference and its twist (A, 6)."""
    T_base_goal: Array
    """The filtered target."""
    T_base_target: Array

    q_start: Array
    q_goal: Array
    move: Array
    """Joint move: way travelled in [0, 1], its speed [1/s], speed and acceleration limit. (A, 4)"""
    joint_stiffness: Array
    joint_damping: Array

    brake_s: Array
    """Time left for braking in HOLD, and 0 when the reference stands (A,)."""

    push: Array
    """Commanded wrench (6), 1 for TCP axes, time left before it lapses [s]. (A, 8)"""
    push_box: Array
    """`pack_wrench_box` (A, 21)."""
    push_damping: Array
    """Joint damping of the wrench mode (A, n)."""

    payload: Array
    """What gravity compensation is told: weight [N], its centre in TCP axes [m]. (A, 4)"""
    burden_n: Array
    """Weight at the TCP that nobody is told of [N] (A,)."""

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


def physics_momentum(physics: Physics) -> None:
    """Generalised momentum M qvel into `physics.momentum`."""
    raise NotImplementedError


def physics_external_forces(physics: Physics) -> None:
    """External wrench of each body (cfrc_ext) of the step just taken."""
    raise NotImplementedError


def tcp_pose(physics: Physics, arms: Arms, a: int) -> Array:
    """Measured T_base_tcp (4, 4) of arm `a`."""
    base, site = arms.T_world_base[a], arms.site[a]
    T = np.zeros((4, 4))
    T[3, 3] = 1.0
    for i in range(3):
        for k in range(3):
            T[i, 3] += base[k, i] * (physics.site_xpos[site, k] - base[k, 3])
            for j in range(3):
                T[i, j] += base[k, i] * physics.site_xmat[site, k, j]
    return T


def tcp_jacobian(physics: Physics, arms: Arms, a: int) -> Array:
    """Jacobian of arm `a`'s TCP in its base, (6, n)."""
    physics_jacobian(physics, arms.site[a])
    base, first = arms.T_world_base[a], arms.first_dof[a]
    J = np.zeros((6, arms.joints[a]))
    for i in range(3):
        for j in range(arms.joints[a]):
            for k in range(3):
                J[i, j] += base[k, i] * physics.jacobian[k, first + j]
                J[3 + i, j] += base[k, i] * physics.jacobian[3 + k, first + j]
    return J


def cartesian_torque(
    physics: Physics, arms: Arms, a: int, T: Array, J: Array, q: Array, dq: Array, coriolis: Array
) -> Array:
    """Advance the reference one tick; torques of the impedance law towards it."""
    T_ref, twist, T_goal = advance_reference(
        arms.T_base_ref[a],
        arms.twist_ref[a],
        arms.T_base_goal[a],
        arms.T_base_target[a],
        arms.limits[a],
        physics.dt_s,
    )
    copy_into(T_ref, arms.T_base_ref[a])
    copy_into(T_goal, arms.T_base_goal[a])
    for i in range(6):
        arms.twist_ref[a, i] = twist[i]
    return impedance_torque(J, q, dq, T, T_ref, arms.q_rest[a], coriolis, arms.gains[a])


def hold_reference(physics: Physics, arms: Arms, a: int) -> None:
    """Reference, goal and target on the measured pose, at rest."""
    T = tcp_pose(physics, arms, a)
    copy_into(T, arms.T_base_ref[a])
    copy_into(T, arms.T_base_goal[a])
    copy_into(T, arms.T_base_target[a])
    for i in range(6):
        arms.twist_ref[a, i] = 0.0


def joint_torque(
    physics: Physics, arms: Arms, a: int, q: Array, dq: Array, coriolis: Array
) -> Array:
    """Advance the joint move one tick; torques of a joint spring and damper towards it.

    All joints travel together: the way is a straight line in joint space.
    """
    move = arms.move[a]
    speed = approach_speed(1.0 - move[0], move[2], move[3], physics.dt_s)
    move[1] = min(speed, move[1] + move[3] * physics.dt_s)
    move[0] = min(1.0, move[0] + move[1] * physics.dt_s)
    tau = np.empty(len(q))
    for i in range(len(q)):
        way = arms.q_goal[a, i] - arms.q_start[a, i]
        error = arms.q_start[a, i] + move[0] * way - q[i]
        spring = arms.joint_stiffness[a, i] * error
        tau[i] = spring + arms.joint_damping[a, i] * (move[1] * way - dq[i]) + coriolis[i]
    return tau


def idle_torque(arms: Arms, a: int, dq: Array, coriolis: Array) -> Array:
    """Joint dampers alone: the arm comes to rest and follows nothing."""
    tau = np.empty(len(dq))
    for i in range(len(dq)):
        tau[i] = coriolis[i] - arms.joint_damping[a, i] * dq[i]
    return tau


def brake_torque(
    physics: Physics, arms: Arms, a: int, J: Array, dq: Array, coriolis: Array
) -> Array:
    """One tick of braking: takes the momentum p = M dq out of each joint; no spring.

        tau = -sign(p) min(|p| / T, sqrt(2 r |p|))

    is the torque that falls at the rate r and is zero together with p, so the limit on torque rate
    neither delays the stop nor turns it round. A spring and damper of 2000 N/m and 89 N s/m from
    0.3 m/s need 0.25 s, and overshoot; stronger dampers overshoot more, as the rate limit makes
    them late.
    """
    physics_momentum(physics)
    first, rate = arms.first_dof[a], BRAKE_RATE_SHARE * arms.gains[a, TORQUE_RATE]
    tau = np.empty(len(dq))
    for i in range(len(dq)):
        p = abs(physics.momentum[first + i])
        torque = min(p / BRAKE_TIME_S, math.sqrt(2.0 * rate * p))
        tau[i] = coriolis[i] - math.copysign(torque, physics.momentum[first + i])
    arms.brake_s[a] -= physics.dt_s
    twist = times(J, dq)
    if twist[0] ** 2 + twist[1] ** 2 + twist[2] ** 2 < STANDING_M_PER_S**2:
        arms.brake_s[a] = 0.0
    return tau


def push_torque(
    physics: Physics, arms: Arms, a: int, T: Array, J: Array, dq: Array, coriolis: Array
) -> Array:
    """One tick of wrench mode: the commanded wrench until it lapses, then damping alone."""
    push = arms.push[a]
    push[7] -= physics.dt_s
    if push[7] < 0.0:
        for i in range(6):
            push[i] = 0.0
    w = wrench_in_box(wrench_in_base(push[:6], push[6] > 0.5, T), T, arms.push_box[a])
    return wrench_torque(J, dq, w, arms.push_damping[a], coriolis)


def lifting_torque(arms: Arms, a: int, T: Array, J: Array, weight_n: float, centre: Array) -> Array:
    """Torques that carry a weight whose centre (3,) is given in TCP axes, (n,)."""
    base = arms.T_world_base[a]
    lift, arm = np.empty(6), np.zeros(3)
    for i in range(3):
        lift[i] = weight_n * base[2, i]  # up, along the base's axes
        for k in range(3):
            arm[i] += T[i, k] * centre[k]
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        lift[3 + i] = arm[j] * lift[k] - arm[k] * lift[j]
    return transpose_times(J, lift)


def drive_gripper(physics: Physics, arms: Arms, a: int) -> None:
    """Move the width reference at its speed; push each finger after it with limited force.

    The reference leads the measured width by no more than gives full force, so that a blocked
    gripper opens again at once.
    """
    q_at, dof_at, ctrl_at = arms.fingers[a, 0], arms.fingers[a, 1], arms.fingers[a, 2]
    grip = arms.gripper[a]
    width = physics.qpos[q_at] + physics.qpos[q_at + 1]
    lead = 2.0 * grip[3] / GRIPPER_STIFFNESS_N_PER_M
    step = grip[2] * physics.dt_s
    grip[0] += min(max(grip[1] - grip[0], -step), step)
    grip[0] = min(max(grip[0], width - lead), width + lead)
    for i in range(2):
        spring = GRIPPER_STIFFNESS_N_PER_M * (0.5 * grip[0] - physics.qpos[q_at + i])
        push = spring - GRIPPER_DAMPING_N_S_PER_M * physics.qvel[dof_at + i]
        physics.ctrl[ctrl_at + i] = min(max(push, -grip[3]), grip[3])


def control_arm(physics: Physics, arms: Arms, a: int) -> None:
    """Set one arm's motors for this tick."""
    n = arms.joints[a]
    first_q, first_dof = arms.first_q[a], arms.first_dof[a]
    q, dq, coriolis = np.empty(n), np.empty(n), np.empty(n)
    for i in range(n):
        q[i] = physics.qpos[first_q + i]
        dq[i] = physics.qvel[first_dof + i]
        coriolis[i] = physics.bias[first_dof + i] - physics.gravity[first_dof + i]
    T = tcp_pose(physics, arms, a)
    J = tcp_jacobian(physics, arms, a)
    if arms.burden_n[a] > 0.0:  # MuJoCo's bias knows it, the controller must not
        weight = lifting_torque(arms, a, T, J, arms.burden_n[a], np.zeros(3))
        for i in range(n):
            coriolis[i] -= weight[i]
    mode = arms.mode[a]
    braking = arms.brake_s[a] > 0.0  # only ever in HOLD and IDLE
    if braking or mode in (JOINT_MODE, WRENCH_MODE, IDLE_MODE):
        hold_reference(physics, arms, a)  # so that leaving the mode starts where the arm is
    if mode == JOINT_MODE:
        tau = joint_torque(physics, arms, a, q, dq, coriolis)
    elif mode == WRENCH_MODE:
        tau = push_torque(physics, arms, a, T, J, dq, coriolis)
    elif braking:
        tau = brake_torque(physics, arms, a, J, dq, coriolis)
    elif mode == IDLE_MODE:
        tau = idle_torque(arms, a, dq, coriolis)
    else:
        tau = cartesian_torque(physics, arms, a, T, J, q, dq, coriolis)
    tau = limit_rate(tau, arms.tau[a], arms.gains[a, TORQUE_RATE], physics.dt_s)
    for i in range(n):
        arms.tau[a, i] = tau[i]
        physics.ctrl[arms.first_ctrl[a] + i] = tau[i]
    if arms.payload[a, 0] > 0.0:
        carry = lifting_torque(arms, a, T, J, arms.payload[a, 0], arms.payload[a, 1:].copy())
        for i in range(n):
            physics.ctrl[arms.first_ctrl[a] + i] += carry[i]
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
