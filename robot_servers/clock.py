"""The offset between two hosts' monotonic clocks, from messages that went there and back.

        offset = ((t1 - t0) + (t2 - t3)) / 2        server = client + offset

with t0 the client's clock at sending, t1 and t2 the server's at receiving and answering, t3 the
client's at receiving. The error is at most half the time spent on the way; so, of the exchanges of
a window, the one that was fastest on the way is believed. Source: NTP, RFC 5905, section 8.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

WINDOW_NS = 10_000_000_000
"""Older exchanges are forgotten: quartz drifts apart by up to 50 us a second."""


@dataclass(frozen=True)
class Exchange:
    """One message there and back. Clocks in ns."""

    at_ns: int
    """When it came back, by the client's clock."""
    way_ns: int
    """Time spent on the way, both ways together."""
    offset_ns: int
    """Server's clock minus the client's."""


class OffsetEstimator:
    """The server's clock as seen from this host. One writer; readers see whole values."""

    def __init__(self, window_ns: int = WINDOW_NS) -> None:
        self._window_ns = window_ns
        self._rising: deque[Exchange] = deque()
        """The fastest of the window, and after it the fastest of what follows each."""
        self.best: Exchange | None = None

    def add(self, t0: int, t1: int, t2: int, t3: int) -> None:
        """One exchange: sent t0, received t1, answered t2, back t3."""
        new = Exchange(
            at_ns=t3, way_ns=(t3 - t0) - (t2 - t1), offset_ns=((t1 - t0) + (t2 - t3)) // 2
        )
        if new.way_ns < 0:
            return  # a clock was set meanwhile: this one says nothing
        rising = self._rising
        while rising and rising[-1].way_ns >= new.way_ns:
            rising.pop()
        rising.append(new)
        while rising[0].at_ns < t3 - self._window_ns:
            rising.popleft()
        self.best = rising[0]

    def forget(self) -> None:
        """Another server answers from now on."""
        self._rising.clear()
        self.best = None

    @property
    def offset_ns(self) -> int:
        """Server's clock minus the client's; 0 before the first exchange."""
        return self.best.offset_ns if self.best else 0

    @property
    def error_ns(self) -> int:
        """The offset is off by at most this."""
        return self.best.way_ns // 2 if self.best else 0
