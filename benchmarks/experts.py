"""How often each task's scripted expert succeeds, and what an env step costs.

python -m benchmarks.experts
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from envs.tasks.base import TASKS
from serl.seeds import Purpose, episode_seed


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Rows {what, value, unit, goal} for every task."""
    rows = []
    for name in TASKS.names():
        config = TASKS.get(name)()
        env = config.make()
        try:
            rows += _expert_rows(name, config, env, episodes=10 if quick else 100)
            rows.append(_step_row(name, env, repeats=3 if quick else 15))
        finally:
            env.close()
    return rows


def _expert_rows(name: str, config: Any, env: Any, episodes: int) -> list[dict[str, Any]]:
    """Successes and length of episodes on seeds of their own."""
    expert = config.expert(env)
    successes, lengths = 0, []
    for k in range(episodes):
        env.reset(seed=episode_seed(Purpose.TUNE, 1, k))
        expert.reset()
        steps, over, success = 0, False, False
        while not over:
            _, _, terminated, truncated, info = env.step(expert.act())
            steps, over, success = steps + 1, terminated or truncated, info["success"]
        successes += success
        lengths.append(steps)
    return [
        {
            "what": f"{name}: expert's successes of {episodes}",
            "value": successes,
            "unit": "episodes",
            "goal": f">= {round(0.98 * episodes)}",
        },
        {
            "what": f"{name}: expert's median episode",
            "value": float(np.median(lengths)),
            "unit": "steps",
            "goal": "",
        },
    ]


def _step_row(name: str, env: Any, repeats: int) -> dict[str, Any]:
    """Env steps per second, everything included but resets; the median of several bursts."""
    rates = []
    still = np.zeros(env.action_space.shape, np.float32)
    for _ in range(repeats):
        env.reset(seed=0)
        start = time.perf_counter()
        for _ in range(50):
            env.step(still)
        rates.append(50 / (time.perf_counter() - start))
    return {
        "what": f"{name}: env steps on one core",
        "value": float(np.median(rates)),
        "unit": "1/s",
        "goal": ">= 800",
    }


if __name__ == "__main__":
    for row in run():
        print(f"{row['what']:45} {row['value']:10.1f} {row['unit']:10} {row['goal']}")
