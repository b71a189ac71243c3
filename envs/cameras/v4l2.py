"""What the kernel says of video devices (V4L2): names and modes, by ioctl. Linux only.

Layouts and numbers: linux/videodev2.h.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from envs.cameras.base import Found

CAPTURE = 1
"""Device capability: it gives pictures. A camera's metadata node lacks it."""
DISCRETE = 1
"""Type of a frame size or interval that is one value, not a range."""

# Number of the request and size of its structure: v4l2_capability, v4l2_fmtdesc,
# v4l2_frmsizeenum, v4l2_frmivalenum.
QUERYCAP = (0x80685600, 104)
ENUM_FMT = (0xC0405602, 64)
ENUM_FRAMESIZES = (0xC02C564A, 44)
ENUM_FRAMEINTERVALS = (0xC034564B, 52)

Ask = Callable[[int, bytearray], object]
"""ioctl of one device: request, structure that is read and written. OSError ends a list."""


def found() -> list[Found]:
    """Every device that gives pictures."""
    import fcntl

    cameras = []
    for path in sorted(Path("/dev").glob("video*"), key=_number):
        try:
            device = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        except OSError as error:
            cameras.append(Found("opencv", str(path), f"does not open: {error.strerror}"))
            continue
        ask = partial(fcntl.ioctl, device)
        try:
            if about := name(ask):
                cameras.append(Found("opencv", str(path), about, modes(ask)))
        finally:
            os.close(device)
    return cameras


def name(ask: Ask) -> str:
    """Name and bus of a camera; empty for what gives no pictures."""
    try:
        data = _asked(ask, QUERYCAP)
    except OSError:
        return ""
    _, card, bus, _, _, capabilities = struct.unpack_from("16s32s32sIII", data)
    words = [part.split(b"\0")[0].decode("utf-8", "replace") for part in (card, bus)]
    return ", ".join(filter(None, words)) if capabilities & CAPTURE else ""


def modes(ask: Ask) -> tuple[tuple[int, int, int], ...]:
    """(width, height, fps) in any pixel format. Ranges are left out: webcams list values."""
    out = set()
    for fmt in _each(ask, ENUM_FMT, struct.pack("I", CAPTURE)):
        pixels = bytes(fmt[44:48])
        for size in _each(ask, ENUM_FRAMESIZES, pixels):
            kind, width, height = struct.unpack_from("III", size, 8)
            if kind != DISCRETE:
                continue
            asked = pixels + struct.pack("II", width, height)
            for interval in _each(ask, ENUM_FRAMEINTERVALS, asked):
                kind, over, under = struct.unpack_from("III", interval, 16)
                if kind == DISCRETE and over:
                    out.add((width, height, round(under / over)))
    return tuple(sorted(out))


def _each(ask: Ask, request: tuple[int, int], after_index: bytes) -> Iterator[bytearray]:
    """The entries of a list: index 0, 1, ... until the kernel says there is none."""
    for index in range(1000):
        try:
            yield _asked(ask, request, struct.pack("I", index) + after_index)
        except OSError:
            return


def _asked(ask: Ask, request: tuple[int, int], start: bytes = b"") -> bytearray:
    number, size = request
    data = bytearray(start.ljust(size, b"\0"))
    ask(number, data)
    return data


def _number(path: Path) -> int:
    digits = re.sub(r"\D", "", path.name)
    return int(digits) if digits else -1
