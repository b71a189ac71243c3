"""When a frame was taken, on this machine's monotonic clock, from what its device says."""

from __future__ import annotations

import time
from collections import deque

WINDOW = 300
"""Frames that a device's clock is judged by: 10 s at 30 Hz, so that its drift hardly shows."""
OLDEST_NS = 1_000_000_000
"""A stamp further back than this, or ahead, is not of the clock it is said to be [ns]."""


class DeviceClock:
    """Maps a device's own clock, whose zero nobody knows, to the monotonic clock.

    Frames arrive late by a varying time and never early. The least lateness among recent frames
    is therefore nearest to the clocks' difference; a frame's stamp lies at or before its arrival.
    """

    def __init__(self) -> None:
        self._differences: deque[int] = deque(maxlen=WINDOW)

    def stamp_mono_ns(self, device_ns: int, arrival_mono_ns: int) -> int:
        """When the frame was taken [ns], but for the least time that a frame takes to arrive."""
        self._differences.append(arrival_mono_ns - device_ns)
        return device_ns + min(self._differences)


def from_wall_clock(stamp_wall_ns: int, now_wall_ns: int, now_mono_ns: int) -> int | None:
    """The same instant on the monotonic clock; None where the stamp cannot be of the wall clock."""
    age_ns = now_wall_ns - stamp_wall_ns
    return now_mono_ns - age_ns if 0 <= age_ns <= OLDEST_NS else None


def from_monotonic(stamp_ns: int, arrival_mono_ns: int | None = None) -> int:
    """A stamp said to be monotonic; the arrival where it cannot be."""
    now = time.monotonic_ns() if arrival_mono_ns is None else arrival_mono_ns
    return stamp_ns if 0 <= now - stamp_ns <= OLDEST_NS else now
