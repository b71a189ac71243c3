"""The workstation's backend: arms behind one robot server, or behind one each.

`RobotEnv` does not know the difference from a backend in its own process. Commands leave when they
are given, never by themselves: whoever stops calling lets the arms hold. Stamps are this host's
monotonic clock, converted (`clock.py`); in lockstep they are simulated time, and every number is
what it would be in process, bit for bit.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np

from robot_servers.addresses import default_client_name, parse_addresses
from robot_servers.at_once import at_once
from robot_servers.backends.base import OnTick
from robot_servers.config import SafetyLimits
from robot_servers.errors import CommandRefused, RobotFault, StaleState
from robot_servers.link import Link
from robot_servers.models.base import describe
from robot_servers.protocol import convert
from robot_servers.protocol import robot_pb2 as pb
from robot_servers.protocol.scene_pb2 import LoadRequest
from robot_servers.remote_scene import RemoteScene
from robot_servers.remote_server import RemoteServer
from robot_servers.types import (
    ArmCommand,
    Array,
    CollisionThresholds,
    Gains,
    Mode,
    MotionLimits,
    Payload,
    RobotDescription,
    RobotState,
)
from serl.errors import UserError, unknown_name
from serl.rpc import Tls

__all__ = ["CommandRefused", "RemoteBackend", "RobotFault", "StaleState"]

log = logging.getLogger(__name__)

VALID_PERIODS = 2.5
"""A command is valid for so many control periods."""
VALID_AT_FIRST_S = 0.25
"""... and before the first period is known, for this long."""
STALE_S = 0.2
STALE_PERIODS = 5
"""States older than the larger of the two are stale."""
SAY_CLAMPS_EVERY_S = 1.0
JITTER_PERIODS = 20_000


class RemoteBackend:
    """A Backend over gRPC.

    Args:
        address: 'grpc://host:port', or 'left=grpc://a:1,right=grpc://b:2' for several servers,
            each of which serves one arm.
        arms: model name by arm name; a server with other arms is refused, a simulator is made
            into these. None: whatever arms the server has, as they are.
        physics_dt_s, base_poses, action_delay_s: of a simulator, with `arms`.
        lockstep: what is expected of the server; None takes either.
        operator: take the lease over from whoever has it.
        watch: look only, without the lease; every command is refused.
        limits: narrower limits for this session, by arm name.
        valid_for_s: how long a command is valid; None: 2.5 control periods.
        clock: this host's monotonic nanoseconds.
    """

    in_process = True

    def __init__(
        self,
        address: str,
        *,
        arms: Mapping[str, str] | None = None,
        physics_dt_s: float = 0.002,
        lockstep: bool | None = None,
        base_poses: Mapping[str, Array] | None = None,
        action_delay_s: float = 0.0,
        token: str | None = None,
        tls: Tls | None = None,
        insecure_lan: bool = False,
        client_name: str | None = None,
        operator: bool = False,
        watch: bool = False,
        state_rate_hz: float = 250.0,
        limits: Mapping[str, SafetyLimits] | None = None,
        valid_for_s: float | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._models = None if arms is None else dict(arms)
        self.arms: Mapping[str, RobotDescription] = {
            name: describe(model) for name, model in (arms or {}).items()
        }
        self.lockstep = bool(lockstep)
        self.period_s = 0.0
        self.unsupported: frozenset[str] = frozenset()
        self.counts: Counter[str] = Counter()
        """'clamped/<limit>', 'refused', 'overruns', since the start."""
        self._wanted_lockstep = lockstep
        self._physics_dt_s, self._action_delay_s = physics_dt_s, action_delay_s
        self._base_poses = dict(base_poses or {})
        self._watch = watch
        self._rate_hz = state_rate_hz
        self._session_limits = dict(limits or {})
        self._valid_for_s = valid_for_s
        self._now = clock
        self._addresses = parse_addresses(address)
        security: dict[str, Any] = {"token": token, "tls": tls, "insecure_lan": insecure_lan}
        self._dialled = {
            "client": client_name or default_client_name(),
            "operator": operator,
            "clock": clock,
            **security,
        }
        self._servers: list[RemoteServer] = []
        self._by_arm: dict[str, RemoteServer] = {}
        self._scene: RemoteScene | None = None
        self._on_tick: list[OnTick] = []
        self._tick_failure: Exception | None = None
        self._lock = threading.RLock()
        self._forget_time()
        self._gains: dict[str, Gains] = {}
        self._motion: dict[str, MotionLimits] = {}
        self._said_s = -SAY_CLAMPS_EVERY_S

    def connect(self) -> None:
        """Reach every server, check what it has, take the lease, and wait for a state."""
        if self._servers:
            return
        try:
            self._connect()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the command streams, which lets the arms hold, and hang up."""
        for server in self._servers:
            server.link.close()
        self._servers, self._by_arm, self._scene = [], {}, None

    def __enter__(self) -> RemoteBackend:
        self.connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def scene(self) -> RemoteScene | None:
        """The simulator's scene; None on hardware."""
        return self._scene

    def states(self) -> Mapping[str, RobotState]:
        """The newest sample of every arm. Raises StaleState when that is too old, or none comes."""
        if self.lockstep:
            with self._lock:
                self._flush()
                if self._lockstep_states is None:
                    assert self._scene is not None
                    self._scene.look()
                assert self._lockstep_states is not None
                return dict(self._lockstep_states)
        self._check_links()
        oldest_s = max(STALE_S, STALE_PERIODS * self._period_s)
        states = {}
        for server in self._connected():
            states.update(server.states(self._now(), oldest_s))
        return {name: states[name] for name in self.arms}

    def command(self, commands: Mapping[str, ArmCommand]) -> None:
        """Send targets and wait until every server has taken them.

        In lockstep they travel with the next `advance`, and a refusal is raised there.

        Raises:
            RobotFault: an arm is in fault.
            CommandRefused: the server's reason, in its words.
            StaleState: a server does not answer.
        """
        with self._lock:
            if self.lockstep:
                self._flush()
                ((_, request),) = self._requests(commands)
                self._queued = request
                self._lockstep_states = None
                return
            self._check_links()
            self._exchange(self._requests(commands))

    def advance(self, period_s: float) -> Mapping[str, RobotState]:
        """Let one control period pass; the newest states at its end."""
        if self.lockstep:
            return self._step(period_s)
        self._period_s = period_s
        now = time.monotonic()
        self._deadline_s = (now if self._deadline_s is None else self._deadline_s) + period_s
        ahead_s = self._deadline_s - now
        if ahead_s > 0:
            time.sleep(ahead_s)
            self._late_s.append(time.monotonic() - self._deadline_s)
        else:
            self.counts["overruns"] += 1
            self._late_s.append(-ahead_s)
            self._deadline_s = now
        return self.states()

    def hold(self, arms: Iterable[str]) -> None:
        """At once: every arm of these arms' servers holds where it is. All are asked, then what
        failed is raised."""

        def hold(link: Link) -> None:
            link.call(link.robot.Hold, pb.HoldRequest(lease=link.lease))

        at_once(partial(hold, server.link) for server in self._of(arms))

    def halt(self, arms: Iterable[str]) -> None:
        """Emergency stop of these arms' servers. Needs no lease. As `hold`."""
        self._queued = None
        reason = f"emergency stop by {self._dialled['client']}"
        at_once(partial(server.stop, reason, emergency=True) for server in self._of(arms))

    def stop(self, reason: str) -> None:
        """Every arm holds, latched as a fault. Needs no lease. As `hold`."""
        self._queued = None
        at_once(partial(server.stop, reason) for server in self._of(self.arms))

    def recover(self, arms: Iterable[str]) -> None:
        """Leave the fault into hold. Raises UserError naming what still stands in the way."""
        problems = []
        names = list(arms)
        for server in self._of(names):
            link = server.link
            wanted = [theirs for theirs, ours in server.names.items() if ours in names]
            request = pb.RecoverRequest(lease=link.lease, arms=wanted)
            for entry in link.call(link.robot.Recover, request, 30.0).arms:
                if entry.problem:
                    problems.append(f"arm {server.names[entry.arm]!r}: {entry.problem}")
        if problems:
            raise UserError(" ".join(problems))

    def set_gains(self, gains: Mapping[str, Gains]) -> None:
        """Gains by arm name, ramped in by the server; what its limits change is logged."""
        for server in self._of(gains):
            link, request = server.link, pb.SetGainsRequest(lease=server.link.lease)
            for theirs, value in server.theirs(gains):
                convert.put_gains(request.arms.add(arm=theirs).gains, value)
            self._say_changes(server, link.call(link.robot.SetGains, request))
        self._gains.update(gains)

    def set_limits(self, limits: Mapping[str, MotionLimits]) -> None:
        """Motion limits by arm name; what the server's own limits change is logged."""
        for server in self._of(limits):
            link, request = server.link, pb.SetMotionRequest(lease=server.link.lease)
            for theirs, value in server.theirs(limits):
                convert.put_flat(request.arms.add(arm=theirs).motion, value)
            self._say_changes(server, link.call(link.robot.SetMotion, request))
        self._motion.update(limits)

    def narrow(self, limits: Mapping[str, SafetyLimits]) -> Mapping[str, SafetyLimits]:
        """This session's limits, within the server's own; as in effect from now on."""
        effective = {}
        for server in self._of(limits):
            link, request = server.link, pb.NarrowRequest(lease=server.link.lease)
            for theirs, value in server.theirs(limits):
                convert.put_limits(request.arms.add(arm=theirs).limits, value)
            for entry in link.call(link.robot.Narrow, request).arms:
                effective[server.names[entry.arm]] = convert.take_limits(entry.limits, entry.arm)
        self._session_limits.update(limits)
        return effective

    def set_payload(self, payloads: Mapping[str, Payload]) -> None:
        """What gravity compensation assumes from now on. Arms at rest only."""
        for server in self._of(payloads):
            link, request = server.link, pb.SetPayloadRequest(lease=server.link.lease)
            for theirs, value in server.theirs(payloads):
                convert.put_flat(request.arms.add(arm=theirs).payload, value)
            link.call(link.robot.SetPayload, request)

    def set_collision(self, thresholds: Mapping[str, CollisionThresholds]) -> None:
        """Where the arms' own reflexes trip."""
        for server in self._of(thresholds):
            link, request = server.link, pb.SetCollisionRequest(lease=server.link.lease)
            for theirs, value in server.theirs(thresholds):
                convert.put_flat(request.arms.add(arm=theirs).thresholds, value)
            link.call(link.robot.SetCollision, request)

    def subscribe(self, on_tick: OnTick) -> None:
        """Real time: call `on_tick` with every new sample that a server sends, from the thread that
        receives it. An exception of it is raised by the next `command`."""
        self._on_tick.append(on_tick)

    def facts(self) -> Mapping[str, str]:
        """Each server's versions and settings; with several, under its first arm's name."""
        facts = {}
        for server in self._connected():
            prefix = "" if len(self._servers) == 1 else f"{server.first}/"
            reply = server.link.description
            own = {"server": reply.version, "backend": reply.backend, **reply.facts}
            facts |= {prefix + name: value for name, value in own.items()}
        return facts

    def describe(self) -> Mapping[str, pb.DescribeReply]:
        """What each server says of itself now, by its first arm's name: limits, gains, holder."""
        return {server.first: server.link.describe() for server in self._connected()}

    def ping(self, count: int = 100) -> Array:
        """Times of messages there and back [s], (count, servers), without moving anything."""
        spans = np.zeros((count, len(self._connected())))
        for column, server in enumerate(self._servers):
            for row in range(count):
                began = time.perf_counter()
                server.link.wait(server.link.send(pb.CommandRequest()))
                spans[row, column] = time.perf_counter() - began
        return spans

    def clock_offsets_s(self) -> Mapping[str, tuple[float, float]]:
        """By server's first arm: its clock minus ours, and how far off that is at most [s]."""
        return {
            s.first: (s.link.clock.offset_ns * 1e-9, s.link.clock.error_ns * 1e-9)
            for s in self._connected()
        }

    def server_counters(self) -> Mapping[str, float]:
        """The servers' own counters; with several, under each one's first arm's name."""
        counters = {}
        for server in self._connected():
            prefix = "" if len(self._servers) == 1 else f"{server.first}/"
            reply = server.link.call(server.link.robot.Counters, pb.CountersRequest())
            counters |= {prefix + name: value for name, value in reply.counters.items()}
        return counters

    def save_recording(self, arm: str, reason: str) -> str:
        """Write the arm's last 5 s on its robot PC; the file's path there."""
        (server,) = self._of([arm])
        theirs = next(t for t, ours in server.names.items() if ours == arm)
        request = pb.SaveRecordingRequest(arm=theirs, reason=reason)
        return server.link.call(server.link.robot.SaveRecording, request).path

    @property
    def counters(self) -> Mapping[str, float]:
        """Counts since the start, and how late periods ended [s]."""
        late = np.array(self._late_s or [0.0])
        return {
            **{name: float(count) for name, count in self.counts.items()},
            "overruns": float(self.counts["overruns"]),
            "jitter_p99_s": float(np.quantile(late, 0.99)),
            "jitter_max_s": float(late.max()),
        }

    def _connect(self) -> None:
        for alias, address in self._addresses.items():
            server = RemoteServer(alias, address, self._dialled, self._heard)
            self._servers.append(server)
            reply = server.link.describe()
            self._check_time(server, reply)
            server.arrange(reply, None if self._makes_cell(reply) else self._models)
        self._take_descriptions()
        for server in self._servers:
            if not self._watch:
                server.link.acquire()
            server.link.ensure()
        self._make_scene()
        self._narrow_again()
        if not self.lockstep:
            for server in self._servers:
                server.link.watch(self._rate_hz)

    def _check_time(self, server: RemoteServer, reply: pb.DescribeReply) -> None:
        """Lockstep or not: what the server does is what the client expects."""
        wanted = self._wanted_lockstep
        self.lockstep = reply.lockstep if wanted is None else wanted
        if reply.lockstep == self.lockstep:
            if self.lockstep and len(self._addresses) > 1:
                raise UserError("several robot servers cannot keep lockstep; use one simulator.")
            return
        if not reply.scene:
            raise UserError(
                f"{server.link.peer} moves real arms, which know no lockstep; set env.realtime "
                "true (or leave it unset)."
            )
        theirs, ours = ("lockstep", "real time") if reply.lockstep else ("real time", "lockstep")
        flag = "with --lockstep" if self.lockstep else "without --lockstep"
        setting = "false" if reply.lockstep else "true"
        raise UserError(
            f"{server.link.peer} runs in {theirs} and this experiment in {ours}; start the server "
            f"{flag}, or set env.realtime {setting}."
        )

    def _take_descriptions(self) -> None:
        """Arms as the servers describe them, in the order that was asked for."""
        found: dict[str, RobotDescription] = {}
        self._by_arm = {}
        for server in self._servers:
            for entry in server.link.description.arms:
                ours = server.names.get(entry.arm)
                if ours is not None:
                    found[ours] = convert.take_description(entry.description)
                    self._by_arm[ours] = server
        wanted = self._models or {}
        names = list(wanted) if found.keys() >= wanted.keys() > set() else list(found)
        self.arms = {name: found[name] for name in names}
        replies = [server.link.description for server in self._servers]
        self.period_s = max(reply.period_s for reply in replies)
        self.unsupported = frozenset(name for reply in replies for name in reply.unsupported)

    def _make_scene(self) -> None:
        """A simulator becomes the experiment's cell, unless we only look."""
        (server, *others) = self._servers
        if others or not server.link.description.scene:
            return
        cell = LoadRequest(
            physics_dt_s=self._physics_dt_s,
            action_delay_s=self._action_delay_s,
            lockstep=self.lockstep,
        )
        for name, model in (self._models or {}).items():
            arm = cell.arms.add(arm=name, model=model)
            if name in self._base_poses:
                convert.put_pose(arm.T_world_base, self._base_poses[name])
        self._scene = RemoteScene(
            server.link,
            cell,
            lockstep=self.lockstep,
            on_load=self._loaded,
            on_state=self._arrived,
            before=self._flush,
        )
        if self._makes_cell(server.link.description):
            self._scene.load("")

    def _narrow_again(self) -> None:
        known = {name: v for name, v in self._session_limits.items() if name in self.arms}
        if known and not self._watch:
            self.narrow(known)

    def _makes_cell(self, reply: pb.DescribeReply) -> bool:
        """A simulator takes on the arms that we name, whatever it has now."""
        return reply.scene and len(self._addresses) == 1 and bool(self._models) and not self._watch

    def _loaded(self, reply: pb.DescribeReply) -> None:
        """The simulator has another scene, and may have other arms: our limits are told anew."""
        (server,) = self._servers
        server.link.description = reply
        server.arrange(reply, self._models)
        self._take_descriptions()
        self._narrow_again()

    def _arrived(self, states: pb.States, jump: bool) -> Mapping[str, RobotState]:
        """States that a reply of the scene brought along."""
        (server,) = self._servers
        if jump:
            self._deadline_s = None
        if self.lockstep:
            self._lockstep_states = server.converted(states, 0)
            return dict(self._lockstep_states)
        server.link.newest = states if jump else server.link.newest
        return server.converted(states, -server.link.clock.offset_ns)

    def _step(self, period_s: float) -> Mapping[str, RobotState]:
        """Lockstep: the queued command, then one period of physics."""
        with self._lock:
            assert self._scene is not None
            self._period_s = period_s
            server = self._servers[0]
            if server.link.ensure():
                self._after_break()
            request, self._queued = self._queued, None
            if request is not None:
                server.link.stamp(request)
            self._lockstep_states = None
            reply, states = self._scene.advance(period_s, request)
            if reply is not None:
                self._judge(server, reply)
            assert states is not None, "no state although the command was taken"
            return states

    def _flush(self) -> None:
        """Lockstep: what was commanded is carried out before anything else happens."""
        with self._lock:
            request, self._queued = self._queued, None
            if request is not None:
                self._exchange([(self._servers[0], request)])

    def _requests(
        self, commands: Mapping[str, ArmCommand]
    ) -> list[tuple[RemoteServer, pb.CommandRequest]]:
        """One message for each server that has an arm among the commands."""
        valid_for_s = self._valid_for_s
        if valid_for_s is None:
            valid_for_s = VALID_PERIODS * self._period_s if self._period_s else VALID_AT_FIRST_S
        requests = []
        for server in self._of(commands):
            request = pb.CommandRequest(valid_for_s=valid_for_s)
            for theirs, command in server.theirs(commands):
                convert.put_command(request.arms.add(), theirs, command)
            requests.append((server, request))
        return requests

    def _exchange(self, requests: list[tuple[RemoteServer, pb.CommandRequest]]) -> None:
        """Send all, then wait for all."""
        if self._tick_failure is not None:
            raise self._tick_failure
        sent = [(server, server.link.send(request)) for server, request in requests]
        replies = [(server, server.link.wait(sequence)) for server, sequence in sent]
        for (server, reply), (_, request) in zip(replies, requests, strict=True):
            self._refuse_late(server, request, reply)
            self._judge(server, reply)

    def _refuse_late(
        self, server: RemoteServer, request: pb.CommandRequest, reply: pb.CommandReply
    ) -> None:
        """A command that lapsed on its way was refused for that: the way hangs, nobody is wrong."""
        if not request.sent_mono_ns or self.lockstep:
            return
        way_s = (reply.received_mono_ns - request.sent_mono_ns) * 1e-9
        if way_s > request.valid_for_s and any(verdict.refused for verdict in reply.verdicts):
            self.counts["late"] += 1
            raise StaleState(
                f"{server.link.peer}: a command took {way_s:.2f} s to arrive and was valid for "
                f"{request.valid_for_s:.2f} s; the arm holds by itself. Check the network and the "
                "load of both machines."
            )

    def _judge(self, server: RemoteServer, reply: pb.CommandReply) -> None:
        """Raise a refusal; count and now and then tell clamps."""
        if reply.refused:
            self.counts["refused"] += 1
            raise CommandRefused(f"{server.link.peer}: {reply.refused}")
        for verdict in reply.verdicts:
            ours = server.names.get(verdict.arm, verdict.arm)
            if verdict.refused:
                self.counts["refused"] += 1
                if verdict.HasField("fault"):
                    offset = 0 if self.lockstep else -server.link.clock.offset_ns
                    raise RobotFault(ours, convert.take_fault(verdict.fault, offset))
                raise CommandRefused(f"arm {ours!r}: {verdict.refused}")
            for clamp in verdict.clamps:
                self.counts[f"clamped/{clamp.limit}"] += 1
            if verdict.clamps and time.monotonic() - self._said_s >= SAY_CLAMPS_EVERY_S:
                self._said_s = time.monotonic()
                log.warning("arm %r clamped: %s", ours, "; ".join(c.text for c in verdict.clamps))

    def regain(self) -> str:
        """Ask for the lease where someone else took it; why it is not to be had yet, or ""."""
        for server in self._connected():
            try:
                server.link.acquire()
            except UserError as error:
                return str(error)
        self._narrow_again()
        self.set_gains(dict(self._gains))
        self.set_limits(dict(self._motion))
        return ""

    def _check_links(self) -> None:
        """Reach again what has broken. Raises StaleState while that is not possible."""
        for server in self._connected():
            if server.link.failure is not None:
                raise server.link.failure
            try:
                broke = server.link.ensure()
            except CommandRefused as error:
                raise StaleState(f"{error}") from error
            if broke:
                self._after_break()

    def _after_break(self) -> None:
        """A server is there again: a new session there has its own limits, not ours, and a server
        started anew has forgotten everything we told it."""
        lost = [server for server in self._servers if server.link.restarted]
        if lost and self._scene is not None and self._models:
            raise UserError(
                f"{lost[0].link.peer} was started anew and has lost the scene; start this program "
                "anew too."
            )
        for server in lost:
            server.link.restarted = False
        if self._watch:
            return
        self._narrow_again()
        self.set_gains(dict(self._gains))
        self.set_limits(dict(self._motion))

    def _heard(self, server: RemoteServer, states: pb.States) -> None:
        """A message of a state stream, on its thread: a fault of one arm stops the others."""
        faulty, knew = any(state.mode == Mode.FAULT for state in states.arms), server.in_fault
        server.in_fault = faulty  # before the others are stopped: theirs must not come back here
        if faulty and not knew:
            reason = next(s.fault.reason for s in states.arms if s.mode == Mode.FAULT)
            others = [s for s in self._servers if not s.in_fault and not self._watch]
            at_once(partial(self._stop_too, other, server, reason) for other in others)
        if self._on_tick and self._tick_failure is None:
            self._tick()

    def _stop_too(self, other: RemoteServer, faulty: RemoteServer, reason: str) -> None:
        try:
            other.stop(f"arm {faulty.first!r} is in fault: {reason}")
        except UserError as error:
            log.error(
                "arm %r is in fault and arm %r is not stopped: %s", faulty.first, other.first, error
            )

    def _tick(self) -> None:
        try:
            states: dict[str, RobotState] = {}
            for server in self._servers:
                if server.link.newest is None:
                    return
                states.update(server.converted(server.link.newest, -server.link.clock.offset_ns))
            for on_tick in self._on_tick:
                on_tick(states)
        except Exception as error:  # raised by the next command
            self._tick_failure = error

    def _of(self, arms: Iterable[str]) -> list[RemoteServer]:
        """The servers of these arms, each once. What was commanded before is carried out before."""
        self._connected()
        self._flush()
        self._lockstep_states = None
        servers: dict[int, RemoteServer] = {}
        for arm in arms:
            if arm not in self._by_arm:
                raise unknown_name("arm", arm, map(repr, self.arms))
            servers[id(self._by_arm[arm])] = self._by_arm[arm]
        return list(servers.values())

    def _connected(self) -> list[RemoteServer]:
        if not self._servers:
            raise UserError("the robot server is not connected; call connect() first.")
        return self._servers

    def _say_changes(self, server: RemoteServer, reply: pb.ChangesReply) -> None:
        for entry in reply.arms:
            for line in entry.changes:
                log.warning("arm %r: %s", server.names.get(entry.arm, entry.arm), line)

    def _forget_time(self) -> None:
        self._period_s = 0.0
        self._deadline_s: float | None = None
        self._late_s: deque[float] = deque(maxlen=JITTER_PERIODS)
        self._queued: pb.CommandRequest | None = None
        self._lockstep_states: Mapping[str, RobotState] | None = None
