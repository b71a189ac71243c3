"""The thread that encodes what replays have committed, while the learner learns.

Records are acknowledged before this (DESIGN decision 6). Rows without any crop go first, in all
replays; further crops are made when nothing else waits, those of the last replay before others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from types import TracebackType

from serl.data.feature_cache import FeatureCache
from serl.data.features import Encode
from serl.data.replay import Replay

IDLE_S = 0.01
"""Between looks at replays that have nothing to encode [s]; a look takes some microseconds."""
ROWS = 32
"""Rows per call of the trunk; a new row waits for at most one such call."""


class Encoder:
    """Fills the feature stores of `replays`, in order of importance, until closed.

    Args:
        encode: the trunk, see `serl.data.features.Encode`; called in the thread.
        caches: what is written to disk once a replay is full: that of the demonstrations.
    """

    def __init__(
        self,
        encode: Encode,
        replays: Sequence[Replay],
        *,
        caches: Sequence[FeatureCache] = (),
        rows: int = ROWS,
    ) -> None:
        self._encode = encode
        self._replays = tuple(replays)
        self._caches = list(caches)
        self._rows = rows
        self._made = 0
        self._seen = (time.monotonic(), 0)
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="encoder", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise what ended the thread, if something did."""
        if self._failure is not None:
            raise self._failure

    def add_cache(self, cache: FeatureCache) -> None:
        """Also write this one when its replay is full."""
        self._caches.append(cache)

    def metrics(self) -> dict[str, float]:
        """Crops still to be made, rows that cannot be sampled yet, and crops made per second since
        the last call."""
        (then, before), now, made = self._seen, time.monotonic(), self._made
        self._seen = (now, made)
        waiting = sum(r.records_committed - r.ready for r in self._replays)
        return {
            "encoder/backlog_crops": float(sum(r.backlog for r in self._replays)),
            "encoder/rows_waiting": float(waiting),
            "encoder/crops_per_s": (made - before) / max(now - then, 1e-9),
        }

    def close(self) -> None:
        """End the thread and wait for it; call before the replays are closed."""
        self._stop.set()
        self._thread.join()

    def __enter__(self) -> Encoder:
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
            while not self._stop.is_set():
                made = self._crops(first_only=True)
                if not made and self._write_caches():
                    continue
                made = made or self._crops(first_only=False)
                self._made += made
                if not made:
                    self._stop.wait(IDLE_S)
        except BaseException as error:  # reaches the main loop through `check`
            self._failure = error

    def _crops(self, *, first_only: bool) -> int:
        """One call of the trunk, for what matters most; says how many crops it made.

        First crops let rows be sampled: the most important replay comes first. Further ones go the
        other way: demonstrations are few and half of each batch, and online rows never cease.
        """
        for replay in self._replays if first_only else reversed(self._replays):
            made = replay.encode_next(self._encode, self._rows, first_only=first_only)
            if made:
                return made
        return 0

    def _write_caches(self) -> bool:
        """Write one episode of a cache that is not on disk yet; says whether there was one."""
        return any(cache.write_one() for cache in self._caches)
