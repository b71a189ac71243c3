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
    if distance > 0.0:
        landing = error / dt_s
        change = landing - velocity
        if distance <= step * dt_s and change[0] ** 2 + change[1] ** 2 + change[2] ** 2 <= step**2:
            return landing
        wanted = error * (approach_speed(distance, speed, acceleration, dt_s) / distance)
    else:
        wanted = np.zeros(3)
    change = wanted - velocity
    size = math.sqrt(change[0] ** 2 + change[1] ** 2 + change[2] ** 2)
    if size > step:
        change = change * (step / size)
    return velocity + change


def advance_reference(
    p: Array,
    R: Array,
    v: Array,
    w: Array,
    p_goal: Array,
    R_goal: Array,
    p_target: Array,
    R_target: Array,
    limits: Array,
    dt_s: float,
) -> tuple[Array, Array, Array, Array, Array, Array]:
    """One tick: (p, R, v, w, p_goal, R_goal) after `dt`.

    Args:
        p, R, v, w: the reference: position [m], rotation, linear [m/s] and angular [rad/s]
            velocity, in base.
        p_goal, R_goal: the filtered target.
        p_target, R_target: the accepted target.
        limits: `pack_limits`.
    """
    gain = filter_gain(limits[0], dt_s)
    if gain >= 1.0:
        p_goal, R_goal = p_target.copy(), R_target.copy()
    else:
        p_goal = p_goal + gain * (p_target - p_goal)
        R_goal = matrix_from_rotvec(gain * rotvec_from_matrix(R_target @ R_goal.T)) @ R_goal
    v = follow(p_goal - p, v, limits[1], limits[3], dt_s)
    w = follow(rotvec_from_matrix(R_goal @ R.T), w, limits[2], limits[4], dt_s)
    return p + v * dt_s, matrix_from_rotvec(w * dt_s) @ R, v, w, p_goal, R_goal
