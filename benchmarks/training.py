"""A whole training in the background: recorder, learner and actor as real processes.

`run` measures critic updates per second beside that running actor, from the learner's own log.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from launch.bench import print_rows
from launch.demo import DEFAULT
from launch.ports import free_port
from launch.processes import Child, serl, stop_on_signals
from serl.metrics import read_metrics

NEVER = 21
"""Successes among the last 20 that would start a gate: training goes on until it is stopped."""
SETTLE_S = 10.0
"""Left out of the figures, after the first update [s]."""
START_LIMIT_S = 180.0


@contextmanager
def training(folder: Path, wall_s: float) -> Iterator[dict[str, Child]]:
    """Learner and actor of the demo's experiment, at work in `folder`; stopped on the way out."""
    address = f"127.0.0.1:{free_port()}"
    common = [DEFAULT, "--run-dir", str(folder), "--evaluation.trigger-successes", str(NEVER)]
    common += ["--budget.wall-s", str(10 * wall_s + 600)]
    demos = ["--demos", str(folder / "demos"), "--demos-expected", "20"]
    argv = {
        "recorder": serl("record", DEFAULT, "--into", folder / "demos"),
        "learner": serl("learner", *common, "--bind", address, *demos),
        "actor": serl("actor", *common, "--learner-address", address),
    }
    children = {name: Child(name, words, folder / f"{name}.log") for name, words in argv.items()}
    try:
        for child in children.values():
            child.start()
        yield {name: children[name] for name in ("learner", "actor")}
    finally:
        for child in reversed(children.values()):
            child.stop()


def check_alive(children: dict[str, Child]) -> None:
    """Raises RuntimeError with the end of the log of a process that has ended."""
    for child in children.values():
        if not child.running:
            raise RuntimeError(f"{child.name} ended: {child.last_lines()}")


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Rows {what, value, unit, goal}: updates/s and env steps/s while both run."""
    with tempfile.TemporaryDirectory(prefix="serl-bench-") as folder:
        measure_s = 20.0 if quick else 60.0
        with training(Path(folder), measure_s) as children:
            rows = _measure(Path(folder), children, measure_s, stop_on_signals())
    updates = statistics.median(row["updates_per_s"] for row in rows)
    taken_s = rows[-1]["t_s"] - rows[0]["t_s"]
    steps = (rows[-1]["env_steps"] - rows[0]["env_steps"]) / taken_s
    beside = "beside a running actor, pick_cube_state"
    return [
        {"what": f"critic updates/s, {beside}", "value": updates, "unit": "1/s", "goal": ""},
        {"what": f"env steps/s, {beside}", "value": steps, "unit": "1/s", "goal": ""},
    ]


def _measure(
    folder: Path, children: dict[str, Child], measure_s: float, stop: threading.Event
) -> list[dict[str, Any]]:
    """The learner's log lines of `measure_s`, once it has settled."""
    deadline = time.monotonic() + START_LIMIT_S
    while not (rows := list(read_metrics(folder, "learner"))):
        check_alive(children)
        if time.monotonic() > deadline:
            raise RuntimeError(f"no update within {START_LIMIT_S:g} s; see {folder}")
        if stop.wait(0.5):
            raise KeyboardInterrupt
    begin_s = rows[0]["t_s"] + SETTLE_S
    while rows[-1]["t_s"] < begin_s + measure_s:
        check_alive(children)
        if stop.wait(0.5):
            raise KeyboardInterrupt
        rows = list(read_metrics(folder, "learner"))
    return [row for row in rows if row["t_s"] >= begin_s]


if __name__ == "__main__":
    print_rows(run())
