"""Keeps the processes of a run alive until one of them has done its work.

A child that dies is started again, a bounded number of times: nothing is lost by it, since records
are in the spool and the replay. So is one that ends well while the others still need it: they would
wait for it for ever. A child that ends with exit code 2 has told the user what to do; starting it
again would only repeat it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from launch.processes import Child, Interrupts
from serl.errors import UserError

POLL_S = 0.1
MISSED_AFTER_S = 15.0
"""A child that ended well is missed this long after [s]: the one whose work all are there for has
its last records to send and files to close, and may be about to end too."""


class Stopped(Exception):
    """The user asked to stop, and everything has stopped."""


@dataclass(frozen=True)
class Death:
    """A child ended that should not have."""

    child: Child
    returncode: int

    def text(self) -> str:
        how = f"signal {-self.returncode}" if self.returncode < 0 else f"code {self.returncode}"
        what = "died" if self.returncode else "ended before the work was done"
        return f"{self.child.name} {what} ({how}, start {self.child.starts})"


class Supervisor:
    """Runs children side by side.

    Args:
        children: in the order of starting; they are stopped in the reverse order.
        max_restarts: per child, before the run is given up.
        missed_after_s: from a child's good end until it counts as a death.
        on_tick: called about ten times a second.
        on_message: given one line for the user when something noteworthy happens.
    """

    def __init__(
        self,
        children: Sequence[Child],
        *,
        interrupts: Interrupts,
        max_restarts: int = 5,
        missed_after_s: float = MISSED_AFTER_S,
        on_tick: Callable[[], None] = lambda: None,
        on_message: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.children = list(children)
        self._interrupts = interrupts
        self._max_restarts = max_restarts
        self._missed_after_s = missed_after_s
        self._ended_at: dict[Child, float] = {}
        self._on_tick = on_tick
        self._on_message = on_message

    def run(self, until: Child) -> None:
        """Start everyone; return when `until` has ended with code 0 and the others have stopped.

        Raises:
            Stopped: the user asked to stop.
            UserError: a child ended with a message for the user, or died too often.
        """
        try:
            for child in self.children:
                if child.after is None:
                    child.start()
            while until.returncode != 0:
                self._on_tick()
                if self._interrupts.stop:
                    raise Stopped
                for child in self.children:
                    self._look_after(child, until)
                time.sleep(POLL_S)
        finally:
            self.stop()

    def stop(self) -> None:
        """End every child, last started first; one that does not end in time is killed."""
        for child in reversed(self.children):
            if child.running:
                self._on_message(f"stopping the {child.name} ...")
            if not child.stop(hurry=lambda: self._interrupts.hurry):
                self._on_message(f"the {child.name} did not end in time and was killed")

    def _look_after(self, child: Child, until: Child) -> None:
        if child.starts == 0 and child.after is not None:
            if child.after.returncode == 0:
                child.start()
            return
        code = child.returncode
        if code is None or (code == 0 and (child is until or not self._is_missed(child))):
            return
        if code == UserError.exit_code:
            raise UserError(_message_of(child))
        death = Death(child, code)
        tail = "".join(f"\n    {line}" for line in child.last_lines()) or " (empty)"
        if child.starts > self._max_restarts:
            raise UserError(
                f"{death.text()}; that is once too often. Its log is {child.log}; "
                "nothing is lost: fix the cause and go on with --resume."
            )
        self._on_message(f"{death.text()}; starting it again. The end of {child.log}:{tail}")
        time.sleep(min(5.0, 0.2 * 2 ** (child.starts - 1)))
        self._ended_at.pop(child, None)
        child.start()

    def _is_missed(self, child: Child) -> bool:
        """Whether a child that ended well has left the others waiting."""
        ended_at = self._ended_at.setdefault(child, time.monotonic())
        return not child.may_end and time.monotonic() - ended_at >= self._missed_after_s


def _message_of(child: Child) -> str:
    """The one line with which a child ended, without its 'serl verb:'."""
    last = child.last_lines(1)
    if not last:
        return f"{child.name} ended with code {UserError.exit_code} and said nothing."
    text = last[0]
    return text.partition(": ")[2] if text.startswith("serl ") else text
