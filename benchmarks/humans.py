"""The study of a person in the loop: what taking over is worth, with a simulated human.

`pick_cube_hard` from state, five demonstrations, the same seeds and env steps for every case. BC
learns offline, from the demonstrations and the very steps that the human made beside RLPD. A run
lies in runs/humans/CASE/SEED and goes on where it was stopped; each result is a row of
benchmarks/results/humans.md once, and humans.html has the curves.

    serl bench humans [--seeds 0 1 2 3 4] [--quick]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

from benchmarks.studies import commit

RESULTS = Path(__file__).parent / "results"
ROOT = Path("runs/humans")
SEEDS = (0, 1, 2, 3, 4)
DEMOS = 5
ENV_STEPS = 20_000
BC_UPDATES = 20_000
BINS = 20
"""Points of a curve."""
GOOD = 0.8
GOAL = 0.75
"""Interventions are to cut the steps to GOOD to this share."""

HAND = ("--device", "noisy_expert")
HEAD = (
    "case",
    "seed",
    "successes",
    "steps to 80 %",
    "cycle",
    "human steps",
    "interventions",
    "env steps",
    "updates",
    "commit",
)


@dataclass(frozen=True)
class Case:
    """One way to learn."""

    name: str
    title: str
    words: tuple[str, ...] = ()
    data_of: str = ""
    """Learns offline from the data of that case's run of the same seed."""


CASES = (
    Case("rlpd", "RLPD"),
    Case("rlpd_hand", "RLPD + interventions", HAND),
    Case("hg_dagger", "HG-DAgger", ("--agent", "hg_dagger", *HAND)),
    Case("bc", "BC, same human steps", ("--agent", "hg_dagger"), data_of="rlpd_hand"),
)


@dataclass(frozen=True)
class Size:
    """How long a run is."""

    env_steps: int = ENV_STEPS
    bc_updates: int = BC_UPDATES
    words: tuple[str, ...] = ()
    root: Path = ROOT
    results: Path = RESULTS


FULL = Size()
QUICK = Size(
    env_steps=600,
    bc_updates=200,
    words=("--evaluation.final-episodes", "2"),
    root=Path("runs/humans_quick"),
    results=Path("runs/humans_quick"),
)
"""Shows that the study works, and nothing else."""


def run(seeds: Sequence[int] | None, quick: bool = False) -> int:
    """Every case of one seed before the next seed: pairs."""
    size = QUICK if quick else FULL
    for seed in seeds or (SEEDS[:1] if quick else SEEDS):
        for case in CASES:
            code = carry_out(case, seed, size)
            if code:
                return code
            append(case, seed, size)
            draw(size)
    print((size.results / "humans.md").read_text())
    print("\n".join(verdict(size)))
    return 0


def carry_out(case: Case, seed: int, size: Size) -> int:
    """The run of one case and seed, unless it has a result."""
    from launch.main import parse
    from launch.runs import Run

    folder = size.root / case.name / str(seed)
    begun = (folder / "launch.json").is_file()
    if begun and Run(folder).finished:
        return 0
    print(f"{case.title}, seed {seed}", flush=True)
    return parse(words_of(case, seed, size, resume=begun)).run()


def words_of(case: Case, seed: int, size: Size, *, resume: bool = False) -> list[str]:
    """The command line of a run."""
    folder = size.root / case.name / str(seed)
    verb = "train" if case.data_of else "demo"
    hand = list(HAND) if case.words[-len(HAND) :] == HAND else []
    if resume:
        return [verb, "--run-dir", str(folder), "--resume", *hand]
    words = [verb, "--task", "pick_cube_hard", "--seed", str(seed), "--run-dir", str(folder)]
    words += ["--evaluation.trigger-successes", "21", "--budget.wall-s", "36000", *size.words]
    words += case.words
    if case.data_of:
        data = size.root / case.data_of / str(seed)
        updates = str(size.bc_updates)
        words += ["--init-from", str(data), "--with-data", "--budget.updates", updates]
        return [*words, "--agent.pretrain-updates", updates]
    return [*words, "--demos", str(DEMOS), "--budget.env-steps", str(size.env_steps)]


@dataclass(frozen=True)
class Done:
    """A finished run."""

    case: Case
    seed: int
    result: dict[str, Any]
    episodes: list[dict[str, Any]]
    """Metrics of its training episodes."""

    @staticmethod
    def read(case: Case, seed: int, size: Size) -> Done | None:
        from launch.runs import Run
        from serl.metrics import read_metrics

        folder = size.root / case.name / str(seed)
        if not (folder / "result.json").is_file():
            return None
        rows = [
            row
            for row in read_metrics(folder)
            if row.get("name") == "actor" and "episode/return" in row
        ]
        return Done(case, seed, Run(folder).read(folder / "result.json"), rows)

    @property
    def steps_to_good(self) -> float | None:
        """Env steps until 80 % of the last 20 episodes succeeded without help; None: never."""
        for k, row in enumerate(self.episodes):
            if k >= 19 and row["episode/success_last_20"] >= GOOD:
                return float(row["env_steps"])
        return None


def append(case: Case, seed: int, size: Size) -> None:
    """One row of the table, unless it is there."""
    done = Done.read(case, seed, size)
    assert done is not None, "it has just ended"
    file, mark = size.results / "humans.md", f"<!-- {case.name}/{seed} -->"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        head = "| " + " | ".join(HEAD) + " |\n" + "|---" * len(HEAD) + "|\n"
        file.write_text(f"# What is a person's hand worth?\n\n`serl bench humans`\n\n{head}")
    text = file.read_text()
    if mark in text:
        return
    result, cycle = done.result, done.result["mean_cycle_s"]
    good = done.steps_to_good
    cells = (
        case.title,
        seed,
        f"{result['successes']}/{result['episodes']}",
        "-" if case.data_of else "never" if good is None else f"{good:,.0f}",
        "-" if cycle is None else f"{cycle:.2f} s",
        f"{result['training_human_steps'] or 0:,}",
        result["training_interventions"] or 0,
        f"{result['env_steps']:,}",
        f"{result['updates']:,}",
        f"{commit()} {mark}",
    )
    lines = text.splitlines()
    end = max(k for k, line in enumerate(lines) if line.startswith("|"))
    lines.insert(end + 1, "| " + " | ".join(map(str, cells)) + " |")
    file.write_text("\n".join(lines) + "\n")


def finished(size: Size, case: Case) -> list[Done]:
    """Every finished run of a case."""
    folders = sorted((size.root / case.name).glob("*/result.json"))
    found = (Done.read(case, int(file.parent.name), size) for file in folders)
    return [done for done in found if done is not None]


def verdict(size: Size) -> list[str]:
    """Steps to 80 % with a hand against without, seed by seed."""
    plain, hand = ({d.seed: d for d in finished(size, case)} for case in CASES[:2])
    shares = []
    for seed in sorted(plain.keys() & hand.keys()):
        without, with_it = plain[seed].steps_to_good, hand[seed].steps_to_good
        # never: at least as many as there were, so that a share is at most right
        shares.append((with_it or size.env_steps) / (without or size.env_steps))
    if not shares:
        return []
    told = ", ".join(f"{share:.2f}" for share in shares)
    reached = "reached" if median(shares) <= GOAL else "not reached"
    return [
        f"steps to {GOOD:.0%} with interventions, as a share of those without, by seed: {told}",
        f"median {median(shares):.2f}, goal {GOAL}: {reached}",
    ]


FIGURES = (
    ("Success without help, last 20 episodes", "episode/success_last_20"),
    ("Steps that the human made, last 20 episodes", "episode/intervention_rate_last_20"),
    ("Cycle time of successes [s]", "episode/cycle_s"),
)


def draw(size: Size) -> Path:
    """The curves over env steps, means over the seeds there are."""
    from launch.plots import Curve, plot
    from launch.report import page

    figures = []
    for title, key in FIGURES:
        curves = []
        for case in CASES:
            x, y = ([], []) if case.data_of else averaged(finished(size, case), key)
            if any(value is not None for value in y):
                curves.append(Curve(name=case.title, x=x, y=y))
        svg = plot(curves, x_label="env steps", y_label=title, y_show=(0,))
        figures.append(f"<figure><figcaption>{title}</figcaption>{svg}</figure>")
    file = size.results / "humans.html"
    body = "<h1>A person in the loop</h1><div class=plots>" + "\n".join(figures) + "</div>"
    file.write_text(page("A person in the loop", body))
    return file


def averaged(runs: Sequence[Done], key: str) -> tuple[list[float], list[float | None]]:
    """A value's mean over the runs, in equal bins of env steps; None where no run has any."""
    last = max((row["env_steps"] for done in runs for row in done.episodes), default=0)
    if not last:
        return [], []
    width = last / BINS
    middles = [(k + 0.5) * width for k in range(BINS)]
    values: list[float | None] = []
    for k in range(BINS):
        per_run = [
            mean(found)
            for done in runs
            if (found := _within(done.episodes, key, k * width, (k + 1) * width))
        ]
        values.append(mean(per_run) if per_run else None)
    return middles, values


def _within(rows: Sequence[dict[str, Any]], key: str, low: float, high: float) -> list[float]:
    return [row[key] for row in rows if key in row and low < row["env_steps"] <= high]
