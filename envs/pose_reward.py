"""Success by the TCP's pose alone: nothing but the arm's own measurements is needed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from envs.config import PoseGoal
from robot_servers.control import se3


class PoseReward:
    """Whether the TCP is at a goal, each axis within its own tolerance.

    Position is compared on the base's axes, orientation as the rotation vector that leads from
    the goal to the TCP, log(R_goal^T R_tcp): no Euler angle, so no jump at +-pi and no sign.
    """

    def __init__(self, goal: PoseGoal) -> None:
        self.goal = goal
        self.T_base_goal = se3.pose_from_quat(goal.pos_m, goal.quat_xyzw)

    def error(self, T_base_tcp: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """Displacement [m] in base axes and rotation vector [rad] from the goal, (3,) each."""
        turn = self.T_base_goal[:3, :3].T @ T_base_tcp[:3, :3]
        return T_base_tcp[:3, 3] - self.T_base_goal[:3, 3], se3.rotvec_from_matrix(turn)

    def reached(self, T_base_tcp: NDArray[np.float64]) -> bool:
        far, turned = self.error(T_base_tcp)
        near = bool((np.abs(far) <= self.goal.within_m).all())
        return near and bool((np.abs(turned) <= self.goal.within_rad).all())
