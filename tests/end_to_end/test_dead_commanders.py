"""A commander that dies, hangs or is cut off leaves no arm moving; told by the recorder's stamps.

SERL's arm kept pressing at the last set-point when its actor crashed (D-S2).
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
from end_to_end.processes import HERE, ROOT, end, until

from benchmarks.franky_world import FrankyWorld
from robot_servers.recorder import Recorder
from robot_servers.types import Mode

VALID_FOR_S = 2.5 * 0.05
"""What the mover's commands carry: 2.5 control periods."""
HOLD_S = 0.1
AT_REST_M_PER_S = 0.01
FROZEN_M = 1e-4
PAUSE_S = 0.015
"""Samples come every 1 to 5 ms; further apart, the machine was doing something else."""

MOVER = HERE / "mover.py"


class Server:
    """`serl robot-server` in a process of its own."""

    def __init__(self, folder: Path, words: list[str], *, wrap: tuple[str, ...] = ()) -> None:
        self.log = folder / "server.log"
        command = [*wrap, sys.executable, "-m", "launch.main", "robot-server", *words]
        config = folder / "robot.toml"
        config.write_text(f'recordings = "{folder}"\n')
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [*command, "--config", str(config)],
                cwd=ROOT,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )

    def address(self) -> str:
        """Where it listens, once it says so."""
        line = until("the robot server", self._ready, log=self.log)
        return line.split("listening on ")[1].split()[0].rstrip(".,;")

    def _ready(self) -> str:
        assert self.process.poll() is None, self.log.read_text()
        lines = [line for line in self.log.read_text().splitlines() if "listening on " in line]
        return lines[0] if lines else ""


@contextmanager
def mover(address: str, *words: str, wrap: tuple[str, ...] = ()) -> Iterator[subprocess.Popen]:
    """The commander, at speed."""
    process = subprocess.Popen(
        [*wrap, sys.executable, str(MOVER), address, *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "moving\n"
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        end(process)


SAVE = """
import sys
from robot_servers.protocol import robot_pb2 as pb
from robot_servers.protocol.robot_pb2_grpc import RobotStub
from serl.rpc import dial
token = (sys.argv[2:] or [None])[0]
stub = RobotStub(dial(sys.argv[1], token=token, insecure_lan=token is not None))
print(stub.SaveRecording(pb.SaveRecordingRequest(arm="", reason="test"), timeout=20).path)
"""


def saved(address: str, folder: Path, wrap: tuple[str, ...] = (), *words: str):
    """The server's recording of the last seconds."""
    done = subprocess.run(
        [*wrap, sys.executable, "-c", SAVE, address, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return Recorder.load(Path(done.stdout.strip()))


def check_held(recording, since_ns: int, within_s: float) -> None:
    """From `within_s` after `since_ns` on: HOLD, the reference frozen, the TCP at rest; before
    that moment it was moving. Time in which a busy machine let nothing run is not counted: neither
    samples that came late, nor a simulated arm that stood still in mid-swing between two."""
    after_s = (recording.stamp_mono_ns - since_ns) * 1e-9
    speed = np.linalg.norm(recording.twist_base_tcp[:, :3], axis=1)
    before = (after_s < 0) & (after_s > -0.2)
    assert before.any(), "the recording does not reach back to the end of the commander"
    assert speed[before].max() > 0.1, f"it was to be moving, at {speed[before].max():.3f} m/s"
    gaps_s = np.diff(after_s)
    same = (np.diff(recording.T_base_tcp, axis=0) == 0).all(axis=(1, 2))
    stood = same & (speed[1:] > AT_REST_M_PER_S)
    pauses = ((gaps_s > PAUSE_S) | stood) & (after_s[1:] > 0) & (after_s[:-1] < within_s)
    within_s += float(gaps_s[pauses].sum())
    late = (after_s > within_s) & (after_s < within_s + 1.0)
    assert late.sum() > 10
    assert (recording.mode[late] == int(Mode.HOLD)).all()
    reference = recording.T_base_ref[late][:, :3, 3]
    assert np.ptp(reference, axis=0).max() < FROZEN_M
    rest_s = after_s[speed > AT_REST_M_PER_S].max()
    assert rest_s <= within_s, f"the TCP came to rest after {rest_s:.3f} s (limit {within_s:g} s)"


def mujoco(stack: ExitStack, wrap: tuple[str, ...]) -> list[str]:
    return ["--backend", "mujoco"]


def mock(stack: ExitStack, wrap: tuple[str, ...]) -> list[str]:
    return ["--backend", "mock", "--gripper", "none"]


def franky(stack: ExitStack, wrap: tuple[str, ...]) -> list[str]:
    pytest.importorskip("franky_sim")
    world = stack.enter_context(FrankyWorld(wrap=wrap))
    words = ["--backend", "franky", "--robot", "fr3", "--robot-ip", world.host]
    return [*words, "--no-realtime-kernel", "--gripper", "none"]


SERVERS = {"mujoco": mujoco, "mock": mock, "franky": franky}


@pytest.fixture(scope="module", params=SERVERS)
def server(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    with ExitStack() as stack:
        words = SERVERS[request.param](stack, ())
        server = Server(folder, [*words, "--bind", "127.0.0.1:0"])
        stack.callback(end, server.process)
        yield server.address(), folder


def test_a_killed_commander_leaves_the_arm_holding_within_100_ms(server):
    address, folder = server
    with mover(address) as process:
        process.kill()
        killed_ns = time.monotonic_ns()
        time.sleep(1.5)
    check_held(saved(address, folder), killed_ns, HOLD_S)


def test_a_stopped_commander_leaves_the_arm_holding_soon_after_its_last_command_lapses(server):
    """SIGSTOP, or a loop that hangs: the connection stands, only the commands stay away."""
    address, folder = server
    with mover(address) as process:
        process.send_signal(signal.SIGSTOP)
        stopped_ns = time.monotonic_ns()
        time.sleep(1.5)
        recording = saved(address, folder)
    check_held(recording, stopped_ns, VALID_FOR_S + HOLD_S)


@contextmanager
def two_hosts() -> Iterator[tuple[tuple[str, ...], tuple[str, ...], str, str]]:
    """Two network namespaces with a cable between them: (enter one, enter other, their address,
    name of the cable's end)."""
    tag = secrets.token_hex(3)
    robot, desk, cable = f"robot{tag}", f"desk{tag}", f"v{tag}"

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True, timeout=10)

    try:
        ip("netns", "add", robot)
        ip("netns", "add", desk)
        ip("link", "add", f"{cable}r", "netns", robot, "type", "veth", "peer", "name", f"{cable}d")
        ip("link", "set", f"{cable}d", "netns", desk)
        for host, end_, address in ((robot, "r", "10.77.0.1"), (desk, "d", "10.77.0.2")):
            ip("-n", host, "link", "set", "lo", "up")
            ip("-n", host, "addr", "add", f"{address}/24", "dev", f"{cable}{end_}")
            ip("-n", host, "link", "set", f"{cable}{end_}", "up")
        enter = ("ip", "netns", "exec")
        yield (*enter, robot), (*enter, desk), "10.77.0.1", f"{cable}d"
    finally:
        for host in (robot, desk):
            subprocess.run(["ip", "netns", "del", host], capture_output=True, check=False)


def can_make_hosts() -> bool:
    if shutil.which("ip") is None or os.geteuid() != 0:
        return False
    probe = f"probe{secrets.token_hex(3)}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, check=False)
    subprocess.run(["ip", "netns", "del", probe], capture_output=True, check=False)
    return made.returncode == 0


@pytest.mark.parametrize("name", SERVERS)
def test_a_cut_cable_leaves_the_arm_holding_soon_after_the_last_command_lapses(name, tmp_path):
    """No packet says goodbye: neither end closes anything."""
    if not can_make_hosts():
        line = "needs root and iproute2: apt-get install iproute2"
        assert shutil.which("ip") or os.environ.get("CI") != "true", line
        pytest.skip(line)
    token = secrets.token_urlsafe(24)
    (tmp_path / "token").write_text(token)
    with two_hosts() as (robot, desk, host, cable), ExitStack() as stack:
        words = SERVERS[name](stack, robot)
        words += ["--bind", f"{host}:5600", "--token-file", str(tmp_path / "token")]
        server = Server(tmp_path, [*words, "--insecure-lan"], wrap=robot)
        stack.callback(end, server.process)
        address = server.address()
        with mover(address, token, wrap=desk):
            subprocess.run([*desk, "ip", "link", "set", cable, "down"], check=True)
            cut_ns = time.monotonic_ns()
            time.sleep(1.5)
            check_held(saved(address, tmp_path, robot, token), cut_ns, VALID_FOR_S + HOLD_S)
