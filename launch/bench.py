"""Measure, and print one table with the machine's name.

Without a name: simulation, learner and channel. `demo` and `gym` are whole trainings, one per seed,
and skip seeds that have a result; so are `studies`, from pixels, which fill tables in
benchmarks/results/. `robot` (half an hour), `transfer`, `kills`, `soak` and `experts` take long
too.

examples:
  serl bench
  serl bench learner
  serl bench pixels
  serl bench reencode
  serl bench studies crops weights --seeds 0 1 2
  serl bench humans --seeds 0 1 2 3 4
  serl bench robot --quick
  serl bench teleop
  serl bench console
  serl bench kills
  serl bench soak --minutes 30
  serl bench demo --seeds 0 1 2 3 4
  serl bench gym --seeds 0
"""

from __future__ import annotations

import importlib
import json
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from launch import runs
from launch.arguments import Parser, number
from launch.demo import DEFAULT
from launch.experiments import Selection
from launch.live import minutes
from launch.machine import summary
from launch.runs import Run, all_runs
from serl.errors import unknown_name
from serl.experiment import Experiment

USUAL = ("simulation", "learner", "channel")
MODULES = {"learner": ("learner", "training"), "robot": ("robot", "rehearsal")}
"""Names that are more than the one file benchmarks/<name>.py: alone, and in a whole training."""
ALL = (
    *USUAL,
    "pixels",
    "reencode",
    "studies",
    "humans",
    "teleop",
    "console",
    "robot",
    "transfer",
    "experts",
    "kills",
    "soak",
    "demo",
    "gym",
)
TAKE_MINUTES = ("soak", "rehearsal")


def add_arguments(parser: Parser) -> None:
    parser.add_argument("what", nargs="*", metavar="WHAT", help=f"of {', '.join(ALL)}")
    parser.add_argument("--quick", action="store_true", help="shorter and noisier")
    parser.add_argument(
        "--minutes",
        type=number(float, 0.1, 600),
        help="of `soak` (30), and of each rehearsal in `robot` (10)",
    )
    parser.add_argument(
        "--seeds",
        nargs="+",
        type=number(int, 0, 65535),
        help="of `demo` and `humans` (0 1 2 3 4), and `gym` (0 1 2)",
    )


def run(args: Namespace) -> int:
    if args.what[:1] == ["studies"]:
        benchmark = importlib.import_module("benchmarks.studies")
        return benchmark.run(args.what[1:], args.seeds)
    for name in args.what:
        if name not in ALL:
            raise unknown_name("benchmark", name, ALL)
    print(summary())
    code = 0
    for name in args.what or USUAL:
        if name == "demo":
            code = max(code, demo(args.seeds or (0, 1, 2, 3, 4)))
            continue
        if name == "humans":
            benchmark = importlib.import_module("benchmarks.humans")
            code = max(code, benchmark.run(args.seeds, args.quick))
            continue
        if name == "gym":
            benchmark = importlib.import_module("benchmarks.gym")
            code = max(code, benchmark.run(args.seeds or benchmark.SEEDS, args.quick))
            continue
        rows: list[dict[str, Any]] = []
        for module in MODULES.get(name, (name,)):
            benchmark = importlib.import_module(f"benchmarks.{module}")
            timed = args.minutes is not None and module in TAKE_MINUTES
            options = {"minutes": args.minutes} if timed else {}
            rows += benchmark.run(quick=args.quick, **options)
        print_rows(rows)
    return code


def print_rows(rows: Sequence[dict[str, Any]]) -> None:
    """Rows {what, value, unit, goal} as a table."""
    cells = [("what", "value", "unit", "goal")]
    cells += [
        (str(r["what"]), _number(r["value"]), str(r["unit"]), str(r.get("goal") or ""))
        for r in rows
    ]
    print_table(cells)


def print_table(cells: Sequence[Sequence[str]]) -> None:
    """A table whose first row is its head; as Markdown, to be pasted."""
    widths = [max(len(row[k]) for row in cells) for k in range(len(cells[0]))]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    print("\n".join(lines), flush=True)


def demo(seeds: Sequence[int]) -> int:
    """`serl demo` for each seed without a result of this very experiment, then all in one table."""
    return whole_runs("demo", [Selection(experiment=DEFAULT, seed=seed) for seed in seeds], DEMO)


DEMO = {
    "successes": lambda run, result: f"{result['successes']}/{result['episodes']}",
    "wall_s": lambda run, result: f"{result['wall_s']:.0f} ({minutes(result['wall_s'])})",
    "env steps": lambda run, result: f"{result['env_steps']:,}",
    "updates": lambda run, result: f"{result['updates']:,}",
    "run": lambda run, result: str(run.path),
}


def whole_runs(
    verb: str,
    selections: Sequence[Selection],
    columns: Mapping[str, Callable[[Run, dict[str, Any]], str]],
) -> int:
    """Carry out `serl VERB` for each selection without a result, then print one table.

    Args:
        columns: head to text, from a finished run and its result.
    """
    from launch.main import parse

    for selection in selections:
        if _newest(verb, selection, finished=True) is None:
            begun = _newest(verb, selection, finished=False)
            resume = [] if begun is None else ["--resume", "--run-dir", str(begun.path)]
            words = [] if begun is not None else selection.argv()
            code = parse([verb, *words, *resume]).run()
            if code:
                return code
    rows = [("seed", *columns)]
    for selection in selections:
        run = _newest(verb, selection, finished=True)
        assert run is not None, "it has just written its result"
        result = run.read(run.result)
        rows.append((str(selection.seed), *(text(run, result) for text in columns.values())))
    print_table(rows)
    return 0


def _newest(verb: str, selection: Selection, *, finished: bool) -> Run | None:
    """The newest run of this experiment, by its hash and settings, begun with `verb`."""
    experiment = selection.load()
    for run in reversed(all_runs(runs.RUNS / experiment.name)):
        about = run.about
        same = about["verb"] == verb and about["seed"] == experiment.seed
        if same and run.finished == finished and _is_of(run, experiment):
            return run
    return None


def _is_of(run: Run, experiment: Experiment) -> bool:
    """Whether a run has this contract and these settings; not before its learner has started."""
    if not run.config.is_file():
        return False
    config = run.read(run.config)
    settings = json.loads(json.dumps(experiment.settings()))
    return config["hash"] == experiment.hash and config["settings"] == settings


def _number(value: Any) -> str:
    """Three significant digits, or the text as it is."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
