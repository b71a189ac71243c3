"""Two background threads of a replay: one flushes on a timer, one compresses what is full.

A disk that is full is said once and tried again; any other failure is raised to the next caller of
the replay. The compressor rests three times as long as it works, so that it never costs the learner
more than a quarter of a core: about 2500 frames/s of 128x128, 40 times what two cameras at 30 Hz
bring. (A low priority would be worse: a thread that is not run while it holds Python's lock stops
everyone.)
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

BURST_S = 0.005
REST = 3.0


class Keeper:
    """Runs `sync` every `period_s` and `compress` whenever that reports more to do.

    Args:
        sync: flushes; may raise OSError for a full disk.
        compress: does one piece of work and says whether more waits.
    """

    def __init__(
        self, sync: Callable[[], None], compress: Callable[[], bool], period_s: float
    ) -> None:
        self._stop = threading.Event()
        self._resumed = time.monotonic()
        self._failure: BaseException | None = None
        self._threads = [
            threading.Thread(
                target=self._run, args=(sync, period_s), name="replay-sync", daemon=True
            ),
            threading.Thread(
                target=self._run, args=(compress, period_s), name="replay-compress", daemon=True
            ),
        ]
        for thread in self._threads:
            thread.start()

    def check(self) -> None:
        """Raise what ended a thread."""
        if self._failure is not None:
            raise RuntimeError("a background thread of the replay failed") from self._failure

    def stop(self) -> None:
        """End both threads and wait for them."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def pace(self) -> bool:
        """Called by the compressor after each bit of work: rest, and say whether to give up."""
        worked = time.monotonic() - self._resumed
        if worked > BURST_S:
            self._stop.wait(REST * min(worked, 4 * BURST_S))
            self._resumed = time.monotonic()
        return self._stop.is_set()

    def _run(self, work: Callable[[], object], period_s: float) -> None:
        told = False
        more: object = False
        try:
            while not self._stop.wait(0.0 if more else period_s):
                try:
                    more = work()
                    told = False
                except OSError as error:
                    more = False
                    if not told:
                        log.warning("replay: %s; trying again every %.0f s", error, period_s)
                    told = True
        except BaseException as error:  # reaches the main loop through `check`
            self._failure = error
