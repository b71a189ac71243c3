"""Gains and motion limits within a robot's absolute ones; what changed is said in words."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, replace

import numpy as np

from robot_servers.config import SafetyLimits
from robot_servers.types import Gains, MotionLimits
from serl.errors import UserError

MAY_BE_ZERO = frozenset(
    {"filter_time_constant_s", *(field.name for field in fields(Gains))},
)

WITH_A_MAXIMUM = tuple(
    field.name
    for field in fields(Gains)
    if field.name in {limit.name for limit in fields(SafetyLimits)}
)
"""Gains that SafetyLimits bounds under the same name: all but the clips."""

CLIPPED = (
    (
        "translational_stiffness_n_per_m",
        ("translational_clip_m", "translational_clip_neg_m"),
        "push_n",
        ("N/m", "N"),
    ),
    (
        "rotational_stiffness_nm_per_rad",
        ("rotational_clip_rad", "rotational_clip_neg_rad"),
        "push_nm",
        ("N m/rad", "N m"),
    ),
)
"""A spring, its clips, and the limit on their product."""


def refuse_values(arm: str, values: Gains | MotionLimits, unsupported: Collection[str]) -> None:
    """Raise UserError for a number that makes no sense, or a field the backend cannot honour.

    A field that is not supported may stand at its default, which asks for nothing.
    """
    defaults = type(values)()
    for field in fields(values):
        value = getattr(values, field.name)
        if field.name in unsupported and value != getattr(defaults, field.name):
            raise UserError(
                f"arm {arm!r}: this backend cannot honour {field.name} = {value}; leave it at "
                f"{getattr(defaults, field.name)}."
            )
        if value is None:
            continue
        numbers, zero = np.atleast_1d(np.asarray(value, np.float64)), field.name in MAY_BE_ZERO
        if not (np.isfinite(numbers).all() and (numbers >= 0).all() and (zero or numbers.all())):
            raise UserError(
                f"arm {arm!r}: {field.name} is {value}; it must be finite and "
                f"{'0 or more' if zero else 'above 0'}."
            )


def limit_to_backend(gains: Gains, most: Mapping[str, float]) -> tuple[Gains, tuple[str, ...]]:
    """Fields within what the backend says it goes to, by the names of Gains."""
    changes = {name: high for name, high in most.items() if getattr(gains, name) > high}
    words = tuple(
        f"{name} {getattr(gains, name):g} lowered to {high:g}, this backend's maximum"
        for name, high in changes.items()
    )
    return (replace(gains, **changes) if changes else gains), words  # type: ignore[arg-type]


def limit_gains(gains: Gains, limits: SafetyLimits) -> tuple[Gains, tuple[str, ...]]:
    """Every gain within its maximum, and clips so short that no axis pushes more than `push_n`, nor
    turns with more than `push_nm`."""
    words: list[str] = []
    changes: dict[str, float | tuple[float, ...]] = {}
    for name in WITH_A_MAXIMUM:
        value, most = getattr(gains, name), getattr(limits, name)
        if value > most:
            changes[name] = most
            words.append(f"{name} {value:g} lowered to {most:g}")
    for spring, clips, push, units in CLIPPED:
        stiffness = min(getattr(gains, spring), getattr(limits, spring))
        most = getattr(limits, push)
        for name in clips:
            clip = getattr(gains, name)
            if clip is None or stiffness * max(clip) <= most * (1 + 1e-9):
                continue
            short = tuple(min(c, most / stiffness) for c in clip)
            changes[name] = short
            words.append(
                f"{name} {clip} shortened to ({', '.join(f'{c:.4g}' for c in short)}): "
                f"{stiffness:g} {units[0]} may push {most:g} {units[1]} at most"
            )
    return (replace(gains, **changes) if changes else gains), tuple(words)  # type: ignore[arg-type]


def limit_motion(
    motion: MotionLimits, limits: SafetyLimits
) -> tuple[MotionLimits, tuple[str, ...]]:
    """Speeds and accelerations no higher than the limits."""
    changes = {
        name: most
        for name in (
            "linear_speed_m_per_s",
            "angular_speed_rad_per_s",
            "linear_acceleration_m_per_s2",
            "angular_acceleration_rad_per_s2",
        )
        if getattr(motion, name) > (most := getattr(limits, name))
    }
    words = tuple(
        f"{name} {getattr(motion, name):g} lowered to {changes[name]:g}" for name in changes
    )
    return (replace(motion, **changes) if changes else motion), words
