"""A gamepad, by SDL's game controller interface, whose database knows which button is where.

SDL has one queue of events for all gamepads, so whoever listens sorts them by gamepad (`_Sdl`): a
button that goes down and up between two looks is two events, and none is lost.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from envs.devices import sticks
from envs.devices.base import DEVICES, DeviceLost, Found
from envs.devices.reader import ThreadedDevice
from envs.devices.sticks import BUTTONS, Sticks
from serl.errors import UserError

LOOK_S = 0.004
"""Between two looks at SDL's queue: gamepads report every 1 to 8 ms."""

AXES = ("left_x", "left_y", "right_x", "right_y", "left_trigger", "right_trigger")
"""In SDL's order."""
FULL = 32767.0


@dataclass(frozen=True, kw_only=True)
class GamepadConfig:
    """One gamepad."""

    kind: ClassVar[str] = "gamepad"
    words: ClassVar[Mapping[str, str]] = sticks.WORDS
    gestures: ClassVar[Mapping[str, str]] = sticks.GESTURES

    address: str = ""
    """Its number, or its name, as messages list them; empty: the only one there is."""
    deadband: float = 0.12
    """Share of a stick's way that counts as rest. Worn sticks rest at up to 0.1."""

    def make(self) -> Gamepad:
        return Gamepad(self)

    @classmethod
    def found(cls) -> Sequence[Found]:
        return [Found(str(n), name) for n, name in _SDL.found()]


class Gamepad(ThreadedDevice):
    """Sticks, triggers and buttons, whose names are SDL's: 'a', 'start', 'dpup'."""

    kind = "gamepad"
    check = "Check its cable, or its charge."

    def __init__(self, config: GamepadConfig) -> None:
        super().__init__(config.address)
        if not 0.0 <= config.deadband < 1.0:
            raise UserError(f"gamepad: deadband {config.deadband}; it must be 0 to below 1.")
        self._config = config
        self._pad: Any = None
        self._id = -1
        self._sticks = Sticks()
        self._held: set[str] = set()

    def connect(self) -> None:
        self._pad = _SDL.open(_chosen(_SDL.found(), self.address))
        self._id = self._pad.as_joystick().get_instance_id()
        _SDL.queues[self._id] = deque()
        self._sticks, self._held = Sticks(), set()

    def hear(self, wait_s: float) -> None:
        _SDL.pump()
        queue = _SDL.queues[self._id]
        if not queue:
            time.sleep(min(wait_s, LOOK_S))
            return
        while queue:
            stamp_ns, kind, what, value = queue.popleft()
            if kind == "gone":
                raise DeviceLost("it was unplugged.")
            self._take(kind, what, value)
            moving = self._held - self.reserved
            self.latch.put(
                stamp_ns,
                twist=sticks.twist_of(self._sticks, moving, self._config.deadband),
                gripper=sticks.grip_of(self._sticks),
                held=self._held,
                taps=[BUTTONS[what]] if kind == "down" and what < len(BUTTONS) else [],
            )

    def shut(self) -> None:
        pad, self._pad = self._pad, None
        if pad is not None:
            _SDL.queues.pop(self._id, None)
            pad.quit()

    def _take(self, kind: str, what: int, value: int) -> None:
        if kind == "axis" and what < len(AXES):
            share = max(-1.0, min(1.0, value / FULL))
            self._sticks = replace(self._sticks, **{AXES[what]: share})
        elif kind == "down" and what < len(BUTTONS):
            self._held.add(BUTTONS[what])
        elif kind == "up" and what < len(BUTTONS):
            self._held.discard(BUTTONS[what])


class _Sdl:
    """SDL, started when it is first needed and then left running; its events by gamepad."""

    def __init__(self) -> None:
        self.queues: dict[int, deque[tuple[int, str, int, int]]] = {}
        """(stamp, kind, which, value) of each gamepad that is open, by SDL's id."""
        self._lock = threading.RLock()
        self._kinds: dict[int, str] = {}

    def found(self) -> list[tuple[int, str]]:
        """(number, name) of each gamepad that SDL can place the buttons of."""
        with self._lock:
            self.pump()
            from pygame._sdl2 import controller

            there = [n for n in range(controller.get_count()) if controller.is_controller(n)]
            return [(n, str(controller.name_forindex(n))) for n in there]

    def open(self, number: int) -> Any:
        from pygame._sdl2 import controller

        with self._lock:
            return controller.Controller(number)

    def pump(self) -> None:
        """Take what SDL has heard; any thread may."""
        with self._lock:
            if not self._kinds:
                self._start()
            import pygame

            for event in pygame.event.get():
                kind = self._kinds.get(event.type)
                queue = self.queues.get(getattr(event, "instance_id", -1))
                if kind is None or queue is None:
                    continue
                what = event.axis if kind == "axis" else getattr(event, "button", 0)
                queue.append((time.monotonic_ns(), kind, what, getattr(event, "value", 0)))

    def _start(self) -> None:
        # No window, no banner; input though no window has the focus; SIGTERM stays ours.
        for name, value in (
            ("SDL_VIDEODRIVER", "dummy"),
            ("PYGAME_HIDE_SUPPORT_PROMPT", "1"),
            ("SDL_JOYSTICK_ALLOW_BACKGROUND_EVENTS", "1"),
            ("SDL_NO_SIGNAL_HANDLERS", "1"),
        ):
            os.environ.setdefault(name, value)
        try:
            import pygame
            from pygame._sdl2 import controller
        except ImportError as error:
            raise UserError(
                f"gamepad: {error.name} is not installed; `pip install 'serl-suite[devices]'` "
                "brings it."
            ) from error
        pygame.display.init()
        pygame.joystick.init()
        controller.init()
        self._kinds = {
            pygame.CONTROLLERAXISMOTION: "axis",
            pygame.CONTROLLERBUTTONDOWN: "down",
            pygame.CONTROLLERBUTTONUP: "up",
            pygame.CONTROLLERDEVICEREMOVED: "gone",
        }


_SDL = _Sdl()


def _chosen(pads: list[tuple[int, str]], address: str) -> int:
    """The number of the one that is meant. Raises DeviceLost in one line that lists them."""
    there = "; ".join(f"gamepad:{n} ({name})" for n, name in pads)
    if not pads:
        raise DeviceLost("gamepad: none is plugged in. Check its cable, or its charge.")
    meant = [n for n, name in pads if address in ("", str(n), name)]
    if not meant:
        raise DeviceLost(f"gamepad: none is {address!r}; there is {there}.")
    if len(meant) > 1:
        raise DeviceLost(f"gamepad: {len(meant)} are plugged in: {there}. Say which.")
    return meant[0]


DEVICES.register("gamepad")(GamepadConfig)
