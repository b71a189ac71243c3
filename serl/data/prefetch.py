"""Draws batches ahead in a thread, so that the learner never waits for the disk.

The thread owns the random generator. What it drew and nobody took is known: `state()` is that of
the next batch to be taken, so a learner that stops and restores it draws the same batches again.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Generic, TypeVar

import numpy as np

T = TypeVar("T")


class Prefetch(Generic[T]):
    """A thread that keeps up to `depth` results of `draw(rng)` ready.

    Args:
        draw: makes one batch; runs in the thread (and may move it to a device there).
        rng: from here on the thread's own.
        depth: batches ahead. Each was drawn from the replay as it was then.
    """

    def __init__(
        self, draw: Callable[[np.random.Generator], T], rng: np.random.Generator, depth: int = 2
    ) -> None:
        if depth < 1:
            raise ValueError(f"depth {depth}; it must be at least 1")
        self._draw = draw
        self._rng = rng
        self._depth = depth
        self._ready: deque[tuple[Mapping[str, Any], T]] = deque()
        self._next_state = rng.bit_generator.state
        self._failure: BaseException | None = None
        self._stopped = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="prefetch", daemon=True)
        self._thread.start()

    def get(self, timeout_s: float = 60.0) -> T:
        """The next batch. Raises what the thread failed with, or TimeoutError."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not self._ready:
                if self._failure is not None:
                    raise self._failure
                if self._stopped:
                    raise RuntimeError("the prefetch was closed")
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"no batch drawn within {timeout_s} s")
                self._changed.wait(left)
            _, batch = self._ready.popleft()
            self._changed.notify_all()
            return batch

    def state(self) -> Mapping[str, Any]:
        """The generator's state before the next batch that `get` will return.

        `rng.bit_generator.state = state` makes a new Prefetch draw that batch first.
        """
        with self._changed:
            return self._ready[0][0] if self._ready else self._next_state

    def close(self) -> None:
        """End the thread; batches not taken are given up (see `state`)."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join()

    def __enter__(self) -> Prefetch[T]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self) -> None:
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._stopped or len(self._ready) < self._depth)
                    if self._stopped:
                        return
                before = self._rng.bit_generator.state
                batch = self._draw(self._rng)
                with self._changed:
                    self._ready.append((before, batch))
                    self._next_state = self._rng.bit_generator.state
                    self._changed.notify_all()
        except BaseException as error:  # reaches the main loop through `get`
            with self._changed:
                self._failure = error
                self._changed.notify_all()
