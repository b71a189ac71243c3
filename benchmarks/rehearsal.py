"""The dress rehearsal: robot server, learner and actor as three processes, in real time.

What will run beside the arm, with the arm simulated: `serl train` over gRPC, the learner niced.
Prints how well the env kept its 20 Hz while the learner trained, from the actor's own log.

    python -m benchmarks.rehearsal --minutes 10 --runs 3
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.robot import server
from launch.demo import DEFAULT
from launch.processes import serl
from serl.metrics import read_metrics

NEVER = 21
"""Successes among the last 20 that would start a gate: training goes on until its time is up."""


def run(quick: bool = False, minutes: float = 10.0, runs: int = 3) -> list[dict[str, Any]]:
    """Rows {what, value, unit, goal} of every run."""
    rows: list[dict[str, Any]] = []
    for k in range(1 if quick else runs):
        measured = one(1.0 if quick else minutes, seed=k)
        what = f"control period at 20 Hz, run {k + 1}, {measured['minutes']:.1f} min"
        rows += [
            _row(f"{what}: achieved rate", measured["env/achieved_hz"], "Hz", "20"),
            _row(f"{what}: p99 error", 1e3 * measured["env/period_error_p99_s"], "ms", "<= 5"),
            _row(f"{what}: largest error", 1e3 * measured["env/period_error_max_s"], "ms", "<= 20"),
            _row(f"{what}: late by > 20 ms", int(measured["env/periods_late"]), "", "0"),
            _row(f"{what}: critic updates/s", measured["updates_per_s"], "1/s", ""),
        ]
    return rows


def one(minutes: float, seed: int) -> dict[str, float]:
    """One training of `minutes` over a robot server; the actor's last word on its pace."""
    with tempfile.TemporaryDirectory() as folder, server() as address:
        run_dir = Path(folder, "run")
        argv = serl("demo", DEFAULT, "--run-dir", run_dir, "--seed", seed)
        argv += ["--env.robot", f"grpc://{address}", "--evaluation.trigger-successes", str(NEVER)]
        argv += ["--evaluation.final-episodes", "1", "--budget.wall-s", str(60 * minutes)]
        done = subprocess.run(argv, stdout=sys.stderr, stdin=subprocess.DEVNULL, check=False)
        if done.returncode:
            raise RuntimeError(f"the rehearsal ended with code {done.returncode}; see above")
        actor = read_metrics(run_dir, "actor")
        learner = read_metrics(run_dir, "learner")
        last = [row for row in actor if "env/achieved_hz" in row][-1]
        rates = [row["updates_per_s"] for row in learner if "updates_per_s" in row]
        steps = last["env_steps"]
        return {
            **last,
            "minutes": steps / last["env/achieved_hz"] / 60,
            "updates_per_s": sorted(rates)[len(rates) // 2] if rates else 0.0,
        }


def _row(what: str, value: float, unit: str, goal: str) -> dict[str, Any]:
    return {"what": what, "value": value, "unit": unit, "goal": goal}


def main() -> None:
    from launch.bench import print_rows

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    print_rows(run(minutes=args.minutes, runs=args.runs))


if __name__ == "__main__":
    main()
