"""The server over a mock arm, as any gRPC client meets it."""

from __future__ import annotations

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from robot_servers.protocol import convert
from robot_servers.protocol import robot_pb2 as pb
from robot_servers.types import Gains, Mode


def refused(code, call, *args, **kwargs):
    """The one line of a refused call."""

    def made():
        reply = call(*args, timeout=10, **kwargs)
        return next(reply) if hasattr(reply, "__next__") else reply

    with pytest.raises(grpc.RpcError) as caught:
        made()
    assert caught.value.code() is code, caught.value
    assert "\n" not in caught.value.details()
    return caught.value.details()


def accepted(reply):
    return not (reply.refused or reply.verdicts)


def acquire(stub, client="test@here:1", **kwargs):
    return stub.AcquireLease(pb.AcquireLeaseRequest(client=client, **kwargs), timeout=5).lease


class Commands:
    """A command stream by hand."""

    def __init__(self, stub, lease=""):
        self.lease, self.sequence = lease, 0
        self._requests = []
        self._there = threading.Condition()
        self.call = stub.Command(self._iterate())

    def _iterate(self):
        while True:
            with self._there:
                while not self._requests:
                    self._there.wait()
                request = self._requests.pop(0)
            if request is None:
                return
            yield request

    def send(self, *arms, valid_for_s=1.0, **kwargs):
        self.sequence += 1
        kwargs.setdefault("sequence", self.sequence)
        request = pb.CommandRequest(lease=self.lease, valid_for_s=valid_for_s, arms=arms, **kwargs)
        with self._there:
            self._requests.append(request)
            self._there.notify()
        return next(self.call)

    def end(self):
        with self._there:
            self._requests.append(None)
            self._there.notify()


def test_a_server_says_what_it_has(kit):
    server = kit.serve()
    reply = kit.stub(server).Describe(pb.DescribeRequest(), timeout=5)
    assert (reply.protocol, reply.backend, reply.lockstep, reply.scene) == (1, "mock", False, False)
    (arm,) = reply.arms
    robot = convert.take_description(arm.description)
    assert (arm.arm, robot.name, robot.joint_count) == ("", "panda", 7)
    assert convert.take_limits(arm.limits, "") == server.guard.limits[""]
    assert convert.take_gains(arm.gains, "") == Gains()
    assert abs(reply.stamp_wall_ns - time.time_ns()) < 5e9


def test_a_stream_sends_no_stamp_twice_and_none_out_of_order(kit):
    stub = kit.stub(kit.serve())
    call = stub.StateStream(pb.StateStreamRequest(rate_hz=1000))
    stamps = [next(call).stamp_mono_ns for _ in range(60)]
    call.cancel()
    assert (np.diff(stamps) > 0).all()


def test_a_stream_is_no_faster_than_asked_for(kit):
    stub = kit.stub(kit.serve())
    call = stub.StateStream(pb.StateStreamRequest(rate_hz=20))
    stamps = [next(call).stamp_mono_ns for _ in range(8)]
    call.cancel()
    assert np.median(np.diff(stamps)) * 1e-9 > 0.04


@pytest.mark.parametrize("rate_hz", [0.0, -5.0, 1001.0, float("nan")])
def test_a_rate_out_of_range_is_refused(kit, rate_hz):
    stub = kit.stub(kit.serve())
    request = pb.StateStreamRequest(rate_hz=rate_hz)
    line = refused(grpc.StatusCode.INVALID_ARGUMENT, stub.StateStream, request)
    assert "at most 1000 Hz" in line


def test_a_command_moves_the_arm_and_is_acknowledged_with_stamps(kit, offset, on_wire, until):
    server = kit.serve()
    stub = kit.stub(server)
    commands = Commands(stub, acquire(stub))
    command = offset(server.guard.states()[""], x=0.03)
    reply = commands.send(on_wire(command), valid_for_s=5.0)
    assert reply.sequence == 1
    assert accepted(reply)
    assert reply.received_mono_ns <= reply.sent_mono_ns
    assert 0 < reply.state_stamp_mono_ns <= reply.sent_mono_ns
    goal = command.target.T_base_tcp[0, 3]
    until(lambda: abs(server.guard.states()[""].T_base_tcp[0, 3] - goal) < 0.005, "the move")


def test_a_ping_needs_no_lease_and_a_command_does(kit, offset, on_wire):
    server = kit.serve()
    commands = Commands(kit.stub(server))
    assert not commands.send().refused
    reply = commands.send(on_wire(offset(server.guard.states()[""])))
    assert "needs the lease" in reply.refused


def test_a_namesake_does_not_take_the_lease(kit):
    stub = kit.stub(kit.serve())
    acquire(stub, session="a")
    acquire(stub, session="a")  # the same one, after it lost its connection
    again = pb.AcquireLeaseRequest(client="test@here:1", session="b")
    line = refused(grpc.StatusCode.PERMISSION_DENIED, stub.AcquireLease, again)
    assert "test@here:1 commands this arm" in line


def test_two_clients_do_not_command_at_once(kit, offset, on_wire):
    server = kit.serve()
    stub = kit.stub(server)
    first = Commands(stub, acquire(stub, "actor@lab:7"))
    assert not first.send().refused
    line = refused(
        grpc.StatusCode.PERMISSION_DENIED,
        stub.AcquireLease,
        pb.AcquireLeaseRequest(client="other@lab:8"),
    )
    assert "actor@lab:7 commands" in line
    second = acquire(stub, "op@lab:9", operator=True)
    reply = first.send(on_wire(offset(server.guard.states()[""])))
    assert "op@lab:9 took it over as operator" in reply.refused
    assert not Commands(stub, second).send().refused
    assert any("op@lab:9 took the lease over" in line for line in server.events)


@pytest.mark.parametrize("end", ["end", "cancel"])
def test_the_end_of_a_command_stream_holds_the_arm_and_frees_the_lease(
    kit, offset, on_wire, until, end
):
    server = kit.serve()
    stub = kit.stub(server)
    commands = Commands(stub, acquire(stub))
    commands.send(on_wire(offset(server.guard.states()[""], x=0.08)), valid_for_s=5.0)
    until(lambda: server.guard.states()[""].mode is Mode.IMPEDANCE, "the motion")
    commands.call.cancel() if end == "cancel" else commands.end()
    until(lambda: server.guard.states()[""].mode is Mode.HOLD, "the hold", 2.0)  # valid for 5 s
    until(lambda: server.leases.holder == "", "the lease", 2.0)
    acquire(stub, "next@here:2")


def test_the_end_of_a_stream_that_lost_the_lease_does_not_hold_the_new_holders_arm(
    kit, offset, on_wire
):
    server = kit.serve()
    stub = kit.stub(server)
    old = Commands(stub, acquire(stub, "old"))
    old.send(on_wire(offset(server.guard.states()[""])))
    new = Commands(stub, acquire(stub, "new", operator=True))
    new.send(on_wire(offset(server.guard.states()[""], x=0.05)), valid_for_s=5.0)
    old.call.cancel()
    time.sleep(0.3)
    assert server.guard.states()[""].mode is Mode.IMPEDANCE
    assert server.leases.holder == "new"


BAD_LENGTHS = [
    pb.ArmCommand(cartesian=pb.CartesianTarget(T_base_tcp=[0.0] * 16)),
    pb.ArmCommand(cartesian=pb.CartesianTarget()),
    pb.ArmCommand(joints=pb.JointTarget(q_rad=[0.0] * 6)),
    pb.ArmCommand(wrench=pb.WrenchTarget(wrench=[1.0], frame="base")),
    pb.ArmCommand(wrench=pb.WrenchTarget(wrench=[0.0] * 6, frame="world")),
    pb.ArmCommand(joints=pb.JointTarget(q_rad=[float("nan")] * 7)),
    pb.ArmCommand(cartesian=pb.CartesianTarget(T_base_tcp=[float("nan")] * 12)),
    pb.ArmCommand(cartesian=pb.CartesianTarget(T_base_tcp=[2.0, 0, 0, 0.5] * 3)),
    pb.ArmCommand(gripper=pb.GripperTarget(width_m=float("nan"))),
    pb.ArmCommand(arm="left"),
]


@pytest.mark.parametrize("bad", BAD_LENGTHS, ids=lambda bad: str(bad)[:40].replace("\n", " "))
def test_a_malformed_command_is_refused_and_the_server_stays_alive(kit, on_wire, offset, bad):
    server = kit.serve()
    stub = kit.stub(server)
    commands = Commands(stub, acquire(stub))
    reply = commands.send(bad)
    line = reply.refused or reply.verdicts[0].refused
    assert 0 < len(line.splitlines()) < 2
    reply = commands.send(on_wire(offset(server.guard.states()[""])))
    assert accepted(reply)


def test_stale_and_out_of_order_commands_are_refused(kit, on_wire, offset):
    server = kit.serve()
    stub = kit.stub(server)
    commands = Commands(stub, acquire(stub))
    still = on_wire(offset(server.guard.states()[""]))
    old = server.guard.clock() - 2_000_000_000
    assert "old" in commands.send(still, sent_mono_ns=old, valid_for_s=0.2).verdicts[0].refused
    assert not commands.send(still, sequence=10).verdicts
    assert "must grow" in commands.send(still, sequence=9).verdicts[0].refused


def test_a_clamp_is_told_with_its_limit(kit, on_wire, offset):
    server = kit.serve()
    stub = kit.stub(server)
    commands = Commands(stub, acquire(stub))
    commands.send(on_wire(offset(server.guard.states()[""])))
    (verdict,) = commands.send(on_wire(offset(server.guard.states()[""], x=0.5))).verdicts
    assert not verdict.refused
    assert {clamp.limit for clamp in verdict.clamps} <= {"step", "workspace"}
    assert verdict.clamps[0].text


def test_an_oversized_message_is_refused_and_the_server_stays_alive(kit):
    server = kit.serve()
    stub = kit.stub(server)
    huge = pb.StopRequest(reason="x" * (9 << 20))
    line = refused(grpc.StatusCode.RESOURCE_EXHAUSTED, stub.Stop, huge)
    assert "larger than max" in line
    assert server.guard.states()[""].mode is not Mode.FAULT
    stub.Describe(pb.DescribeRequest(), timeout=5)


def test_stop_is_served_while_every_worker_is_busy(kit, until):
    """Watchers fill their places, blocked calls the rest of the pool; nobody holds the lease."""
    server = kit.serve(max_watchers=3, max_commanders=3)
    stub = kit.stub(server)
    streams = [stub.StateStream(pb.StateStreamRequest(rate_hz=5)) for _ in range(3)]
    for stream in streams:
        next(stream)
    commands = [Commands(stub) for _ in range(3)]
    for stream in commands:
        stream.send()
    blocked = threading.Event()
    server.guard.save_recording = lambda arm, reason: blocked.wait(30) and ""
    request = pb.SaveRecordingRequest()
    with ThreadPoolExecutor(60) as callers:
        try:
            calls = [callers.submit(stub.SaveRecording, request, timeout=30) for _ in range(60)]
            time.sleep(0.5)
            with pytest.raises(grpc.RpcError):  # the pool is full: an ordinary call waits
                stub.Describe(pb.DescribeRequest(), timeout=0.5)
            began = time.monotonic()
            stub.Stop(pb.StopRequest(reason="test"), timeout=5)
            assert server.guard.states()[""].mode is Mode.FAULT
            stub.EStop(pb.StopRequest(reason="test"), timeout=5)
            assert time.monotonic() - began < 2.0
            assert server.guard.states()[""].fault.kind.name == "ESTOP"
        finally:
            blocked.set()
        del calls


def test_a_further_watcher_is_refused_in_one_line(kit):
    stub = kit.stub(kit.serve(max_watchers=2))
    streams = [stub.StateStream(pb.StateStreamRequest(rate_hz=100)) for _ in range(2)]
    for stream in streams:
        next(stream)
    request = pb.StateStreamRequest(rate_hz=100)
    line = refused(grpc.StatusCode.RESOURCE_EXHAUSTED, stub.StateStream, request)
    assert "2 state streams at a time" in line
    streams[0].cancel()
    deadline = time.monotonic() + 5
    while True:  # its place becomes free when the server has seen the end
        try:
            next(stub.StateStream(request))
            break
        except grpc.RpcError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.parametrize(
    ("call", "request_"),
    [
        ("SetGains", pb.SetGainsRequest()),
        ("SetMotion", pb.SetMotionRequest()),
        ("Narrow", pb.NarrowRequest()),
        ("SetPayload", pb.SetPayloadRequest()),
        ("SetCollision", pb.SetCollisionRequest()),
        ("Hold", pb.HoldRequest()),
        ("Recover", pb.RecoverRequest()),
    ],
)
def test_what_changes_an_arm_needs_the_lease(kit, call, request_):
    stub = kit.stub(kit.serve())
    line = refused(grpc.StatusCode.PERMISSION_DENIED, getattr(stub, call), request_)
    assert "needs the lease" in line


def test_bad_settings_are_refused_by_name(kit):
    server = kit.serve()
    stub = kit.stub(server)
    lease = acquire(stub)
    bad, malformed = grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.INVALID_ARGUMENT

    gains = pb.SetGainsRequest(lease=lease)
    convert.put_gains(gains.arms.add(arm="left").gains, Gains())
    assert "no arm named 'left'" in refused(bad, stub.SetGains, gains)

    gains = pb.SetGainsRequest(lease=lease)
    convert.put_gains(gains.arms.add().gains, Gains(translational_stiffness_n_per_m=float("nan")))
    line = refused(malformed, stub.SetGains, gains)
    assert "translational_stiffness_n_per_m is not a number" in line

    collision = pb.SetCollisionRequest(lease=lease)
    collision.arms.add().thresholds.torque_nm.extend([1.0] * 6)
    collision.arms[0].thresholds.wrench.extend([1.0] * 6)
    assert "6 numbers; it has 7 joints" in refused(malformed, stub.SetCollision, collision)


def test_gains_beyond_the_limits_are_lowered_and_said(kit):
    server = kit.serve()
    stub = kit.stub(server)
    request = pb.SetGainsRequest(lease=acquire(stub))
    stiff = Gains(translational_stiffness_n_per_m=20000.0)
    convert.put_gains(request.arms.add().gains, stiff)
    (entry,) = stub.SetGains(request, timeout=5).arms
    assert entry.changes
    described = stub.Describe(pb.DescribeRequest(), timeout=5).arms[0]
    assert convert.take_gains(described.gains, "") == server.guard.gains[""] != stiff


def test_limits_can_only_be_narrowed_and_infinity_leaves_them(kit):
    server = kit.serve()
    stub = kit.stub(server)
    absolute = server.guard.limits[""]
    request = pb.NarrowRequest(lease=acquire(stub))
    limits = request.arms.add().limits
    convert.put_limits(limits, absolute)
    limits.step_m, limits.force_n, limits.torque_nm = 0.04, 1e9, float("inf")
    limits.ClearField("push_nm")  # as a client that does not know it
    (entry,) = stub.Narrow(request, timeout=5).arms
    narrowed = convert.take_limits(entry.limits, "")
    assert narrowed.step_m == 0.04
    assert (narrowed.force_n, narrowed.torque_nm) == (absolute.force_n, absolute.torque_nm)
    assert narrowed.push_nm == absolute.push_nm


def test_recover_is_the_way_out_of_a_stop(kit, on_wire, offset):
    server = kit.serve()
    stub = kit.stub(server)
    lease = acquire(stub)
    commands = Commands(stub, lease)
    stub.Stop(pb.StopRequest(reason="the operator pressed stop"), timeout=5)
    still = on_wire(offset(server.guard.states()[""]))
    (verdict,) = commands.send(still).verdicts
    assert verdict.fault.kind == pb.Fault.STOP
    assert "the operator pressed stop" in verdict.fault.reason
    (entry,) = stub.Recover(pb.RecoverRequest(lease=lease), timeout=20).arms
    assert (entry.arm, entry.problem) == ("", "")
    assert not commands.send(still).verdicts


def test_recordings_and_counters_are_to_be_had(kit, on_wire, offset):
    server = kit.serve()
    stub = kit.stub(server)
    Commands(stub, acquire(stub)).send(on_wire(offset(server.guard.states()[""])))
    path = stub.SaveRecording(pb.SaveRecordingRequest(reason="test"), timeout=10).path
    assert (kit.folder / "recordings").is_dir()
    assert path.startswith(str(kit.folder))
    counters = stub.Counters(pb.CountersRequest(), timeout=5).counters
    assert counters["overruns"] >= 0
    commands = Commands(stub)
    assert "needs the lease" in commands.send(pb.ArmCommand()).refused


def test_closing_the_server_ends_the_streams_and_holds(kit):
    server = kit.serve()
    stub = kit.stub(server)
    stream = stub.StateStream(pb.StateStreamRequest(rate_hz=100))
    next(stream)
    commands = Commands(stub, acquire(stub))
    commands.send()
    began = time.monotonic()
    server.close()
    assert time.monotonic() - began < 5
    with pytest.raises((grpc.RpcError, StopIteration)):
        next(itertools.islice(stream, 10_000, None))


def test_the_server_asks_for_its_token(kit):
    server = kit.serve(token="a-token-of-enough-characters")
    line = refused(
        grpc.StatusCode.UNAUTHENTICATED, kit.stub(server).Stop, pb.StopRequest(reason="x")
    )
    assert "token" in line
