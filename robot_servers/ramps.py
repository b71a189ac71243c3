"""Gains and motion limits that change over time: ramps, softening in HOLD, soft start.

Pure in time: the owner says how many seconds passed. What comes out is one frozen object that
replaces the one before, so that nobody reads half a change.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TypeVar

from robot_servers.types import Gains, MotionLimits

GAINS_RAMP_S = 0.2
"""New gains are reached linearly over this long; SERL's controller filter has the same constant."""

SOFT_SHARE = 0.3
"""Share of the stiffness left in a long HOLD."""

SOFTEN_S = 1.0
"""Time to get there."""

SOFT_START_S = 0.5
"""Leaving HOLD, speed and stiffness come back over this long."""

SOFT_START_SPEED_SHARE = 0.2
"""Share of the speed limit allowed in the first moment."""

Values = TypeVar("Values", Gains, MotionLimits)


@dataclass
class StiffnessShare:
    """Share of the commanded stiffness in effect, moved no faster than its two ramps."""

    value: float = 1.0

    def advance(self, soft: bool, dt_s: float) -> None:
        """Towards `SOFT_SHARE` while `soft`, else back to 1."""
        room = 1.0 - SOFT_SHARE
        if soft:
            self.value = max(SOFT_SHARE, self.value - room * dt_s / SOFTEN_S)
        else:
            self.value = min(1.0, self.value + room * dt_s / SOFT_START_S)


@dataclass
class SpeedShare:
    """Share of the speed limits in effect: 20 % when motion begins, then up to all."""

    value: float = 1.0

    def restart(self) -> None:
        self.value = SOFT_START_SPEED_SHARE

    def advance(self, dt_s: float) -> None:
        self.value = min(1.0, self.value + (1.0 - SOFT_START_SPEED_SHARE) * dt_s / SOFT_START_S)


class GainsRamp:
    """From the gains in effect to the commanded ones, in `GAINS_RAMP_S`."""

    def __init__(self, gains: Gains) -> None:
        self.goal = gains
        self.now = gains
        self._start = gains
        self._share = 1.0

    def aim(self, goal: Gains) -> None:
        """Begin a new ramp where the last one is."""
        self._start, self.goal, self._share = self.now, goal, 0.0

    def jump(self, goal: Gains) -> None:
        """At once: lockstep, and an arm not in control."""
        self._start = self.goal = self.now = goal
        self._share = 1.0

    def advance(self, dt_s: float) -> None:
        if self._share < 1.0:
            self._share = min(1.0, self._share + dt_s / GAINS_RAMP_S)
            self.now = blend(self._start, self.goal, self._share)


def softened(gains: Gains, share: float) -> Gains:
    """The springs at a share of their stiffness; damping stays, so that the arm never rings."""
    if share >= 1.0:
        return gains
    return replace(
        gains,
        translational_stiffness_n_per_m=share * gains.translational_stiffness_n_per_m,
        rotational_stiffness_nm_per_rad=share * gains.rotational_stiffness_nm_per_rad,
    )


def slowed(limits: MotionLimits, share: float) -> MotionLimits:
    """A share of both speeds; accelerations stay."""
    if share >= 1.0:
        return limits
    return replace(
        limits,
        linear_speed_m_per_s=share * limits.linear_speed_m_per_s,
        angular_speed_rad_per_s=share * limits.angular_speed_rad_per_s,
    )


def blend(a: Gains, b: Gains, share: float) -> Gains:
    """`a` at 0, `b` at 1, exactly; every number on its straight line."""
    if share >= 1.0:
        return b
    mixed = {}
    for field in fields(Gains):
        x, y = _number(a, field.name), _number(b, field.name)
        if isinstance(x, tuple):
            mixed[field.name] = tuple(p + share * (q - p) for p, q in zip(x, y, strict=True))
        else:
            mixed[field.name] = x + share * (y - x)
    return replace(b, **mixed)


def _number(gains: Gains, name: str):
    """A field's value; a clip of the negative side that is not given is the positive side's."""
    value = getattr(gains, name)
    return getattr(gains, name.replace("_neg", "")) if value is None else value
