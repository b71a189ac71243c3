"""A refusal of the HTTP face, and reading what a SERL client sent."""

from __future__ import annotations

import math
from typing import Any

from robot_servers.control import se3
from robot_servers.types import Array
from serl.errors import UserError

SHORT_QUATERNION = 0.9
"""SERL's reset interpolates quaternions component by component, which shortens them: halfway
between orientations 1.8 rad apart a chord is this long. Its direction is right; shorter is refused.
"""
LONG_QUATERNION = 1.001
"""No such chord is longer than 1; beyond this the numbers are no quaternion."""


class Refused(UserError):
    """A request that is answered with `status` and one line."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def numbers(body: object, key: str, count: int) -> list[float]:
    """The list of `count` finite numbers under `key`; 400 otherwise."""
    value = field(body, key)
    if not isinstance(value, list) or len(value) != count:
        what = f"{len(value)} elements" if isinstance(value, list) else repr(value)[:40]
        raise Refused(400, f"{key!r} is {what}; it must be a list of {count} numbers.")
    return [number(f"{key}[{i}]", element) for i, element in enumerate(value)]


def number(name: str, value: Any) -> float:
    """A finite number; 400 otherwise."""
    found = finite(value)
    if found is None:
        raise Refused(400, f"{name} is {str(value)[:40]!r}; it must be a finite number.")
    return found


def finite(value: Any) -> float | None:
    """A JSON value as a float, where it is a finite number."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number that no float holds
        return None


def field(body: object, key: str) -> Any:
    """One field of the JSON object; 400 otherwise."""
    if not isinstance(body, dict) or key not in body:
        raise Refused(400, f"the body must be a JSON object with {key!r}.")
    return body[key]


def pose(body: object) -> Array:
    """T_base_tcp of {"arr": [x, y, z, qx, qy, qz, qw]}, in m."""
    x, y, z, *quat = numbers(body, "arr", 7)
    norm = math.hypot(*quat)
    if not SHORT_QUATERNION <= norm <= LONG_QUATERNION:
        raise Refused(
            400,
            f"the quaternion (x, y, z, w) has length {norm:.4g}; it must be 1. Between "
            "orientations, interpolate on the short way and normalise.",
        )
    return se3.pose_from_quat((x, y, z), quat)
