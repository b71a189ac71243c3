"""Forward kinematics of a serial arm from its Denavit-Hartenberg table; needs no simulator.

Craig's convention: link i stands in link i - 1 at Rot_x(alpha) Trans_x(a) Rot_z(q_i) Trans_z(d), so
joint i turns about the z axis of frame i. Source: J. J. Craig, Introduction to Robotics, section
3.4. The Jacobian is the geometric one: Lynch & Park, Modern Robotics, section 5.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


class Kinematics:
    """Poses of the joints' frames and the flange of one arm.

    Args:
        dh_craig: (a_{i-1} [m], d_i [m], alpha_{i-1} [rad]) of each joint.
        flange_m: from the last joint's frame to the flange, along z.
    """

    def __init__(self, dh_craig: Sequence[tuple[float, float, float]], flange_m: float) -> None:
        self._at_zero = np.array([_link_at_zero(*row) for row in dh_craig])
        self._flange_m = flange_m

    @property
    def joint_count(self) -> int:
        return len(self._at_zero)

    def frames(self, q_rad: ArrayLike) -> list[Array]:
        """T_base_i (..., 4, 4) of joints 1 to n, then T_base_flange; q is (..., n) [rad]."""
        q = np.asarray(q_rad, dtype=np.float64)
        if q.shape[-1:] != (self.joint_count,):
            raise ValueError(f"{q.shape} joint positions for an arm of {self.joint_count} joints")
        cosine, sine = np.cos(q)[..., None], np.sin(q)[..., None]
        links = np.empty((*q.shape, 4, 4))
        x, y = self._at_zero[..., 0], self._at_zero[..., 1]
        links[..., 0] = cosine * x + sine * y
        links[..., 1] = cosine * y - sine * x
        links[..., 2:] = self._at_zero[..., 2:]
        found = [links[..., 0, :, :]]
        for i in range(1, self.joint_count):
            found.append(found[-1] @ links[..., i, :, :])
        flange = found[-1].copy()
        flange[..., :3, 3] += self._flange_m * flange[..., :3, 2]
        return [*found, flange]

    def jacobian(self, q_rad: ArrayLike, T_flange_tcp: Array) -> Array:
        """Of the TCP in base axes (6, n): linear rows [m], then angular.

        Column i: z_i x (p_tcp - p_i) over z_i.
        """
        *joints, T_base_flange = self.frames(q_rad)
        p_tcp = T_base_flange[:3, :3] @ T_flange_tcp[:3, 3] + T_base_flange[:3, 3]
        stack = np.array(joints)
        axes, arms = stack[:, :3, 2], p_tcp - stack[:, :3, 3]
        J = np.empty((6, self.joint_count))
        J[0] = axes[:, 1] * arms[:, 2] - axes[:, 2] * arms[:, 1]
        J[1] = axes[:, 2] * arms[:, 0] - axes[:, 0] * arms[:, 2]
        J[2] = axes[:, 0] * arms[:, 1] - axes[:, 1] * arms[:, 0]
        J[3:] = axes.T
        return J


def _link_at_zero(a: float, d: float, alpha: float) -> Array:
    """Link i in link i - 1 at q_i = 0, (4, 4)."""
    c, s = math.cos(alpha), math.sin(alpha)
    return np.array([[1, 0, 0, a], [0, c, -s, -s * d], [0, s, c, c * d], [0, 0, 0, 1]], float)
