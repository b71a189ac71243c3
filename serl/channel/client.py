"""The actor's end of the channel: records go to the spool at once, and to the learner when it can.

Nothing here waits for the network but `connect(wait=True)`, `flush` and the `wait_for_...`s.
Failures of the background threads reach the caller at its next call. No JAX.
"""

from __future__ import annotations

import json
import logging
import math
import random
import statistics
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from serl.channel import channel_pb2 as pb
from serl.channel import channel_pb2_grpc as pb_grpc
from serl.channel.codec import (
    MAX_REPORT_BYTES,
    MAX_TRUNK_BYTES,
    PROTOCOL,
    SESSION_KEY,
    TRUNK_ID,
    FiniteCheck,
    Key,
    pack_report,
    unpack_params,
)
from serl.channel.labels import PendingLabels
from serl.channel.spool import Spool
from serl.data.records import Label
from serl.errors import CorruptFile, SpecMismatch, UserError
from serl.rpc import MIB, Limits, Tls, dial, explain
from serl.types import Spec, canonical_json, contract_hash, first_difference, record_dtype
from serl.weights.file import file_id, write_whole

logger = logging.getLogger(__name__)

BATCH_BYTES = 2 * MIB
"""Records that have piled up travel together, up to this size."""
WINDOW_BYTES = 16 * MIB
"""Sent and not yet acknowledged, at most."""
HELLO_TIMEOUT_S = 10.0
POLL_TIMEOUT_S = 40.0
TRUNK_TIMEOUT_S = 600.0
BACK_OFF_S = (0.1, 5.0)
"""First and longest pause between attempts to connect."""
POLL_S = 0.2
"""A wait looks at a stop flag this often."""
SAY_EVERY_S = 10.0
"""A wait repeats what it waits for."""
MAX_REPORTS = 1000
MAX_PARAMS_BYTES = 1 << 30


class _TryAgain(Exception):
    """The learner turned this attempt away for a reason that may pass."""


class _Link:
    """One accepted Hello, until its stream breaks."""

    def __init__(self, session: str, start: int, max_batch_bytes: int) -> None:
        self.metadata = ((SESSION_KEY, session),)
        self.start = start
        """Spool position of the first record of this session."""
        self.batch_bytes = min(BATCH_BYTES, max_batch_bytes)
        self.over = False


class ChannelClient:
    """The actor's end. One thread calls `begin_episode`, `send` and `latest`.

    Args:
        address: the learner's 'host:port'.
        contract, spec: the actor's experiment; the learner refuses another one.
        spool_dir: kept between processes: it holds the actor's id and what is not yet taken.
        trunks: folder in which a frozen trunk is kept once it was fetched; by default, the spool's.
        duplicate_wait_s: how long an id that is connected elsewhere is asked for again: the learner
            needs up to 30 s to notice that a machine has vanished.
    """

    def __init__(
        self,
        address: str,
        contract: Mapping[str, Any],
        spec: Spec,
        spool_dir: Path | str,
        *,
        trunks: Path | None = None,
        token: str | None = None,
        tls: Tls | None = None,
        insecure_lan: bool = False,
        spool_limit_bytes: int = 20_000_000_000,
        duplicate_wait_s: float = 45.0,
    ) -> None:
        self.address = address
        self.record_dtype = self._seen_dtype = record_dtype(spec)
        self._peer = f"learner at {address}"
        self._contract, self._spec = canonical_json(contract), spec.to_json()
        self._hash = contract_hash(contract)
        self._finite = FiniteCheck(self.record_dtype)
        self._duplicate_wait_s = duplicate_wait_s
        self._instance_id = uuid.uuid4().hex
        self._channel = dial(
            address,
            token=token,
            tls=tls,
            insecure_lan=insecure_lan,
            limits=Limits(max_receive_bytes=MAX_PARAMS_BYTES),
        )
        self._stub = pb_grpc.LearnerStub(self._channel)
        self.spool = Spool(spool_dir, self.record_dtype.itemsize, limit_bytes=spool_limit_bytes)
        try:
            self.labels = PendingLabels(self.spool.directory)
        except BaseException:
            self.spool.close()
            raise
        self._changed = threading.Condition()
        self._link: _Link | None = None
        self._calls: dict[str, Any] = {}
        self._threads: list[threading.Thread] = []
        self._failure: BaseException | None = None
        self._closing = False
        self._next: Key | None = None
        self._starts: deque[int] = deque()
        """Positions of unacknowledged records that begin an episode: they are not env steps."""
        self._episode_floor = 0
        self._credit: int | None = None
        self._credit_from = 0
        self._stop_reason: str | None = None
        self._trouble = ""
        self._have_version = -1
        self._newest: tuple[int, bytes, str] | None = None
        self._trunks = trunks or Path(spool_dir) / "trunks"
        self._known_trunks: set[str] = set()
        self.trunk = ""
        """Id of the frozen trunk that the parameters last taken need; empty for none."""
        self._reports: deque[pb.ReportRequest] = deque()
        self._report_number = 0
        self.reports_dropped = 0
        """Reports lost because more than 1000 were waiting."""

    @property
    def run_id(self) -> str:
        """The learner's run; empty before the first connection of a new spool."""
        return self.spool.run_id

    @property
    def actor_id(self) -> str:
        return self.spool.actor_id

    @property
    def connected(self) -> bool:
        return self._link is not None

    @property
    def pending(self) -> int:
        """Records the learner has not yet acknowledged."""
        return self.spool.end - self.spool.acked

    @property
    def trouble(self) -> str:
        """Why the learner does not commit just now; empty when it does."""
        return self._trouble

    @property
    def stop_requested(self) -> str | None:
        """Why the learner asks the actor to end; None while it does not."""
        self._raise_failure()
        return self._stop_reason

    @property
    def credit(self) -> float:
        """Env steps that may be made now: what the learner allowed last, less those since."""
        with self._changed:
            if self._credit is None:
                return math.inf
            since = self.spool.end - self._credit_from
            starts = sum(position >= self._credit_from for position in self._starts)
            return max(0, self._credit - (since - starts))

    def connect(self, wait: bool = True, stop: threading.Event | None = None) -> bool:
        """Begin to reach the learner; with `wait`, return once it has accepted this actor.

        True when connected; False when it does not wait, or `stop` was set meanwhile.
        """
        if not self._threads:
            for name, body in (
                ("channel-steps", self._run_session),
                ("channel-params", self._run_params),
                ("channel-reports", self._run_reports),
                ("channel-labels", self._run_labels),
            ):
                thread = threading.Thread(
                    target=self._guarded, args=(body,), name=name, daemon=True
                )
                self._threads.append(thread)
                thread.start()
        if not wait:
            return self.connected
        stop = stop or threading.Event()
        self._wait_until(lambda: self.connected or stop.is_set(), math.inf, f"the {self._peer}")
        return self.connected

    def begin_episode(self) -> int:
        """The number for the next episode. Raises SpoolFull when there is no room for one."""
        self._raise_failure()
        if self.spool.full:
            raise self.spool.full_error()
        episode = self.spool.new_episode(self._episode_floor)
        self._next = (episode, 0)
        return episode

    def send(self, record: np.void | NDArray[np.void]) -> None:
        """Put one record (0-d or one row) into the spool; the learner gets it from there.

        Its `episode` is the one last begun and its `index` counts up from 0. Raises SpoolFull when
        the disk is full; the record may then be sent again.
        """
        self._raise_failure()
        if record.dtype is not self._seen_dtype:
            if record.dtype != self.record_dtype:
                raise ValueError(f"a record of {record.dtype}; the spec's is {self.record_dtype}")
            self._seen_dtype = record.dtype  # comparing two structures takes longer than sending
        row = record.reshape(())[()] if isinstance(record, np.ndarray) else record
        key = (int(row["episode"]), int(row["index"]))
        if key != self._next:
            raise ValueError(f"record {key} where {self._next} is due; begin_episode gives numbers")
        field = self._finite.first_bad(row)
        if field is not None:
            raise UserError(
                f"record {key} holds NaN or infinity in {field}; only finite numbers are recorded. "
                "Check what produces it."
            )
        position = self.spool.append(row.tobytes())
        self._next = (key[0], key[1] + 1)
        with self._changed:
            if key[1] == 0:
                self._starts.append(position)
            self._changed.notify_all()

    def latest(self) -> tuple[int, dict[str, Any]] | None:
        """The newest (version, parameters) not returned before; None where there is none.

        Versions of one run only grow. Unpacked here, in the caller's thread.
        """
        self._raise_failure()
        with self._changed:
            newest, self._newest = self._newest, None
        if newest is None:
            return None
        self.trunk = newest[2]
        return newest[0], unpack_params(newest[1])

    def trunk_file(self, trunk: str) -> Path:
        """Where a trunk's safetensors file is, once parameters that need it are at hand."""
        return self._trunks / f"{trunk}.safetensors"

    def know_trunk(self, trunk: str) -> None:
        """The caller has this one: it is never asked for."""
        self._known_trunks.add(trunk)

    def wait_for_params(self, timeout_s: float = math.inf) -> bool:
        """Wait until `latest` has something; False when `timeout_s` passed."""
        what = f"a policy from the {self._peer}"
        return self._wait_until(lambda: self._newest is not None, timeout_s, what)

    def wait_for_credit(self, timeout_s: float = math.inf) -> bool:
        """Lockstep: wait until at least one more env step is allowed; False when time ran out."""
        what = f"the {self._peer} to catch up with the steps made"
        return self._wait_until(lambda: self.credit >= 1, timeout_s, what)

    def wait_for_space(self, timeout_s: float = math.inf) -> bool:
        """Wait until the spool has room for an episode; False when time ran out."""
        what = f"the {self._peer} to take records: the spool is full"
        return self._wait_until(lambda: not self.spool.full, timeout_s, what)

    def flush(self, timeout_s: float = math.inf) -> bool:
        """Wait until all records and labels are acknowledged and reports sent; False when time ran
        out."""
        what = f"the {self._peer} to acknowledge the last records"

        def done() -> bool:
            return not (self.pending or self._reports or len(self.labels))

        return self._wait_until(done, timeout_s, what)

    def round_trip_s(self, times: int = 100) -> float:
        """Median time of a small request and its answer [s]."""
        spans = []
        for _ in range(times):
            began = time.perf_counter()
            self._stub.Probe(pb.ProbeRequest(), timeout=HELLO_TIMEOUT_S)
            spans.append(time.perf_counter() - began)
        return statistics.median(spans)

    def report(self, kind: str, data: Mapping[str, Any]) -> None:
        """Send an event or metrics, soon; while the learner is away the newest 1000 are kept."""
        self._raise_failure()
        text = pack_report(data)
        if len(text.encode()) + len(kind) > MAX_REPORT_BYTES:
            raise UserError(
                f"report {kind!r} takes {len(text)} bytes; at most {MAX_REPORT_BYTES} are sent. "
                "Report less at a time."
            )
        with self._changed:
            self._report_number += 1
            if len(self._reports) >= MAX_REPORTS:
                self._reports.popleft()
                self.reports_dropped += 1
            self._reports.append(
                pb.ReportRequest(
                    number=self._report_number,
                    kind=kind,
                    data_json=text,
                    stamp_wall_ns=time.time_ns(),
                )
            )
            self._changed.notify_all()

    def relabel(self, label: Label) -> None:
        """Have the learner correct the end of an episode of this actor that is over.

        On this disk when it returns; sent once the learner has the episode, and until it has this.
        """
        self._raise_failure()
        with self._changed:
            self.labels.add(label)
            self._changed.notify_all()

    def close(self) -> None:
        """End the stream, keep the spool. Safe to call twice."""
        with self._changed:
            self._closing = True
            if self._link is not None:
                self._link.over = True
            polls = [call for name, call in self._calls.items() if name != "steps"]
            self._changed.notify_all()
        for call in polls:
            call.cancel()
        for thread in self._threads:
            thread.join(2.0)
        for call in list(self._calls.values()):
            call.cancel()
        for thread in self._threads:
            thread.join()
        self._channel.close()
        self.spool.close()

    def __enter__(self) -> ChannelClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run_session(self) -> None:
        """Connect, stream, and begin again whenever that breaks."""
        pause_s, said_ns, turned_away_ns = BACK_OFF_S[0], 0, 0
        while not self._closing:
            try:
                self._stream(self._hello())
                pause_s, turned_away_ns, why = BACK_OFF_S[0], 0, "the stream ended"
            except _TryAgain as error:
                turned_away_ns = turned_away_ns or time.monotonic_ns()
                if time.monotonic_ns() - turned_away_ns > self._duplicate_wait_s * 1e9:
                    raise UserError(str(error)) from error
                why = str(error)
            except grpc.RpcError as error:
                final = explain(error, self._peer)
                if final is not None:
                    raise final from error
                why = f"{error.code().name}: {error.details()}"  # type: ignore[attr-defined]
            if time.monotonic_ns() - said_ns > SAY_EVERY_S * 1e9 and not self._closing:
                said_ns = time.monotonic_ns()
                logger.warning(
                    "waiting for the %s (%s); %d records wait in the spool",
                    self._peer,
                    why,
                    self.pending,
                )
            self._pause(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(2 * pause_s, BACK_OFF_S[1])

    def _hello(self) -> _Link:
        """Introduce this actor and agree where to go on."""
        spool = self.spool
        request = pb.HelloRequest(
            protocol=PROTOCOL,
            actor_id=spool.actor_id,
            instance_id=self._instance_id,
            contract_json=self._contract,
            contract_hash=self._hash,
            spec_json=self._spec,
            run_id=spool.run_id,
        )
        reply = self._start("steps", self._stub.Hello, request, timeout=HELLO_TIMEOUT_S).result()
        if reply.refusal != pb.HelloReply.NONE:
            raise self._refusal(reply)
        if not spool.run_id:
            spool.bind_run(reply.run_id)
        high_water = None
        if reply.HasField("high_water"):
            high_water = (reply.high_water.episode, reply.high_water.index)
        start = self._resume_at(high_water)
        with self._changed:
            self._episode_floor = max(self._episode_floor, high_water[0] + 1 if high_water else 0)
            self._credit = reply.credit if reply.HasField("credit") else None
            self._credit_from = start
        return _Link(reply.session, start, reply.max_batch_bytes)

    def _refusal(self, reply: pb.HelloReply) -> Exception:
        kind = pb.HelloReply
        if reply.refusal == kind.DUPLICATE:
            return _TryAgain(f"{self._peer}: {reply.reason}")
        if reply.refusal in (kind.CONTRACT, kind.SPEC):
            here = {**json.loads(self._contract), "spec": json.loads(self._spec)}
            there = {**json.loads(reply.contract_json), "spec": json.loads(reply.spec_json)}
            difference = first_difference(here, there) or "their texts differ"
            return SpecMismatch(
                f"actor and learner disagree on the experiment ({difference}). Start both from the "
                "same file."
            )
        return UserError(f"{self._peer} refused this actor: {reply.reason}")

    def _resume_at(self, high_water: Key | None) -> int:
        """Position of the first record the learner lacks."""
        spool = self.spool
        position = spool.position_after(high_water)
        expected = None if high_water is None else (high_water[0], high_water[1] + 1)
        first = position
        while first < spool.end and spool.key_at(first)[1] and spool.key_at(first) != expected:
            first += 1  # the rest of an episode whose beginning neither side has any more
        if first > position:
            logger.error(
                "the %s has lost records that this spool no longer holds; %d records of a broken "
                "episode are left out",
                self._peer,
                first - position,
            )
        if first < spool.acked:
            logger.warning(
                "the %s lost %d records it had acknowledged; sending them again",
                self._peer,
                spool.acked - first,
            )
            spool.rewind(first)
        else:
            self._acknowledge(first)
        return first

    def _stream(self, link: _Link) -> None:
        """Send batches and take acknowledgements until the stream breaks or ends."""
        with self._changed:
            self._link = link
            self._changed.notify_all()
        logger.info("connected to the %s, run %s", self._peer, self.run_id)
        try:
            call = self._stream_call(link)
            for reply in call:
                self._take(link, reply)
        finally:
            with self._changed:
                link.over = True
                self._link = None
                self._changed.notify_all()

    def _stream_call(self, link: _Link) -> Any:
        with self._changed:
            call = self._stub.Steps(self._batches(link), metadata=link.metadata)
            self._calls["steps"] = call
        return call

    def _batches(self, link: _Link) -> Iterator[pb.StepsRequest]:
        """What gRPC sends: one batch as soon as there is a record, more together when behind."""
        spool, sent = self.spool, link.start
        window = max(1, WINDOW_BYTES // spool.slot_bytes)

        def ready() -> bool:
            return link.over or (spool.end > sent and sent - spool.acked < window)

        while True:
            with self._changed:
                self._changed.wait_for(ready)
                if link.over:
                    return
            try:
                slots = spool.read(sent, link.batch_bytes)
            except (OSError, ValueError) as error:
                self._fail(error)
                return
            sent += len(slots) // spool.slot_bytes
            yield pb.StepsRequest(slots=slots)

    def _take(self, link: _Link, reply: pb.StepsReply) -> None:
        """Apply the learner's newest status."""
        position = link.start + reply.committed
        if reply.trouble and reply.trouble != self._trouble:
            logger.warning("%s: %s", self._peer, reply.trouble)
        with self._changed:
            self._acknowledge(position)
            self._credit = reply.credit if reply.HasField("credit") else None
            self._credit_from = position
            self._trouble = reply.trouble
            if reply.stop:
                self._stop_reason = reply.stop_reason
            self._changed.notify_all()

    def _acknowledge(self, position: int) -> None:
        self.spool.ack(position)
        while self._starts and self._starts[0] < position:
            self._starts.popleft()

    def _run_params(self) -> None:
        """Keep the newest parameters at hand."""
        while not self._closing:
            link = self._await_link(lambda: True)
            if link is None:
                return
            request = pb.ParametersRequest(have_version=self._have_version)
            reply = self._ask(link, "params", self._stub.Parameters, request, POLL_TIMEOUT_S)
            if reply is None:
                continue
            try:
                self._need_trunk(link, reply.trunk)
            except grpc.RpcError as error:
                self._after_break(error)
                continue
            with self._changed:
                if reply.version > self._have_version and reply.run_id == self.run_id:
                    self._have_version = reply.version
                    self._newest = (reply.version, reply.params, reply.trunk)
                    self._changed.notify_all()

    def _need_trunk(self, link: _Link, trunk: str) -> None:
        """Fetch a trunk's file, unless it or the trunk is here."""
        if not trunk or trunk in self._known_trunks:
            return
        if not TRUNK_ID.fullmatch(trunk):
            raise UserError(f"{self._peer} names a trunk {trunk[:40]!r}, which is no trunk's id.")
        if self._have_trunk(trunk):
            return
        with self._changed:
            call = self._stub.Trunk(
                pb.TrunkRequest(id=trunk), timeout=TRUNK_TIMEOUT_S, metadata=link.metadata
            )
            self._calls["trunk"] = call
            if self._closing:
                call.cancel()
        data = bytearray()
        size = 0
        for reply in call:
            size = reply.size
            data += reply.chunk
            if max(size, len(data)) > MAX_TRUNK_BYTES:
                call.cancel()
                raise UserError(
                    f"{self._peer} offers a trunk of {max(size, len(data))} bytes; at most "
                    f"{MAX_TRUNK_BYTES} are taken."
                )
        if len(data) != size:
            raise UserError(f"{self._peer} sent {len(data)} bytes of a trunk of {size}.")
        self._keep_trunk(trunk, bytes(data))
        self._known_trunks.add(trunk)
        logger.info("fetched trunk %s, %.1f MB, from the %s", trunk, size / 1e6, self._peer)

    def _have_trunk(self, trunk: str) -> bool:
        """Whether its file is here and holds what its name says; one that does not is removed."""
        file = self.trunk_file(trunk)
        try:
            wrong = _not_trunk(file.read_bytes(), trunk)
        except FileNotFoundError:
            return False
        except OSError as error:
            wrong = str(error.strerror)
        if not wrong:
            self._known_trunks.add(trunk)
            return True
        logger.warning("%s: %s; fetching it again", file, wrong)
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"cannot replace {file}: {error.strerror}. Remove it.") from error
        return False

    def _keep_trunk(self, trunk: str, data: bytes) -> None:
        """The file appears whole and of that trunk, or not at all."""
        if wrong := _not_trunk(data, trunk):
            raise UserError(
                f"{self._peer} sent a file that is not its trunk {trunk}: {wrong}. Look at "
                "trunk.safetensors in the learner's run."
            )
        file = self.trunk_file(trunk)
        try:
            write_whole(file, data)
        except OSError as error:
            raise UserError(f"cannot write {file}: {error.strerror}. Make space.") from error

    def _run_reports(self) -> None:
        """Send reports in order, each until it has arrived."""
        while not self._closing:
            link = self._await_link(lambda: bool(self._reports))
            if link is None:
                return
            request = self._reports[0]
            if self._ask(link, "report", self._stub.Report, request) is None:
                continue
            with self._changed:
                if self._reports and self._reports[0] is request:
                    self._reports.popleft()
                self._changed.notify_all()

    def _run_labels(self) -> None:
        """Send labels in order, each until the learner has it on its disk."""
        while not self._closing:
            link = self._await_link(self._label_due)
            if link is None:
                return
            entry = self.labels.first()
            assert entry is not None
            number, label = entry
            request = pb.RelabelRequest(
                last=pb.Key(episode=label.episode, index=label.index),
                reward=label.reward,
                success=label.success,
                terminated=label.terminated,
                number=number,
            )
            reply = self._ask(link, "label", self._stub.Relabel, request)
            if reply is None:
                continue
            if not reply.kept:
                logger.warning("episode %d is gone from the replay: not relabelled", label.episode)
            with self._changed:
                self.labels.done(number)
                self._changed.notify_all()

    def _label_due(self) -> bool:
        """The learner has committed the episode of the oldest label."""
        entry = self.labels.first()
        if entry is None:
            return False
        key = (entry[1].episode, entry[1].index)
        return self.spool.position_after(key) <= self.spool.acked

    def _ask(
        self, link: _Link, name: str, method: Any, request: Any, timeout_s: float = HELLO_TIMEOUT_S
    ) -> Any:
        """The learner's reply; None where the link broke, which is then seen to."""
        try:
            return self._start(
                name, method, request, timeout=timeout_s, metadata=link.metadata
            ).result()
        except (grpc.RpcError, grpc.FutureCancelledError) as error:
            self._after_break(error)
            return None

    def _start(self, name: str, method: Any, request: Any, **kwargs: Any) -> Any:
        """Begin a call that `close` can cancel."""
        with self._changed:
            call = method.future(request, **kwargs)
            self._calls[name] = call
            if self._closing:
                call.cancel()
        return call

    def _await_link(self, wanted: Any) -> _Link | None:
        """The connection, once there is one and `wanted`; None when closing."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or (self._link and wanted()))
            return None if self._closing else self._link

    def _after_break(self, error: Exception) -> None:
        """Raise what is final; otherwise the session's thread is about to connect again."""
        if isinstance(error, grpc.RpcError):
            final = explain(error, self._peer)
            if final is not None:
                raise final from error
        self._pause(BACK_OFF_S[0])

    def _guarded(self, body: Any) -> None:
        """A background thread: whatever ends it early reaches the caller."""
        try:
            body()
        except grpc.FutureCancelledError as error:
            if not self._closing:
                self._fail(error)
        except BaseException as error:  # raised again in the caller's thread
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            if self._failure is None and not self._closing:
                self._failure = error
            if self._link is not None:
                self._link.over = True
            self._changed.notify_all()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing, seconds)

    def _wait_until(self, done: Any, timeout_s: float, what: str) -> bool:
        """Wait, say every 10 s what for, and raise what went wrong meanwhile."""
        began = time.monotonic()
        say = began + SAY_EVERY_S
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: done() or self._failure is not None,
                    max(0.0, min(began + timeout_s - time.monotonic(), POLL_S)),
                )
                self._raise_failure()
                if done():
                    return True
            now = time.monotonic()
            if now >= began + timeout_s:
                return False
            if now >= say:
                say = now + SAY_EVERY_S
                logger.warning("waiting for %s since %.0f s", what, now - began)


def _not_trunk(data: bytes, trunk: str) -> str:
    """Why a file is not that of a trunk's id; empty where it is."""
    try:
        found = file_id(data, trunk.partition("-")[2])
    except CorruptFile as error:
        return str(error)
    return "" if found == trunk else f"it holds trunk {found}"
