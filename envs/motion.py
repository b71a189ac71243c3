"""The smooth move to where an episode starts."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from envs.config import RobotEnvConfig
from envs.limits import ReferenceLimits
from robot_servers.control import se3
from robot_servers.types import (
    ArmCommand,
    CartesianTarget,
    GripperTarget,
    JointTarget,
    RobotDescription,
    RobotState,
)
from serl.errors import UserError

Array = NDArray[np.float64]

ARRIVED_M = 0.005
ARRIVED_RAD = 0.03
AT_REST_M_PER_S = 0.02
"""The move is over when every arm is this near its start and this slow."""

TURN_RAD_PER_M = 3.0
"""Reset turns at this many rad/s for each m/s of its speed."""

HOME_RAD = 0.01
"""A joint this near its home is there. Source: SERL's joint reset."""

AT_REST_RAD_PER_S = 0.05

JOINT_MOVE_TIMEOUT_S = 30.0
"""Source: SERL polls a joint reset 30 times a second apart."""


class StartMove:
    """Straight line, shortest turn, constant speed; each target inside the safety box, or on the
    way into it from where the arm was found."""

    def __init__(
        self,
        states: Mapping[str, RobotState],
        starts: Mapping[str, Array],
        limits: Mapping[str, ReferenceLimits],
        config: RobotEnvConfig,
        robots: Mapping[str, RobotDescription],
    ) -> None:
        self._from = {name: state.T_base_tcp.copy() for name, state in states.items()}
        self._starts, self._limits, self._config = starts, limits, config
        self._step = 0
        per_step_m = config.reset_speed_m_per_s * config.period_s
        self._steps = max(
            math.ceil(_length(self._from[name], T) / per_step_m) for name, T in starts.items()
        )
        self._max_steps = self._steps + round(config.reset_timeout_s * config.control_hz)
        self._openings_m = {
            name: robot.gripper.width_max_m for name, robot in robots.items() if robot.gripper
        }

    def next(self) -> dict[str, ArmCommand]:
        """The commands of the next control period."""
        self._step += 1
        fraction = min(1.0, self._step / max(1, self._steps))
        commands = {}
        for name, T_start in self._starts.items():
            limits, T_from = self._limits[name], self._from[name]
            T = se3.interpolate(T_from, T_start, fraction)
            target = CartesianTarget(T_base_tcp=limits.nearest(T, limits.box_with(T_from)))
            width_m = self._openings_m.get(name)
            gripper = None if width_m is None else GripperTarget(width_m=width_m)
            commands[name] = ArmCommand(target=target, gripper=gripper)
        self._openings_m.clear()
        return commands

    def arrived(self, states: Mapping[str, RobotState]) -> bool:
        """Every arm is at its start and at rest. Raises UserError when that takes too long."""
        late = self._step >= self._max_steps
        for name, T_start in self._starts.items():
            state = states[name]
            error = se3.pose_error(T_start, state.T_base_tcp)
            far_m, far_rad = np.linalg.norm(error[:3]), np.linalg.norm(error[3:])
            if late:
                raise UserError(
                    f"reset: arm {name!r} is still {100 * far_m:.1f} cm and {far_rad:.2f} rad from "
                    f"its start after {self._step * self._config.period_s:.1f} s. Clear its way, "
                    "or move the start (arms.start_pos_m)."
                )
            speed = np.linalg.norm(state.twist_base_tcp[:3])
            there = far_m < ARRIVED_M and far_rad < ARRIVED_RAD and speed < AT_REST_M_PER_S
            if not there or self._step < self._steps:
                return False
        return True


class JointMove:
    """All joints home, before a start pose is approached. The server limits speed and path."""

    def __init__(
        self,
        states: Mapping[str, RobotState],
        robots: Mapping[str, RobotDescription],
        config: RobotEnvConfig,
    ) -> None:
        self._config = config
        self._homes = {name: np.array(robots[name].q_home_rad) for name in states}
        self._steps = 0
        self._max_steps = round(JOINT_MOVE_TIMEOUT_S * config.control_hz)

    def next(self) -> dict[str, ArmCommand]:
        """The commands of the next control period: the same target until it is reached."""
        self._steps += 1
        return {name: ArmCommand(target=JointTarget(q_rad=q)) for name, q in self._homes.items()}

    def arrived(self, states: Mapping[str, RobotState]) -> bool:
        """Every joint is home and at rest. Raises UserError when that takes too long."""
        far = {name: np.abs(states[name].q_rad - q).max() for name, q in self._homes.items()}
        if self._steps >= self._max_steps:
            name = max(far, key=lambda arm: far[arm])
            raise UserError(
                f"joint reset: arm {name!r} is still {far[name]:.2f} rad from home after "
                f"{JOINT_MOVE_TIMEOUT_S:g} s. Clear its way."
            )
        speed = max(float(np.abs(states[name].dq_rad_per_s).max()) for name in self._homes)
        return max(far.values()) < HOME_RAD and speed < AT_REST_RAD_PER_S


def _length(T_from: Array, T_to: Array) -> float:
    """Length of a move [m], a turn counted as a way of equal duration."""
    error = se3.pose_error(T_to, T_from)
    far_m, far_rad = np.linalg.norm(error[:3]), np.linalg.norm(error[3:])
    if far_m < ARRIVED_M and far_rad < ARRIVED_RAD:
        return 0.0
    return float(max(far_m, far_rad / TURN_RAD_PER_M))
