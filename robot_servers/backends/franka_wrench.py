"""libfranka's external wrench as ours; the same arithmetic whether it comes by franky or by ROS.

libfranka's K_F_ext_hat_K is what the robot exerts, in the stiffness frame K, about K's origin; K
stands at the TCP unless somebody moved it. (O_F_ext_hat_K is the same in base axes, but its
documentation leaves open about which point the torque is, so it is not used.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robot_servers.types import Array


def wrench_on_robot(
    K_F_ext_hat_K: Sequence[float] | Array, T_base_tcp: Array, T_tcp_k: Array
) -> Array:
    """Wrench the environment exerts on the robot, in base axes, about the TCP (6,) [N, N m].

    Args:
        K_F_ext_hat_K: (6,) in libfranka's sign.
        T_tcp_k: the stiffness frame in the TCP's, libfranka's EE_T_K.
    """
    T_base_k = T_base_tcp @ T_tcp_k
    pair = np.asarray(K_F_ext_hat_K, np.float64).reshape(2, 3) @ T_base_k[:3, :3].T
    force, torque = -pair[0], -pair[1]
    arm = T_base_k[:3, 3] - T_base_tcp[:3, 3]
    return np.concatenate([force, torque + np.cross(arm, force)])
