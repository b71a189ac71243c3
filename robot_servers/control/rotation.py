"""SO(3) in the NumPy subset that numba compiles: rotation matrices and rotation vectors.

Source: Lynch & Park, Modern Robotics, section 3.2.3. The logarithm goes through the quaternion,
which keeps full precision near 0 and near pi.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def matrix_from_rotvec(w: Array) -> Array:
    """exp([w]): rotation by |w| [rad] about w, (3,) -> (3, 3)."""
    x, y, z = w[0], w[1], w[2]
    angle2 = x * x + y * y + z * z
    if angle2 < 1e-8:  # series: the next term is below 1e-17
        s = 1.0 - angle2 / 6.0
        c = 0.5 - angle2 / 24.0
    else:
        angle = math.sqrt(angle2)
        s = math.sin(angle) / angle
        c = (1.0 - math.cos(angle)) / angle2
    R = np.empty((3, 3))
    R[0, 0] = 1.0 - c * (y * y + z * z)
    R[1, 1] = 1.0 - c * (x * x + z * z)
    R[2, 2] = 1.0 - c * (x * x + y * y)
    R[0, 1] = c * x * y - s * z
    R[1, 0] = c * x * y + s * z
    R[0, 2] = c * x * z + s * y
    R[2, 0] = c * x * z - s * y
    R[1, 2] = c * y * z - s * x
    R[2, 1] = c * y * z + s * x
    return R


def quat_from_matrix(R: Array) -> Array:
    """Unit quaternion (x, y, z, w) with w >= 0, (3, 3) -> (4,).

    Divides by the largest of the four components. Source: S. W. Shepperd, "Quaternion from
    rotation matrix", J. Guidance and Control 1(3), 1978.
    """
    a, b, c = R[0, 0], R[1, 1], R[2, 2]
    q = np.empty(4)
    if a + b + c >= max(a, b, c):
        q[3] = 1.0 + a + b + c
        q[0] = R[2, 1] - R[1, 2]
        q[1] = R[0, 2] - R[2, 0]
        q[2] = R[1, 0] - R[0, 1]
    elif a >= b and a >= c:
        q[0] = 1.0 + a - b - c
        q[1] = R[1, 0] + R[0, 1]
        q[2] = R[0, 2] + R[2, 0]
        q[3] = R[2, 1] - R[1, 2]
    elif b >= c:
        q[1] = 1.0 - a + b - c
        q[0] = R[1, 0] + R[0, 1]
        q[2] = R[2, 1] + R[1, 2]
        q[3] = R[0, 2] - R[2, 0]
    else:
        q[2] = 1.0 - a - b + c
        q[0] = R[0, 2] + R[2, 0]
        q[1] = R[2, 1] + R[1, 2]
        q[3] = R[1, 0] - R[0, 1]
    norm = math.sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3])
    if q[3] < 0.0:
        norm = -norm
    return q / norm


def rotvec_from_matrix(R: Array) -> Array:
    """log(R): rotation vector with norm in [0, pi], (3, 3) -> (3,)."""
    q = quat_from_matrix(R)
    sine = math.sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2])
    scale = 2.0 if sine < 1e-10 else 2.0 * math.atan2(sine, q[3]) / sine
    return scale * q[:3]
