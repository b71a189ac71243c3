"""Deadlines that advance by whole periods, and what was late about them."""

from __future__ import annotations

import threading
import time
from collections import deque

import numpy as np

MAX_LAG_S = 0.05
"""When the machine stalls for longer than this, the lost time is given up rather than caught up."""

WINDOW = 2000
"""Ticks that the percentiles speak of: 10 s at 200 Hz."""


class Pacer:
    """Waits for deadlines `period_s` apart: `next += period`, so a rate is kept without drift."""

    def __init__(self, period_s: float) -> None:
        self._period_ns = round(period_s * 1e9)
        self._next_ns = time.monotonic_ns() + self._period_ns
        self._late_s: deque[float] = deque(maxlen=WINDOW)
        self.overruns = 0
        """Deadlines that were a whole period past when they were waited for."""

    def wait(self, stopping: threading.Event) -> None:
        """Until the next deadline; at once when it has passed or `stopping` is set."""
        ahead_s = (self._next_ns - time.monotonic_ns()) * 1e-9
        if ahead_s > 0 and not stopping.is_set():
            time.sleep(ahead_s)
        late_s = (time.monotonic_ns() - self._next_ns) * 1e-9
        self._late_s.append(late_s)
        self.overruns += late_s * 1e9 >= self._period_ns
        self._next_ns += self._period_ns
        if late_s > MAX_LAG_S:
            self._next_ns = time.monotonic_ns() + self._period_ns

    @property
    def late_p99_s(self) -> float:
        """99th percentile of how late a deadline was met, over the last `WINDOW` [s]."""
        late = list(self._late_s)
        return float(np.percentile(late, 99)) if late else 0.0
