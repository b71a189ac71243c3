"""How fast the learner updates, and how long the actor waits for an action.

SERL's shape: 10 critics and policy of 256x256 tanh LayerNorm, 20 state numbers, 8 critic updates of
256 rows per call, then one actor update on all 2048.

    python -m benchmarks.learner
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import jax
import numpy as np

from serl.agents.base import example_batch
from serl.agents.sac import SAC, SACConfig
from serl.types import ArraySpec, Spec

STATE_DIM = 20


def run(
    quick: bool = False, background: Callable[[], AbstractContextManager[Any]] | None = None
) -> list[dict[str, Any]]:
    """Measure; rows of what, value, unit and goal.

    Args:
        background: runs something beside the measurement while entered, such as an actor.
    """
    rows = []
    calls = 5 if quick else 25
    cases = [("bfloat16", 4, ">= 80"), ("float32", 4, ">= 80")]
    cases += [] if quick else [("bfloat16", 7, ""), ("float32", 7, "")]
    with (background or contextlib.nullcontext)():
        for precision, actions, goal in cases:
            agent = agent_of(SACConfig(precision=precision), actions)
            rates, first_s = updates_per_s(agent, calls)
            what = (
                f"critic updates/s, E 10, batch 256, 8 + 1 per call, {precision}, {actions} actions"
            )
            rows.append(row(f"{what}, median", statistics.median(rates), "1/s", goal))
            rows.append(row(f"{what}, best", max(rates), "1/s"))
            rows.append(row("its first call, compiled or from the cache", first_s, "s"))
        latencies = act_us(agent_of(SACConfig(), 4), 300 if quick else 3000)
        rows.append(row("action from NumPy to NumPy, median", latencies[0], "us", "<= 150"))
        rows.append(row("action from NumPy to NumPy, 99 %", latencies[1], "us"))
    return rows


def agent_of(config: SACConfig, actions: int) -> SAC:
    """An agent that sees 20 numbers."""
    state = ArraySpec(name="state", shape=(STATE_DIM,), dtype="float32")
    action = ArraySpec(name="action", shape=(actions,), dtype="float32", low=-1.0, high=1.0)
    return config.make(Spec(observation=(state,), action=action))


def updates_per_s(agent: SAC, calls: int) -> tuple[list[float], float]:
    """Critic updates per second of each call, and what the first call took [s]."""
    cfg = agent.config
    batches = jax.device_put(
        example_batch(agent.spec, np.random.default_rng(0), (cfg.utd_ratio, cfg.batch_size))
    )
    state = agent.init(jax.random.key(0))
    start = time.perf_counter()
    state, metrics = agent.update(state, batches)
    jax.block_until_ready(metrics)
    first_s = time.perf_counter() - start
    rates = []
    for _ in range(calls):
        start = time.perf_counter()
        state, _ = jax.block_until_ready(agent.update(state, batches))
        rates.append(cfg.utd_ratio / (time.perf_counter() - start))
    return rates, first_s


def act_us(agent: SAC, calls: int) -> tuple[float, float]:
    """Median and 99th percentile of one sampled action, NumPy in and out [us]."""
    params = jax.tree.map(np.asarray, agent.policy_params(agent.init(jax.random.key(0))))
    rng = np.random.default_rng(0)
    times = []
    for _ in range(calls + 10):
        obs = {"state": rng.standard_normal(STATE_DIM, np.float32)}
        start = time.perf_counter()
        noise = rng.standard_normal(agent.scale.size, np.float32)
        np.asarray(agent.act_with(params, obs, noise))
        times.append(1e6 * (time.perf_counter() - start))
    return statistics.median(times[10:]), float(np.percentile(times[10:], 99))


def row(what: str, value: float, unit: str, goal: str = "") -> dict[str, Any]:
    return {"what": what, "value": value, "unit": unit, "goal": goal}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="fewer calls, one action size")
    for line in run(parser.parse_args().quick):
        print(f"{line['what']:78s} {line['value']:9.1f} {line['unit']:4s} {line['goal']}")


if __name__ == "__main__":
    main()
