"""What can go wrong between a commander and an arm, where a caller acts differently on each."""

from __future__ import annotations

from robot_servers.types import Fault
from serl.errors import UserError


class CommandRefused(UserError):
    """The robot server did not take a command; the message is its reason."""


class RobotFault(UserError):
    """An arm is in Mode.FAULT: nothing moves it until an operator has recovered it."""

    def __init__(self, arm: str, fault: Fault) -> None:
        self.arm, self.fault = arm, fault
        saved = f" The last 5 s are in {fault.recording} there." if fault.recording else ""
        super().__init__(
            f"arm {arm!r} is in fault ({fault.kind.name}): {fault.reason}{saved} When it is safe: "
            "serl robot recover."
        )


class StaleState(UserError):
    """No new state has come for too long; the arm holds by itself until it comes again."""
