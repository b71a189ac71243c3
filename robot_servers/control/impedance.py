"""The Cartesian impedance law: a spring and damper between the TCP and its reference.

Pure functions in the NumPy subset that numba compiles; no state, no clock. Gravity is not in it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from robot_servers.control.rotation import rotvec_from_matrix
from robot_servers.control.small import (
    gram,
    solve_positive,
    times,
    transpose_times,
    turn_between,
)
from robot_servers.types import Gains

Array = NDArray[np.float64]

PSEUDO_INVERSE_DAMPING = 0.2
"""lambda of the damped pseudo-inverse, as in serl_franka_controllers 1f140ef."""

TORQUE_RATE = 12
"""Index of the torque rate in the packed gains."""


def pack_gains(gains: Gains) -> Array:
    """The gains as one vector (19,), in the order `impedance_torque` reads them."""
    below_m = gains.translational_clip_neg_m or gains.translational_clip_m
    below_rad = gains.rotational_clip_neg_rad or gains.rotational_clip_rad
    return np.array(
        [
            gains.translational_stiffness_n_per_m,
            gains.translational_damping_n_s_per_m,
            gains.rotational_stiffness_nm_per_rad,
            gains.rotational_damping_nm_s_per_rad,
            *gains.translational_clip_m,
            *gains.rotational_clip_rad,
            gains.nullspace_stiffness_nm_per_rad,
            gains.joint1_nullspace_factor,
            gains.torque_rate_nm_per_s,
            *below_m,
            *below_rad,
        ]
    )


def task_wrench(T_base_tcp: Array, T_base_ref: Array, twist: Array, gains: Array) -> Array:
    """Wrench of the spring and damper at the TCP, in base: force [N], torque [N m]; (6,).

        F = K clip(p_ref - p) - D v        M = K_R clip(log(R_ref R^T)) - D_R w

    The spring's stretch is clipped per base axis, so force never exceeds stiffness x clip however
    far the reference is; each side may have its own clip. Angles are true angles (DESIGN
    decision 17).
    """
    wrench = np.empty(6)
    turn = rotvec_from_matrix(turn_between(T_base_tcp, T_base_ref))
    for i in range(3):
        stretch = T_base_ref[i, 3] - T_base_tcp[i, 3]
        stretch = min(max(stretch, -gains[13 + i]), gains[4 + i])
        angle = min(max(turn[i], -gains[16 + i]), gains[7 + i])
        wrench[i] = gains[0] * stretch - gains[1] * twist[i]
        wrench[3 + i] = gains[2] * angle - gains[3] * twist[3 + i]
    return wrench


def nullspace_torque(
    J: Array, q: Array, dq: Array, q_rest: Array, gains: Array, damping: float
) -> Array:
    """Torque that pulls the joints towards `q_rest` without a wrench at the TCP, (n,) [N m].

        tau = (I - J^T (J J^T + lambda^2 I)^-1 J) (k_n f (q_rest - q) - 2 sqrt(k_n) d dq)

    f is (k_1, 1, 1, ...) and d is (2 sqrt(k_1), 1, 1, ...): the first joint is held tighter. With
    lambda = 0 no wrench at all is left; 0.2 keeps it tame near singular postures, and leaves the
    share lambda^2 / (s^2 + lambda^2) in the direction of singular value s.
    Source: serl_franka_controllers 1f140ef, cartesian_impedance_controller.cpp.
    """
    k_n, k_1 = gains[10], gains[11]
    tau = np.empty(len(q))
    for i in range(len(q)):
        f = k_1 if i == 0 else 1.0
        d = 2.0 * math.sqrt(k_1) if i == 0 else 1.0
        tau[i] = k_n * f * (q_rest[i] - q[i]) - 2.0 * math.sqrt(k_n) * d * dq[i]
    wrench = solve_positive(gram(J, damping * damping), times(J, tau))
    felt = transpose_times(J, wrench)
    for i in range(len(q)):
        tau[i] -= felt[i]
    return tau


def impedance_torque(
    J: Array,
    q: Array,
    dq: Array,
    T_base_tcp: Array,
    T_base_ref: Array,
    q_rest: Array,
    coriolis: Array,
    gains: Array,
) -> Array:
    """Joint torques of the law, (n,) [N m], gravity excluded.

        tau = J^T F + tau_null + C(q, dq) dq

    Args:
        J: Jacobian of the TCP in base, (6, n): linear rows, then angular.
        q, dq: joint positions [rad] and velocities [rad/s], (n,).
        T_base_tcp, T_base_ref: measured pose and reference, (4, 4).
        q_rest: posture of the nullspace spring, (n,).
        coriolis: Coriolis and centrifugal torques, (n,).
        gains: `pack_gains`.
    """
    wrench = task_wrench(T_base_tcp, T_base_ref, times(J, dq), gains)
    spring = transpose_times(J, wrench)
    rest = np.zeros(len(q))  # six joints have no nullspace, and the damped projection would leak
    if len(q) > 6:
        rest = nullspace_torque(J, q, dq, q_rest, gains, PSEUDO_INVERSE_DAMPING)
    tau = np.empty(len(q))
    for i in range(len(q)):
        tau[i] = spring[i] + rest[i] + coriolis[i]
    return tau


def limit_rate(tau: Array, tau_last: Array, rate_nm_per_s: float, dt_s: float) -> Array:
    """`tau`, moved no further from `tau_last` than `rate x dt` per joint."""
    step = rate_nm_per_s * dt_s
    limited = np.empty(len(tau))
    for i in range(len(tau)):
        limited[i] = min(max(tau[i], tau_last[i] - step), tau_last[i] + step)
    return limited
