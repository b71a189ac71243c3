"""What a guard counts, and how evenly its loop runs."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping

import numpy as np

WINDOW = 4096
"""Loop periods kept: 4 s at 1 kHz, 20 s at 200 Hz."""


class Counts:
    """Named counts since the start. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def add(self, name: str, by: int = 1) -> None:
        with self._lock:
            self._counts[name] += by

    def snapshot(self) -> dict[str, int]:
        with self._lock:
            return dict(self._counts)


class LoopTimes:
    """Periods of a loop over a bounded window; written by the loop, read by anyone."""

    def __init__(self) -> None:
        self._periods = np.zeros(WINDOW)
        self._count = 0
        self._last_ns: int | None = None

    def tick(self, now_ns: int) -> float:
        """The time since the last tick [s]; 0 for the first."""
        last, self._last_ns = self._last_ns, now_ns
        if last is None:
            return 0.0
        period_s = (now_ns - last) * 1e-9
        self._periods[self._count % WINDOW] = period_s
        self._count += 1
        return period_s

    def metrics(self, nominal_s: float) -> Mapping[str, float]:
        """99th percentiles of the period and of its distance from the nominal one [s]."""
        periods = self._periods[: min(self._count, WINDOW)].copy()
        if len(periods) == 0:
            return {}
        return {
            "loop/period_p99_s": float(np.quantile(periods, 0.99)),
            "loop/jitter_p99_s": float(np.quantile(np.abs(periods - nominal_s), 0.99)),
        }
