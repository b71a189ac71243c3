"""What the same training makes of a Gymnasium env: Pendulum-v1, three seeds one after the other.

python -m launch.main bench gym
"""

from __future__ import annotations

from collections.abc import Sequence

from launch.bench import whole_runs
from launch.experiments import Selection

ENV = "Pendulum-v1"
SEEDS = (0, 1, 2)
GOAL = -200.0
"""Mean return of 20 episodes; a policy that holds the pendulum up from any start has about -150."""

COLUMNS = {
    f"mean return (goal >= {GOAL:g})": lambda run, result: f"{result['mean_return']:.1f}",
    "env steps": lambda run, result: f"{result['env_steps']:,}",
    "wall_s": lambda run, result: f"{result['wall_s']:.0f}",
    "run": lambda run, result: str(run.path),
}


def run(seeds: Sequence[int] = SEEDS, quick: bool = False) -> int:
    """Train with each seed, skipping those with a result, and print one table."""
    return whole_runs("train", [selection(seed, quick) for seed in seeds], COLUMNS)


def selection(seed: int, quick: bool) -> Selection:
    """`serl train --env Pendulum-v1 --seed S --budget.env-steps 20000 ...`."""
    changed = {
        "budget.env_steps": "2000" if quick else "20000",
        "evaluation.final_episodes": "20",
    }
    return Selection(
        env=ENV, seed=seed, overrides=tuple((path, (word,)) for path, word in changed.items())
    )
