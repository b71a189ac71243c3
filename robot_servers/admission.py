"""Which commands are refused before anything else looks at them, and why.

Refused: the arm goes on as it was. Each refusal has a short name, under which it is counted, and
one line that says what is allowed.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from robot_servers.control import se3
from robot_servers.types import (
    ArmCommand,
    Array,
    CartesianTarget,
    JointTarget,
    RobotDescription,
    WrenchTarget,
)

BURST = 10
"""Commands that may arrive at once after a pause."""

MAX_VALID_S = 5.0
"""No command is valid for longer: a longer one would switch the watchdog off."""

FUTURE_S = 0.5
"""A command stamped this far ahead comes from a clock that nobody has matched."""


@dataclass(frozen=True)
class Refusal:
    """Why a command is not carried out."""

    why: str
    """Its name in the counters: 'nan', 'pose', 'length', 'stale', ..."""
    text: str


class TokenBucket:
    """At most `rate_hz` on average, `BURST` at once."""

    def __init__(self) -> None:
        self._tokens = float(BURST)
        self._last_ns: int | None = None

    def take(self, now_ns: int, rate_hz: float) -> bool:
        if self._last_ns is not None:
            self._tokens += max(0, now_ns - self._last_ns) * 1e-9 * rate_hz
        self._last_ns = now_ns
        self._tokens = min(self._tokens, float(BURST))
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


def refuse_time(now_ns: int, sent_ns: int | None, valid_for_s: float) -> Refusal | None:
    """A command that is too old, from the future, or valid for a time that makes no sense."""
    if not (math.isfinite(valid_for_s) and 0.0 < valid_for_s <= MAX_VALID_S):
        return Refusal(
            "valid_for",
            f"valid_for_s is {valid_for_s:g}; it must be above 0 and at most {MAX_VALID_S:g} s "
            "(2.5 control periods is usual).",
        )
    if sent_ns is None:
        return None
    age_s = (now_ns - sent_ns) * 1e-9
    if age_s > valid_for_s:
        return Refusal(
            "stale",
            f"the command was {age_s:.3f} s old on arrival; it was valid for {valid_for_s:g} s. "
            "Check the network, or send with a longer valid_for_s.",
        )
    if age_s < -FUTURE_S:
        return Refusal(
            "stale",
            f"the command is stamped {-age_s:.3f} s in the future; stamp it with the robot "
            "server's clock.",
        )
    return None


def refuse_content(
    command: ArmCommand, robot: RobotDescription, unsupported: Collection[str]
) -> Refusal | None:
    """A command that is no command for this arm, whatever the limits."""
    return _refuse_target(command, robot, unsupported) or _refuse_gripper(
        command, robot, unsupported
    )


def _refuse_target(
    command: ArmCommand, robot: RobotDescription, unsupported: Collection[str]
) -> Refusal | None:
    target = command.target
    if target is None:
        return None
    if isinstance(target, CartesianTarget):
        return _refuse_pose(target.T_base_tcp)
    if isinstance(target, JointTarget):
        return _refuse_array("target.q_rad", target.q_rad, robot.joint_count)
    if not isinstance(target, WrenchTarget):
        return Refusal(
            "kind", f"{type(target).__name__} is no target; send a pose, joints or wrench."
        )
    if "wrench" in unsupported:
        return Refusal("unsupported", "this backend has no wrench mode; send poses or joints.")
    if target.frame not in ("base", "tcp"):
        return Refusal("kind", f"a wrench's frame is 'base' or 'tcp', not {target.frame!r}.")
    return _refuse_array("target.wrench", target.wrench, 6)


def _refuse_pose(T: Array) -> Refusal | None:
    if isinstance(T, np.ndarray) and se3.is_pose(T):
        return None
    if np.shape(T) != (4, 4):
        return Refusal("length", f"target.T_base_tcp has shape {np.shape(T)}; it must be (4, 4).")
    if not np.isfinite(np.asarray(T, np.float64)).all():
        return Refusal("nan", "target.T_base_tcp holds a number that is not finite.")
    return Refusal(
        "pose",
        "target.T_base_tcp is no rigid pose: its rotation must be orthonormal to 1e-4 (from a "
        "quaternion of length 1) and its last row (0, 0, 0, 1).",
    )


def _refuse_array(name: str, values: Array, length: int) -> Refusal | None:
    if np.shape(values) != (length,):
        return Refusal("length", f"{name} has shape {np.shape(values)}; it must be ({length},).")
    if not np.isfinite(values).all():
        return Refusal("nan", f"{name} holds a number that is not finite.")
    return None


def _refuse_gripper(
    command: ArmCommand, robot: RobotDescription, unsupported: Collection[str]
) -> Refusal | None:
    gripper = command.gripper
    if gripper is None:
        return None
    if robot.gripper is None or "gripper" in unsupported:
        return Refusal("gripper", f"{robot.name} has no gripper here; leave `gripper` out.")
    for name in ("width_m", "force_n", "speed_m_per_s"):
        value = getattr(gripper, name)
        if value is not None and not math.isfinite(value):
            return Refusal("nan", f"gripper.{name} is {value}; it must be a finite number.")
    return None
