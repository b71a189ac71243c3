"""The learner's end of the channel: takes records from actors, hands out the newest policy.

A record is acknowledged when the sink (the replay) has committed it. What is malformed is refused
with a reason and counted; nothing an actor sends stops the server.
"""

from __future__ import annotations

import logging
import math
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import grpc
from numpy.typing import NDArray

from serl.channel import channel_pb2 as pb
from serl.channel import channel_pb2_grpc as pb_grpc
from serl.channel.codec import (
    MAX_REPORT_BYTES,
    MAX_TRUNK_BYTES,
    PROTOCOL,
    SESSION_KEY,
    TRUNK_ID,
    Key,
    Malformed,
    SlotReader,
    pack_params,
    unpack_report,
)
from serl.channel.session import ActorStatus, Session
from serl.data.records import BadRecord, Label
from serl.errors import UserError
from serl.rpc import MIB, Limits, RpcServer, Tls
from serl.types import Spec, canonical_json, contract_hash

logger = logging.getLogger(__name__)

SERVICE = "serl.channel.Learner"
MAX_BATCH_BYTES = 8 * MIB
"""Largest batch of records taken; a batch always may hold one record."""
MAX_EVENTS = 10_000
MAX_ACTORS = 32
LONG_POLL_S = 20.0
"""A request for parameters is answered, if only with nothing, within this time."""
CHUNK_BYTES = MIB
"""Of a trunk's file in one message."""
RETRY_S = 2.0
"""Between attempts to commit while the sink refuses [s]."""
UUID_HEX = re.compile(r"[0-9a-f]{32}")


class Sink(Protocol):
    """Where records go; `serl.data.replay.Replay` is one."""

    def append(self, actor_id: str, records: NDArray) -> int:
        """Commit consecutive records, dropping those it has; how many were new."""
        ...

    def high_water(self, actor_id: str) -> Key | None:
        """(episode, index) of the actor's last committed record."""
        ...

    def relabel(self, actor_id: str, label: Label) -> bool:
        """Correct the last record of an episode; False when it is no longer kept. Idempotent."""
        ...


@dataclass(frozen=True, kw_only=True)
class OfferedTrunk:
    """A frozen trunk that actors may fetch: `FrozenTrunk.id`, and its file."""

    id: str
    file: Path


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something an actor reported."""

    actor_id: str
    kind: str
    data: dict[str, Any]
    stamp_wall_ns: int


class ChannelServer:
    """The learner's end. Use `start`, then `close`; or `with`.

    Args:
        bind: 'host:port'; port 0 takes any free one (see `port`).
        contract, spec: the learner's experiment, compared with each actor's.
        sink: commits the records. Appends are made one at a time, from several threads.
        run_id: issued to the actors' spools.
        steps: env steps of this run committed before (after a resume), for the allowance.
        trunk: what the policies see through; every version published names it.
        trunk_name: its name (serl.networks.trunk), frozen or not, for actors whose config says
            "auto".
    """

    def __init__(
        self,
        bind: str,
        contract: Mapping[str, Any],
        spec: Spec,
        sink: Sink,
        run_id: str,
        *,
        steps: int = 0,
        trunk: OfferedTrunk | None = None,
        trunk_name: str = "",
        token: str | None = None,
        tls: Tls | None = None,
        insecure_lan: bool = False,
    ) -> None:
        if trunk is not None and not TRUNK_ID.fullmatch(trunk.id):
            raise ValueError(f"trunk id {trunk.id!r} is not 16 hex digits, '-' and a precision")
        self.run_id = run_id
        self.trunk = trunk
        self.trunk_name = trunk_name
        self.contract_json = canonical_json(contract)
        self.contract_hash = contract_hash(contract)
        self.spec_json = spec.to_json()
        self.secured = (tls is not None, token is not None)
        self.steps = steps
        """Env steps committed in this run: records but the first of each episode."""
        self._sink = sink
        self._sink_lock = threading.Lock()
        self._max_batch_bytes = max(MAX_BATCH_BYTES, SlotReader(spec, 0).slot_bytes)
        self._reader = SlotReader(spec, self._max_batch_bytes)
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}
        self._counts: Counter[str] = Counter()
        self._events: deque[Event] = deque()
        self._relabels: dict[str, int] = {}
        """Number of the newest label of each actor."""
        self._allowance: int | None = None
        self._stop_reason: str | None = None
        self._started = False
        self._closing = threading.Event()
        self._published = threading.Condition()
        self._version, self._params = -1, b""
        self._rpc = RpcServer(
            bind,
            lambda server: pb_grpc.add_LearnerServicer_to_server(_Servicer(self), server),
            services=[SERVICE],
            token=token,
            tls=tls,
            insecure_lan=insecure_lan,
            limits=Limits(max_receive_bytes=2 * self._max_batch_bytes),
        )

    @property
    def port(self) -> int:
        return self._rpc.port

    @property
    def version(self) -> int:
        """Newest version published; -1 before the first."""
        return self._version

    @property
    def counters(self) -> dict[str, int]:
        """Totals since the start: records, batches, malformed, hellos_refused, sink_errors, ..."""
        with self._lock:
            counts = dict(self._counts)
        counts["token_refused"] = self._rpc.guard.refused if self._rpc.guard else 0
        return counts

    def start(self) -> ChannelServer:
        """Listen. A second call changes nothing."""
        if not self._started:
            self._started = True
            self._rpc.start()
        return self

    def publish(self, version: int, params: Mapping[str, Any]) -> None:
        """Offer a nested dict of arrays to every actor; it replaces the former version at once.

        The caller keeps numbers from repeating within a run, also when it is killed and resumed:
        an actor takes only a version above the one it has.
        """
        data = pack_params(params)
        with self._published:
            if version <= self._version:
                raise ValueError(f"version {version} is published after {self._version}")
            self._version, self._params = version, data
            self._published.notify_all()

    def set_allowance(self, total_steps: int | None) -> None:
        """Lockstep: actors wait once this run has `total_steps` env steps; None for no limit."""
        self._allowance = total_steps
        self._wake_all()

    def request_stop(self, reason: str) -> None:
        """Ask every actor, also those that connect later, to end."""
        self._stop_reason = reason
        self._wake_all()

    def events(self) -> list[Event]:
        """Reports since the last call, oldest first."""
        with self._lock:
            events, self._events = list(self._events), deque()
        return events

    def actors(self) -> list[ActorStatus]:
        """The actors that are connected."""
        with self._lock:
            sessions = [s for s in self._sessions.values() if s.live]
        return [session.status() for session in sessions]

    def wait_until_quiet(self, timeout_s: float) -> bool:
        """Wait until every actor has gone; False when `timeout_s` passed."""
        deadline = time.monotonic() + timeout_s
        while self.actors():
            if time.monotonic() > deadline:
                return False
            self._closing.wait(0.05)
        return True

    def close(self, grace_s: float = 1.0) -> None:
        """End every stream and release the port. Safe to call twice."""
        self._closing.set()
        with self._lock:
            sessions = list(self._sessions.values())
        for session in sessions:
            session.end()
        with self._published:
            self._published.notify_all()
        self._rpc.stop(grace_s)

    def __enter__(self) -> ChannelServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def count(self, name: str, by: int = 1) -> None:
        with self._lock:
            self._counts[name] += by

    def hello(self, request: pb.HelloRequest, peer: str) -> pb.HelloReply:
        """Accept an actor, or say why not."""
        refusal, reason = self._objection(request)
        if refusal != pb.HelloReply.NONE:
            return self._refuse_hello(request, refusal, reason, peer)
        high_water = self._sink.high_water(request.actor_id)
        session = Session(request.actor_id, request.instance_id, peer, high_water)
        reason = self._admit(session)
        if reason:
            return self._refuse_hello(request, pb.HelloReply.DUPLICATE, reason, peer)
        logger.info("actor %s connected from %s", session.actor_id, peer)
        reply = pb.HelloReply(protocol=PROTOCOL, run_id=self.run_id, session=session.id)
        reply.max_batch_bytes = self._max_batch_bytes
        if session.high_water is not None:
            reply.high_water.episode, reply.high_water.index = session.high_water
        credit = self.credit()
        if credit is not None:
            reply.credit = credit
        return reply

    def _refuse_hello(
        self, request: pb.HelloRequest, refusal: pb.HelloReply.Refusal, reason: str, peer: str
    ) -> pb.HelloReply:
        self.count("hellos_refused")
        logger.warning("refused actor %.32s at %s: %s", request.actor_id, peer, reason)
        reply = pb.HelloReply(refusal=refusal, reason=reason, protocol=PROTOCOL, run_id=self.run_id)
        if refusal in (pb.HelloReply.CONTRACT, pb.HelloReply.SPEC):
            reply.contract_json, reply.spec_json = self.contract_json, self.spec_json
        return reply

    def _objection(self, request: pb.HelloRequest) -> tuple[pb.HelloReply.Refusal, str]:
        kind = pb.HelloReply
        if request.protocol != PROTOCOL:
            return kind.PROTOCOL, (
                f"the actor speaks protocol {request.protocol}, the learner {PROTOCOL}; install "
                "the same version on both."
            )
        ids = request.actor_id, request.instance_id
        if not all(UUID_HEX.fullmatch(i) for i in ids):
            return kind.MALFORMED, "actor and instance ids are 32 hex digits."
        if request.spec_json != self.spec_json:
            return kind.SPEC, "actor and learner disagree on the spec."
        if request.contract_json != self.contract_json:
            return kind.CONTRACT, "actor and learner disagree on the experiment."
        if request.run_id not in ("", self.run_id):
            return kind.RUN, (
                f"the spool's records belong to run {request.run_id}, this learner's run is "
                f"{self.run_id}; give the actor a new spool, or resume that run."
            )
        return kind.NONE, ""

    def _admit(self, session: Session) -> str:
        """Enter the session in the table; or why not, when its place is taken by a live one."""
        with self._lock:
            former = self._sessions.get(session.actor_id)
            if former and former.live and former.instance_id != session.instance_id:
                return (
                    f"an actor with id {session.actor_id} is connected from {former.peer}; each "
                    "live actor needs a spool of its own."
                )
            if former is None and len(self._sessions) >= MAX_ACTORS:
                gone = next((a for a, s in self._sessions.items() if not s.live), None)
                if gone is None:
                    return f"{MAX_ACTORS} actors are connected, and no more are taken."
                del self._sessions[gone]
            self._sessions[session.actor_id] = session
            if former and former.instance_id == session.instance_id:
                session.last_report = former.last_report
        if former:
            former.end()
        return ""

    def session(self, metadata: Any) -> Session | None:
        """The live session a call belongs to."""
        given = dict(metadata).get(SESSION_KEY, "")
        with self._lock:
            found = next((s for s in self._sessions.values() if s.id == given), None)
        return None if found is None or found.ended.is_set() else found

    def receive(self, session: Session, requests: Iterator[pb.StepsRequest]) -> None:
        """Commit what arrives until the stream ends. Runs in the stream's own thread."""
        try:
            for request in requests:
                records = self._reader.read(request.slots, session.high_water)
                if not self._commit(session, records):
                    return
                self.count("batches")
                self.count("bytes", len(request.slots))
        except (Malformed, BadRecord) as error:
            self.count("malformed")
            logger.warning("refused records of actor %s: %s", session.actor_id, error)
            session.end(refusal=str(error))
        except grpc.RpcError:
            self.count("streams_broken")  # the actor is gone; it will say Hello again
        except BaseException as error:
            session.failure = error  # the stream's handler raises it
        finally:
            session.end()

    def _commit(self, session: Session, records: NDArray) -> bool:
        """Hand records to the sink, for as long as it takes; False when the session ended."""
        while True:
            try:
                with self._sink_lock:
                    new = self._sink.append(session.actor_id, records)
                break
            except BadRecord:
                raise
            except (OSError, UserError) as error:  # a full disk: keep the batch, tell the actor
                self.count("sink_errors")
                logger.warning("cannot commit records of actor %s: %s", session.actor_id, error)
                session.report_trouble(f"the learner cannot store records: {error}")
                if session.ended.wait(RETRY_S):
                    return False
        first_new = len(records) - new
        steps = int((records["index"][first_new:] > 0).sum())
        with self._lock:
            self.steps += steps
            self._counts["records"] += new
            self._counts["duplicates"] += first_new
        last = records[-1]
        session.advance(len(records), (int(last["episode"]), int(last["index"])))
        if self._allowance is not None:
            self._wake_all()
        return True

    def fill(self, reply: pb.StepsReply) -> pb.StepsReply:
        """Add what all actors are told alike."""
        credit = self.credit()
        if credit is not None:
            reply.credit = credit
        if self._stop_reason is not None:
            reply.stop, reply.stop_reason = True, self._stop_reason
        return reply

    def credit(self) -> int | None:
        """Env steps each connected actor may make now, the allowance left being shared out."""
        allowance = self._allowance
        if allowance is None:
            return None
        with self._lock:
            sharing = sum(s.live for s in self._sessions.values())
            return -(-max(0, allowance - self.steps) // max(1, sharing))

    def newest_params(self, have: int, timeout_s: float) -> pb.ParametersReply:
        """The newest version once it is above `have`; version -1 when none came in time."""
        with self._published:
            self._published.wait_for(
                lambda: self._version > have or self._closing.is_set(), timeout_s
            )
            if self._version <= have:
                return pb.ParametersReply(version=-1, run_id=self.run_id)
            return pb.ParametersReply(
                version=self._version,
                params=self._params,
                run_id=self.run_id,
                trunk=self.trunk.id if self.trunk else "",
            )

    def trunk_file(self, wanted: str) -> bytes:
        """The offered trunk's file. Raises Malformed when another one is asked for."""
        if self.trunk is None or wanted != self.trunk.id:
            have = self.trunk.id if self.trunk else "none"
            raise Malformed(f"trunk {wanted:.40} is asked for; the learner's is {have}")
        self.count("trunks_sent")
        data = self.trunk.file.read_bytes()
        if len(data) > MAX_TRUNK_BYTES:
            raise Malformed(f"trunk {wanted} takes {len(data)} bytes; at most {MAX_TRUNK_BYTES}")
        return data

    def report(self, session: Session, request: pb.ReportRequest) -> None:
        """File one report, unless it came before. Raises Malformed."""
        size = len(request.data_json.encode()) + len(request.kind)
        if size > MAX_REPORT_BYTES:
            raise Malformed(f"a report of {size} bytes; at most {MAX_REPORT_BYTES} are taken")
        data = unpack_report(request.data_json)
        with self._lock:
            if request.number <= session.last_report:
                return
            session.last_report = request.number
            self._counts["reports"] += 1
            if len(self._events) >= MAX_EVENTS:
                self._events.popleft()
                self._counts["reports_dropped"] += 1
            self._events.append(
                Event(
                    actor_id=session.actor_id,
                    kind=request.kind,
                    data=data,
                    stamp_wall_ns=request.stamp_wall_ns,
                )
            )

    def relabel(self, session: Session, request: pb.RelabelRequest) -> bool:
        """Have the sink correct the end of an episode; False when it no longer has it.

        Raises Malformed.
        """
        key, at = (request.last.episode, request.last.index), session.high_water
        if not math.isfinite(request.reward) or key[1] == 0:
            raise Malformed(f"a label of reward {request.reward} for record {key}")
        if at is None or key > at:
            raise Malformed(f"a label for record {key}; the last one committed is {at}")
        with self._sink_lock:
            newest = self._relabels.get(session.actor_id, 0)
            if request.number < newest:
                return True  # an attempt that was given up, overtaken by a newer label
            label = Label(
                episode=key[0],
                index=key[1],
                reward=request.reward,
                success=request.success,
                terminated=request.terminated,
            )
            try:
                kept = self._sink.relabel(session.actor_id, label)
            except BadRecord as error:
                raise Malformed(str(error)) from error
            self._relabels[session.actor_id] = request.number
        self.count("relabels")
        return kept

    def _wake_all(self) -> None:
        with self._lock:
            sessions = list(self._sessions.values())
        for session in sessions:
            session.wake()


class _Servicer(pb_grpc.LearnerServicer):
    """gRPC's view of a ChannelServer."""

    def __init__(self, server: ChannelServer) -> None:
        self._server = server

    def Hello(self, request: pb.HelloRequest, context: Any) -> pb.HelloReply:
        return self._server.hello(request, context.peer())

    def Steps(self, request_iterator: Any, context: Any) -> Iterator[pb.StepsReply]:
        session = self._session(context)
        if not session.begin_stream():
            self._refuse(context, "this session has its stream already")
        if not context.add_callback(session.end):  # the call is over before it began
            session.end()
        reader = threading.Thread(
            target=self._server.receive,
            args=(session, request_iterator),
            name=f"steps-{session.actor_id[:8]}",
            daemon=True,
        )
        reader.start()
        for reply in session.replies():
            yield self._server.fill(reply)
        if session.refusal:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, session.refusal)
        if session.failure is not None:
            raise session.failure

    def Parameters(self, request: pb.ParametersRequest, context: Any) -> pb.ParametersReply:
        session = self._session(context)
        session.policy_version = request.have_version
        timeout_s = min(LONG_POLL_S, context.time_remaining() or LONG_POLL_S)
        return self._server.newest_params(request.have_version, timeout_s)

    def Trunk(self, request: pb.TrunkRequest, context: Any) -> Iterator[pb.TrunkReply]:
        self._session(context)
        data = b""
        try:
            data = self._server.trunk_file(request.id)
        except Malformed as error:
            self._refuse(context, str(error))
        for start in range(0, len(data), CHUNK_BYTES):
            yield pb.TrunkReply(chunk=data[start : start + CHUNK_BYTES], size=len(data))

    def Relabel(self, request: pb.RelabelRequest, context: Any) -> pb.RelabelReply:
        session = self._session(context)
        kept = False
        try:
            kept = self._server.relabel(session, request)
        except Malformed as error:
            self._refuse(context, str(error))
        except (OSError, UserError) as error:  # a full disk: the actor asks again
            context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        return pb.RelabelReply(kept=kept)

    def Report(self, request: pb.ReportRequest, context: Any) -> pb.ReportReply:
        session = self._session(context)
        try:
            self._server.report(session, request)
        except Malformed as error:
            self._refuse(context, str(error))
        return pb.ReportReply()

    def Probe(self, request: pb.ProbeRequest, context: Any) -> pb.ProbeReply:
        server = self._server
        tls, token = server.secured
        return pb.ProbeReply(
            payload=request.payload if request.echo else b"",
            stamp_mono_ns=time.monotonic_ns(),
            stamp_wall_ns=time.time_ns(),
            protocol=PROTOCOL,
            run_id=server.run_id,
            tls=tls,
            token=token,
            spec_json=server.spec_json,
            contract_json=server.contract_json,
            trunk_name=server.trunk_name,
        )

    def _session(self, context: Any) -> Session:
        session = self._server.session(context.invocation_metadata())
        if session is None:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no such session; say Hello first")
            raise AssertionError("abort raises")
        return session

    def _refuse(self, context: Any, reason: str) -> None:
        self._server.count("malformed")
        logger.warning("refused a message from %s: %s", context.peer(), reason)
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, reason)
