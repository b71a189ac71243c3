"""`serl doctor --robot` against a server over a simulated arm, and what it makes of numbers."""

import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from launch import doctor_robot
from launch.main import main
from robot_servers.backends.mujoco import MujocoBackend
from robot_servers.config import RobotConfig
from robot_servers.guard import Guard
from robot_servers.lease import LeaseBook
from robot_servers.protocol import robot_pb2 as pb
from robot_servers.server import RobotServer


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    config = RobotConfig(recordings=tmp_path_factory.mktemp("recordings"))
    backend = MujocoBackend(lockstep=False, compiled=False)
    guard = Guard(backend, config)
    guard.start()
    leases = LeaseBook()
    with RobotServer(guard, leases, bind="127.0.0.1:0", backend_name="mujoco") as served:
        yield SimpleNamespace(guard=guard, backend=backend, leases=leases, at=str(served.address))
    guard.close()


@pytest.fixture
def doctor(cell, capfd):
    """doctor(flag, ...) -> (exit code, {check: its line})."""

    def call(*flags):
        capfd.readouterr()
        code = main(["doctor", "--robot", cell.at, *flags])
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return code, {line[6:18].strip(): line for line in out.splitlines()}

    return call


def test_a_well_arm_is_told_line_by_line(doctor):
    _, lines = doctor("--no-push")
    told = {"reach", "version", "real time", "scheduling", "latency", "clock", "states", "payload"}
    assert told <= lines.keys()
    for name in ("reach", "version", "clock", "arm", "payload", "gripper"):
        assert lines[name].startswith("ok"), lines[name]
    assert "panda, 7 joints" in lines["reach"]
    assert "p99" in lines["latency"]
    assert lines["real time"].startswith("-"), "a simulator needs no real-time kernel"
    assert lines["frames"].startswith("-")


def test_it_takes_no_lease_and_moves_nothing_unless_asked(doctor, cell):
    lease = cell.leases.acquire("policy@lab:7")
    try:
        _, lines = doctor("--no-push")
        assert "policy@lab:7 commands" in lines["lease"]
        assert cell.guard.states()[""].gripper_target_m == pytest.approx(0.08)
        code, lines = doctor("--no-push", "--move")
        assert code == 1
        assert "policy@lab:7" in lines["reach"]
    finally:
        cell.leases.drop(lease)


def test_the_gripper_moves_when_asked_to(doctor):
    _, lines = doctor("--no-push", "--move")
    assert lines["gripper"].startswith("ok")
    assert "opens to" in lines["gripper"]


def test_a_load_that_nobody_told_shows_as_payload(doctor, cell):
    cell.backend.scene.push(np.array([0, 0, -6.0, 0, 0, 0]))
    try:
        code, lines = doctor("--no-push")
    finally:
        cell.backend.scene.push(np.zeros(6))
    assert code == 1
    assert lines["payload"].startswith("FAIL")
    assert "[arm.payload]" in lines["payload"]


def test_a_push_on_the_terminal_is_judged(cell, monkeypatch, doctor):
    """The push comes from the simulator, when the doctor asks for it."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    told = iter([0, 0])
    real = doctor_robot.watched

    def pushing(backend, arm, seconds):
        if seconds == 0.2 and next(told, None) is not None:
            cell.backend.scene.push(np.array([12.0, 0, 0, 0, 0, 0]))
        return real(backend, arm, seconds)

    monkeypatch.setattr(doctor_robot, "watched", pushing)
    try:
        _, lines = doctor()
    finally:
        cell.backend.scene.push(np.zeros(6))
    assert lines["frames"].startswith("ok"), lines["frames"]
    assert "+x" in lines["frames"]


def test_without_a_terminal_nobody_is_asked_to_push(doctor, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert "terminal" in doctor()[1]["frames"]


def test_an_absent_server_is_one_failed_line(capfd):
    assert main(["doctor", "--robot", "127.0.0.1:1"]) == 1
    (line,) = capfd.readouterr().out.strip().splitlines()
    assert line.startswith("FAIL")
    assert "robot-server" in line


@pytest.mark.parametrize(
    ("push", "ok", "says"),
    [
        ([10.0, 1.0, -1.0], True, "+x"),
        ([-10.0, 1.0, 0.0], False, "reversed"),
        ([1.0, 10.0, 0.0], False, "mostly y"),
        ([1.0, 0.5, 0.0], None, "no push"),
    ],
)
def test_a_push_says_sign_and_axis(push, ok, says):
    found = doctor_robot.judged_push(np.array(push))
    assert found.ok is ok
    assert says in found.text


def about(backend="franky", **facts):
    return pb.DescribeReply(version="9.9.9", backend=backend, facts=facts)


def found(reply):
    return {check.name: check for check in doctor_robot.server(reply)}


def test_another_version_there_is_named_with_ours():
    assert "9.9.9 there" in found(about())["version"].text
    assert found(about())["version"].ok is False


def test_a_real_arm_without_a_real_time_kernel_fails_with_the_fix():
    facts = {"real-time kernel": "no", "real-time priority": "none", "governor": "powersave"}
    real, simulated = found(about(**facts)), found(about("mock", **facts))
    assert real["real time"].ok is False
    assert "PREEMPT_RT" in real["real time"].text
    assert real["scheduling"].ok is False
    assert "rtprio" in real["scheduling"].text
    assert simulated["real time"].ok is None
    assert simulated["scheduling"].ok is None


def test_a_slow_governor_fails_with_the_command_that_helps():
    facts = {"real-time priority": "up to 99", "governor": "powersave"}
    assert "cpupower" in found(about(**facts))["scheduling"].text
    facts["governor"] = "performance"
    assert found(about(**facts))["scheduling"].ok is True
