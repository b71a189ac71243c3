"""The robot server on loopback: commands, states, an env's control period, a commander's death.

The server simulates a Panda in real time in a process of its own. "Beside a learner" is a process
that does nothing but SAC updates, niced as `serl train` nices a learner beside a real-time arm.

    python -m benchmarks.robot
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub
from numpy.typing import NDArray

from launch.processes import serl
from robot_servers.client import RemoteBackend
from robot_servers.types import ArmCommand, CartesianTarget, Mode
from serl.rpc import dial

NICENESS = 10
PERIOD_S = 0.01
"""Between two timed commands; also what the probe calls its control period."""
START_LIMIT_S = 90.0
DEATHS = 10

LEARNER = """
from benchmarks.learner import agent_of, updates_per_s
from serl.agents.sac import SACConfig
agent = agent_of(SACConfig(), 4)
updates_per_s(agent, 1)
print("updating", flush=True)
updates_per_s(agent, 1_000_000)
"""

COMMANDER = """
import sys, time
from benchmarks.robot import connect, sweep
arm = connect(sys.argv[1])
for k, command in enumerate(sweep(arm)):
    arm.command(command)
    arm.advance(0.05)
    if k == 20:
        print("moving", flush=True)
"""


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Measure; rows of what, value, unit and goal."""
    count = 500 if quick else 3000
    rows: list[dict[str, Any]] = []
    age, death = "age of the newest state, 1 kHz stream", "commander killed to frozen reference"
    with server() as address:
        idle, beside = (_round_trips(address, count, load) for load in (nullcontext, learner))
        bare = _bare_calls(address, count)
        ack = "command to acknowledgement"
        rows += [
            _row("a bare gRPC call, idle, median", _ms(np.median(bare)), "ms", ""),
            _row("a bare gRPC call, idle, p99", _ms(np.quantile(bare, 0.99)), "ms", ""),
            _row(f"{ack}, idle, median", _ms(np.median(idle)), "ms", "<= 0.45"),
            _row(f"{ack}, idle, p99", _ms(np.quantile(idle, 0.99)), "ms", "<= 1.0"),
            _row(f"{ack}, beside a learner, median", _ms(np.median(beside)), "ms", ""),
            _row(f"{ack}, beside a learner, p99", _ms(np.quantile(beside, 0.99)), "ms", "<= 3"),
        ]
        ages = _state_ages(address, count)
        rows += [
            _row(f"{age}, median", _ms(np.median(ages)), "ms", "<= 1.5"),
            _row(f"{age}, p99", _ms(np.quantile(ages, 0.99)), "ms", ""),
        ]
        held = [_death(address) for _ in range(3 if quick else DEATHS)]
        rows += [
            _row(f"{death}, median of {len(held)}", _ms(np.median(held)), "ms", "<= 100"),
            _row(f"{death}, longest", _ms(max(held)), "ms", "<= 100"),
        ]
    return rows


@contextmanager
def server(*words: str) -> Iterator[str]:
    """A robot server with a simulated Panda, in a process of its own; its address."""
    argv = serl("robot-server", "--backend", "mujoco", "--bind", "127.0.0.1:0", *words)
    with server_process(argv) as address:
        yield address


@contextmanager
def server_process(argv: list[str]) -> Iterator[str]:
    """Run `argv` until the block ends; the address it says it is listening on."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "server.log")
        with log.open("wb") as out:
            process = subprocess.Popen(argv, stdout=out, stderr=out)
        try:
            yield _address(process, log)
        finally:
            process.terminate()
            process.wait(20)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline and process.poll() is None:
        text = log.read_text()
        if "listening on " in text:
            return text.split("listening on ")[1].split()[0].rstrip(",.;")
        time.sleep(0.05)
    raise RuntimeError(f"the robot server did not come up: {log.read_text()[-2000:]}")


@contextmanager
def learner() -> Iterator[None]:
    """A process that updates SAC without end, niced."""
    argv = [sys.executable, "-c", LEARNER]
    process = subprocess.Popen(
        argv, stdout=subprocess.PIPE, preexec_fn=lambda: os.nice(NICENESS) and None
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(1.0)
        yield
    finally:
        process.kill()
        process.wait()


def connect(address: str, **options: Any) -> RemoteBackend:
    """A commander of the server's one arm."""
    arm = RemoteBackend(f"grpc://{address}", lockstep=False, **options)
    arm.connect()
    return arm


def sweep(arm: RemoteBackend, speed_m_per_s: float = 0.2, period_s: float = 0.05):
    """Commands that move the TCP to and fro along y, 15 cm to each side, for ever."""
    start, step = arm.states()[""].T_base_tcp.copy(), 0
    while True:
        step += 1
        way = (step * speed_m_per_s * period_s) % 0.6
        T = start.copy()
        T[1, 3] += 0.15 - abs((way + 0.15) % 0.6 - 0.3)
        yield {"": ArmCommand(target=CartesianTarget(T_base_tcp=T))}


def _round_trips(
    address: str, count: int, load: Callable[[], AbstractContextManager[Any]]
) -> NDArray[np.float64]:
    """Seconds from each of `count` commands to its acknowledgement, paced as an env's are."""
    arm = connect(address, valid_for_s=0.25)
    try:
        T = arm.states()[""].T_base_tcp.copy()
        seconds = np.empty(count)
        with load():
            for k in range(count):
                T[1, 3] += 1e-5 * (-1) ** k
                command = {"": ArmCommand(target=CartesianTarget(T_base_tcp=T))}
                begin = time.perf_counter_ns()
                arm.command(command)
                seconds[k] = (time.perf_counter_ns() - begin) * 1e-9
                arm.advance(PERIOD_S)
        return seconds
    finally:
        arm.close()


def _bare_calls(address: str, count: int) -> NDArray[np.float64]:
    """Seconds of gRPC's own health check, paced alike: what machine and gRPC take by themselves."""
    seconds = np.empty(count)
    with dial(address) as channel:
        stub: Any = HealthStub(channel)
        for k in range(count):
            begin = time.perf_counter_ns()
            stub.Check(HealthCheckRequest())
            seconds[k] = (time.perf_counter_ns() - begin) * 1e-9
            time.sleep(PERIOD_S)
    return seconds


def _state_ages(address: str, count: int) -> NDArray[np.float64]:
    """Age [s] of the newest state whenever one looks, over a 1 kHz stream, on one clock."""
    arm = connect(address, state_rate_hz=1000.0, watch=True)
    rng = np.random.default_rng(0)
    try:
        ages = np.empty(count)
        for k in range(count):
            time.sleep(float(rng.uniform(0.001, 0.004)))
            state = arm.states()[""]
            ages[k] = (time.monotonic_ns() - state.stamp_mono_ns) * 1e-9
        return ages
    finally:
        arm.close()


def _death(address: str) -> float:
    """Seconds from SIGKILL of a moving commander to the first state whose reference stays."""
    process = subprocess.Popen(
        [sys.executable, "-c", COMMANDER, address], stdout=subprocess.PIPE, text=True
    )
    watch = connect(address, state_rate_hz=1000.0, watch=True)
    seen: list[tuple[int, Mode, float]] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            state = watch.states()[""]
            if not seen or state.stamp_mono_ns > seen[-1][0]:
                seen.append((state.stamp_mono_ns, state.mode, float(state.T_base_ref[1, 3])))
            time.sleep(0.0005)

    watcher = threading.Thread(target=look)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "moving\n"
        watcher.start()
        time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        killed_ns = time.monotonic_ns()
        time.sleep(0.6)
    finally:
        over.set()
        if watcher.ident is not None:
            watcher.join()
        process.kill()
        process.wait()
        watch.close()
    last = seen[-1][2]
    assert seen[-1][1] is Mode.HOLD, "the arm does not hold"
    frozen_ns = next(stamp for k, (stamp, _, _) in enumerate(seen) if _stays(seen[k:], last))
    return max(0.0, (frozen_ns - killed_ns) * 1e-9)


def _stays(samples: list[tuple[int, Mode, float]], last: float) -> bool:
    return all(abs(y - last) < 1e-9 for _, _, y in samples)


def _ms(seconds: float) -> float:
    return float(seconds) * 1e3


def _row(what: str, value: float, unit: str, goal: str) -> dict[str, Any]:
    return {"what": what, "value": value, "unit": unit, "goal": goal}


def main() -> None:
    from launch.bench import print_rows

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    print_rows(run(parser.parse_args().quick))


if __name__ == "__main__":
    main()
