"""What keys move: the same on a terminal and in a browser."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from envs.devices.base import DOF, REST, Twist

MOVES: Mapping[str, tuple[str, float]] = {
    "w": ("x", 1.0),
    "s": ("x", -1.0),
    "a": ("y", 1.0),
    "d": ("y", -1.0),
    "e": ("z", 1.0),
    "q": ("z", -1.0),
    "up": ("x", 1.0),
    "down": ("x", -1.0),
    "left": ("y", 1.0),
    "right": ("y", -1.0),
    "pageup": ("z", 1.0),
    "pagedown": ("z", -1.0),
    "l": ("rx", 1.0),
    "j": ("rx", -1.0),
    "i": ("ry", 1.0),
    "k": ("ry", -1.0),
    "u": ("rz", 1.0),
    "o": ("rz", -1.0),
}
"""Axis and direction of each key: w is away from the person, a to the left, e up."""

GRIPS: Mapping[str, float] = {"c": -1.0, "v": 1.0}
"""c closes, v opens."""

WORDS: Mapping[str, str] = {
    "enter": "success",
    "backspace": "failure",
    "r": "rerecord",
    "p": "pause",
    "x": "stop",
    "space": "ready",
    "tab": "arm",
    "t": "take",
    "h": "hold",
    **{str(n): f"stage {n}" for n in range(1, 10)},
}

GESTURES: Mapping[str, str] = {
    "x": "hold w (or up)",
    "y": "hold a (or left)",
    "z": "hold e (or page up)",
    "rx": "hold l",
    "ry": "hold i",
    "rz": "hold u",
    "close": "hold c",
    "open": "hold v",
}


def twist_of(held: Collection[str], speed: float) -> Twist:
    """What the keys that are down ask for; opposite ones cancel.

    >>> twist_of({"w", "q", "1"}, 0.5)
    (0.5, 0.0, -0.5, 0.0, 0.0, 0.0)
    >>> twist_of({"w", "up"}, 1.0)
    (1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    """
    if not held:
        return REST
    asked = {MOVES[name] for name in held if name in MOVES}
    x, y, z, rx, ry, rz = (
        speed * sum(sign for axis, sign in sorted(asked) if axis == dof) for dof in DOF
    )
    return (x, y, z, rx, ry, rz)


def grip_of(held: Collection[str]) -> float | None:
    """-1, 1, or None when neither or both are down.

    >>> grip_of({"c"}), grip_of({"c", "v"})
    (-1.0, None)
    """
    asked = {GRIPS[name] for name in held if name in GRIPS}
    return asked.pop() if len(asked) == 1 else None
