"""Requests that a loop does for other threads, one per tick, while they wait."""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout

from serl.errors import UserError


class Jobs:
    """A queue of functions with the loop at one end."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[tuple[Callable[[], None], Future[None]]] = (
            queue.SimpleQueue()
        )
        self._refusal = ""

    def do(self, job: Callable[[], None], timeout_s: float) -> None:
        """Have the loop call `job`; raises what it raises."""
        if self._refusal:
            raise UserError(self._refusal)
        done: Future[None] = Future()
        self._queue.put((job, done))
        if self._refusal:  # refused between the two lines above
            self.refuse(self._refusal)
        try:
            done.result(timeout_s)
        except FutureTimeout as error:
            if done.done():  # the job's own
                raise
            done.cancel()
            raise UserError(
                f"the arm took more than {timeout_s:g} s; see its Desk, then try again."
            ) from error
        except CancelledError as error:
            raise UserError(self._refusal) from error
        finally:
            del done  # it holds the exception, which holds this frame, which may hold an arm

    def run_next(self) -> None:
        """From the loop: the oldest request, if there is one."""
        try:
            job, done = self._queue.get_nowait()
        except queue.Empty:
            return
        if not done.set_running_or_notify_cancel():
            return
        try:
            job()
        except BaseException as error:  # raised again where it was asked for
            done.set_exception(error)
        else:
            done.set_result(None)
        finally:
            del job, done  # as above

    def refuse(self, reason: str) -> None:
        """No more: those waiting, and all later ones, get `reason`."""
        self._refusal = reason
        while True:
            try:
                _, done = self._queue.get_nowait()
            except queue.Empty:
                return
            done.cancel()
