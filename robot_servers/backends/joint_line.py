"""A joint move: a straight line in joint space, within a speed and an acceleration limit."""

from __future__ import annotations

import math

import numpy as np

from robot_servers.control.reference import approach_speed
from robot_servers.types import Array, RobotDescription

ACCELERATION_RAD_PER_S2 = 5.0
"""Acceleration limit of a joint move; as in simulation."""

STRAIGHT = 0.999
"""Cosine between velocity and way from which on the move counts as along its line."""


class JointLine:
    """From rest, all joints leave and arrive together on a straight line.

    A move that begins in another one keeps its speed: what leads to the new goal goes on, the rest
    is braked within the acceleration limit, on a bend into the line.

    Args:
        q_start, q_goal: ends of the way (n,) [rad].
        robot: whose speed limits hold.
        speed_share: of those limits, what the move uses.
        dq_start: the reference's velocity at the start (n,) [rad/s]; None is rest.
        acceleration_share: of `ACCELERATION_RAD_PER_S2`, what the line uses; a bend into it uses
            all, and so ends soon.
    """

    def __init__(
        self,
        q_start: Array,
        q_goal: Array,
        robot: RobotDescription,
        speed_share: float = 0.5,
        dq_start: Array | None = None,
        acceleration_share: float = 1.0,
    ) -> None:
        self.q_goal = np.array(q_goal)
        self.q_ref = np.array(q_start)
        """Where the joints should be now (n,) [rad]."""
        self.dq_ref = np.zeros_like(self.q_ref) if dq_start is None else np.array(dq_start)
        """How fast (n,) [rad/s]."""
        self._ddq_max = acceleration_share * ACCELERATION_RAD_PER_S2
        self._dq_max = speed_share * np.asarray(robot.dq_max_rad_per_s)

    def advance(self, dt_s: float) -> Array:
        """`q_ref` one tick later."""
        if dt_s <= 0.0:
            return self.q_ref
        way = self.q_goal - self.q_ref
        distance = float(np.linalg.norm(way))
        along = way / max(distance, 1e-12)
        speed = float(np.min(self._dq_max / np.maximum(np.abs(along), 1e-6)))
        wanted = along * approach_speed(distance, speed, self._acceleration(along), dt_s)
        step = (ACCELERATION_RAD_PER_S2 if self._bends(along) else self._ddq_max) * dt_s
        landing = way / dt_s
        lands = max(np.abs(landing).max(), np.abs(landing - self.dq_ref).max()) <= step
        if lands:
            wanted = landing
        change = wanted - self.dq_ref
        largest = float(np.abs(change).max())
        share = step / largest if largest > step else 1.0
        self.dq_ref = self.dq_ref + share * change
        self.q_ref = self.q_goal.copy() if lands else self.q_ref + self.dq_ref * dt_s
        return self.q_ref

    def leads_to(self, q_rad: Array) -> bool:
        """This move already goes there."""
        return bool(np.abs(self.q_goal - q_rad).max() <= 1e-9)

    def _acceleration(self, along: Array) -> float:
        """What approaching the goal may count on, along the way [rad/s^2]: on the line the limit is
        the joint's with most to go; on a bend, where braking has another direction, of all."""
        if self._bends(along):
            return self._ddq_max
        largest = float(np.abs(along).max())
        return self._ddq_max / max(largest, 1.0 / math.sqrt(len(along)))

    def _bends(self, along: Array) -> bool:
        size = float(np.linalg.norm(self.dq_ref))
        return size > 1e-9 and float(along @ self.dq_ref) < STRAIGHT * size
