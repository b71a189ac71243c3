"""The keyboard of a terminal: no X server, no permissions, over ssh too.

Where the terminal tells releases (`terminal_keys`), a key is held as long as it is held. Where it
does not, only repeats tell that a key is still down, and they begin after a pause: so a key counts
as held for `first_pause_s` after its press and for `repeat_pause_s` after each repeat. There one
key moves at a time, and pressing any other key ends the move at once.
"""

from __future__ import annotations

import atexit
import os
import select
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from envs.devices import keys
from envs.devices import terminal_keys as tk
from envs.devices.base import DEVICES, DeviceLost, Found
from envs.devices.reader import ThreadedDevice
from serl.errors import UserError

ANSWER_S = 0.3
"""A terminal that has not answered after this long does not know the question."""
ESCAPE_S = 0.05
"""An escape byte that nothing follows for this long is the escape key."""


@dataclass(frozen=True, kw_only=True)
class KeyboardConfig:
    """The terminal this program runs in."""

    kind: ClassVar[str] = "keyboard"
    words: ClassVar[Mapping[str, str]] = keys.WORDS
    gestures: ClassVar[Mapping[str, str]] = keys.GESTURES

    address: str = ""
    """A terminal's path, as /dev/pts/3; empty: the one this program runs in."""
    speed: float = 0.4
    """Share of a full step that a held key asks for."""
    first_pause_s: float = 0.65
    """Without releases: how long a press counts [s]. Longer than the pause before the first repeat
    (X and GNOME 0.5 s, KDE 0.6 s), or a held key stutters once."""
    repeat_pause_s: float = 0.15
    """The same after each repeat [s]. Repeats come every 33 to 90 ms."""

    def make(self) -> Keyboard:
        return Keyboard(self)

    @classmethod
    def found(cls) -> Sequence[Found]:
        return [Found("", "this terminal")] if sys.stdin.isatty() else []


class Keyboard(ThreadedDevice):
    """Keys by name: 'w', 'up', 'enter', 'space'; letters in lower case."""

    kind = "keyboard"
    check = "Its terminal was closed."

    def __init__(self, config: KeyboardConfig) -> None:
        super().__init__(config.address)
        if not 0.0 < config.speed <= 1.0:
            raise UserError(f"keyboard: speed {config.speed}; it must be above 0 and at most 1.")
        self._config = config
        self.tells_releases = False
        """The terminal says when a key is let go."""
        self._fd = -1
        self._owns_fd = False
        self._before: Any = None
        self._parser = tk.KeyParser()
        self._until_ns: dict[str, int] = {}
        """Keys that are down, and when each counts as let go; never: 0."""

    def connect(self) -> None:
        import termios
        import tty

        self._fd, self._owns_fd = self._terminal()
        self._before = termios.tcgetattr(self._fd)
        atexit.register(self.shut)  # a program that dies leaves the terminal as it was
        tty.setcbreak(self._fd)
        self._parser, self._until_ns = tk.KeyParser(), {}
        self.tells_releases = self._asks()
        if self.tells_releases:
            os.write(self._fd, tk.BEGIN)

    def shut(self) -> None:
        import termios

        before, self._before = self._before, None
        if before is None:
            return
        atexit.unregister(self.shut)
        if self.tells_releases:
            os.write(self._fd, tk.END)
        termios.tcsetattr(self._fd, termios.TCSADRAIN, before)
        if self._owns_fd:
            os.close(self._fd)

    def hear(self, wait_s: float) -> None:
        wait_s = min(wait_s, ESCAPE_S)
        if select.select([self._fd], [], [], wait_s)[0]:
            data = os.read(self._fd, 1024)
            if not data:
                raise DeviceLost("the terminal is gone.")
            events = self._parser.feed(data)
        else:
            events = self._parser.flush() if self._parser.pending else []
        now_ns = time.monotonic_ns()
        self._lapse(now_ns)
        for event in events:
            self._event(event, now_ns)

    def _lapse(self, now_ns: int) -> None:
        """Let go of the keys that have not been repeated in time."""
        lapsed = [name for name, until in self._until_ns.items() if 0 < until <= now_ns]
        for name in lapsed:
            del self._until_ns[name]
        if lapsed:
            self._put(now_ns, [])

    def _event(self, event: tk.KeyEvent, now_ns: int) -> None:
        if event is tk.BLUR:
            self._until_ns.clear()
        elif event.kind == "release":
            self._until_ns.pop(event.name, None)
        elif event.ctrl:
            if event.name == "c":  # the terminal no longer makes it an interrupt
                os.kill(os.getpid(), signal.SIGINT)
            return
        elif event.kind == "tap":
            repeats = event.name in self._until_ns
            pause_s = self._config.repeat_pause_s if repeats else self._config.first_pause_s
            self._until_ns = {event.name: now_ns + round(pause_s * 1e9)}
            self._put(now_ns, [] if repeats else [event.name])
            return
        else:
            self._until_ns[event.name] = 0
        self._put(now_ns, [event.name] if event.kind == "press" else [])

    def _put(self, now_ns: int, taps: list[str]) -> None:
        held = set(self._until_ns)
        moving = held - self.reserved
        self.latch.put(
            now_ns,
            twist=keys.twist_of(moving, self._config.speed),
            gripper=keys.grip_of(moving),
            held=held,
            taps=taps,
        )

    def _terminal(self) -> tuple[int, bool]:
        """Its file descriptor, and whether it is ours to close."""
        try:
            if self.address:
                return os.open(self.address, os.O_RDWR | os.O_NOCTTY), True
            if sys.stdin.isatty():
                return sys.stdin.fileno(), False
        except OSError as error:
            raise DeviceLost(
                f"keyboard: cannot open {self.address}: {error.strerror}; name a terminal, as "
                "`tty` prints it."
            ) from error
        raise DeviceLost(
            "keyboard: this program does not run in a terminal; start it in one, or take another "
            "device."
        )

    def _asks(self) -> bool:
        """Whether the terminal tells releases. What is typed meanwhile is not lost."""
        os.write(self._fd, tk.ASK)
        end, heard = time.monotonic() + ANSWER_S, b""
        while not tk.ANSWERED.search(heard):
            left_s = end - time.monotonic()
            if left_s <= 0 or not select.select([self._fd], [], [], left_s)[0]:
                break
            heard += os.read(self._fd, 1024)
        for event in self._parser.feed(tk.ANSWERED.sub(b"", tk.SPEAKS.sub(b"", heard))):
            self._event(event, time.monotonic_ns())
        return tk.SPEAKS.search(heard) is not None


DEVICES.register("keyboard")(KeyboardConfig)
