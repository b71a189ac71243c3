"""What the tasks that pick up cubes share: the cube, how a tool sees it, a scripted hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.config import ActionConfig, ArmConfig
from envs.spaces import AXES, XYZ, FieldSpec
from envs.tasks.base import paced

Array = NDArray[np.float64]

CUBE_M = 0.04
"""Edge of the cube [m]."""

CUBE_FIELDS = {
    "tcp_to_cube": FieldSpec(XYZ, "m", scale=0.1),
    "cube_height": FieldSpec((), "m", scale=0.1),
    "cube_yaw": FieldSpec(("cos4", "sin4"), "1"),
    "cube_lin_vel": FieldSpec(XYZ, "m/s", scale=0.5),
}
"""tcp_to_cube: in TCP axes. cube_height: above where a cube rests on the table. cube_yaw: of the
cube about the TCP's z, four times over, for a cube looks the same every quarter turn.
cube_lin_vel: in TCP axes."""


def cube_body(name: str, rgba: str, mass_kg: float = 0.1) -> str:
    """MJCF of a cube that lies on the table in front of the world's origin."""
    half = CUBE_M / 2
    return f"""
    <body name="{name}" pos="0.5 0 {half}">
      <freejoint name="{name}"/>
      <geom name="{name}" type="box" size="{half} {half} {half}" mass="{mass_kg}"
            friction="1 0.01 0.0001" rgba="{rgba}"/>
    </body>"""


def cube_fields(T_base_tcp: Array, T_base_cube: Array, velocity: Array) -> dict[str, Any]:
    """Values of `CUBE_FIELDS`; poses and the cube's velocity (3,) [m/s] in one base."""
    R = T_base_tcp[:3, :3]
    offset = (T_base_cube[:3, 3] - T_base_tcp[:3, 3]) @ R
    side = T_base_cube[:3, 0] @ R  # the cube's x axis in TCP axes
    yaw4 = 4.0 * math.atan2(side[1], side[0])
    return {
        "tcp_to_cube": offset,
        "cube_height": T_base_cube[2, 3] - CUBE_M / 2,
        "cube_yaw": (math.cos(yaw4), math.sin(yaw4)),
        "cube_lin_vel": velocity @ R,
    }


def cube_terms(fields: dict[str, Any], lift_m: float) -> dict[str, float]:
    """Reward terms in [0, 1] for being near a cube and for having it up."""
    offset = fields["tcp_to_cube"]
    return {
        "reach": math.exp(-20.0 * math.sqrt(float(offset @ offset))),
        "lift": min(1.0, max(0.0, fields["cube_height"] / lift_m)),
    }


class CubeHand:
    """One arm's scripted grasp: above the cube, down, close, lift, hold."""

    above_m = 0.08
    centred_m = 0.012

    def __init__(self, arm: ArmConfig, action: ActionConfig, lift_m: float) -> None:
        self._arm, self._action, self._lift_m = arm, action, lift_m
        self._closing = 0

    def reset(self) -> None:
        self._closing = 0

    def act(self, p_cube: Array, T_base_tcp: Array, p_ref: Array) -> tuple[Array, float]:
        """The agent's displacement elements, before noise, and its gripper element.

        Args:
            p_cube: where the cube is, in the arm's base (3,) [m].
            T_base_tcp: measured, (4, 4).
            p_ref: the reference's position (3,).
        """
        p_tcp = T_base_tcp[:3, 3]
        aside = float(np.hypot(*(p_cube - p_tcp)[:2]))
        grip = 1.0
        if self._closing or (aside < self.centred_m and p_tcp[2] - p_cube[2] < 0.006):
            self._closing += 1
            grip = -1.0
        lost = self._closing > 10 and p_tcp[2] - p_cube[2] > 0.03
        if lost:  # slipped out: open and start again
            self._closing, grip = 0, 1.0
        goal = np.array([p_cube[0], p_cube[1], max(p_cube[2], self._arm.box.low_m[2])])
        if self._closing:
            lift = self._lift_m + 0.03 if self._closing > 7 else 0.0
            goal = np.array([p_ref[0], p_ref[1], CUBE_M / 2 + lift])
        elif aside > 0.5 * (p_tcp[2] - p_cube[2]) + self.centred_m / 2:  # outside a cone over it
            goal[2] += self.above_m
        return self._action_of(goal - p_ref, T_base_tcp[:3, :3]), grip

    def _action_of(self, displacement: Array, R_base_tcp: Array) -> Array:
        """The agent's axes of a displacement in base [m], at a pace below the largest step."""
        action = self._action
        if action.frame == "tcp":
            displacement = displacement @ R_base_tcp
        full = np.zeros(6)
        full[:3] = paced(displacement / action.translation_step_m)
        return full[[AXES.index(axis) for axis in action.axes]]
