"""Studies: what a choice in learning from pixels costs and earns. Each seed is a whole run.

A run is found again by its experiment, settings and seed, and goes on where it was stopped; each
result is appended to a table in benchmarks/results/ once, with the commit it was made with.

    serl bench studies [NAME ...] [--seeds 0 1 2]
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from serl.errors import unknown_name

RESULTS = Path(__file__).parent / "results"

HEAD = ("case", "seed", "successes", "env steps", "updates", "wall", "ended by", "commit")


@dataclass(frozen=True)
class Study:
    """Cases that differ in one thing, each over the same seeds."""

    question: str
    verb: str
    words: tuple[str, ...]
    """Of the command line, common to all cases."""
    cases: dict[str, tuple[str, ...]]
    seeds: tuple[int, ...] = (0, 1, 2)


REACH = ("--task", "reach", "--pixels", "--evaluation.trigger-successes", "21")
"""Without gates: every case gets the same number of updates."""

STUDIES = {
    "demo": Study(
        "`serl demo --task pick_cube --pixels`, from start to the last test episode",
        "demo",
        ("--task", "pick_cube", "--pixels"),
        {"small trunk, K 2": ()},
        (0, 1, 2, 3, 4),
    ),
    "crops": Study(
        "`reach` from pixels, 4 000 updates: how many crops of a frame are worth keeping?",
        "demo",
        (*REACH, "--budget.updates", "4000"),
        {f"K {k}": ("--agent.image.crops", str(k)) for k in (1, 4)},
    ),
    "weights": Study(
        "`reach` from pixels, 4 000 updates: what is pre-training worth?",
        "demo",
        (*REACH, "--budget.updates", "4000", "--agent.image.crops", "4"),
        {"pretrained": (), "random": ("--agent.image.weights", "random")},
    ),
    "reward": Study(
        "`pick_cube` from pixels with a learned reward alone: true successes",
        "demo",
        ("--task", "pick_cube", "--pixels"),
        {"classifier": ("--reward", "classifier:runs/classifiers/pick_cube.safetensors")},
    ),
    "vice": Study(
        "`reach` from pixels with VICE's reward alone: true successes",
        "demo",
        ("reach_vice",),
        {"VICE": ()},
    ),
}


def run(names: Sequence[str], seeds: Sequence[int] | None) -> int:
    """Carry out the studies named (all: none named), one seed of each case after the other."""
    from launch.bench import whole_runs
    from launch.experiments import Selection
    from launch.main import parse

    for name in names:
        if name not in STUDIES:
            raise unknown_name("study", name, STUDIES)
    for name in names or STUDIES:
        study = STUDIES[name]
        for seed in seeds or study.seeds:  # a seed of every case before the next: pairs
            for case, words in study.cases.items():
                words = (*study.words, *words, "--seed", str(seed))
                selection = Selection.from_args(parse([study.verb, *words]).args)
                code = whole_runs(
                    study.verb, [selection], {"run": partial(append, name, study, case)}
                )
                if code:
                    return code
        print((RESULTS / f"{name}.md").read_text())
    return 0


def append(name: str, study: Study, case: str, run: Any, result: dict[str, Any]) -> str:
    """One row of a study's table, unless it is there: the same run is never told twice. Returns
    where the run lies."""
    from launch.live import minutes

    file = RESULTS / f"{name}.md"
    if not file.exists():
        RESULTS.mkdir(exist_ok=True)
        head = "| " + " | ".join(HEAD) + " |\n" + "|---" * len(HEAD) + "|\n"
        file.write_text(f"# {study.question}\n\n`serl bench studies {name}`\n\n{head}")
    mark = f"<!-- {run.path.parent.name}/{run.path.name} -->"
    text = file.read_text()
    if mark in text:
        return str(run.path)
    cells = (
        case,
        result["seed"],
        f"{result['successes']}/{result['episodes']}",
        f"{result['env_steps']:,}",
        f"{result['updates']:,}",
        f"{minutes(result['wall_s'])} min",
        result["stopped_by"],
        f"{commit()} {mark}",
    )
    lines = text.splitlines()
    end = max(k for k, line in enumerate(lines) if line.startswith("|"))  # remarks may follow
    lines.insert(end + 1, "| " + " | ".join(map(str, cells)) + " |")
    file.write_text("\n".join(lines) + "\n")
    return str(run.path)


def commit() -> str:
    """The commit checked out, short; '?' outside a repository."""
    words = ["git", "-C", str(RESULTS.parent), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "?"
