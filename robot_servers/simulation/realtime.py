"""Physics on the wall clock: a thread that ticks, and callers that wait for ticks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

MAX_LAG_S = 0.05
"""When the machine stalls for longer than this, the lost time is given up rather than caught up."""

WAIT_LIMIT_S = 5.0
"""A tick that takes this long means the thread is stuck."""


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
        self._thread = threading.Thread(target=self._run, name="physics", daemon=True)

    @property
    def count(self) -> int:
        """Ticks so far."""
        return self._count

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
