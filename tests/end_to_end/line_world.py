"""A task so small that a whole run takes seconds: move along a line to a goal and stop there.

An experiment file like a user's, for the end-to-end tests; run_dir and budgets come from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from serl.agents.sac import SACConfig
from serl.experiment import (
    BudgetConfig,
    CheckpointConfig,
    EvaluationConfig,
    Experiment,
    PublishConfig,
    RatioConfig,
    ReplayConfig,
)
from serl.types import ArraySpec, Spec

STEPS = 10


@dataclass(frozen=True, kw_only=True)
class LineWorld:
    """Position and goal in [-1, 1]; success within `tolerance` of the goal ends the episode."""

    tolerance: float = 0.2

    def spec(self) -> Spec:
        return Spec(
            observation=(ArraySpec(name="state", shape=(2,), dtype="float32", low=-3.0, high=3.0),),
            action=ArraySpec(name="action", shape=(1,), dtype="float32", low=-1.0, high=1.0),
        )

    def contract(self) -> dict[str, Any]:
        return {"task": "line_world", "tolerance": self.tolerance}

    def make(self, *, render: bool = False) -> gymnasium.Env:
        return gymnasium.wrappers.TimeLimit(_Line(self.tolerance), STEPS)


class _Line(gymnasium.Env):
    observation_space = spaces.Dict({"state": spaces.Box(-3.0, 3.0, (2,), np.float32)})
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.x, self.goal = self.np_random.uniform(-1.0, 1.0, 2)
        return self._obs(), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.x = float(np.clip(self.x + 0.5 * action[0], -2.0, 2.0))
        success = abs(self.x - self.goal) < self.tolerance
        return self._obs(), float(success), success, False, {"success": success}

    def _obs(self) -> dict[str, np.ndarray]:
        return {"state": np.array([self.x, self.goal - self.x], np.float32)}


EXPERIMENT = Experiment(
    name="line_world",
    env=LineWorld(),
    agent=SACConfig(
        discount=0.9,
        batch_size=64,
        utd_ratio=2,
        num_critics=2,
        hidden=(32, 32),
    ),
    demos=0,
    replay=ReplayConfig(capacity=20_000, start_records=100),
    ratio=RatioConfig(updates_per_step=1.0, error_buffer_steps=50),
    publish=PublishConfig(every_updates=50, every_s=0.2),
    checkpoint=CheckpointConfig(every_updates=200),
    evaluation=EvaluationConfig(
        gate_episodes=10, gate_successes=9, trigger_successes=17, final_episodes=20
    ),
    budget=BudgetConfig(wall_s=120.0, updates=4000, env_steps=20_000),
)
