"""The wrench law: joint torques that push with a commanded wrench and hold no position.

    tau = J^T (w + w_box) - D dq + C(q, dq) dq

w is zero when its command is older than `types.WRENCH_HOLD_S`; w_box pulls the TCP back into a box.
Pure functions in the NumPy subset that numba compiles; gravity is not in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from robot_servers.control.rotation import rotvec_from_matrix
from robot_servers.control.se3 import matrix_from_quat
from robot_servers.control.small import transpose_times

Array = NDArray[np.float64]

BOX_STIFFNESS_N_PER_M = 200.0
BOX_CLIP_M = 0.03
BOX_STIFFNESS_NM_PER_RAD = 50.0
BOX_CLIP_RAD = 0.06
"""Pull back into the box: at most 6 N and 3 N m on an axis. Source: HIL-SERL's egg flip."""

FREE = (math.inf, math.inf, math.inf)


def pack_wrench_box(
    low_m: Sequence[float],
    high_m: Sequence[float],
    quat_xyzw: Sequence[float] = (0.0, 0.0, 0.0, 1.0),
    rotation_rad: Sequence[float] = FREE,
) -> Array:
    """A box as one vector (21,), in the order `wrench_in_box` reads it.

    Args:
        low_m, high_m: where the TCP may be, in base (3,).
        quat_xyzw: orientation R_base_box in the middle of the rotation box (4,).
        rotation_rad: largest log(R_box^T R) on each of its axes, both signs (3,).
    """
    R = matrix_from_quat(quat_xyzw).ravel()
    return np.array([*low_m, *high_m, *R, *(-r for r in rotation_rad), *rotation_rad])


def no_wrench_box() -> Array:
    """A box without walls."""
    return pack_wrench_box([-math.inf] * 3, FREE)


def wrench_in_base(wrench: Array, in_tcp_axes: bool, T_base_tcp: Array) -> Array:
    """A wrench (6,) at the TCP, from TCP axes or base axes into base axes."""
    out = np.empty(6)
    for i in range(3):
        out[i], out[3 + i] = wrench[i], wrench[3 + i]
        if in_tcp_axes:
            out[i] = 0.0
            out[3 + i] = 0.0
            for k in range(3):
                out[i] += T_base_tcp[i, k] * wrench[k]
                out[3 + i] += T_base_tcp[i, k] * wrench[3 + k]
    return out


def way_back(value: float, low: float, high: float) -> float:
    """From a coordinate to the nearest end of an interval; 0 inside it."""
    return min(high - value, 0.0) + max(low - value, 0.0)


def kept_inside(push: float, back: float, stiffness: float, clip: float) -> float:
    """Push on one axis plus the pull back into the box.

    What leads further out fades to nothing over `clip`: the pull back, 6 N, would lose against a
    command of 20 N. Fading, not switching, as a switch would chatter on the wall.
    """
    outward = push * back < 0.0
    share = max(0.0, 1.0 - abs(back) / clip) if outward else 1.0
    return share * push + stiffness * min(max(back, -clip), clip)


def wrench_in_box(wrench: Array, T_base_tcp: Array, box: Array) -> Array:
    """w + w_box in base, (6,) -> (6,).

    Args:
        wrench: force and torque at the TCP, base axes.
        T_base_tcp: measured pose, (4, 4).
        box: `pack_wrench_box`.
    """
    R_box_tcp = np.zeros((3, 3))
    torque = np.zeros(3)
    for i in range(3):
        for k in range(3):
            torque[i] += box[6 + 3 * k + i] * wrench[3 + k]
            for j in range(3):
                R_box_tcp[i, j] += box[6 + 3 * k + i] * T_base_tcp[k, j]
    turn = rotvec_from_matrix(R_box_tcp)
    out = np.zeros(6)
    for i in range(3):
        back = way_back(T_base_tcp[i, 3], box[i], box[3 + i])
        out[i] = kept_inside(wrench[i], back, BOX_STIFFNESS_N_PER_M, BOX_CLIP_M)
        back = way_back(turn[i], box[15 + i], box[18 + i])
        torque[i] = kept_inside(torque[i], back, BOX_STIFFNESS_NM_PER_RAD, BOX_CLIP_RAD)
    for i in range(3):
        for k in range(3):
            out[3 + i] += box[6 + 3 * i + k] * torque[k]
    return out


def wrench_torque(J: Array, dq: Array, wrench: Array, damping: Array, coriolis: Array) -> Array:
    """Joint torques (n,) [N m], gravity excluded.

    Args:
        J: Jacobian of the TCP in base (6, n): linear rows, then angular.
        dq: joint velocities (n,) [rad/s].
        wrench: `wrench_in_box`, base axes (6,).
        damping: per joint (n,) [N m s/rad], `RobotModel.wrench_damping_nm_s_per_rad`.
        coriolis: Coriolis and centrifugal torques (n,); zeros where they are not known.
    """
    tau = transpose_times(J, wrench)
    for i in range(len(dq)):
        tau[i] += coriolis[i] - damping[i] * dq[i]
    return tau
