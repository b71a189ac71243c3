"""franka_msgs/FrankaRobotState -> our Fault. Source of the fields: franka_ros2 2.5.0."""

from __future__ import annotations

from typing import Any

from robot_servers.backends.ros2.convert import raised
from robot_servers.types import Fault, FaultKind

OTHER, IDLE, MOVE, GUIDING, REFLEX, USER_STOPPED, AUTOMATIC_ERROR_RECOVERY = range(7)
"""FrankaRobotState.robot_mode."""

JOINT_LIMITS = {
    "joint_position_limits_violation",
    "joint_motion_generator_position_limits_violation",
}
SPEEDS = {"joint_velocity_violation", "cartesian_velocity_violation"}
COMMUNICATION = {"communication_constraints_violation"}


def fault_of(state: Any, stamp_mono_ns: int) -> Fault | None:
    """The arm's own fault in this state; None when there is none."""
    errors = raised(state.current_errors)
    if state.robot_mode == USER_STOPPED:
        return _fault(
            FaultKind.USER_STOP,
            "the arm is user-stopped. Release the user stop or the enabling button, unlock the "
            "joints in Desk, then recover.",
            stamp_mono_ns,
        )
    if state.robot_mode == REFLEX or errors:
        named = errors or raised(state.last_motion_errors)
        return _fault(_kind(set(named)), _sentence(named), stamp_mono_ns)
    if state.robot_mode == GUIDING:
        return _fault(
            FaultKind.OTHER,
            "the arm is being guided by hand. Let go of the guiding buttons, then recover.",
            stamp_mono_ns,
        )
    return None


def _kind(named: set[str]) -> FaultKind:
    for kind, names in (
        (FaultKind.COMMUNICATION, COMMUNICATION),
        (FaultKind.JOINT_LIMIT, JOINT_LIMITS),
        (FaultKind.SPEED, SPEEDS),
    ):
        if named & names:
            return kind
    return FaultKind.REFLEX


def _sentence(named: list[str]) -> str:
    which = ", ".join(named) or "no reason given"
    return f"the arm stopped itself ({which}). Free it from what it touches, then recover."


def _fault(kind: FaultKind, reason: str, stamp_mono_ns: int) -> Fault:
    return Fault(kind=kind, reason=reason, stamp_mono_ns=stamp_mono_ns)
