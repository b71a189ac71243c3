"""What every input device is: something that says, at once, what the hand on it does now.

A device speaks of the operator's axes: x away from a person who stands behind the robot's base and
looks along it, y to the left, z up; turns are right-handed about them. Where the person stands is
the operator's business (`envs.operator`). A new kind is one file in this package whose config
registers itself in `DEVICES`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from serl.errors import UserError
from serl.registry import Registry

Twist = tuple[float, float, float, float, float, float]
"""Along x y z and about x y z; 1 is the device's full scale, and one step of the agent."""

DOF = ("x", "y", "z", "rx", "ry", "rz")

REST: Twist = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)

WORDS = ("success", "failure", "rerecord", "pause", "stop", "ready", "arm", "take", "hold")
"""What a person can say with a key, besides 'stage 1' to 'stage 9': arm is 'the next arm is the one
I move', take is 'mine' and 'yours' in turn, hold is 'mine while I press it'."""


@dataclass(frozen=True)
class Reading:
    """What the hand does now. What was pressed and let go since the last reading is in it too."""

    stamp_mono_ns: int = 0
    """When the oldest input that no reading has shown came in; with none, when the newest did."""
    twist: Twist = REST
    """Within +-1 each."""
    gripper: float | None = None
    """-1 close, 1 open; None leaves it. A script's may be anything between."""
    held: frozenset[str] = frozenset()
    """Names of the keys and buttons that are down."""
    pressed: tuple[str, ...] = ()
    """Names of those that went down since the last reading, in order; none is ever lost."""
    live: bool = True
    """False: the device is gone, and everything is at rest."""
    trouble: str = ""
    """Why it is not live, and what to do: one line."""

    @property
    def moves(self) -> bool:
        """The hand asks for something."""
        return self.twist != REST or self.gripper is not None


@dataclass(frozen=True)
class Hand:
    """What a human asks of one arm now."""

    twist: Twist
    """Along and about the axes of the arm's base; 1 is one step."""
    gripper: float | None = None
    """-1 close to 1 open; None leaves it."""
    stamp_mono_ns: int | None = None
    """When the input came in, as `Reading`'s; None where nobody measures that."""


class DeviceLost(UserError):
    """A device is not there, may not be opened, or cannot be told from another."""


class Device(Protocol):
    """One input device. It may have a thread of its own; none of these wait for a hand.

    One that has to look at the env (a script) also has `attach(env)` and `begin()`, called with the
    `Intervention` wrapper when that is made and after each reset; and, since it can move several
    arms at once, `hands()`: a Hand for each arm that it moves in this step, None for no hand.
    """

    name: str
    """What messages call it: "spacemouse /dev/hidraw3"."""
    reserved: frozenset[str]
    """Keys and buttons that are words and no longer move anything."""

    def open(self) -> None:
        """Connect. Raises DeviceLost in one line that says what there is and what to do."""
        ...

    def read(self) -> Reading:
        """What the hand does now, at once. A lost device says so and goes on by itself once it is
        plugged in again."""
        ...

    def close(self) -> None:
        """Let it go. More than once does no harm; `open` opens it again."""
        ...


@dataclass(frozen=True)
class Found:
    """A device that is plugged in."""

    address: str
    """What to write after the kind: a path, a serial number."""
    about: str = ""


class DeviceConfig(Protocol):
    """What a file registers: a frozen dataclass of settings, which makes its device."""

    kind: ClassVar[str]
    """The name it is registered under."""
    words: ClassVar[Mapping[str, str]]
    """Which word each key or button says unless it is given another."""
    gestures: ClassVar[Mapping[str, str]]
    """What to do for +1 on each of `DOF`, as 'push the puck away from you'; also 'close', 'open'.
    Empty where there is no hand."""

    @property
    def address(self) -> str: ...

    def make(self) -> Device:
        """The device, not yet open."""
        ...

    @classmethod
    def found(cls) -> Sequence[Found]:
        """Devices of this kind that are plugged in now. Raises UserError, one line."""
        ...


DEVICES: Registry[Any] = Registry("input device", "envs.devices")
"""Configs (`DeviceConfig`) by name: "spacemouse", "keyboard", ..."""


def parse_device(text: str) -> DeviceConfig:
    """'KIND' or 'KIND:ADDRESS', as 'spacemouse:/dev/hidraw3'."""
    kind, _, address = text.partition(":")
    config = DEVICES.get(kind)
    return config(address=address) if address else config()


def parse_devices(text: str) -> dict[str, DeviceConfig]:
    """One device for every arm under '', or one per arm: 'left=KIND:ADDRESS,right=KIND:ADDRESS'.

    Raises UserError for an unknown kind, an arm named twice, or one device for two arms.
    """
    if "=" not in text:
        return {"": parse_device(text)}
    found: dict[str, DeviceConfig] = {}
    for part in text.split(","):
        arm, equals, device = part.partition("=")
        if not (arm and equals and device) or arm in found:
            raise UserError(
                f"device {part!r} of {text!r} is not ARM=KIND:ADDRESS with each arm once, as "
                "left=spacemouse:/dev/hidraw3,right=spacemouse:/dev/hidraw4."
            )
        config = parse_device(device)
        if config in found.values():
            raise UserError(
                f"{text!r} gives two arms the same device {device!r}; name each by its address, "
                "or give one device for all: it moves one arm at a time."
            )
        found[arm] = config
    return found


def eased(value: float, deadband: float) -> float:
    """0 within +-deadband, then rising from 0 to 1 without a jump; never beyond +-1.

    >>> [round(eased(v, 0.2), 3) for v in (0.1, 0.2, 0.6, 1.0, -2.0)]
    [0.0, 0.0, 0.5, 1.0, -1.0]
    """
    size = min(1.0, max(0.0, (abs(value) - deadband) / (1.0 - deadband)))
    return math.copysign(size, value) if size else 0.0
