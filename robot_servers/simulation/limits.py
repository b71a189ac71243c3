"""What a simulated arm accepts: every number finite, inside the arm's own limits."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np

from robot_servers.control.se3 import Array, is_pose
from robot_servers.types import (
    ArmCommand,
    CartesianTarget,
    Gains,
    GripperTarget,
    JointTarget,
    MotionLimits,
    RobotDescription,
    WrenchTarget,
)
from serl.errors import UserError

Target = CartesianTarget | JointTarget | WrenchTarget


def admit(name: str, command: ArmCommand, robot: RobotDescription) -> tuple[ArmCommand, bool]:
    """The command within the arm's limits, and whether that moved it. Copies every array."""
    target, moved = _admit_target(name, command.target, robot)
    gripper, squeezed = _admit_gripper(name, command.gripper, robot)
    return ArmCommand(target=target, gripper=gripper), moved or squeezed


def whole_ticks(period_s: float, physics_dt_s: float) -> int:
    """Physics steps in one control period, which must be a whole number of them.

    >>> whole_ticks(0.06, 0.002)
    30
    """
    ticks = round(period_s / physics_dt_s) if np.isfinite(period_s) else 0
    if ticks < 1 or abs(ticks * physics_dt_s - period_s) > 1e-9:
        nearest = max(ticks, 1) * physics_dt_s
        raise UserError(
            f"a control period of {period_s:g} s is not a whole number of {physics_dt_s:g} s "
            f"physics steps; the nearest is {nearest:g} s ({1 / nearest:g} Hz)."
        )
    return ticks


def check_range(what: str, value: float, low: float, high: float, unit: str) -> None:
    """Refuse a number outside [low, high]."""
    if not low <= value <= high:
        raise UserError(f"{what} is {value:g} {unit}; allowed is {low:g} to {high:g} {unit}.")


def check_fields(name: str, values: Gains | MotionLimits) -> None:
    """Refuse gains and limits that are negative or not finite, and limits of zero speed."""
    for field in fields(values):
        if getattr(values, field.name) is None:
            continue
        value = np.atleast_1d(getattr(values, field.name))
        may_be_zero = isinstance(values, Gains) or field.name == "filter_time_constant_s"
        if not (np.isfinite(value).all() and (value >= 0).all() and (may_be_zero or value.all())):
            least = "0 or more" if may_be_zero else "above 0"
            raise UserError(
                f"arm {name!r}: {field.name} is {getattr(values, field.name)}; "
                f"it must be finite and {least}."
            )


def _admit_target(
    name: str, target: Target | None, robot: RobotDescription
) -> tuple[Target | None, bool]:
    if target is None:
        return None, False
    if isinstance(target, CartesianTarget):
        T = _finite(name, "target.T_base_tcp", target.T_base_tcp)
        if not is_pose(T):
            raise UserError(
                f"arm {name!r}: target.T_base_tcp is no rigid pose; its rotation must be "
                "orthonormal to 1e-4 and its last row (0, 0, 0, 1)."
            )
        return CartesianTarget(T_base_tcp=T), False
    if isinstance(target, WrenchTarget):
        w = _finite(name, "target.wrench", target.wrench)
        if w.shape != (6,):
            raise UserError(f"arm {name!r}: target.wrench has {w.size} numbers; it needs 6.")
        if target.frame not in ("base", "tcp"):
            raise UserError(f"arm {name!r}: target.frame {target.frame!r}; it is 'base' or 'tcp'.")
        return WrenchTarget(wrench=w, frame=target.frame), False
    q = _finite(name, "target.q_rad", target.q_rad)
    if q.shape != (robot.joint_count,):
        raise UserError(
            f"arm {name!r}: target.q_rad has {q.size} numbers; it has {robot.joint_count} joints."
        )
    inside = np.clip(q, robot.q_min_rad, robot.q_max_rad)
    return replace(target, q_rad=inside), not np.array_equal(inside, q)


def _admit_gripper(
    name: str, target: GripperTarget | None, robot: RobotDescription
) -> tuple[GripperTarget | None, bool]:
    if target is None:
        return None, False
    gripper = robot.gripper
    if gripper is None:
        raise UserError(f"arm {name!r}: {robot.name} has no gripper; leave `gripper` out.")
    highest = {
        "width_m": gripper.width_max_m,
        "force_n": gripper.force_max_n,
        "speed_m_per_s": gripper.speed_max_m_per_s,
    }
    inside = {}
    for field, high in highest.items():
        value = getattr(target, field)
        if value is not None:
            inside[field] = float(np.clip(_finite(name, f"gripper.{field}", value), 0.0, high))
    admitted = replace(target, **inside)
    return admitted, admitted != target


def _finite(name: str, field: str, value: Any) -> Array:
    array = np.array(value, dtype=np.float64)
    if not np.isfinite(array).all():
        raise UserError(
            f"arm {name!r}: {field} holds a number that is not finite; command refused."
        )
    return array
