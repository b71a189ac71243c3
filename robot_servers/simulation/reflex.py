"""The arm's own collision reflex: it trips on a filtered external wrench or joint torque."""

from __future__ import annotations

import math

import numpy as np

from robot_servers.control.se3 import Array
from robot_servers.types import CollisionThresholds, RobotDescription
from serl.errors import UserError

FILTER_S = 0.01
"""Time constant of the filter in front of the thresholds: a stiff simulated contact is a spike of
one physics step, which a real arm's estimator never shows. Assumed."""


class Reflex:
    """Watches one arm.

    Args:
        thresholds: where it trips.
        robot: whose joints they are for.
    """

    def __init__(self, thresholds: CollisionThresholds, robot: RobotDescription) -> None:
        torque, wrench = np.array(thresholds.torque_nm), np.array(thresholds.wrench)
        if torque.shape != (robot.joint_count,) or wrench.shape != (6,):
            raise UserError(
                f"collision thresholds: {torque.size} joint torques and {wrench.size} wrench "
                f"elements; {robot.name} needs {robot.joint_count} and 6."
            )
        if not (torque > 0).all() or not (wrench > 0).all():
            raise UserError("collision thresholds must all be above 0 N, N m.")
        self._limit = np.concatenate([wrench, torque])
        self._names = ["x", "y", "z", "rx", "ry", "rz", *robot.joint_names]
        self._felt = np.zeros(len(self._limit))

    def felt(self, wrench: Array, J: Array, dt_s: float) -> str:
        """One sample later: why it trips, or empty.

        Args:
            wrench: external, at the TCP in base (6,).
            J: Jacobian of the TCP in base (6, n).
        """
        now = np.concatenate([wrench, J.T @ wrench])
        self._felt += (1.0 - math.exp(-dt_s / FILTER_S)) * (now - self._felt)
        return self._over(self._felt)

    def standing(self, wrench: Array, J: Array) -> str:
        """Why it would trip if this sample stayed, or empty."""
        return self._over(np.concatenate([wrench, J.T @ wrench]))

    def _over(self, felt: Array) -> str:
        """The first element over its threshold, in words; empty when none is."""
        over = np.flatnonzero(np.abs(felt) > self._limit)
        if not over.size:
            return ""
        i = int(over[0])
        unit = "N" if i < 3 else "N m"
        return (
            f"collision reflex: external {'force' if i < 3 else 'torque'} {self._names[i]} "
            f"{felt[i]:.1f} {unit}, threshold {self._limit[i]:g} {unit}"
        )

    def forget(self) -> None:
        """Start anew, as after a reset."""
        self._felt[:] = 0.0
