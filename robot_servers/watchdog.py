"""When an arm holds because commands stopped coming. Pure in time: the owner gives the clock."""

from __future__ import annotations

from robot_servers.ramps import SOFT_START_SPEED_SHARE, SpeedShare, StiffnessShare

SOFTEN_AFTER_S = 2.0
"""An arm that has held for this long gets softer, if its payload is known."""


class Watchdog:
    """One arm's deadline, and what HOLD does to its stiffness and speed.

    Held at first; `accept` leaves HOLD by soft start, and `lapsed` tells when it is due again.

    Args:
        soft_start: False: in lockstep, where nothing depends on time.
    """

    def __init__(self, *, soft_start: bool = True) -> None:
        self.soft_start = soft_start
        self.holding = True
        self.stiffness = StiffnessShare()
        self.speed = SpeedShare()
        self._deadline_ns = 0
        self._held_since_ns: int | None = None

    def accept(self, now_ns: int, valid_for_s: float) -> None:
        """A command that moves the arm was accepted."""
        if self.holding:
            self.holding = False
            if self.soft_start:
                self.speed.restart()
        self._deadline_ns = now_ns + round(valid_for_s * 1e9)

    @property
    def share(self) -> float:
        """Of its full speed or push, what a command may use now."""
        if not self.soft_start:
            return 1.0
        return SOFT_START_SPEED_SHARE if self.holding else self.speed.value

    def extend(self, now_ns: int, valid_for_s: float) -> None:
        """A command that leaves the motion as it is: what goes on may go on."""
        if not self.holding:
            self._deadline_ns = now_ns + round(valid_for_s * 1e9)

    def lapsed(self, now_ns: int) -> bool:
        """The last command's time is over, and the arm is not held yet."""
        return not self.holding and now_ns > self._deadline_ns

    def hold(self, now_ns: int) -> None:
        self.holding = True
        self._held_since_ns = now_ns

    def advance(self, now_ns: int, dt_s: float, may_soften: bool) -> None:
        """One tick of the ramps."""
        if self._held_since_ns is None:  # held from the start, which is now
            self._held_since_ns = now_ns
        long_held = now_ns - self._held_since_ns >= SOFTEN_AFTER_S * 1e9
        self.stiffness.advance(self.holding and may_soften and long_held, dt_s)
        if not self.holding:
            self.speed.advance(dt_s)
