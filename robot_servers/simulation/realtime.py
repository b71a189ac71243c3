"""Physics on the wall clock: a thread that ticks, and callers that wait for ticks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np

MAX_LAG_S = 0.05
"""When the machine stalls for longer than this, the lost time is given up rather than caught up."""

WAIT_LIMIT_S = 5.0
"""A tick that takes this long means the thread is stuck."""

JITTER_TICKS = 8192
"""Lateness is kept for this many ticks."""


class Metronome:
    """Calls `tick` every `period_s`, and lets callers wait for a number of ticks.

    An exception in `tick` stops the thread and is raised in the next `wait_ticks`.
    """

    def __init__(self, period_s: float, tick: Callable[[], None]) -> None:
        self._period_ns = round(period_s * 1e9)
        self._tick = tick
        self._ticked = threading.Condition()
        self._count = 0
        self._deadline = 0
        self._stopping = False
        self._error: Exception | None = None
        self._late_ns = np.zeros(JITTER_TICKS, dtype=np.int64)
        self.late = 0
        """Ticks that began more than one period after their time."""
        self._thread = threading.Thread(target=self._run, name="physics", daemon=True)

    @property
    def count(self) -> int:
        """Ticks so far."""
        return self._count

    @property
    def error(self) -> Exception | None:
        """What ended the thread, if something did."""
        return self._error

    @property
    def jitter_p99_s(self) -> float:
        """99 % of the last ticks began no later than this after their time [s]."""
        seen = self._late_ns[: min(max(self._count, 1), JITTER_TICKS)]
        return float(np.percentile(seen, 99)) * 1e-9

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stopping = True
        self._thread.join()

    def sync(self) -> None:
        """The next deadline counts from now."""
        with self._ticked:
            self._deadline = self._count

    def wait_ticks(self, ticks: int) -> bool:
        """Wait until `ticks` after the last deadline; True if that had passed already.

        The deadline advances by `ticks`, so a rate is kept without drift; after an overrun it
        starts again from now.
        """
        with self._ticked:
            self._deadline += ticks
            overrun = self._count >= self._deadline
            if overrun:
                self._deadline = self._count + 1
            while self._count < self._deadline and self._error is None:
                if not self._ticked.wait(WAIT_LIMIT_S):
                    raise TimeoutError(f"physics: no tick for {WAIT_LIMIT_S:g} s")
            if self._error is not None:
                raise RuntimeError("the physics thread has failed") from self._error
        return overrun

    def _run(self) -> None:
        next_ns = time.monotonic_ns()
        while not self._stopping:
            late_ns = time.monotonic_ns() - next_ns
            self._late_ns[self._count % JITTER_TICKS] = late_ns
            self.late += late_ns > self._period_ns
            try:
                self._tick()
            except Exception as error:  # handed to the caller of wait_ticks
                with self._ticked:
                    self._error = error
                    self._ticked.notify_all()
                return
            with self._ticked:
                self._count += 1
                self._ticked.notify_all()
            next_ns += self._period_ns
            ahead_s = (next_ns - time.monotonic_ns()) * 1e-9
            if ahead_s > 0:
                time.sleep(ahead_s)
            elif ahead_s < -MAX_LAG_S:
                next_ns = time.monotonic_ns()
