"""Which reference an arm accepts: safety box, lead over the measured pose, step.

Box and lead together are one window: an interval for each of six coordinates, the position in
base and the rotation vector from the box's reference orientation, r = log(R_boxᵀ R). A
displacement that leaves the window is slid along it; what remains is never more than one step on
any of the agent's axes. So the accepted displacement, asked for again from the same state, is
accepted unchanged: it is the action to learn from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from envs.config import ActionConfig, ArmConfig
from envs.spaces import AXES
from robot_servers.control import se3

Array = NDArray[np.float64]

SLACK = 1e-12
"""Rounding allowed when a coordinate is compared with its interval [m or rad]."""

SLIDES = 4
"""Times a displacement is slid along the window and cut to the step before it is shortened."""


@dataclass(frozen=True)
class Window:
    """Intervals for (position, rotation vector from the box's orientation), each (3,)."""

    low_m: Array
    high_m: Array
    low_rad: Array
    high_rad: Array


class ReferenceLimits:
    """Limits on the reference of one arm."""

    def __init__(self, arm: ArmConfig, action: ActionConfig) -> None:
        box = arm.box
        self.R_base_box: Array = se3.matrix_from_quat(arm.start_quat_xyzw)
        self.box = Window(
            np.array(box.low_m),
            np.array(box.high_m),
            -np.array(box.rotation_rad),
            np.array(box.rotation_rad),
        )
        moves = np.array([axis in action.axes for axis in AXES])
        self.step_m: Array = np.where(moves[:3], action.translation_step_m, 0.0)
        self.step_rad: Array = np.where(moves[3:], action.rotation_step_rad, 0.0)
        # The reference is not dragged along an axis on which the agent could not bring it back.
        self.lead_m = action.max_lead_m if moves[:3].any() else np.inf
        self.lead_rad: Array = np.where(moves[3:], action.max_lead_rad, np.inf)

    def window(self, T_base_tcp: Array) -> Window:
        """Within the box, and within the lead of the measured pose as far as the box allows."""
        box, p, r = self.box, T_base_tcp[:3, 3], self._rotvec(T_base_tcp[:3, :3])
        return Window(
            _clip(p - self.lead_m, box.low_m, box.high_m),
            _clip(p + self.lead_m, box.low_m, box.high_m),
            _clip(r - self.lead_rad, box.low_rad, box.high_rad),
            _clip(r + self.lead_rad, box.low_rad, box.high_rad),
        )

    def box_with(self, T_base_tcp: Array) -> Window:
        """The box, widened to a pose outside it: from there the way leads in, and never out."""
        box, p, r = self.box, T_base_tcp[:3, 3], self._rotvec(T_base_tcp[:3, :3])
        return Window(
            np.minimum(box.low_m, p),
            np.maximum(box.high_m, p),
            np.minimum(box.low_rad, r),
            np.maximum(box.high_rad, r),
        )

    def nearest(self, T_base_ref: Array, window: Window) -> Array:
        """The pose in the window with each coordinate as near as it can be."""
        T = T_base_ref.copy()
        T[:3, 3] = _clip(T[:3, 3], window.low_m, window.high_m)
        r = self._rotvec(T[:3, :3])
        inside = _clip(r, window.low_rad, window.high_rad)
        if np.abs(r - inside).max() > SLACK:
            T[:3, :3] = self.R_base_box @ se3.matrix_from_rotvec(inside)
        return T

    def accept(
        self, T_base_from: Array, displacement: Array, axes: Array, window: Window
    ) -> tuple[Array, Array]:
        """Move a reference by a displacement, as far as the limits allow.

        Args:
            T_base_from: the reference before, inside `window`; (4, 4).
            displacement: (6,) translation [m] and rotation vector [rad], in base axes.
            axes: (3, 3), columns are the agent's axes in base: the step limit holds along these.

        Returns:
            The reference after, and the displacement that led to it.
        """
        dp = self._translation(T_base_from[:3, 3], displacement[:3], axes, window)
        dr = self._rotation(T_base_from[:3, :3], displacement[3:], axes, window)
        T = T_base_from.copy()
        T[:3, 3] = _clip(T[:3, 3] + dp, window.low_m, window.high_m)
        if dr.any():
            T[:3, :3] = se3.matrix_from_rotvec(dr) @ T[:3, :3]
        return T, np.concatenate((dp, dr))

    def _translation(self, p: Array, wish: Array, axes: Array, window: Window) -> Array:
        dp = _step(wish, axes, self.step_m)
        for _ in range(SLIDES):
            x = p + dp
            inside = _clip(x, window.low_m, window.high_m)
            if np.abs(x - inside).max() <= SLACK:
                return dp
            dp = _step(inside - p, axes, self.step_m)
        room = np.where(dp > 0, window.high_m - p, window.low_m - p)
        share = np.divide(room, dp, out=np.ones(3), where=np.abs(dp) > SLACK)
        return dp * min(1.0, max(0.0, float(share.min())))

    def _rotation(self, R: Array, wish: Array, axes: Array, window: Window) -> Array:
        dr = _step(wish, axes, self.step_rad)
        if not dr.any():
            return dr
        for _ in range(SLIDES):
            r = self._rotvec(se3.matrix_from_rotvec(dr) @ R)
            inside = _clip(r, window.low_rad, window.high_rad)
            if np.abs(r - inside).max() <= SLACK:
                return dr
            R_inside = self.R_base_box @ se3.matrix_from_rotvec(inside)
            dr = _step(se3.rotvec_from_matrix(R_inside @ R.T), axes, self.step_rad)
        low, high = 0.0, 1.0  # shares of dr: the first is inside, the second may not be
        for _ in range(30):
            share = 0.5 * (low + high)
            r = self._rotvec(se3.matrix_from_rotvec(share * dr) @ R)
            inside = _clip(r, window.low_rad, window.high_rad)
            low, high = (share, high) if np.abs(r - inside).max() <= SLACK else (low, share)
        return low * dr

    def _rotvec(self, R: Array) -> Array:
        return se3.rotvec_from_matrix(self.R_base_box.T @ R)


def _step(displacement: Array, axes: Array, limit: Array) -> Array:
    """Cut to the step along each of the agent's axes; all in base."""
    return axes @ _clip(displacement @ axes, -limit, limit)


def _clip(x: Array, low: Array, high: Array) -> Array:
    return np.minimum(np.maximum(x, low), high)
