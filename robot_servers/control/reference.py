"""The reference generator: from targets that jump to a reference the law can follow.

A first-order target filter, then a follower within speed and acceleration limits. One call is one
tick of any length: all constants are per second (DESIGN decision 17). Pure functions in the NumPy
subset that numba compiles.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from robot_servers.control.rotation import matrix_from_rotvec, rotvec_from_matrix
from robot_servers.control.small import turn_between
from robot_servers.types import MotionLimits

Array = NDArray[np.float64]


def pack_limits(limits: MotionLimits) -> Array:
    """The limits as one vector (5,), in the order the generator reads them."""
    return np.array(
        [
            limits.filter_time_constant_s,
            limits.linear_speed_m_per_s,
            limits.angular_speed_rad_per_s,
            limits.linear_acceleration_m_per_s2,
            limits.angular_acceleration_rad_per_s2,
        ]
    )


def filter_gain(time_constant_s: float, dt_s: float) -> float:
    """Share of the remaining way a first-order filter covers in `dt`: 1 - exp(-dt / tau)."""
    if time_constant_s <= 0.0:
        return 1.0
    return 1.0 - math.exp(-dt_s / time_constant_s)


def approach_speed(distance: float, speed: float, acceleration: float, dt_s: float) -> float:
    """Fastest speed from which one can still stop within `distance`, braking once per tick.

    Solves v dt + v^2 / (2 a) = distance for v, and never more than `speed`.
    """
    half = 0.5 * acceleration * dt_s
    return min(speed, 2.0 * (math.sqrt(half * half + 0.5 * acceleration * distance) - half))


def follow(error: Array, velocity: Array, speed: float, acceleration: float, dt_s: float) -> Array:
    """The next velocity (3,) of a point that has `error` (3,) to go; within both limits.

    On arrival the velocity is exactly error / dt, so the last tick lands on the goal.
    """
    distance = math.sqrt(error[0] ** 2 + error[1] ** 2 + error[2] ** 2)
    step = acceleration * dt_s
    wanted = 0.0
    if distance > 0.0:
        wanted = approach_speed(distance, speed, acceleration, dt_s) / distance
    landing = distance <= step * dt_s and _distance(error, velocity, 1.0 / dt_s) <= step
    if landing:
        wanted = 1.0 / dt_s
    change = _distance(error, velocity, wanted)
    share = step / change if change > step and not landing else 1.0
    after = np.empty(3)
    for i in range(3):
        after[i] = velocity[i] + share * (wanted * error[i] - velocity[i])
    return after


def _distance(error: Array, velocity: Array, rate: float) -> float:
    """Length of `rate x error - velocity`."""
    total = 0.0
    for i in range(3):
        total += (rate * error[i] - velocity[i]) ** 2
    return math.sqrt(total)


def displacement(T_from: Array, T_to: Array) -> Array:
    """`se3.pose_error(T_to, T_from)`: translation [m], then rotation vector [rad], (6,)."""
    turn = rotvec_from_matrix(turn_between(T_from, T_to))
    error = np.empty(6)
    for i in range(3):
        error[i] = T_to[i, 3] - T_from[i, 3]
        error[3 + i] = turn[i]
    return error


def moved(T: Array, twist: Array, share: float) -> Array:
    """`T` after a displacement of `share x twist` in base: p + share v, exp(share w) R."""
    turn = np.empty(3)
    for i in range(3):
        turn[i] = share * twist[3 + i]
    R = matrix_from_rotvec(turn)
    out = np.zeros((4, 4))
    out[3, 3] = 1.0
    for i in range(3):
        out[i, 3] = T[i, 3] + share * twist[i]
        for j in range(3):
            out[i, j] = R[i, 0] * T[0, j] + R[i, 1] * T[1, j] + R[i, 2] * T[2, j]
    return out


def advance_reference(
    T_ref: Array, twist: Array, T_goal: Array, T_target: Array, limits: Array, dt_s: float
) -> tuple[Array, Array, Array]:
    """One tick: the reference, its twist and the filtered target after `dt`.

    Args:
        T_ref: the reference, (4, 4) in base.
        twist: its linear [m/s] and angular [rad/s] velocity in base, (6,).
        T_goal: the filtered target.
        T_target: the accepted target.
        limits: `pack_limits`.
    """
    gain = filter_gain(limits[0], dt_s)
    T_goal = T_target if gain >= 1.0 else moved(T_goal, displacement(T_goal, T_target), gain)
    error = displacement(T_ref, T_goal)
    linear = follow(error[:3], twist[:3], limits[1], limits[3], dt_s)
    angular = follow(error[3:], twist[3:], limits[2], limits[4], dt_s)
    after = np.empty(6)
    for i in range(3):
        after[i] = linear[i]
        after[3 + i] = angular[i]
    return moved(T_ref, after, dt_s), after, T_goal
