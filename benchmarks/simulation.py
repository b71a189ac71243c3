"""What a physics step of the simulated arm costs, and how long the loop takes to compile.

Figures are CPU time of the one thread that does it: wall time on a machine that does nothing else.

python -m benchmarks.simulation
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from robot_servers.backends.mujoco import MujocoBackend
from robot_servers.control import se3
from robot_servers.types import ArmCommand, CartesianTarget, GripperTarget, SceneObject

CUBE = """
<mujoco>
  <body name="cube" pos="0.5 0 0.02">
    <freejoint/>
    <geom type="box" size="0.02 0.02 0.02" mass="0.1"/>
  </body>
</mujoco>
"""

CONNECT = """
import time
from robot_servers.backends.mujoco import MujocoBackend
start = time.process_time()
backend = MujocoBackend()
backend.connect()
print(time.process_time() - start)
backend.close()
"""

TICKS = 500
"""Physics steps per sample: one second of simulated time."""


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Rows of {what, value, unit, goal}; medians. `quick` takes fewer and does not compile."""
    samples = 3 if quick else 15
    rows = []
    with MujocoBackend() as backend:
        backend.scene.load(CUBE)
        grasp_on_table(backend)
        contacts = int(backend.world.data.ncon)
        advance = microseconds(lambda: backend.advance(0.05), samples, 0.05)
        rows.append(
            row(
                f"physics step in advance(0.05), cube grasped, {contacts} contacts",
                advance,
                "<= 45",
            )
        )
        world = backend.world
        loop = microseconds(lambda: backend._run_loop(world.physics, world.arms, 25), samples, 0.05)
        rows.append(row("  of which control loop and MuJoCo", loop, None))
        rows.append(row("  of which MuJoCo alone", mujoco_alone(backend, samples), None))
        backend.scene.reset([])
        free = microseconds(lambda: backend.advance(0.05), samples, 0.05)
        rows.append(row("physics step in advance(0.05), cube on the table", free, "<= 45"))
    if not quick:
        cold, cached = compile_seconds()
        rows.append(
            {"what": "connect, nothing compiled", "value": cold, "unit": "s", "goal": "<= 10"}
        )
        rows.append(
            {"what": "connect, from the cache", "value": cached, "unit": "s", "goal": "<= 1"}
        )
    return rows


def row(what: str, value: float, goal: str | None) -> dict[str, Any]:
    """One figure in microseconds."""
    return {"what": what, "value": value, "unit": "us", "goal": goal}


def microseconds(call: Callable[[], object], samples: int, seconds_per_call: float) -> float:
    """Median time of one 2 ms physics step, over samples of a simulated second."""
    calls = round(1.0 / seconds_per_call)
    times = []
    for _ in range(samples):
        start = time.thread_time()
        for _ in range(calls):
            call()
        times.append((time.thread_time() - start) / TICKS * 1e6)
    return statistics.median(times)


def mujoco_alone(backend: MujocoBackend, samples: int) -> float:
    """The same scene stepped by MuJoCo with the last motor commands held."""
    import mujoco

    world = backend.world
    return microseconds(
        lambda: mujoco.mj_step(world.model, world.data, nstep=25),  # pyright: ignore
        samples,
        0.05,
    )


def grasp_on_table(backend: MujocoBackend) -> None:
    """The cube between the fingers and still standing on the table: the most contacts there are."""
    cube = SceneObject(name="cube", T_base_object=se3.pose(np.eye(3), [0.5, 0, 0.02]))
    backend.scene.reset([cube])
    for height, width, seconds in ((0.12, 0.08, 2.0), (0.02, 0.08, 1.5), (0.02, 0.0, 1.0)):
        T = se3.pose(np.diag([1.0, -1.0, -1.0]), [0.5, 0, height])
        backend.command(
            {
                "": ArmCommand(
                    target=CartesianTarget(T_base_tcp=T), gripper=GripperTarget(width_m=width)
                )
            }
        )
        backend.advance(seconds)


def compile_seconds() -> tuple[float, float]:
    """Time of connect() in a new process: without numba's cache, and with it."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        seconds = []
        for _ in range(2):
            done = subprocess.run(
                [sys.executable, "-c", CONNECT],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            )
            seconds.append(float(done.stdout))
    return seconds[0], seconds[1]


def main() -> None:
    """Print the table."""
    for item in run():
        goal = "" if item["goal"] is None else f"goal {item['goal']}"
        print(f"{item['what']:<62} {item['value']:8.2f} {item['unit']:<3} {goal}")


if __name__ == "__main__":
    main()
