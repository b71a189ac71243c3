"""One client's command stream, as the server answers it: lease, guard, verdicts, two stamps."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from robot_servers.guard import Guard
from robot_servers.lease import LeaseBook
from robot_servers.protocol import convert
from robot_servers.protocol import robot_pb2 as pb
from serl.errors import UserError


class CommandSession:
    """From a stream's first message to its end, which releases the arms."""

    def __init__(self, guard: Guard, leases: LeaseBook, client: str) -> None:
        self._guard, self._leases, self._client = guard, leases, client
        self._lock = Lock()
        self._lease = ""
        self._ended = False

    def answer(self, request: pb.CommandRequest) -> pb.CommandReply:
        """The reply to one message; what a client sends never raises."""
        received = self._guard.clock()
        reply = pb.CommandReply(sequence=request.sequence, received_mono_ns=received)
        try:
            if request.lease and request.lease != self._lease:
                self._begin(request.lease)
            if request.arms:
                self._leases.use(self._lease)
                carry_out(self._guard, request, reply, self._lost)
        except UserError as error:
            reply.refused = str(error)
        return sent(self._guard, reply)

    def end(self) -> None:
        """The stream is over: hold at once, if this client still commanded. From any thread."""
        with self._lock:
            if self._ended:
                return
            self._ended = True
        holder = self._leases.holder
        if self._lease and self._leases.drop(self._lease):
            self._guard.release(f"{holder or self._client} is gone: its command stream ended")

    def _lost(self) -> str:
        return self._leases.refusal(self._lease)

    def _begin(self, lease: str) -> None:
        self._leases.use(lease)
        with self._lock:
            if self._ended:
                return
            self._lease = lease
        self._guard.begin_session()


def carry_out(
    guard: Guard,
    request: pb.CommandRequest,
    reply: pb.CommandReply,
    lost: Callable[[], str] = lambda: "",
) -> bool:
    """Hand a request's commands to the guard, its verdicts to the reply; False when refused.

    `lost`: see `Guard.command`.

    Raises UserError for a malformed message.
    """
    verdicts = guard.command(
        convert.take_commands(request.arms),
        valid_for_s=request.valid_for_s,
        sequence=request.sequence,
        sent_mono_ns=request.sent_mono_ns or None,
        lost=lost,
    )
    refused = False
    for arm, verdict in verdicts.items():
        if not (verdict.refused or verdict.clamps):
            continue
        message = reply.verdicts.add(arm=arm, refused=verdict.refused)
        convert.put_clamps(message, verdict.clamps)
        if verdict.refused:
            refused = True
            state = guard.states().get(arm)
            if state is not None and state.fault is not None:
                convert.put_fault(message.fault, state.fault)
    return not refused


def sent(guard: Guard, reply: pb.CommandReply) -> pb.CommandReply:
    """The reply with its last stamps."""
    if not guard.backend.lockstep:
        stamps = [state.stamp_mono_ns for state in guard.states().values()]
        reply.state_stamp_mono_ns = max(stamps, default=0)
    reply.sent_mono_ns = guard.clock()
    return reply
