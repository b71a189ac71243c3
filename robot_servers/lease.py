"""Who may command: one client at a time, shared by the gRPC and the HTTP face.

A lease lives as long as its holder's session and is not taken from a holder who used it within
`idle_s`. An operator takes it over; the one before is told so, by name, on its next command.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from serl.errors import UserError

REMEMBERED = 64
"""So many ended leases are known by what ended them."""


class NotTheHolder(UserError):
    """Another client commands, or nobody does; the message says who and what to do."""


@dataclass
class _Lease:
    id: str
    client: str
    session: str
    idle_s: float
    since_s: float
    used_s: float


class LeaseBook:
    """The one lease of a robot server. Thread-safe.

    Args:
        idle_s: a lease unused for this long may be taken by another client.
        clock: monotonic seconds.
        on_event: told each take-over in one line.
    """

    def __init__(
        self,
        *,
        idle_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
        on_event: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.idle_s = idle_s
        self._clock = clock
        self._on_event = on_event
        self._lock = Lock()
        self._now: _Lease | None = None
        self._ended: OrderedDict[str, str] = OrderedDict()

    def acquire(
        self,
        client: str,
        *,
        operator: bool = False,
        idle_s: float | None = None,
        session: str = "",
    ) -> str:
        """A new lease id for `client` ('name@host:pid'). Raises UserError naming the holder, since
        when it holds, and what to do (`--operator`, or wait). `idle_s` overrides the book's.

        The holder itself gets a new id in place of its old one: it has lost its connection. It is
        told by its name and `session`, which it draws at random: names can be alike.
        """
        event = ""
        with self._lock:
            now_s, before = self._clock(), self._now
            if before is not None and (before.client, before.session) != (client, session):
                event = self._displace(before, client, operator, now_s)
            elif before is not None:
                self._remember(before.id, "you have opened another session since.")
            lease = _Lease(
                secrets.token_hex(16),
                client,
                session,
                self.idle_s if idle_s is None else idle_s,
                now_s,
                now_s,
            )
            self._now = lease
        if event:
            self._on_event(event)
        return lease.id

    def use(self, lease: str) -> None:
        """The holder did something. Raises UserError: not held, expired, or taken over by whom.

        An idle lease that nobody has taken is the holder's again.
        """
        with self._lock:
            if self._now is not None and secrets.compare_digest(self._now.id, lease):
                self._now.used_s = self._clock()
                return
            raise NotTheHolder(self._why_not(lease))

    def refusal(self, lease: str) -> str:
        """Why `lease` may not command now; empty when it may. Uses nothing."""
        with self._lock:
            held = self._now is not None and secrets.compare_digest(self._now.id, lease)
            return "" if held else self._why_not(lease)

    def drop(self, lease: str) -> bool:
        """Give it back; False when it was not held any more."""
        with self._lock:
            if self._now is None or self._now.id != lease:
                return False
            self._remember(lease, "it was given back; connect again.")
            self._now = None
            return True

    @property
    def holder(self) -> str:
        """Who commands now; empty for nobody."""
        lease = self._now
        return "" if lease is None else lease.client

    def is_holder(self, client: str, session: str) -> bool:
        """This very client commands now."""
        lease = self._now
        return lease is not None and (lease.client, lease.session) == (client, session)

    def _displace(self, before: _Lease, client: str, operator: bool, now_s: float) -> str:
        """End another client's lease, or refuse to. The line that tells of it."""
        idle_s = now_s - before.used_s
        if operator:
            event = f"{client} took the lease over from {before.client}, as operator."
            self._remember(before.id, f"{client} took it over as operator.")
            return event
        if idle_s >= before.idle_s:
            self._remember(before.id, f"{client} took it after you were idle for {idle_s:.0f} s.")
            return (
                f"{client} took the lease, which {before.client} had not used for {idle_s:.0f} s."
            )
        raise NotTheHolder(
            f"{before.client} commands this arm since {now_s - before.since_s:.0f} s (last used it "
            f"{idle_s:.1f} s ago); one client at a time. Stop that one, wait until it has been "
            f"idle for {before.idle_s:g} s, or take over with --operator."
        )

    def _remember(self, lease: str, why: str) -> None:
        self._ended[lease] = why
        while len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)

    def _why_not(self, lease: str) -> str:
        holder = f"{self._now.client} commands now" if self._now else "nobody commands now"
        if not lease:
            return f"commanding needs the lease, which was not given; {holder}. Acquire it first."
        why = self._ended.get(lease, "this server did not give it out, or long ago.")
        return f"the lease is no longer yours: {why} ({holder}.)"
