"""The reward: the task's named terms, weighed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium

from serl.types import RewardSource


class WeightedReward(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Sum of weight x term over the terms that have a weight.

    Success is not its business: it stays what the task said, whatever the reward.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], weights: Mapping[str, float]) -> None:
        super().__init__(env)
        self._weights = dict(weights)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        obs, _, terminated, truncated, info = self.env.step(action)
        terms = info["reward_terms"]
        reward = float(sum(w * terms[name] for name, w in self._weights.items()))
        info["reward_source"] = int(RewardSource.ENV)
        info["reward_version"] = 0
        return obs, reward, terminated, truncated, info
