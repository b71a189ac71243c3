"""Whether what was learned in MuJoCo works on another arm: franky against franky-sim.

Another dynamics model, another controller (franky's, in C++), a real network protocol. A policy of
`reach_state` is tested as it is: without changes, with an unmodelled payload, with joint friction,
with 30 ms more between command and effect, and with all three. And both backends follow one
trajectory, whose difference is the largest distance between the two arms at the same time.

    python -m benchmarks.transfer --run runs/reach_state/2026-11-20_12-00-00
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import math
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.robot import server as simulated_server
from benchmarks.robot import server_process
from envs.backend import gains, motion_limits
from envs.tasks.reach import ReachConfig
from launch.evaluate import load
from launch.experiments import Selection
from launch.processes import stop_on_signals
from launch.runs import all_runs, find_run
from robot_servers.backends.base import BACKENDS, Backend
from robot_servers.client import RemoteBackend
from robot_servers.config import ArmSettings, RobotConfig
from robot_servers.errors import StaleState
from robot_servers.guard import Guard
from robot_servers.lease import LeaseBook
from robot_servers.server import RobotServer
from robot_servers.types import ArmCommand, CartesianTarget
from serl.errors import UserError
from serl.seeds import Purpose, episode_seed

EXAMPLE = "reach_state"
REACHED_M = 0.02
EPISODES = 20
NEEDED = 19
PERIOD_S = 0.05
TRAJECTORY_S = 12.0


@dataclass(frozen=True, kw_only=True)
class Burden:
    """What the arm is not told of."""

    name: str
    payload_kg: float = 0.0
    friction_nm: float = 0.0
    delay_s: float = 0.0


BURDENS = (
    Burden(name="as it is"),
    Burden(name="0.5 kg payload", payload_kg=0.5),
    Burden(name="joint friction 0.5 N m", friction_nm=0.5),
    Burden(name="30 ms delay", delay_s=0.03),
    Burden(name="all three", payload_kg=0.5, friction_nm=0.5, delay_s=0.03),
)


def run(quick: bool = False, run_dir: str | None = None) -> list[dict[str, Any]]:
    """Rows {what, value, unit, goal}."""
    rows = []
    gap_m, gap_rad = trajectory_gap()
    rows.append(_row("one trajectory, mujoco against franky: largest distance", 1e3 * gap_m, "mm"))
    rows[-1]["goal"] = "<= 5"
    rows.append(_row("the same, angle", gap_rad, "rad"))
    runs = [run_dir] if run_dir is not None else _trained()
    for path in runs:
        for burden in BURDENS[:1] if quick else BURDENS:
            result = transfer(path, burden, 3 if quick else EPISODES)
            what = f"reach on franky, {burden.name}, policy {Path(path).name}"
            row = _row(f"{what}: within 2 cm of {result.episodes}", result.reached, "")
            row["goal"] = f">= {NEEDED} of {EPISODES}"
            rows.append(row)
            rows.append(_row("  the task's success: pose held", result.successes, ""))
            print(result.text(what), file=sys.stderr, flush=True)
    return rows


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """One policy under one burden."""

    nearest_m: tuple[float, ...]
    """Least distance from the goal, by episode."""
    success: tuple[bool, ...]

    @property
    def episodes(self) -> int:
        return len(self.success)

    @property
    def reached(self) -> int:
        return sum(near <= REACHED_M for near in self.nearest_m)

    @property
    def successes(self) -> int:
        return sum(self.success)

    def text(self, what: str) -> str:
        worst = 1e3 * max(self.nearest_m)
        return (
            f"{what}: {self.reached}/{self.episodes} within 2 cm (worst {worst:.1f} mm), "
            f"{self.successes} held"
        )


def transfer(path: str, burden: Burden, episodes: int) -> Transfer:
    """Test the policy of a run on franky, in real time."""
    experiment = Selection(experiment=EXAMPLE).load()
    policy = load(experiment, Path(path))
    with franky_server(burden) as address:
        config: Any = experiment.env
        arms = tuple(dataclasses.replace(arm, robot="fr3") for arm in config.arms)
        env = dataclasses.replace(config, robot=f"grpc://{address}", arms=arms).make()
        try:
            nearest, success = [], []
            for k in range(episodes):
                seed = episode_seed(Purpose.FINAL, experiment.seed, k)
                obs, info = env.reset(seed=seed)
                near, over = math.inf, False
                while not over:
                    action = policy.act(obs, deterministic=True)
                    obs, _, terminated, truncated, info = env.step(action)
                    far = np.linalg.norm(env.unwrapped.outcome.fields["tcp_to_goal"])
                    near, over = min(near, float(far)), terminated or truncated
                nearest.append(near)
                success.append(bool(info["success"]))
        finally:
            env.close()
    return Transfer(nearest_m=tuple(nearest), success=tuple(success))


def trajectory_gap() -> tuple[float, float]:
    """Largest distance [m] and angle [rad] between the two arms at the same time of one path."""
    with simulated_server() as address:
        first = follow(address)
    with franky_server(BURDENS[0]) as address:
        second = follow(address)
    return compare(first, second)


def path(T_base_start: NDArray[np.float64], t_s: float) -> NDArray[np.float64]:
    """A figure of eight in space with a turning wrist; starts at rest."""
    from robot_servers.control import se3

    ease = 1.0 - math.exp(-t_s)
    w = 2 * math.pi * 0.2
    shift = ease * np.array(
        [0.05 * math.sin(2 * w * t_s), 0.1 * math.sin(w * t_s), 0.04 * math.sin(w * t_s)]
    )
    T = T_base_start.copy()
    T[:3, 3] += shift
    turn = ease * 0.25 * math.sin(w * t_s)
    T[:3, :3] = T[:3, :3] @ se3.matrix_from_rotvec(np.array([0.0, 0.0, turn]))
    return T


Samples = list[tuple[float, NDArray[np.float64]]]


def follow(address: str) -> Samples:
    """(time on the path [s], T_base_tcp) for every state of a run along it, at 20 Hz."""
    from robot_servers.control import se3

    arm = RemoteBackend(f"grpc://{address}", lockstep=False, state_rate_hz=200.0)
    arm.connect()
    config = ReachConfig()  # as an env sets them
    arm.set_gains({"": gains(config)})
    arm.set_limits({"": motion_limits(config)})
    start = se3.pose_from_quat((0.45, 0.0, 0.4), (1.0, 0.0, 0.0, 0.0))
    try:
        _approach(arm, start)
        samples: Samples = []
        over = threading.Event()
        begun_ns = time.monotonic_ns()

        def look() -> None:
            while not over.is_set():
                state = arm.states()[""]
                t_s = (state.stamp_mono_ns - begun_ns) * 1e-9
                if not samples or t_s > samples[-1][0]:
                    samples.append((t_s, state.T_base_tcp.copy()))
                time.sleep(0.002)

        looking = threading.Thread(target=look)
        looking.start()
        try:
            while (t_s := (time.monotonic_ns() - begun_ns) * 1e-9) < TRAJECTORY_S:
                # by the clock: a period that came late leaves no trace
                send(arm, path(start, t_s))
        finally:
            over.set()
            looking.join()
        return samples
    finally:
        arm.close()


def _approach(arm: RemoteBackend, T_goal: NDArray[np.float64]) -> None:
    """Straight to the start of the path, slowly, and rest there."""
    from robot_servers.control import se3

    T_from = arm.states()[""].T_base_tcp.copy()
    for share in np.concatenate([np.linspace(0.0, 1.0, 60), np.ones(40)]):
        send(arm, se3.interpolate(T_from, T_goal, float(share)))


def send(arm: RemoteBackend, T_base_target: NDArray[np.float64]) -> None:
    """One control period; one that comes late on a busy machine is let go, as an env does."""
    with contextlib.suppress(StaleState):
        arm.command({"": ArmCommand(target=CartesianTarget(T_base_tcp=T_base_target))})
    arm.advance(PERIOD_S)


def compare(first: Samples, second: Samples) -> tuple[float, float]:
    """Largest distance and angle between two runs, the second interpolated to the first's times."""
    from robot_servers.control import se3

    times = np.array([t for t, _ in second])
    gaps = []
    for t, T in first:
        k = int(np.searchsorted(times, t))
        if not 0 < k < len(times) or t < 0:
            continue
        share = (t - times[k - 1]) / (times[k] - times[k - 1])
        error = se3.pose_error(se3.interpolate(second[k - 1][1], second[k][1], float(share)), T)
        gaps.append((np.linalg.norm(error[:3]), np.linalg.norm(error[3:])))
    largest = np.max(gaps, axis=0)
    return float(largest[0]), float(largest[1])


class Delayed:
    """A backend whose targets take effect later, in order; everything else at once."""

    def __init__(self, backend: Backend, delay_s: float) -> None:
        self._backend, self._delay_s = backend, delay_s

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def command(self, commands: Mapping[str, ArmCommand]) -> None:
        threading.Timer(self._delay_s, self._backend.command, (commands,)).start()


def serve(host: str, burden: Burden) -> None:
    """The robot server's process: franky, delayed, until it is terminated."""
    backend: Any = BACKENDS.get("franky")(
        arms={"": "fr3"}, robot_ip=host, gripper="none", enforce_realtime=False
    )
    if burden.delay_s:
        backend = Delayed(backend, burden.delay_s)
    settings = ArmSettings(robot="fr3", payload_verified=burden.payload_kg == 0)
    over = stop_on_signals()
    with tempfile.TemporaryDirectory() as folder:
        config = RobotConfig(arm=settings, recordings=Path(folder))
        guard = Guard(backend, config, on_event=lambda line: print(line, flush=True))
        guard.start()
        try:
            with RobotServer(guard, LeaseBook(), bind="127.0.0.1:0") as server:
                print(f"listening on {server.address}", flush=True)
                over.wait()
        finally:
            guard.close()


@contextmanager
def franky_server(burden: Burden) -> Iterator[str]:
    """The address of a server over franky, against a franky-sim that carries the burden."""
    from benchmarks.franky_world import FrankyWorld

    words = ["--serve", json.dumps(dataclasses.asdict(burden))]
    with FrankyWorld() as world:
        if burden.friction_nm:
            world.set_friction(burden.friction_nm)
        argv = [sys.executable, "-m", "benchmarks.transfer", "--host", world.host, *words]
        with server_process(argv) as address:
            if burden.payload_kg:
                world.set_payload(burden.payload_kg)
            yield address


def _trained() -> list[str]:
    """Finished runs of the example."""
    from launch import runs

    found = [str(run.path) for run in all_runs(runs.RUNS / EXAMPLE) if run.finished]
    if not found:
        raise UserError(f"no finished run of {EXAMPLE}; first: serl demo {EXAMPLE}")
    return found


def _row(what: str, value: Any, unit: str) -> dict[str, Any]:
    return {"what": what, "value": value, "unit": unit, "goal": ""}


def main() -> None:
    from launch.bench import print_rows

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", help="a run of reach_state; default all finished ones")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--host", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve is not None:
        serve(args.host, Burden(**json.loads(args.serve)))
        return
    print_rows(run(args.quick, None if args.run is None else str(find_run(args.run).path)))


if __name__ == "__main__":
    main()
