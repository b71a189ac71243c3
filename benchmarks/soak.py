"""Does memory grow? A supervised training run, each process's resident memory sampled.

The slope is a least-squares fit over the last four fifths of the run: before that, memory grows
because replay, caches and compiled code fill. Gates are turned off, so that training goes on.
Resident memory is told twice: in all, and without mapped files. The learner's replay is mapped, so
its pages count as resident while it fills, up to its capacity, and the system may drop them.
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

from benchmarks.training import check_alive, training
from launch.bench import print_rows
from launch.processes import stop_on_signals

SAMPLE_EVERY_S = 2.0
GOAL_MB_PER_H = 20.0


@dataclass
class Memory:
    """Resident memory of one process over time."""

    times_s: list[float] = field(default_factory=list)
    resident_mb: list[float] = field(default_factory=list)
    own_mb: list[float] = field(default_factory=list)
    """Without mapped files: what only this process holds."""

    def sample(self, pid: int | None, now_s: float) -> None:
        if pid is not None and psutil.pid_exists(pid):
            info = psutil.Process(pid).memory_info()
            self.times_s.append(now_s)
            self.resident_mb.append(info.rss / 1e6)
            self.own_mb.append((info.rss - info.shared) / 1e6)

    def slope_mb_per_h(self, megabytes: list[float], total_s: float) -> float:
        """Slope over the last four fifths; not a number with fewer than three samples there."""
        times, sizes = np.array(self.times_s), np.array(megabytes)
        late = times >= 0.2 * total_s
        if late.sum() < 3:
            return float("nan")
        return float(np.polyfit(times[late] / 3600, sizes[late], 1)[0])


def run(quick: bool = False, minutes: float | None = None) -> list[dict[str, Any]]:
    """Rows {what, value, unit, goal}: memory's slope and size, for learner and actor."""
    total_s = 60 * (minutes or (2.0 if quick else 30.0))
    with tempfile.TemporaryDirectory(prefix="serl-soak-") as folder:
        memory = soak(Path(folder), total_s, stop_on_signals())
    goal = f"<= {GOAL_MB_PER_H:g}"
    rows = []
    for name, used in memory.items():
        for what, series, wanted in (
            ("resident memory", used.resident_mb, goal),
            ("the same without mapped files", used.own_mb, ""),
        ):
            slope, last = used.slope_mb_per_h(series, total_s), series[-1] if series else 0.0
            growth = {"what": f"{name}: {what}, growth", "value": slope, "unit": "MB/h"}
            rows.append({**growth, "goal": wanted})
            rows.append({"what": f"{name}: {what}", "value": last, "unit": "MB", "goal": ""})
    return rows


def soak(folder: Path, total_s: float, stop: threading.Event) -> dict[str, Memory]:
    """Train for `total_s` in `folder`, and return what each process used."""
    begin = time.monotonic()
    with training(folder, total_s) as children:
        memory = {name: Memory() for name in children}
        while (now := time.monotonic() - begin) < total_s and not stop.wait(SAMPLE_EVERY_S):
            check_alive(children)
            for name, child in children.items():
                memory[name].sample(child.pid, now)
    return memory


if __name__ == "__main__":
    print_rows(run())
