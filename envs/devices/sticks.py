"""What the sticks and buttons of a gamepad move: the same by SDL and in a browser.

Sticks are as SDL and browsers give them: right and down are positive.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from envs.devices.base import Twist, eased

BUTTONS = (
    *("a", "b", "x", "y", "back", "guide", "start", "leftstick", "rightstick"),
    *("leftshoulder", "rightshoulder", "dpup", "dpdown", "dpleft", "dpright"),
)
"""SDL's names, in SDL's order: a is the lower one of the four, whatever is printed on it."""

WORDS: Mapping[str, str] = {
    "y": "success",
    "a": "failure",
    "x": "rerecord",
    "b": "ready",
    "start": "pause",
    "back": "stop",
    "leftshoulder": "arm",
    "rightshoulder": "hold",
    "rightstick": "take",
}

GESTURES: Mapping[str, str] = {
    "x": "push the left stick away from you",
    "y": "push the left stick to the left",
    "z": "push the right stick away from you",
    "rx": "press the cross to the right",
    "ry": "press the cross away from you",
    "rz": "push the right stick to the left",
    "close": "pull the left trigger",
    "open": "pull the right trigger",
}

PULLED = 0.5
"""A trigger beyond this counts as pulled."""


@dataclass(frozen=True)
class Sticks:
    """Positions of the two sticks, +-1, and of the two triggers, 0 to 1."""

    left_x: float = 0.0
    left_y: float = 0.0
    right_x: float = 0.0
    right_y: float = 0.0
    left_trigger: float = 0.0
    right_trigger: float = 0.0


def twist_of(sticks: Sticks, held: Collection[str], deadband: float) -> Twist:
    """Left stick: across the table. Right stick: up and down, and turn. Cross: tilt.

    >>> twist_of(Sticks(left_y=-1.0, right_x=1.0), {"dpup"}, 0.1)
    (1.0, 0.0, 0.0, 0.0, 1.0, -1.0)
    """
    x, y, z, rz = (
        eased(-value, deadband)
        for value in (sticks.left_y, sticks.left_x, sticks.right_y, sticks.right_x)
    )
    rx = float(("dpright" in held) - ("dpleft" in held))
    ry = float(("dpup" in held) - ("dpdown" in held))
    return (x, y, z, rx, ry, rz)


def grip_of(sticks: Sticks) -> float | None:
    """Left trigger closes, right trigger opens; both or none leave it."""
    closes, opens = sticks.left_trigger > PULLED, sticks.right_trigger > PULLED
    return None if closes == opens else (1.0 if opens else -1.0)
