"""The workstation's end of one robot server: calls, the newest states, commands one at a time.

Two threads of its own read what comes in: the state stream's, which connects again whenever it
breaks, and the command stream's, which hands on replies. Nothing here sends a command by itself.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

import grpc

from robot_servers.clock import OffsetEstimator
from robot_servers.errors import CommandRefused, StaleState
from robot_servers.protocol import convert
from robot_servers.protocol import robot_pb2 as pb
from robot_servers.protocol.robot_pb2_grpc import RobotStub
from serl.errors import UserError
from serl.rpc import MIB, Limits, Tls, dial, explain

log = logging.getLogger(__name__)

CALL_TIMEOUT_S = 5.0
ACK_TIMEOUT_S = 1.0
"""A command that is not acknowledged within this: the server or the way to it hangs."""
AGAIN_S = 0.2
"""Pause between two attempts to open the state stream."""
PINGS = 10
"""Exchanges at the start, for the clock."""
ENDED = pb.CommandReply(refused="the stream has ended")
"""Stands in a stream's replies for its regular end."""
LIMITS = Limits(max_receive_bytes=32 * MIB)


class Link:
    """One robot server.

    Args:
        address: 'host:port'.
        client: this program, 'name@host:pid'.
        clock: this host's monotonic nanoseconds.
        on_states: told each new message of the state stream, from its thread.
    """

    def __init__(
        self,
        address: str,
        *,
        client: str,
        operator: bool,
        token: str | None,
        tls: Tls | None,
        insecure_lan: bool,
        clock: Callable[[], int],
        on_states: Callable[[pb.States], None],
    ) -> None:
        self.peer = f"robot server at {address}"
        self.clock = OffsetEstimator()
        self.lease = ""
        self.sequence = 0
        self.newest: pb.States | None = None
        self.failure: UserError | None = None
        """What ended the state stream for good."""
        self.description = pb.DescribeReply()
        self.restarted = False
        """Another server process than the one first connected to answers now."""
        self._client, self._operator = client, operator
        self._session = secrets.token_hex(16)
        self._now = clock
        self._on_states = on_states
        self._closed = threading.Event()
        self._channel = dial(
            address, token=token, tls=tls, insecure_lan=insecure_lan, limits=LIMITS
        )
        self.robot = RobotStub(self._channel)
        self._watcher: threading.Thread | None = None
        self._watch_call: Any = None
        self._stream: _CommandStream | None = None
        self._broken = False
        """The command stream is broken, and that has been said."""

    @property
    def channel(self) -> Any:
        return self._channel

    def describe(self) -> pb.DescribeReply:
        """What is there; refuses another version of the protocol."""
        reply = self.call(self.robot.Describe, pb.DescribeRequest())
        if reply.protocol != convert.PROTOCOL:
            raise UserError(
                f"{self.peer} speaks protocol {reply.protocol} (serl-suite {reply.version}), this "
                f"client {convert.PROTOCOL}; install the same version on both."
            )
        first = self.description.instance
        self.restarted |= bool(first) and first != reply.instance
        self.description = reply
        return reply

    def call(self, method: Any, request: Any, timeout_s: float = CALL_TIMEOUT_S) -> Any:
        """One call. Raises UserError with the server's own line, StaleState where it is away."""
        try:
            return method(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise self.told(error) from error

    def told(self, error: grpc.RpcError) -> UserError:
        """A failed call as an error a person, or an env, can act on."""
        code, details = error.code(), error.details()  # type: ignore[attr-defined]
        if code in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.INVALID_ARGUMENT):
            return UserError(f"{details}")
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            return UserError(f"{self.peer}: {details}")
        if code is grpc.StatusCode.UNKNOWN:
            return UserError(f"{self.peer} failed: {details}. Its own log says more.")
        if code is grpc.StatusCode.PERMISSION_DENIED:
            return CommandRefused(f"{self.peer}: {details}")
        known = explain(error, self.peer)
        if known is not None:
            return known
        return StaleState(
            f"{self.peer} does not answer ({code.name}: {details}). Check that `serl robot-server` "
            "runs there, and the network."
        )

    def watch(self, rate_hz: float) -> None:
        """Start the state stream, and wait for its first message."""
        self._watcher = threading.Thread(
            target=self._watch, args=(rate_hz,), name="states", daemon=True
        )
        self._watcher.start()
        deadline = time.monotonic() + CALL_TIMEOUT_S
        while self.newest is None:
            if self.failure is not None:
                raise self.failure
            if time.monotonic() > deadline:
                raise StaleState(
                    f"{self.peer}: no state within {CALL_TIMEOUT_S:g} s; is its arm connected?"
                )
            time.sleep(0.002)

    def acquire(self) -> None:
        """Take the lease."""
        request = pb.AcquireLeaseRequest(
            client=self._client, operator=self._operator, session=self._session
        )
        self.lease = self.call(self.robot.AcquireLease, request).lease

    def synchronise(self) -> None:
        """A few messages there and back, for the clock."""
        for _ in range(PINGS):
            self.wait(self.send(pb.CommandRequest()))

    def ensure(self) -> bool:
        """Open the command stream if there is none; True when that was after a break."""
        before = self._stream
        if before is not None and not before.broken:
            return False
        if before is not None:
            if not self._broken:
                log.warning("%s: the command stream broke; opening another", self.peer)
            self._broken = True
            instance = self.description.instance
            if self.describe().instance != instance:
                self.clock.forget()
            if self.lease:
                self.acquire()  # the old lease went with the stream
        self._stream = _CommandStream(self.robot.Command, self._now, self.clock)
        self.synchronise()
        if self._broken:
            log.warning("%s: commands go through again", self.peer)
        self._broken = False
        return before is not None

    def send(self, request: pb.CommandRequest) -> int:
        """Put a command, or a ping, on its way; its sequence number."""
        assert self._stream is not None
        self.stamp(request)
        self._stream.send(request, self._now())
        return request.sequence

    def stamp(self, request: pb.CommandRequest) -> None:
        """The lease, the next sequence number, and when it was sent by the server's clock."""
        self.sequence += 1
        request.sequence = self.sequence
        request.lease = self.lease
        if self.clock.best is not None:
            request.sent_mono_ns = self._now() + self.clock.offset_ns

    def wait(self, sequence: int) -> pb.CommandReply:
        """The reply to a message sent before. Raises StaleState when it does not come."""
        stream = self._stream
        assert stream is not None
        deadline = time.monotonic() + ACK_TIMEOUT_S
        while True:
            reply = stream.reply(deadline - time.monotonic())
            if reply is None:
                raise StaleState(
                    f"{self.peer} has not acknowledged a command within {ACK_TIMEOUT_S:g} s; the "
                    "arm holds by itself. Check the network."
                )
            if isinstance(reply, grpc.RpcError):
                raise self.told(reply) from reply
            if reply is ENDED:
                raise StaleState(f"{self.peer} has ended the command stream; is it closing?")
            if reply.sequence == sequence:
                return reply

    def close(self) -> None:
        """Give the lease back and hang up."""
        self._closed.set()
        if self._stream is not None:
            self._stream.close()
        if self._watch_call is not None:
            self._watch_call.cancel()
        if self._watcher is not None:
            self._watcher.join(2.0)
        self._channel.close()

    def _watch(self, rate_hz: float) -> None:
        lost = False
        while not self._closed.is_set():
            try:
                self._watch_call = self.robot.StateStream(pb.StateStreamRequest(rate_hz=rate_hz))
                for states in self._watch_call:
                    if lost:
                        log.warning("%s: states come again", self.peer)
                        lost = False
                    self.newest = states
                    self._on_states(states)
            except grpc.RpcError as error:
                if self._closed.is_set():
                    return
                told = self.told(error)
                if not isinstance(told, StaleState):
                    self.failure = told
                    return
                if not lost:
                    log.warning("%s; trying again", told)
                lost = True
            except UserError as error:
                self.failure = error
                return
            self._closed.wait(AGAIN_S)


class _CommandStream:
    """One bidirectional call, and the thread that reads its replies."""

    def __init__(self, command: Any, now: Callable[[], int], clock: OffsetEstimator) -> None:
        self.broken = False
        self._now, self._clock = now, clock
        self._sent_ns: dict[int, int] = {}
        self._out: SimpleQueue[pb.CommandRequest | None] = SimpleQueue()
        self._in: SimpleQueue[pb.CommandReply | grpc.RpcError] = SimpleQueue()
        self._call = command(iter(self._out.get, None))
        self._reader = threading.Thread(target=self._read, name="replies", daemon=True)
        self._reader.start()

    def send(self, request: pb.CommandRequest, now_ns: int) -> None:
        self._sent_ns[request.sequence] = now_ns
        self._out.put(request)

    def reply(self, timeout_s: float) -> pb.CommandReply | grpc.RpcError | None:
        """The next reply, what ended the stream, or None when nothing comes."""
        try:
            return self._in.get(timeout=max(0.0, timeout_s))
        except Empty:
            return None

    def close(self) -> None:
        """End it from this side, and wait until the server has let go of the arms."""
        self._out.put(None)
        self._reader.join(1.0)
        self._call.cancel()

    def _read(self) -> None:
        try:
            for reply in self._call:
                back_ns = self._now()
                sent_ns = self._sent_ns.pop(reply.sequence, None)
                if sent_ns is not None:
                    self._clock.add(sent_ns, reply.received_mono_ns, reply.sent_mono_ns, back_ns)
                self._in.put(reply)
        except grpc.RpcError as error:
            self.broken = True
            self._in.put(error)
        else:
            self.broken = True
            self._in.put(ENDED)
        finally:
            self._out.put(None)  # lets gRPC's own thread go that waits for the next message
