"""Which HTTP client commands. Its lease is the same book's as the gRPC clients'.

SERL's clients open a connection for each request, so a peer is a remote address (and the user of
its Basic auth). A client that keeps its connection is told apart from others at its address as long
as that connection stands, and its end is noticed at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from robot_servers.http_reply import Refused
from robot_servers.lease import LeaseBook
from serl.errors import UserError

LEASE_IDLE_S = 2.0
"""After this much silence another client may command."""


@dataclass(frozen=True)
class Peer:
    """Who sent a request."""

    name: str
    """'http@127.0.0.1', with the user before it where there is one."""
    connection: Any = field(compare=False)
    """Its transport: `is_closing()` when it has ended."""


class HttpLease:
    """The HTTP face's side of the one lease. Used from the face's commanding thread only.

    Args:
        on_new: called when another HTTP peer begins to command, before its first command.
        on_gone: called with a reason when the commanding peer is known to be gone.
    """

    def __init__(
        self,
        leases: LeaseBook,
        *,
        on_new: Callable[[], None],
        on_gone: Callable[[str], None],
        idle_s: float = LEASE_IDLE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._leases = leases
        self._on_new, self._on_gone = on_new, on_gone
        self._idle_s, self._clock = idle_s, clock
        self._lease = ""
        self._holder: Peer | None = None
        self._commands_here = 0
        """Commands that came over the holder's present connection."""
        self._used_s = 0.0
        self._lost_s: dict[str, float] = {}
        """By peer: when one that was taken over last tried to go on as if nothing had been."""

    @property
    def holder(self) -> str:
        """The commanding HTTP peer, empty for none."""
        return self._holder.name if self._holder is not None else ""

    def use(self, peer: Peer, *, same_request: bool = False) -> None:
        """`peer` commands now; `same_request`: goes on with a request that has commanded before.

        Raises:
            Refused: 409, naming who commands.
        """
        now = self._clock()
        if self._holder is not None and self._may_go_on(peer, now, same_request):
            return
        self._check_taken_over(peer, now)
        try:
            self._lease = self._leases.acquire(peer.name, idle_s=self._idle_s)
        except UserError as error:
            raise Refused(409, str(error)) from error
        try:
            self._on_new()
        except UserError:
            self._leases.drop(self._lease)
            raise
        self._holder, self._commands_here, self._used_s = peer, 1, now

    def lost(self) -> str:
        """Why the HTTP face no longer commands; empty while it does. See `Guard.command`."""
        return self._leases.refusal(self._lease)

    @property
    def gone(self) -> bool:
        """The commanding client's own connection has ended. From any thread."""
        peer = self._holder
        return peer is not None and self._commands_here > 1 and peer.connection.is_closing()

    def watch(self) -> None:
        """Let go where the commanding client has gone."""
        if self.gone:
            self.let_go(f"{self.holder} closed its connection")

    def let_go(self, reason: str) -> None:
        """The holder is gone: give the lease back, and say so if it still was ours."""
        lease, self._lease, self._holder = self._lease, "", None
        if lease and self._leases.drop(lease):
            self._on_gone(reason)

    def _may_go_on(self, peer: Peer, now: float, same_request: bool) -> bool:
        """True for the holder itself; False where `peer` must ask for the lease anew."""
        holder = self._holder
        assert holder is not None
        silent = now - self._used_s >= self._idle_s
        same_connection = peer.connection is holder.connection
        keeps = self._commands_here > 1 and not holder.connection.is_closing()
        if peer != holder or (keeps and not same_connection):
            if not silent:
                raise Refused(
                    409,
                    f"{holder.name} commands this arm over HTTP; stop it, and try again after "
                    f"{self._idle_s:g} s of its silence.",
                )
            self.let_go(f"{holder.name} was silent for {now - self._used_s:.1f} s")
            return False
        try:
            self._leases.use(self._lease)
        except UserError as error:
            self._lease, self._holder = "", None
            if silent:
                return False  # it lapsed, and somebody else took it meanwhile
            self._lost_s[peer.name] = now
            raise Refused(409, str(error)) from error
        if not same_request:
            self._commands_here = self._commands_here + 1 if same_connection else 1
        self._holder, self._used_s = peer, now
        return True

    def _check_taken_over(self, peer: Peer, now: float) -> None:
        """An operator took the lease from this peer while it was sending. It must fall silent
        first: otherwise its loop would go on by itself the moment the operator is done."""
        lost_s = self._lost_s.pop(peer.name, None)
        if lost_s is not None and now - lost_s < self._idle_s:
            self._lost_s[peer.name] = now
            raise Refused(
                409,
                "an operator took this arm over while this client was sending; stop sending for "
                f"{self._idle_s:g} s, then command again.",
            )
