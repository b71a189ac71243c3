"""Rates, durations and 'not more often than': the three clocks a loop wants."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Rate:
    """Events per second over the last `window_s` seconds.

    Args:
        window_s: how far back the rate looks; short enough to show a stall, long enough to be calm.
        clock: seconds, never going back; a test gives its own.
    """

    def __init__(self, window_s: float = 10.0, clock=time.monotonic) -> None:
        self.total = 0
        self._window_s = window_s
        self._clock = clock
        self._marks: deque[tuple[float, int]] = deque([(clock(), 0)])

    def add(self, count: int = 1) -> None:
        """Count `count` events now."""
        self.total += count
        self._mark(self._clock())

    def per_s(self) -> float:
        """Events per second, from the oldest mark in the window until now."""
        now = self._clock()
        self._mark(now)
        then, total = self._marks[0]
        return (self.total - total) / (now - then) if now > then else 0.0

    def _mark(self, now: float) -> None:
        """Keep about 50 marks over the window, and drop those that have left it."""
        if now - self._marks[-1][0] >= self._window_s / 50:
            self._marks.append((now, self.total))
        while len(self._marks) > 1 and self._marks[1][0] <= now - self._window_s:
            self._marks.popleft()


class Timer:
    """Mean duration of named pieces of a loop, in milliseconds.

    >>> timer = Timer()
    >>> with timer("sample"):
    ...     pass
    >>> list(timer.take())
    ['time/sample_ms']
    """

    def __init__(self) -> None:
        self._spent_ns: dict[str, int] = {}
        self._count: dict[str, int] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        begin = time.monotonic_ns()
        try:
            yield
        finally:
            self._spent_ns[name] = self._spent_ns.get(name, 0) + time.monotonic_ns() - begin
            self._count[name] = self._count.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        """{'time/<name>_ms': mean since the last call}, and start again."""
        means = {
            f"time/{name}_ms": self._spent_ns[name] / self._count[name] / 1e6
            for name in self._count
        }
        self._spent_ns.clear()
        self._count.clear()
        return means


class Every:
    """True at most once per `period_s`, the first call included."""

    def __init__(self, period_s: float, clock=time.monotonic) -> None:
        self._period_s = period_s
        self._clock = clock
        self._due = clock()

    def __call__(self) -> bool:
        now = self._clock()
        if now < self._due:
            return False
        self._due += self._period_s
        if self._due <= now:  # late by a whole period: do not catch up
            self._due = now + self._period_s
        return True
