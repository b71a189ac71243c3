"""How well an env in real time keeps its rate."""

from __future__ import annotations

from collections import deque

import numpy as np

WINDOW_STEPS = 20_000
"""Periods that are remembered: about 17 min at 20 Hz."""

LATE_S = 0.02
"""A period this much too long counts as late."""


class Pace:
    """Measured control periods, from the stamps at which observations were to hand."""

    def __init__(self, period_s: float) -> None:
        self.period_s = period_s
        self.late = 0
        """Periods longer than asked for by more than LATE_S, since the start."""
        self._last_ns: int | None = None
        self._periods_s: deque[float] = deque(maxlen=WINDOW_STEPS)

    def begin(self, now_ns: int) -> None:
        """A new episode: the time since the last one is no period."""
        self._last_ns = now_ns

    def step(self, now_ns: int) -> None:
        """One control period has ended."""
        if self._last_ns is not None:
            period_s = (now_ns - self._last_ns) * 1e-9
            self._periods_s.append(period_s)
            self.late += period_s - self.period_s > LATE_S
        self._last_ns = now_ns

    def metrics(self) -> dict[str, float]:
        """Achieved rate [Hz], the 99th percentile and the largest deviation of a period [s]."""
        if not self._periods_s:
            return {}
        periods = np.array(self._periods_s)
        error = np.abs(periods - self.period_s)
        return {
            "achieved_hz": float(1.0 / periods.mean()),
            "period_error_p99_s": float(np.quantile(error, 0.99)),
            "period_error_max_s": float(error.max()),
            "periods_late": float(self.late),
        }
