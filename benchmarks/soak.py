"""Does memory grow? A supervised training run, each process's resident memory sampled.

The slope is a least-squares fit over the last four fifths of the run: before that, memory grows
because replay, caches and compiled code fill. Gates are turned off, so that training goes on.
"""

from __future__ import annotations

import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from launch.bench import print_rows
from launch.demo import DEFAULT
from launch.processes import Child, serl, stop_on_signals
from launch.session import free_port

SAMPLE_EVERY_S = 2.0
GOAL_MB_PER_H = 20.0
NEVER = 21
"""Successes among the last 20 that would start a gate."""


@dataclass
class Memory:
    """Resident memory of one process over time."""

    times_s: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)

    def sample(self, pid: int | None, now_s: float) -> None:
        if pid is not None and psutil.pid_exists(pid):
            self.times_s.append(now_s)
            self.megabytes.append(psutil.Process(pid).memory_info().rss / 1e6)

    def slope_mb_per_h(self, total_s: float) -> float:
        """Slope over the last four fifths; not a number with fewer than three samples there."""
        times, sizes = np.array(self.times_s), np.array(self.megabytes)
        late = times >= 0.2 * total_s
        if late.sum() < 3:
            return float("nan")
        return float(np.polyfit(times[late] / 3600, sizes[late], 1)[0])


def run(quick: bool = False, minutes: float | None = None) -> list[dict[str, Any]]:
    """Rows {what, value, unit, goal}: memory's slope and size, for learner and actor."""
    total_s = 60 * (minutes or (2.0 if quick else 30.0))
    with tempfile.TemporaryDirectory(prefix="serl-soak-") as folder:
        memory = soak(Path(folder), total_s, stop_on_signals())
    rows = []
    for name, used in memory.items():
        slope, last = used.slope_mb_per_h(total_s), used.megabytes[-1] if used.megabytes else 0.0
        goal = f"<= {GOAL_MB_PER_H:g}"
        rows.append(
            {"what": f"{name}: memory growth", "value": slope, "unit": "MB/h", "goal": goal}
        )
        rows.append({"what": f"{name}: resident memory", "value": last, "unit": "MB", "goal": ""})
    return rows


def soak(folder: Path, total_s: float, stop: threading.Event) -> dict[str, Memory]:
    """Train for `total_s` in `folder`, and return what each process used."""
    address = f"127.0.0.1:{free_port()}"
    common = [DEFAULT, "--run-dir", str(folder), "--evaluation.trigger-successes", str(NEVER)]
    common += ["--budget.wall-s", str(10 * total_s + 600)]
    demos = ["--demos", str(folder / "demos"), "--demos-expected", "20"]
    argv = {
        "record": serl("record", DEFAULT, "--into", folder / "demos"),
        "learner": serl("learner", *common, "--bind", address, *demos),
        "actor": serl("actor", *common, "--learner-address", address),
    }
    children = [Child(name, words, folder / f"{name}.log") for name, words in argv.items()]
    memory = {"learner": Memory(), "actor": Memory()}
    begin = time.monotonic()
    try:
        for child in children:
            child.start()
        while (now := time.monotonic() - begin) < total_s and not stop.is_set():
            for child in children:
                if child.name in memory:
                    if not child.running:
                        raise RuntimeError(f"{child.name} ended: {child.last_lines()}")
                    memory[child.name].sample(child.pid, now)
            stop.wait(SAMPLE_EVERY_S)
    finally:
        for child in reversed(children):
            child.stop()
    return memory


if __name__ == "__main__":
    print_rows(run())
