"""A thread for what must not hold up a control loop: files, and lines for a person."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class Chores:
    """Runs what it is given, one after the other, on a thread of its own."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="guard chores", daemon=True)
            self._thread.start()

    def add(self, chore: Callable[[], None]) -> None:
        """Do this soon; returns at once."""
        self._queue.put(chore)

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Wait until everything given so far is done; False when it takes too long."""
        done = threading.Event()
        self._queue.put(done.set)
        return done.wait(timeout_s)

    def stop(self) -> None:
        """Finish what is queued, then end the thread."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(10.0)
            self._thread = None

    def _run(self) -> None:
        while (chore := self._queue.get()) is not None:
            try:
                chore()
            except Exception:  # one chore's failure is told, and does not end the others
                log.exception("a chore failed; the others go on")
