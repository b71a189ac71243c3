"""The workstation's backend in real time: clock, leases, breaks, faults, several servers."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from robot_servers.addresses import parse_addresses
from robot_servers.backends.mock import MockBackend
from robot_servers.client import CommandRefused, RemoteBackend, RobotFault, StaleState
from robot_servers.config import ArmSettings, RobotConfig, SafetyLimits
from robot_servers.link import Link
from robot_servers.protocol import convert
from robot_servers.types import (
    ArmCommand,
    CollisionThresholds,
    FaultKind,
    Gains,
    GripperTarget,
    Mode,
    MotionLimits,
    Payload,
    SceneObject,
)
from serl.errors import UserError

SHIFT_NS = 3_200_000_000


def test_an_arm_moves_and_the_states_follow(kit, offset):
    remote = kit.remote(kit.serve(), arms={"": "panda"}, state_rate_hz=1000.0)
    command = offset(remote.states()[""], x=0.03, z=0.02)
    command = ArmCommand(target=command.target, gripper=GripperTarget(width_m=0.03))
    for _ in range(40):
        remote.command({"": command})
        state = remote.advance(0.05)[""]
    np.testing.assert_allclose(state.T_base_tcp[:3, 3], command.target.T_base_tcp[:3, 3], atol=5e-3)
    assert state.gripper_width_m == pytest.approx(0.03, abs=1e-3)
    assert state.mode is Mode.IMPEDANCE


def test_stamps_of_a_server_whose_clock_is_shifted_come_out_in_ours(kit, offset):
    """3.2 s, either way: states are neither stale nor from the future, commands neither."""
    for shift in (SHIFT_NS, -SHIFT_NS):
        server = kit.serve(clock=lambda shift=shift: time.monotonic_ns() + shift)
        remote = kit.remote(server)
        before = remote.states()[""].stamp_mono_ns
        for _ in range(10):
            remote.command({"": offset(remote.states()[""])})
            state = remote.advance(0.02)[""]
            age_s = (time.monotonic_ns() - state.stamp_mono_ns) * 1e-9
            assert -0.005 < age_s < 0.19
        assert before < state.stamp_mono_ns
        offset_s, error_s = remote.clock_offsets_s()[""]
        assert abs(offset_s - shift * 1e-9) <= error_s + 0.005
        remote.stop("test")
        time.sleep(0.05)
        fault = remote.advance(0.05)[""].fault
        assert abs(time.monotonic_ns() - fault.stamp_mono_ns) < 1e9
        remote.close()


def test_the_same_sample_has_the_same_stamp_every_time(kit):
    remote = kit.remote(kit.serve(), state_rate_hz=20.0)
    pairs = [(remote.states()[""], remote.states()[""]) for _ in range(200)]
    assert any(a is b for a, b in pairs)
    stamps = [b.stamp_mono_ns - a.stamp_mono_ns for a, b in pairs]
    assert min(stamps) == 0


def test_periods_keep_their_deadlines_and_overruns_are_counted(kit):
    remote = kit.remote(kit.serve())
    remote.advance(0.02)
    began = time.monotonic()
    for _ in range(20):
        time.sleep(0.005)  # the caller's own work takes time
        remote.advance(0.02)
    assert time.monotonic() - began < 0.4 + 0.2
    before = remote.counters["overruns"]
    time.sleep(0.1)
    remote.advance(0.02)
    assert remote.counters["overruns"] == before + 1
    assert remote.counters["jitter_max_s"] >= 0.07


def test_two_commanding_clients_and_an_operator(kit, offset):
    server = kit.serve()
    first = kit.remote(server, client_name="actor@lab:1")
    with pytest.raises(CommandRefused, match="actor@lab:1 commands"):
        kit.remote(server, client_name="other@lab:2")
    operator = kit.remote(server, client_name="op@lab:3", operator=True)
    with pytest.raises(CommandRefused, match="op@lab:3 took it over"):
        first.command({"": offset(first.states()[""])})
    operator.command({"": offset(operator.states()[""])})
    first.stop("the first one may still stop")
    assert server.guard.states()[""].fault.kind is FaultKind.STOP


def test_a_client_that_was_taken_over_gets_the_arm_back_when_it_is_free(kit, offset):
    """An actor whose operator had stepped in could only be started anew."""
    server = kit.serve()
    first = kit.remote(server, client_name="actor@lab:1")
    operator = kit.remote(server, client_name="op@lab:3", operator=True)
    assert "op@lab:3 commands" in first.regain()
    operator.close()
    until = time.monotonic() + 5.0
    while (why := first.regain()) and time.monotonic() < until:
        time.sleep(0.05)
    assert why == ""
    first.command({"": offset(first.states()[""])})


def test_a_watcher_sees_and_does_not_command(kit, offset):
    server = kit.serve()
    kit.remote(server, client_name="actor@lab:1")
    watcher = kit.remote(server, watch=True)
    command = offset(watcher.advance(0.02)[""])
    with pytest.raises(CommandRefused, match="needs the lease"):
        watcher.command({"": command})
    assert watcher.ping(5).shape == (5, 1)
    assert server.leases.holder == "actor@lab:1"


def test_closing_frees_the_lease_and_holds_before_it_returns(kit, offset, until):
    server = kit.serve()
    remote = kit.remote(server, valid_for_s=5.0)
    remote.command({"": offset(remote.states()[""], x=0.05)})
    until(lambda: server.guard.states()[""].mode is Mode.IMPEDANCE, "the motion")
    remote.close()
    assert server.leases.holder == ""
    until(lambda: server.guard.states()[""].mode is Mode.HOLD, "the hold", 1.0)


COMMANDER = """
import sys, numpy as np
from robot_servers.client import RemoteBackend
from robot_servers.control import se3
from robot_servers.types import ArmCommand, CartesianTarget
remote = RemoteBackend(sys.argv[1], valid_for_s=5.0)
remote.connect()
T = remote.states()[""].T_base_tcp
while True:
    T = se3.apply_displacement(T, np.array([0, 0.005, 0, 0, 0, 0]))
    remote.command({"": ArmCommand(target=CartesianTarget(T_base_tcp=T))})
    remote.advance(0.02)
    print("moving", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_client_leaves_an_arm_that_holds_within_100_ms(kit, number):
    """Its command was valid for 5 s; the broken connection is what tells the server."""
    server = kit.serve()
    process = subprocess.Popen(
        [sys.executable, "-c", COMMANDER, f"grpc://{server.address}"], stdout=subprocess.PIPE
    )
    try:
        for _ in range(10):
            assert process.stdout.readline()
        seen = []
        stamp = -(1 << 62)
        killed = time.monotonic_ns()
        os.kill(process.pid, number)
        while not seen or seen[-1][0] < killed + 1_000_000_000:
            stamp, states = server.guard.wait_newer(stamp, 1.0)
            seen.append((stamp, states[""].T_base_ref[:3, 3].copy(), states[""].mode))
    finally:
        process.kill()
        process.wait()
    last = seen[-1]
    assert last[2] is Mode.HOLD
    moving = [s for s, p, _ in seen if np.linalg.norm(p - last[1]) > 1e-4]
    assert moving, "it was not moving when it was killed"
    assert (max(moving) - killed) * 1e-9 <= 0.1  # 4 to 9 ms when the machine has time
    assert server.leases.holder == ""


def test_a_hung_client_leaves_an_arm_that_holds_after_its_command_has_lapsed(kit, offset, until):
    server = kit.serve()
    remote = kit.remote(server, valid_for_s=0.2)
    remote.command({"": offset(remote.states()[""], x=0.08)})
    sent = time.monotonic()
    until(lambda: server.guard.states()[""].mode is Mode.IMPEDANCE, "the motion")
    until(lambda: server.guard.states()[""].mode is Mode.HOLD, "the hold")
    assert 0.15 < time.monotonic() - sent < 0.6
    remote.command({"": offset(remote.states()[""], x=0.01)})  # hold is no fault


def test_a_fault_is_raised_with_its_reason_until_recovered(kit, offset):
    server = kit.serve()
    remote = kit.remote(server)
    remote.stop("someone came too near")
    with pytest.raises(RobotFault, match="someone came too near") as caught:
        remote.command({"": offset(remote.states()[""])})
    assert caught.value.fault.kind is FaultKind.STOP
    assert caught.value.arm == ""
    remote.recover([""])
    remote.command({"": offset(remote.advance(0.1)[""])})
    remote.halt([""])
    with pytest.raises(RobotFault, match="emergency stop by"):
        remote.command({"": offset(remote.states()[""])})


def test_what_stands_in_the_way_of_recovery_is_told(kit):
    backend = MockBackend()
    remote = kit.remote(kit.serve(backend))
    remote.stop("test")
    backend.driver.stuck = "the user stop is pressed; release it."
    with pytest.raises(UserError, match="the user stop is pressed"):
        remote.recover([""])


def test_a_server_that_goes_away_and_comes_back_is_found_again(kit, offset, until, caplog):
    """The env waits on StaleState by asking for states; gains, motion and limits are told anew."""
    server = kit.serve()
    wide = server.guard.limits[""]
    narrow = SafetyLimits(workspace=wide.workspace, step_m=0.03)
    remote = kit.remote(server, limits={"": narrow})
    remote.set_gains({"": Gains(rotational_stiffness_nm_per_rad=60.0)})
    remote.set_limits({"": MotionLimits(linear_speed_m_per_s=0.2)})
    where = str(server.address)
    server.close()
    server.guard.close()

    def stale():
        try:
            remote.states()
        except StaleState:
            return True
        return False

    until(stale, "the loss")
    with pytest.raises(StaleState):
        remote.command({"": offset(server.guard.states()[""])})
    again = kit.serve(bind=where)
    until(lambda: not stale(), "the server again")
    assert again.guard.gains[""].rotational_stiffness_nm_per_rad == 60.0
    assert again.guard.motion[""].linear_speed_m_per_s == 0.2
    assert again.guard.limits[""].step_m == 0.03
    remote.command({"": offset(remote.states()[""])})
    assert any("again" in r.getMessage() or "another" in r.getMessage() for r in caplog.records)


def test_a_silent_stream_is_stale_and_the_arm_is_not_commanded_blindly(kit):
    backend = MockBackend()
    remote = kit.remote(kit.serve(backend))
    remote.advance(0.02)
    backend.driver.silent = True
    time.sleep(0.3)
    with pytest.raises(StaleState, match=r"newest state is .* old"):
        remote.advance(0.02)


def test_clamps_are_counted_and_told_once_a_second(kit, offset, caplog):
    remote = kit.remote(kit.serve())
    caplog.set_level(logging.WARNING)
    remote.command({"": offset(remote.states()[""])})
    for _ in range(5):
        remote.command({"": offset(remote.states()[""], z=1.0)})
        remote.advance(0.02)
    assert sum(v for k, v in remote.counts.items() if k.startswith("clamped/")) >= 5
    assert len([r for r in caplog.records if "clamped" in r.getMessage()]) <= 2


def test_settings_go_through(kit):
    backend = MockBackend()
    server = kit.serve(backend)
    remote = kit.remote(server)
    remote.set_payload({"": Payload(mass_kg=0.3)})
    assert backend.driver.payload.mass_kg == 0.3
    thresholds = CollisionThresholds(torque_nm=(20.0,) * 7, wrench=(30.0,) * 6)
    remote.set_collision({"": thresholds})
    assert backend.driver.collision == thresholds
    remote.hold([""])
    assert remote.facts()["backend"] == "mock"
    assert remote.server_counters()["overruns"] >= 0
    assert remote.save_recording("", "test").startswith(str(kit.folder))
    (reply,) = remote.describe().values()
    assert convert.take_limits(reply.arms[0].limits, "") == server.guard.limits[""]


def test_every_sample_is_given_to_a_subscriber_and_its_exception_is_not_lost(kit, until, offset):
    remote = kit.remote(kit.serve(), state_rate_hz=200.0)
    stamps = []

    def on_tick(states):
        stamps.append(states[""].stamp_mono_ns)
        if len(stamps) == 20:
            raise ValueError("the subscriber broke")

    remote.subscribe(on_tick)
    until(lambda: len(stamps) == 20, "samples")
    assert len(set(stamps)) == 20
    with pytest.raises(ValueError, match="the subscriber broke"):
        remote.command({"": offset(remote.states()[""])})


def test_two_servers_are_two_arms(kit, offset):
    servers = {name: kit.serve() for name in ("left", "right")}
    address = ",".join(f"{name}=grpc://{server.address}" for name, server in servers.items())
    remote = kit.remote(address, arms={"left": "panda", "right": "panda"})
    states = remote.advance(0.05)
    assert list(states) == list(remote.arms) == ["left", "right"]
    assert remote.scene is None
    target = offset(states["right"], y=0.04)
    for _ in range(20):
        remote.command({"right": target, "left": offset(states["left"])})
        states = remote.advance(0.05)
    np.testing.assert_allclose(
        states["right"].T_base_tcp[:3, 3], target.target.T_base_tcp[:3, 3], atol=5e-3
    )
    moved = servers["left"].guard.states()[""].T_base_tcp[1, 3]
    assert moved == pytest.approx(0.0, abs=5e-3)


def test_a_fault_of_one_arm_stops_the_other(kit, offset, until):
    servers = {name: kit.serve() for name in ("left", "right")}
    address = ",".join(f"{name}=grpc://{server.address}" for name, server in servers.items())
    remote = kit.remote(address)
    states = remote.advance(0.05)
    remote.command({name: offset(state) for name, state in states.items()})
    servers["left"].guard.stop("a hand in the way")
    fault = lambda: servers["right"].guard.states()[""].fault  # noqa: E731
    until(lambda: fault() is not None, "the stop of the other", 2.0)
    assert "arm 'left' is in fault: a hand in the way" in fault().reason
    with pytest.raises(RobotFault):
        remote.command({name: offset(state) for name, state in states.items()})
    remote.recover(["left", "right"])
    remote.command({name: offset(state) for name, state in remote.advance(0.1).items()})


def test_what_does_not_fit_is_one_line(kit):
    server = kit.serve()
    with pytest.raises(UserError, match=r"has a panda with 7 joints, the experiment wants a fr3"):
        kit.remote(server, arms={"": "fr3"})
    with pytest.raises(UserError, match=r"serves arms \[''\], the experiment has \['left'\]"):
        kit.remote(server, arms={"left": "panda"})
    with pytest.raises(UserError, match="does not answer"):
        kit.remote("grpc://127.0.0.1:1", arms={"": "panda"})
    remote = kit.remote(server)
    with pytest.raises(UserError, match="no arm named 'lef'"):
        remote.command({"lef": ArmCommand()})
    assert server.guard.states()[""].mode is Mode.HOLD


def test_another_version_of_the_protocol_is_one_line(kit, monkeypatch):
    server = kit.serve()
    described = Link.call

    def newer(self, method, request, *timeout):
        reply = described(self, method, request, *timeout)
        reply.protocol = 2
        return reply

    monkeypatch.setattr(Link, "call", newer)
    with pytest.raises(UserError, match=r"speaks protocol 2 .* this client 1; install the same"):
        kit.remote(server)


def test_limits_of_the_experiment_are_the_sessions_and_end_with_it(kit, until):
    config = RobotConfig(arm=ArmSettings(limits=SafetyLimits(step_m=0.08)))
    server = kit.serve(config=config)
    narrow = SafetyLimits(step_m=0.02)
    remote = kit.remote(server, limits={"": narrow})
    assert server.guard.limits[""].step_m == 0.02
    remote.close()
    other = kit.remote(server, client_name="next@here:2")
    other.ping(1)
    assert server.guard.limits[""].step_m == 0.08


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("grpc://127.0.0.1:5600", {None: "127.0.0.1:5600"}),
        ("127.0.0.1:5600", {None: "127.0.0.1:5600"}),
        ("grpc://[::1]:5600/", {None: "[::1]:5600"}),
        ("left=grpc://a:1, right=grpc://b:2", {"left": "a:1", "right": "b:2"}),
    ],
)
def test_addresses(text, found):
    assert parse_addresses(text) == found


@pytest.mark.parametrize("text", ["", "grpc://host", "left=", "a=h:1,a=h:2", "h:1,h:2"])
def test_an_address_that_is_none_is_refused(text):
    with pytest.raises(UserError, match=r"grpc://HOST:PORT|needs its arm's name"):
        parse_addresses(text)


def test_a_token_is_needed_and_told(kit):
    server = kit.serve(token="a-token-of-enough-characters")
    with pytest.raises(UserError, match="refused the token"):
        kit.remote(server)
    kit.remote(server, token="a-token-of-enough-characters").ping(2)


def test_a_real_time_simulator_resets_and_steps(kit):
    """Poses and twists of an env's step come in one call, and states are never older than a
    reset."""
    server = kit.simulator(lockstep=False)
    remote = kit.remote(server, arms={"": "panda"}, lockstep=False)
    body = '<body name="cube"><freejoint/><geom size="0.02" mass="0.1"/></body>'
    remote.scene.load(f"<mujoco>{body}</mujoco>")
    T = np.eye(4)
    T[:3, 3] = (0.5, 0.1, 0.3)
    before = time.monotonic_ns()
    states = remote.scene.reset([SceneObject(name="cube", T_base_object=T)])
    assert states[""].stamp_mono_ns > before - 50_000_000
    stamps = [remote.advance(0.02)[""].stamp_mono_ns for _ in range(10)]
    stamps = [states[""].stamp_mono_ns, *stamps]
    assert (np.diff(stamps) >= 0).all()  # a busy machine may bring nothing new for a step
    assert stamps[-1] > stamps[0]
    pose, twist = remote.scene.object_poses()["cube"], remote.scene.object_twists()["cube"]
    assert pose.shape == (4, 4)
    assert twist.shape == (6,)
    assert pose[2, 3] < 0.3


def test_no_command_leaves_by_itself(kit, offset, until):
    """A client that is alive and connected and says nothing: the arm holds."""
    server = kit.serve()
    remote = kit.remote(server)
    remote.command({"": offset(remote.advance(0.02)[""], x=0.02)})
    until(lambda: server.guard.states()[""].mode is Mode.HOLD, "the hold", 2.0)
    time.sleep(0.3)
    assert server.guard.states()[""].mode is Mode.HOLD
    assert isinstance(remote, RemoteBackend)


def test_a_command_that_lapses_on_its_way_is_a_pause_and_no_error(kit, offset, monkeypatch):
    """A stalled machine or network: the env waits and goes on, it does not end."""
    remote = kit.remote(kit.serve(), valid_for_s=0.1)
    command = offset(remote.states()[""])
    stamp = Link.stamp

    def long_ago(self, request):
        stamp(self, request)
        request.sent_mono_ns -= 300_000_000

    with monkeypatch.context() as patched:
        patched.setattr(Link, "stamp", long_ago)
        with pytest.raises(StaleState, match=r"took 0\.3\d s to arrive and was valid for 0\.10"):
            remote.command({"": command})
    assert remote.counts["late"] == 1
    remote.command({"": command})
