"""Which windows of H consecutive steps can be sampled now, and a uniform draw among them.

A window is known by its last record. Candidates stand in a queue in order of arrival; old ones
leave at the front as the replay evicts. Episodes of several actors interleave, so a few candidates
behind the front may begin before the oldest row: these are kept apart, and a draw steps over them.
So every draw is exact, with no rejection and nothing that can spin (serl.md D-R2).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from serl.data.columns import Columns
from serl.types import Source


class WindowIndex:
    """Windows of `horizon` steps; with `humans`, only those whose first step a human chose."""

    def __init__(self, columns: Columns, horizon: int, humans: bool, tail: int, head: int) -> None:
        self.horizon = horizon
        self._columns = columns
        self._humans = humans
        self._ends = np.empty(1024, np.int64)  # queue: sequence numbers, ascending, in [lo, hi)
        self._lo = self._hi = 0
        self._dead = np.empty(0, np.int64)  # queued windows that begin before the tail, ascending
        self._skip = np.empty(0, np.int64)
        for start in range(tail, head, 1 << 20):
            self.extend(start, min(head, start + (1 << 20)), tail)

    def __len__(self) -> int:
        return self._hi - self._lo - len(self._dead)

    def extend(self, start: int, stop: int, tail: int) -> None:
        """Rows start ... stop - 1 were committed."""
        ends = np.arange(max(start, tail), stop)
        first = ends  # becomes the record of each window's first step, then the one before it
        for _ in range(self.horizon - 1):
            first = self._columns.back(first, tail)
        whole = self._columns.back(first, tail) >= 0
        if self._humans:
            known = np.where(first >= 0, first, start)
            whole &= self._columns.take("source", known) == Source.HUMAN
        self._push(ends[whole])

    def evict(self, tail: int, new_tail: int, head: int) -> None:
        """Rows tail ... new_tail - 1 are going; call before they do."""
        cut = np.empty(0, np.int64)
        for start in range(tail, new_tail, 1 << 16):
            rows = np.arange(start, min(new_tail, start + (1 << 16)))
            for _ in range(self.horizon):
                rows = self._columns.ahead(rows, head)
                rows = rows[rows >= 0]
                cut = np.append(cut, rows[rows >= new_tail])
        self._lo += int(np.searchsorted(self._ends[self._lo : self._hi], new_tail))
        queue = self._ends[self._lo : self._hi]
        cut = np.unique(np.concatenate([self._dead[self._dead >= new_tail], cut]))
        places = np.searchsorted(queue, cut)
        here = places < len(queue)
        here[here] = queue[places[here]] == cut[here]
        self._dead = cut[here]
        self._skip = places[here] - np.arange(len(self._dead))

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.int64]:
        """Last records of windows drawn uniformly, with replacement."""
        k = rng.integers(0, len(self), shape)
        if len(self._skip):
            k += np.searchsorted(self._skip, k, side="right")
        return self._ends[self._lo + k]

    def _push(self, ends: NDArray[np.int64]) -> None:
        if self._hi + len(ends) > len(self._ends):
            held = self._ends[self._lo : self._hi]
            self._ends = np.empty(2 * (len(held) + len(ends)) + 1024, np.int64)
            self._ends[: len(held)] = held
            self._lo, self._hi = 0, len(held)
        self._ends[self._hi : self._hi + len(ends)] = ends
        self._hi += len(ends)
