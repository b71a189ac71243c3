"""A gripper on a real arm: told where to go, never waited for.

A driver has a thread of its own for whatever blocks in a vendor's library; `command` and `state`
return at once. A simulated hand belongs to its backend and has no driver here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from robot_servers.types import GripperDescription, GripperTarget
from serl.registry import Registry

GRIPPERS: Registry = Registry("gripper", "robot_servers.grippers")
"""Gripper classes by name: 'franka_hand', 'robotiq', 'none'. Each is made with keyword arguments
from robot.toml's [arm.gripper]: at least `address`."""


@dataclass(frozen=True, kw_only=True)
class GripperState:
    """One sample."""

    stamp_mono_ns: int
    width_m: float
    """Measured opening; 0 is closed."""
    target_m: float
    """Last commanded opening."""
    moving: bool
    holding: bool
    """The fingers press on something."""
    error: str = ""
    """What is wrong, one line; empty when all is well. A gripper's error is no arm fault."""


class Gripper(Protocol):
    """Drives one gripper."""

    description: GripperDescription | None
    """None: there is no gripper."""

    def connect(self) -> None:
        """Reach it, activate it, start its thread. Raises UserError in one line."""

    def close(self) -> None: ...

    def command(self, target: GripperTarget) -> None:
        """Go to `target`, already within the description's limits. The newest target wins."""

    def state(self) -> GripperState:
        """The newest sample; never blocks."""
        ...


def make_gripper(gripper: Gripper | str, **options: Any) -> Gripper:
    """`gripper` itself, or the driver of that name made with `options`."""
    return GRIPPERS.get(gripper)(**options) if isinstance(gripper, str) else gripper
