"""`serl robot-server` as a process: ready in one line, held and closed on a signal."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
from contextlib import contextmanager

import numpy as np
import pytest

from launch.main import parse
from robot_servers.client import RemoteBackend
from serl.errors import UserError


@pytest.fixture
def handlers():
    """The verb takes signals over; the test process keeps its own."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@contextmanager
def process(folder, *words):
    argv = [sys.executable, "-m", "launch.main", "robot-server", "--bind", "127.0.0.1:0", *words]
    running = subprocess.Popen(
        argv, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def address(running):
    line = running.stdout.readline()
    found = re.search(r"listening on (\S+) ", line)
    assert found, line + running.stderr.read()
    return line, found[1]


def test_a_mock_arm_is_served_until_a_signal_and_says_what_happens(tmp_path, offset):
    with process(tmp_path, "--backend", "mock", "--gripper", "none") as running:
        line, where = address(running)
        assert "(mock, real time): a panda; default limits" in line
        with RemoteBackend(f"grpc://{where}") as remote:
            assert remote.arms[""].gripper is None
            remote.command({"": offset(remote.advance(0.05)[""], x=0.02)})
            remote.stop("the operator said so")
            running.send_signal(signal.SIGTERM)
            out, err = running.communicate(timeout=20)
    assert running.returncode == 0, err
    assert "STOP: the operator said so" in out
    assert "every arm holds" in out
    assert "recordings" in out
    assert "Traceback" not in err


def test_serls_endpoints_are_there_when_asked_for(tmp_path):
    with process(tmp_path, "--backend", "mock", "--http", "127.0.0.1:0") as running:
        line, _ = address(running)
        url = re.search(r"SERL's endpoints at (\S+)", line)[1]
        with urllib.request.urlopen(url + "getstate", b"", timeout=20) as reply:
            assert len(json.load(reply)["q"]) == 7
        running.send_signal(signal.SIGTERM)
        _, err = running.communicate(timeout=20)
    assert running.returncode == 0, err


def test_a_simulator_in_lockstep_with_limits_from_a_file_and_without_jax(tmp_path):
    text = "[arm.limits]\nstep_m = 0.05\n[arms.left]\n"
    text += "[arms.right]\nbase_pos_m = [0.0, 1.0, 0.0]\nbase_yaw_rad = 3.14\n"
    (tmp_path / "robot.toml").write_text(text)
    words = ("--backend", "mujoco", "--lockstep", "--config", "robot.toml")
    with process(tmp_path, *words) as running:
        line, where = address(running)
        assert "(mujoco, lockstep): 'left' a panda, 'right' a panda; limits of robot.toml" in line
        with RemoteBackend(f"grpc://{where}") as remote:
            before = remote.states()["left"].stamp_mono_ns
            assert remote.advance(0.05)["left"].stamp_mono_ns == before + 50_000_000
            (reply,) = remote.describe().values()
            np.testing.assert_allclose([arm.limits.step_m for arm in reply.arms], 0.05)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=20)
    assert running.returncode == 0, err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("", "--backend"),
        ("--backend mujoco --robot-ip 10.0.0.1", "--robot-ip is for --backend franky"),
        ("--backend franky --robot fr3", "needs --robot-ip"),
        ("--backend franky --robot-ip 10.0.0.1", "say which arm it is"),
        ("--backend mock --lockstep", "--lockstep is for --backend mujoco"),
        ("--backend mujoco --gripper none", "--gripper is for"),
        ("--backend mock --gripper robotiq", "needs its address"),
        ("--backend mock --http-recover", "needs --http"),
        ("--backend mock --config nowhere.toml", "cannot read nowhere.toml"),
        ("--backend mock --bind 0.0.0.0:0", "needs a token and TLS"),
        ("--backend mujoko", "no backend named 'mujoko'"),
        ("--backend mock --gripper robotik", "no gripper named 'robotik'"),
        ("--backend mock --http-reset-q 0 0 0", "needs --http"),
        ("--backend mujoco --config two.toml", "stand 0.00 m apart"),
        ("--backend mujoco --robot pandda", "no robot model named 'pandda'"),
    ],
)
@pytest.mark.usefixtures("handlers")
def test_a_command_line_that_cannot_be_served_is_one_line(words, line, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.toml").write_text("[arms.left]\n[arms.right]\n")
    with pytest.raises(UserError, match=re.escape(line)) as caught:
        parse(["robot-server", *words.split()]).run()
    assert "\n" not in str(caught.value)


def test_a_backend_of_ones_own_is_made_with_what_it_takes(monkeypatch):
    from launch.robot_server import make_backend
    from robot_servers.backends.base import BACKENDS
    from robot_servers.config import RobotConfig

    made = []

    class Own:
        def __init__(self, *, arms, robot_ip="nowhere"):
            made.append((arms, robot_ip))

    BACKENDS.discover()
    monkeypatch.setitem(BACKENDS._leaves, "own", Own)
    for words in ("", " --robot-ip 10.0.0.1"):
        args = parse(f"robot-server --backend own --robot panda{words}".split()).args
        make_backend(args, RobotConfig())
    assert made == [({"": "panda"}, "nowhere"), ({"": "panda"}, "10.0.0.1")]


def test_a_port_in_use_is_one_line_and_nothing_is_left_running(tmp_path, kit):
    server = kit.serve()
    argv = [sys.executable, "-m", "launch.main", "robot-server", "--backend", "mock"]
    done = subprocess.run(
        [*argv, "--bind", str(server.address)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "in use" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
