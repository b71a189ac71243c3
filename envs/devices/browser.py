"""A hand in a browser: a mailbox that the console's server fills and the env's loop reads.

Every message says all that is down, about 30 times a second; silence is a release. Keys move as on
a terminal, a gamepad's sticks and buttons as by SDL.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from envs.devices import keys, sticks
from envs.devices.base import DEVICES, REST, Found, Reading, Twist
from envs.devices.latch import Latch
from envs.devices.sticks import Sticks


@dataclass(frozen=True)
class BrowserInput:
    """What a hand in a browser does at one moment."""

    keys: frozenset[str] = frozenset()
    """Keys that are down, by the names of `envs.devices.keys`; on-screen buttons too."""
    buttons: frozenset[str] = frozenset()
    """A gamepad's buttons that are down, by the names of `envs.devices.sticks`."""
    sticks: Sticks = field(default_factory=Sticks)
    taps: tuple[str, ...] = ()
    """Keys and buttons that went down since the last message, held or not."""


@dataclass(frozen=True, kw_only=True)
class BrowserConfig:
    """The page that drives."""

    kind: ClassVar[str] = "browser"
    words: ClassVar[Mapping[str, str]] = {
        **{f"pad_{name}": word for name, word in sticks.WORDS.items()},
        **keys.WORDS,
    }
    gestures: ClassVar[Mapping[str, str]] = keys.GESTURES

    address: str = ""
    speed: float = 0.4
    """Share of a full step that a held key asks for."""
    deadband: float = 0.12
    """Share of a stick's way that counts as rest."""
    silence_s: float = 0.15
    """Without a message for this long everything counts as released [s]."""

    def make(self) -> Browser:
        return Browser(self)

    @classmethod
    def found(cls) -> Sequence[Found]:
        return []


class Browser:
    """The mailbox. A gamepad's buttons are called pad_a, pad_start and so on."""

    def __init__(self, config: BrowserConfig) -> None:
        self.name = "browser"
        self.reserved: frozenset[str] = frozenset()
        self._config = config
        self._latch = Latch()
        self._heard_ns: int | None = None
        self._is_open = False

    def open(self) -> None:
        self._is_open = True

    def put(self, message: BrowserInput, stamp_ns: int | None = None) -> None:
        """From any thread: what the hand does now.

        Args:
            stamp_ns: when the message came in [ns]; None: now.
        """
        now_ns = time.monotonic_ns() if stamp_ns is None else stamp_ns
        held = message.keys | {f"pad_{name}" for name in message.buttons}
        moving = held - self.reserved
        pad = {name[4:] for name in moving if name.startswith("pad_")}
        twist = _sum(
            keys.twist_of(moving, self._config.speed),
            sticks.twist_of(message.sticks, pad, self._config.deadband),
        )
        grip = keys.grip_of(moving)
        self._latch.put(
            now_ns,
            twist=twist,
            gripper=sticks.grip_of(message.sticks) if grip is None else grip,
            held=held,
            taps=message.taps,
        )
        self._heard_ns = now_ns

    def release(self) -> None:
        """The page went away, or lost the focus."""
        self._latch.release()
        self._heard_ns = None

    def read(self) -> Reading:
        now_ns, heard_ns = time.monotonic_ns(), self._heard_ns
        trouble = ""
        if not self._is_open:
            trouble = "browser: not open."
        elif heard_ns is None:
            trouble = "browser: no page drives; open the console and take the controls."
        elif now_ns - heard_ns > 1e9 * self._config.silence_s:
            trouble = (
                f"browser: nothing for {(now_ns - heard_ns) / 1e9:.2f} s (limit "
                f"{self._config.silence_s:.2f} s). Controls are released; look at the page."
            )
        if trouble:
            self._latch.release()
        return self._latch.take(now_ns, live=not trouble, trouble=trouble)

    def close(self) -> None:
        self._is_open = False


def _sum(one: Twist, other: Twist) -> Twist:
    """Both hands, within +-1."""
    if one == REST or other == REST:
        return other if one == REST else one
    x, y, z, rx, ry, rz = (max(-1.0, min(1.0, a + b)) for a, b in zip(one, other, strict=True))
    return (x, y, z, rx, ry, rz)


DEVICES.register("browser")(BrowserConfig)
