"""robot.proto's Robot service over a Guard: every call is a few lines, the Guard decides."""

from __future__ import annotations

import functools
import importlib.metadata
import logging
import math
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields, replace
from threading import BoundedSemaphore, Event
from typing import Any, TypeVar

import grpc

from robot_servers.command_stream import CommandSession
from robot_servers.config import SafetyLimits
from robot_servers.guard import Guard
from robot_servers.host import host_facts
from robot_servers.lease import LeaseBook, NotTheHolder
from robot_servers.protocol import convert
from robot_servers.protocol import robot_pb2 as pb
from robot_servers.protocol.robot_pb2_grpc import RobotServicer
from robot_servers.types import RobotState
from serl.errors import UserError, unknown_name

log = logging.getLogger(__name__)

MAX_RATE_HZ = 1000.0
LOOK_S = 0.2
"""A stream looks this often whether it is still wanted."""

T = TypeVar("T")


class Malformed(UserError):
    """A message that is none, whatever the robot is doing."""


def told(call: Callable[..., T]) -> Callable[..., T]:
    """A handler whose UserError reaches the client as its one line."""

    @functools.wraps(call)
    def handler(self: Any, request: Any, context: grpc.ServicerContext) -> T:
        try:
            return call(self, request, context)
        except NotTheHolder as error:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
        except Malformed as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except UserError as error:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        raise AssertionError("abort raises")

    return handler


def served_by(pool: ThreadPoolExecutor, call: Callable[..., T]) -> Callable[..., T]:
    """A handler with threads of its own: it is served when every worker is busy."""

    def handler(request: Any, context: grpc.ServicerContext) -> T:
        return call(request, context)

    handler.experimental_thread_pool = pool  # type: ignore[attr-defined]
    return handler


class RobotService(RobotServicer):
    """The Robot service.

    Args:
        urgent: threads for Stop and EStop alone.
        max_watchers, max_commanders: streams served at a time; each holds a worker.
        closing: set when the server goes down.
    """

    def __init__(
        self,
        guard: Guard,
        leases: LeaseBook,
        *,
        backend_name: str,
        urgent: ThreadPoolExecutor,
        max_watchers: int,
        max_commanders: int,
        closing: Event,
    ) -> None:
        self._guard, self._leases = guard, leases
        self._backend_name = backend_name
        self._watchers = BoundedSemaphore(max_watchers)
        self._commanders = BoundedSemaphore(max_commanders)
        self._max = {"state streams": max_watchers, "command streams": max_commanders}
        self._closing = closing
        self._instance = uuid.uuid4().hex
        self.Stop = served_by(urgent, self._stop)
        self.EStop = served_by(urgent, self._estop)

    @told
    def Describe(self, request: pb.DescribeRequest, context: Any) -> pb.DescribeReply:
        return self.description()

    def description(self) -> pb.DescribeReply:
        guard, backend = self._guard, self._guard.backend
        reply = pb.DescribeReply(
            protocol=convert.PROTOCOL,
            version=_version(),
            instance=self._instance,
            backend=self._backend_name,
            lockstep=backend.lockstep,
            period_s=backend.period_s,
            scene=backend.scene is not None,
            unsupported=sorted(backend.unsupported),
            facts={**host_facts(), **backend.facts()},
            holder=self._leases.holder,
            stamp_mono_ns=guard.clock(),
            stamp_wall_ns=time.time_ns(),
        )
        limits, motion, gains = guard.limits, guard.motion, guard.gains
        for arm, robot in guard.arms.items():
            entry = reply.arms.add(arm=arm)
            convert.put_description(entry.description, robot)
            convert.put_limits(entry.limits, limits[arm])
            convert.put_flat(entry.motion, motion[arm])
            convert.put_gains(entry.gains, gains[arm])
        return reply

    def StateStream(self, request: pb.StateStreamRequest, context: Any) -> Iterator[pb.States]:
        rate_hz = request.rate_hz
        if not 0 < rate_hz <= MAX_RATE_HZ:
            context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"a state rate of {rate_hz:g} Hz is not above 0 and at most {MAX_RATE_HZ:g} Hz.",
            )
        with self._place(self._watchers, "state streams", context):
            wanted = self._wanted(context)
            samples = self._looked if self._guard.backend.lockstep else self._ticked
            for states in samples(rate_hz, wanted):
                message = pb.States()
                convert.put_states(message, states)
                yield message

    def Command(
        self, request_iterator: Iterator[pb.CommandRequest], context: Any
    ) -> Iterator[pb.CommandReply]:
        with self._place(self._commanders, "command streams", context):
            session = CommandSession(self._guard, self._leases, context.peer())
            if not context.add_callback(session.end):
                return  # it is over already
            try:
                for request in request_iterator:
                    yield session.answer(request)
            except grpc.RpcError:
                pass  # cancelled, or the connection broke: an end like any other
            finally:
                session.end()

    @told
    def AcquireLease(self, request: pb.AcquireLeaseRequest, context: Any) -> pb.AcquireLeaseReply:
        if not request.client or max(len(request.client), len(request.session)) > 200:
            raise Malformed("acquiring the lease needs a client's name, name@host:pid.")
        client, session = request.client, request.session
        before, again = self._leases.holder, self._leases.is_holder(client, session)
        lease = self._leases.acquire(client, operator=request.operator, session=session)
        if before and not again:
            self._guard.release(f"{request.client} took the lease over from {before}")
        return pb.AcquireLeaseReply(lease=lease, idle_s=self._leases.idle_s)

    @told
    def ReleaseLease(self, request: pb.ReleaseLeaseRequest, context: Any) -> pb.ReleaseLeaseReply:
        holder = self._leases.holder
        held = self._leases.drop(request.lease)
        if held:
            self._guard.release(f"{holder} gave the lease back")
        return pb.ReleaseLeaseReply(held=held)

    @told
    def SetGains(self, request: pb.SetGainsRequest, context: Any) -> pb.ChangesReply:
        self._leases.use(request.lease)
        gains = {
            e.arm: _taken(convert.take_gains, e.gains, e.arm) for e in self._known(request.arms)
        }
        return _changes(self._guard.set_gains(gains))

    @told
    def SetMotion(self, request: pb.SetMotionRequest, context: Any) -> pb.ChangesReply:
        self._leases.use(request.lease)
        limits = {
            e.arm: _taken(convert.take_motion, e.motion, e.arm) for e in self._known(request.arms)
        }
        return _changes(self._guard.set_motion(limits))

    @told
    def Narrow(self, request: pb.NarrowRequest, context: Any) -> pb.NarrowReply:
        self._leases.use(request.lease)
        asked = {
            e.arm: _finite(
                _taken(convert.take_limits, e.limits, e.arm),
                self._guard.config.settings(e.arm).limits,
            )
            for e in self._known(request.arms)
        }
        reply = pb.NarrowReply()
        for arm, limits in self._guard.narrow(asked).items():
            convert.put_limits(reply.arms.add(arm=arm).limits, limits)
        return reply

    @told
    def SetPayload(self, request: pb.SetPayloadRequest, context: Any) -> pb.Done:
        self._leases.use(request.lease)
        payloads = {
            e.arm: _taken(convert.take_payload, e.payload, e.arm) for e in self._known(request.arms)
        }
        self._guard.set_payload(payloads)
        return pb.Done()

    @told
    def SetCollision(self, request: pb.SetCollisionRequest, context: Any) -> pb.Done:
        self._leases.use(request.lease)
        thresholds = {
            e.arm: _taken(convert.take_collision, e.thresholds, e.arm)
            for e in self._known(request.arms)
        }
        for arm, given in thresholds.items():
            joints = self._guard.arms[arm].joint_count
            if len(given.torque_nm) != joints:
                raise Malformed(
                    f"arm {arm!r}: torque_nm has {len(given.torque_nm)} numbers; it has {joints} "
                    "joints."
                )
        self._guard.set_collision(thresholds)
        return pb.Done()

    @told
    def Hold(self, request: pb.HoldRequest, context: Any) -> pb.Done:
        self._leases.use(request.lease)
        self._guard.release(request.reason or f"{self._leases.holder} asked to hold")
        return pb.Done()

    @told
    def Recover(self, request: pb.RecoverRequest, context: Any) -> pb.RecoverReply:
        self._leases.use(request.lease)
        arms = list(request.arms) or list(self._guard.arms)
        for arm in arms:
            self._know(arm)
        reply = pb.RecoverReply()
        for arm, problem in self._guard.recover(arms, self._leases.holder).items():
            reply.arms.add(arm=arm, problem=problem)
        return reply

    @told
    def SaveRecording(
        self, request: pb.SaveRecordingRequest, context: Any
    ) -> pb.SaveRecordingReply:
        self._know(request.arm)
        path = self._guard.save_recording(request.arm, request.reason or "asked for")
        return pb.SaveRecordingReply(path=path)

    @told
    def Counters(self, request: pb.CountersRequest, context: Any) -> pb.CountersReply:
        return pb.CountersReply(
            counters={name: float(value) for name, value in self._guard.counters.items()}
        )

    def _stop(self, request: pb.StopRequest, context: Any) -> pb.Done:
        self._guard.stop(request.reason or f"stop asked for by {context.peer()}")
        return pb.Done()

    def _estop(self, request: pb.StopRequest, context: Any) -> pb.Done:
        self._guard.estop(request.reason or f"emergency stop asked for by {context.peer()}")
        return pb.Done()

    def _ticked(
        self, rate_hz: float, wanted: Callable[[], bool]
    ) -> Iterator[Mapping[str, RobotState]]:
        """In real time: the first sample of each period of 1 / `rate_hz`."""
        period_ns = round(1e9 / rate_hz)
        half_sample_ns = round(0.5e9 * self._guard.backend.period_s)
        newer_than, due = -(1 << 62), -(1 << 62)
        while wanted():
            found = self._guard.wait_newer(newer_than, LOOK_S)
            if found is None:
                continue
            stamp, states = found
            yield states
            due = max(due + period_ns, stamp)
            newer_than = max(stamp, due - half_sample_ns)

    def _looked(
        self, rate_hz: float, wanted: Callable[[], bool]
    ) -> Iterator[Mapping[str, RobotState]]:
        """In lockstep time stands still between two steps: look, and tell what is new."""
        last = None
        while wanted():
            states = self._guard.states()
            stamps = [state.stamp_mono_ns for state in states.values()]
            if stamps != last:
                last = stamps
                yield states
            self._closing.wait(1.0 / rate_hz)

    def _wanted(self, context: Any) -> Callable[[], bool]:
        return lambda: context.is_active() and not self._closing.is_set()

    @contextmanager
    def _place(self, places: BoundedSemaphore, what: str, context: Any) -> Iterator[None]:
        """One of a bounded number of streams; without a place the call is refused."""
        if not places.acquire(blocking=False):
            context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"this robot server serves {self._max[what]} {what} at a time, and all are taken; "
                "close one.",
            )
        try:
            yield
        finally:
            places.release()

    def _known(self, entries: Iterable[Any]) -> Iterable[Any]:
        entries = list(entries)
        for entry in entries:
            self._know(entry.arm)
        return entries

    def _know(self, arm: str) -> None:
        if arm not in self._guard.arms:
            raise unknown_name("arm", arm, map(repr, self._guard.arms))


def _taken(take: Callable[[Any, str], T], message: Any, arm: str) -> T:
    """One arm's part of a message, without a NaN. Raises Malformed."""
    where = f"arm {arm!r}"
    try:
        value = take(message, where)
        convert.refuse_nan(value, where)
    except UserError as error:
        raise Malformed(str(error)) from error
    return value


def _finite(asked: SafetyLimits, absolute: SafetyLimits) -> SafetyLimits:
    """Infinity means no limit of the client's own: the absolute one is in effect."""
    given = {f.name: getattr(asked, f.name) for f in fields(asked) if f.name != "workspace"}
    own = {name: getattr(absolute, name) for name, value in given.items() if value == math.inf}
    return replace(asked, **own)


def _changes(changes: Mapping[str, tuple[str, ...]]) -> pb.ChangesReply:
    reply = pb.ChangesReply()
    for arm, lines in changes.items():
        reply.arms.add(arm=arm, changes=lines)
    return reply


def _version() -> str:
    try:
        return importlib.metadata.version("serl-suite")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
