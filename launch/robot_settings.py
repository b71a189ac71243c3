"""Gains by name, as an operator sets and reads them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from launch.robot_link import RobotLink
from robot_servers.types import Gains
from serl.errors import UserError, unknown_name

RAMP_S = 0.4
"""The server ramps gains over 0.2 s; by then they are in effect."""


def parse_gains(words: Sequence[str], before: Gains) -> Gains:
    """`before` with every NAME=VALUE; three values, with commas, for a clip per axis.

    >>> parse_gains(["translational_clip_m=0.01,0.01,0.005"], Gains()).translational_clip_m
    (0.01, 0.01, 0.005)
    """
    names = [field.name for field in fields(Gains)]
    changes: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise UserError(f"{word!r} is not NAME=VALUE, as in rotational_damping_nm_s_per_rad=7.")
        if name not in names:
            raise unknown_name("gain", name, names)
        changes[name] = _value(name, text)
    return replace(before, **changes)


def set_gains(robot: RobotLink, gains: Gains) -> Gains:
    """What is in effect then; the server's limits may have changed some."""
    robot.backend.set_gains({robot.arm: gains})
    time.sleep(RAMP_S)
    return robot.gains


def gains_text(gains: Gains, before: Gains | None = None) -> str:
    """A line per gain; with `before`, those that changed show both."""
    lines = []
    for field in fields(Gains):
        now = getattr(gains, field.name)
        was = now if before is None else getattr(before, field.name)
        lines.append(f"{field.name} = {_text(was)}" + ("" if was == now else f" -> {_text(now)}"))
    return "\n".join(lines)


def _value(name: str, text: str) -> Any:
    if name.endswith(("_neg_m", "_neg_rad")) and text == "none":
        return None
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"{name}: {text!r} is no number.") from None
    if "_clip_" not in name:
        if len(numbers) != 1:
            raise UserError(f"{name} takes one number; {len(numbers)} were given.")
        return numbers[0]
    if len(numbers) == 1:
        numbers *= 3
    if len(numbers) != 3:
        raise UserError(f"{name} takes one number or three with commas; {len(numbers)} were given.")
    return tuple(numbers)


def _text(value: Any) -> str:
    if value is None:
        return "none"
    return ",".join(f"{v:g}" for v in value) if isinstance(value, tuple) else f"{value:g}"
