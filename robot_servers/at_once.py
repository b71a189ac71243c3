"""Calls to several robot servers that must not wait for one another: one hangs, the others stop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from serl.errors import UserError


def at_once(calls: Iterable[Callable[[], None]]) -> None:
    """Make all calls in parallel and wait for all; then raise what failed, as one error."""
    failures: list[UserError] = []

    def run(call: Callable[[], None]) -> None:
        try:
            call()
        except UserError as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(call,), daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(failures) > 1:
        raise UserError(" ".join(map(str, failures))) from failures[0]
    if failures:
        raise failures[0]
