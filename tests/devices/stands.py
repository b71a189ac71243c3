"""Fakes below our devices: HID handles for pyspacemouse, pads inside SDL, terminals for keys."""

import ctypes
import os
import pty
import queue
import select
import struct
import threading
import time
from pathlib import Path

RIGHT, BACK, DOWN = 0, 1, 2
"""A puck's own axes, as its reports count them: x to the right, y towards the person, z down."""


def until(condition, timeout_s=20.0):
    """The first true value of `condition()`."""
    end = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)
    return value


class FakeHid:
    """A HID device as easyhid hands it out: reports are what the test sends."""

    def __init__(self, vendor=0x256F, product=0xC635, path="/dev/hidraw-fake0", serial=""):
        self.path, self.serial_number = path, serial
        self.vendor_id, self.product_id = vendor, product
        self.product_string, self.manufacturer_string = "Puck", "Maker"
        self.release_number, self.usage_page, self.usage = 0x0437, 1, 8
        self.reports = queue.Queue()
        self.plugged = True
        self.is_open = False

    def open(self):
        assert not self.is_open
        self.is_open = True

    def close(self):
        self.is_open = False

    def set_nonblocking(self, on):
        pass

    def read(self, size, timeout=None):
        from easyhid import HIDException

        try:
            report = self.reports.get(timeout=timeout / 1000)
        except queue.Empty:
            report = b""
        if not self.plugged:
            raise HIDException("Failed to read from HID device: -1")
        return bytearray(report.ljust(size, b"\0")[:size]) if report else bytearray()

    def puck(self, move=(0, 0, 0), turn=(0, 0, 0)):
        """The two reports of a SpaceMouse Compact: counts along and about its own axes."""
        self.reports.put(struct.pack("<Bhhh", 1, *move))
        self.reports.put(struct.pack("<Bhhh", 2, *turn))

    def press(self, *bits):
        """The button report: which bits are down, counted over all its bytes."""
        mask = sum(1 << bit for bit in bits)
        self.reports.put(struct.pack("<BI", 3, mask))


class VirtualPad:
    """A gamepad inside SDL itself, which no hardware is behind: its own mapping applies."""

    def __init__(self):
        import pygame

        root = Path(pygame.__file__).parent
        (library,) = [*root.parent.glob("pygame.libs/libSDL2-2*"), *root.glob("libSDL2-2*.dylib")]
        self._sdl = ctypes.CDLL(str(library))
        self._sdl.SDL_JoystickOpen.restype = ctypes.c_void_p
        self.number = -1

    def plug(self):
        """SDL must have been started. GAMECONTROLLER type: six axes, SDL's own order."""
        self.number = self._sdl.SDL_JoystickAttachVirtual(1, 6, 15, 0)
        assert self.number >= 0
        self._joystick = ctypes.c_void_p(self._sdl.SDL_JoystickOpen(self.number))
        for axis in range(6):  # at rest; what SDL sees first is an axis' rest
            self.axis(axis, 0.0 if axis < 4 else -1.0)
        self._sdl.SDL_JoystickUpdate()
        return self

    def unplug(self):
        self._sdl.SDL_JoystickDetachVirtual(self.number)
        self._sdl.SDL_JoystickClose(self._joystick)

    def axis(self, axis, value):
        count = ctypes.c_int16(round(32767 * value))
        assert self._sdl.SDL_JoystickSetVirtualAxis(self._joystick, axis, count) == 0

    def button(self, button, down):
        assert self._sdl.SDL_JoystickSetVirtualButton(self._joystick, button, int(down)) == 0


class Terminal:
    """A pseudo-terminal that the test types into, and that answers as terminals do.

    Args:
        kitty: it speaks kitty's protocol.
    """

    def __init__(self, kitty=False):
        self._master, self._slave = pty.openpty()
        self.path = os.ttyname(self._slave)
        self._answer = b"\x1b[?0u\x1b[?62c" if kitty else b"\x1b[?62c"
        self.seen = b""
        """What the program wrote so far."""
        threading.Thread(target=self._listen, daemon=True).start()

    def type(self, data):
        os.write(self._master, data)

    def hang_up(self):
        if self._master >= 0:
            os.close(self._slave)
            os.close(self._master)
            self._master = -1

    def _listen(self):
        while self._master >= 0:
            try:
                if not select.select([self._master], [], [], 0.02)[0]:
                    continue
                self.seen += (data := os.read(self._master, 4096))
            except (OSError, ValueError):
                return
            if b"\x1b[c" in data:
                self.type(self._answer)


def kitty(code, kind=1, modifiers=1):
    """A key event as a terminal with kitty's protocol sends it: 1 press, 2 repeat, 3 release."""
    return f"\x1b[{code};{modifiers}:{kind}u".encode()
