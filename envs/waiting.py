"""Waiting for an arm, out loud: it says for what, again and again, and can be told to stop."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from serl.errors import Interrupted

log = logging.getLogger(__name__)

SAY_EVERY_S = 10.0
LOOK_EVERY_S = 0.05
AGAIN_S = 2.0


class Waiter:
    """Polls until there is nothing left to wait for.

    `on_wait` gets the reason while a wait lasts, and "" when it is over; `interrupted` ends it.
    """

    def __init__(self) -> None:
        self.on_wait: Callable[[str], None] = lambda reason: None
        self.interrupted: Callable[[], bool] = lambda: False

    def a_while(self, reason: str) -> None:
        """Wait before something is tried again that only a person can put right."""
        end_s = time.monotonic() + AGAIN_S
        self.until_clear(lambda: reason if time.monotonic() < end_s else "")

    def until_clear(
        self, reason: Callable[[], str], meanwhile: Callable[[], None] | None = None
    ) -> float:
        """Wait while `reason()` is not empty; the seconds it took.

        Args:
            meanwhile: done again and again instead of sleeping; it takes its time.

        Raises Interrupted when told to stop.
        """
        meanwhile = meanwhile or (lambda: time.sleep(LOOK_EVERY_S))
        begun, said_s = time.monotonic(), -SAY_EVERY_S
        while what := reason():
            waited_s = time.monotonic() - begun
            if waited_s - said_s >= SAY_EVERY_S:
                log.warning("waiting (%.0f s): %s", waited_s, what)
                said_s = waited_s
            self.on_wait(what)
            if self.interrupted():
                raise Interrupted(f"stopped while waiting: {what}")
            meanwhile()
        if said_s >= 0:
            self.on_wait("")
            log.warning("going on after %.1f s", time.monotonic() - begun)
        return time.monotonic() - begun
