"""Rigid motions: poses as (4, 4) matrices, quaternions (x, y, z, w), twists (linear, angular).

`T_a_b` is the pose of b in a; products cancel inward. Pure NumPy.
Source: Lynch & Park, Modern Robotics, chapter 3; twists here are ordered (linear, angular).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robot_servers.control.rotation import (
    matrix_from_rotvec,
    quat_from_matrix,
    rotvec_from_matrix,
)

Array = NDArray[np.float64]

__all__ = [
    "adjoint",
    "apply_displacement",
    "clamp_pose",
    "interpolate",
    "inverse",
    "is_pose",
    "matrix_from_quat",
    "matrix_from_rotvec",
    "matrix_from_rpy",
    "pose",
    "pose_error",
    "pose_from_quat",
    "pose_from_rotvec",
    "pose_to_quat",
    "quat_from_matrix",
    "rotvec_from_matrix",
    "rpy_from_matrix",
    "skew",
]


def pose(R: ArrayLike, p: ArrayLike) -> Array:
    """T from rotation (3, 3) and position (3,) [m]."""
    T = np.eye(4)
    T[:3, :3] = R
    T[:3, 3] = p
    return T


def matrix_from_quat(quat_xyzw: ArrayLike) -> Array:
    """Rotation matrix of a quaternion of any non-zero length, (4,) -> (3, 3)."""
    q = np.asarray(quat_xyzw, dtype=np.float64)
    norm = np.linalg.norm(q)
    if not norm > 1e-12:
        raise ValueError(f"a quaternion of length {norm:g} is no rotation")
    x, y, z, w = q / norm
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def pose_from_quat(p: ArrayLike, quat_xyzw: ArrayLike) -> Array:
    """T from position (3,) [m] and quaternion (4,)."""
    return pose(matrix_from_quat(quat_xyzw), p)


def pose_to_quat(T: Array) -> tuple[Array, Array]:
    """Position (3,) [m] and unit quaternion (4,) with w >= 0; inverse of `pose_from_quat`."""
    return T[:3, 3].copy(), quat_from_matrix(T[:3, :3])


def pose_from_rotvec(p: ArrayLike, rotvec_rad: ArrayLike) -> Array:
    """T from position (3,) [m] and rotation vector (3,) [rad]."""
    return pose(matrix_from_rotvec(np.asarray(rotvec_rad, dtype=np.float64)), p)


def matrix_from_rpy(rpy_rad: ArrayLike) -> Array:
    """Rz(yaw) Ry(pitch) Rx(roll): roll, pitch, yaw about fixed x, y, z axes; (3,) -> (3, 3)."""
    roll, pitch, yaw = np.asarray(rpy_rad, dtype=np.float64)
    axes = np.eye(3)
    Rx, Ry, Rz = (
        matrix_from_rotvec(a * axis) for a, axis in zip((roll, pitch, yaw), axes, strict=True)
    )
    return Rz @ Ry @ Rx


def rpy_from_matrix(R: Array) -> Array:
    """Inverse of `matrix_from_rpy`, pitch in [-pi/2, pi/2]; at +-pi/2 the yaw is set to 0."""
    cosine = math.hypot(R[0, 0], R[1, 0])
    pitch = math.atan2(-R[2, 0], cosine)
    if cosine < 1e-9:
        return np.array([math.atan2(-R[1, 2], R[1, 1]), pitch, 0.0])
    return np.array([math.atan2(R[2, 1], R[2, 2]), pitch, math.atan2(R[1, 0], R[0, 0])])


def inverse(T: Array) -> Array:
    """T_b_a from T_a_b. The relative pose of b seen from a is `inverse(T_base_a) @ T_base_b`."""
    R = T[:3, :3]
    return pose(R.T, -R.T @ T[:3, 3])


def is_pose(T: Array, tolerance: float = 1e-4) -> bool:
    """True for a finite (4, 4) whose rotation is orthonormal and right-handed."""
    if T.shape != (4, 4) or not np.isfinite(T).all():
        return False
    R = T[:3, :3]
    orthonormal = np.abs(R @ R.T - np.eye(3)).max() <= tolerance
    return bool(orthonormal and np.linalg.det(R) > 0 and np.array_equal(T[3], [0, 0, 0, 1]))


def pose_error(T_base_target: Array, T_base_tcp: Array) -> Array:
    """Displacement that would carry the TCP onto the target, written in the base frame.

    Args:
        T_base_target: desired TCP pose, (4, 4) [m].
        T_base_tcp: measured TCP pose, (4, 4), same frame.

    Returns:
        (6,): translation [m], then rotation vector [rad] with norm in [0, pi].

    Source: rotation part is log(R_target R_tcp^T), Lynch & Park, Modern Robotics, 3.2.3.3.
    """
    R = T_base_target[:3, :3] @ T_base_tcp[:3, :3].T
    return np.concatenate([T_base_target[:3, 3] - T_base_tcp[:3, 3], rotvec_from_matrix(R)])


def apply_displacement(T_base_tcp: Array, displacement: Array) -> Array:
    """Inverse of `pose_error`: `apply_displacement(tcp, pose_error(target, tcp)) == target`."""
    R = matrix_from_rotvec(displacement[3:]) @ T_base_tcp[:3, :3]
    return pose(R, T_base_tcp[:3, 3] + displacement[:3])


def interpolate(T_start: Array, T_end: Array, fraction: float) -> Array:
    """The pose `fraction` of the way: a straight line, and a steady turn the short way round."""
    return apply_displacement(T_start, fraction * pose_error(T_end, T_start))


def skew(p: Array) -> Array:
    """[p], (3, 3): `skew(p) @ v` is the cross product p x v."""
    x, y, z = p
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


def adjoint(T_a_b: Array) -> Array:
    """Ad(T_a_b), (6, 6): carries a twist (linear, angular) of a body from frame b to frame a.

        v_a = R v_b + p x (R w_b)        w_a = R w_b

    The cross term stands in the upper right block because linear comes first.
    """
    R, p = T_a_b[:3, :3], T_a_b[:3, 3]
    Ad = np.zeros((6, 6))
    Ad[:3, :3] = R
    Ad[:3, 3:] = skew(p) @ R
    Ad[3:, 3:] = R
    return Ad


def clamp_pose(
    T_base_tcp: Array, T_base_center: Array, low: ArrayLike, high: ArrayLike
) -> tuple[Array, bool]:
    """The nearest pose within a box about `T_base_center`, and whether it moved.

    Args:
        T_base_tcp: pose to clamp, (4, 4).
        T_base_center: centre of the box, (4, 4).
        low, high: (6,) bounds of `pose_error(T_base_tcp, T_base_center)`: position [m] and
            rotation vector [rad] about the centre, base axes. low <= 0 <= high.

    A pose inside comes back unchanged, bit for bit. Rotations are clamped as rotation vectors, so
    there is no special case where Euler angles wrap.
    """
    error = pose_error(T_base_tcp, T_base_center)
    clamped = np.clip(error, low, high)
    if np.array_equal(clamped, error):
        return T_base_tcp, False
    out = apply_displacement(T_base_center, clamped)
    if np.array_equal(clamped[3:], error[3:]):
        out[:3, :3] = T_base_tcp[:3, :3]
    inside = clamped[:3] == error[:3]
    out[:3, 3] = np.where(inside, T_base_tcp[:3, 3], out[:3, 3])
    return out, True
