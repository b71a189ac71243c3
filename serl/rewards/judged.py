"""An env whose reward, success and end are judged from what is observed.

A reward has one or more stages, each with its own judge. A stage pays once, when its class has been
seen, and its conditions have held, for N steps in a row; when all have paid the episode is a
success and ends. A judge may also see that the episode is lost: it ends without reward.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium

from serl.types import RewardSource

Obs = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One thing to achieve."""

    name: str
    judge: Callable[[Obs], Any]
    """Probabilities of its classes for one observation. Stages of one judge share its result."""
    success: int
    """Index of the class that counts."""
    threshold: float
    consecutive: int = 1
    """Steps in a row that must count."""
    holds: Callable[[Obs], bool] = lambda obs: True
    """What the state must say besides."""
    lost: int | None = None
    """Index of a class that ends the episode, when likelier than all others for as many steps."""
    pays: float = 1.0


class JudgedReward(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Reward 1 (`Stage.pays`) for each stage, once per episode.

    Info: `success` (all stages have paid; once true it ends the episode), `env_success` where the
    env itself says, `judged` (stage name to the probability of its class), `stages_paid`, `lost`,
    `judge_s`, `reward_source` and `reward_version`.

    A step that the env had to break off (info `interrupted`: a camera lost, an arm in fault) may
    show old frames: it is not judged, pays nothing, and every count of N in a row starts again.

    Args:
        stages: in order.
        ordered: a stage is judged only when those before it have paid.
        version: the source's hash as a number.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        stages: Sequence[Stage],
        *,
        version: int,
        ordered: bool = True,
    ) -> None:
        super().__init__(env)
        self._stages, self._ordered, self._version = tuple(stages), ordered, version
        self.judged: Mapping[str, float] = {}
        """As the info of the newest step, for whoever shows it."""
        self._begin()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        self._begin()
        obs, info = self.env.reset(seed=seed, options=options)
        return obs, self._own(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        obs, _, terminated, truncated, info = self.env.step(action)
        info = self._own(info)
        if info.get("interrupted"):
            self._forget()
            info |= {"stages_paid": sum(self._paid), "lost": False, "judge_s": 0.0}
            return obs, 0.0, bool(terminated), truncated, info
        began = time.perf_counter()
        seen = {id(stage.judge): stage.judge for stage in self._stages}
        said = {key: judge(obs) for key, judge in seen.items()}
        reward, lost = 0.0, False
        for k, stage in enumerate(self._stages):
            p = said[id(stage.judge)]
            info["judged"][stage.name] = float(p[stage.success])
            lost = self._is_lost(k, p) or lost
            due = not self._paid[k] and (not self._ordered or all(self._paid[:k]))
            counts = due and float(p[stage.success]) >= stage.threshold and stage.holds(obs)
            self._run[k] = self._run[k] + 1 if counts else 0
            if self._run[k] >= stage.consecutive:
                self._paid[k] = True
                reward += stage.pays
        success = all(self._paid)
        self.judged = info["judged"]
        info["success"] = success
        info["stages_paid"] = sum(self._paid)
        info["lost"] = lost and not success
        info["judge_s"] = time.perf_counter() - began
        return obs, reward, bool(terminated or success or lost), truncated, info

    def _is_lost(self, k: int, p: Any) -> bool:
        """The class 'lost' of stage k has been the likeliest for as long as success must be."""
        stage = self._stages[k]
        worst = stage.lost is not None and int(p.argmax()) == stage.lost
        self._lost[k] = self._lost[k] + 1 if worst else 0
        return self._lost[k] >= stage.consecutive

    def _begin(self) -> None:
        self._paid = [False] * len(self._stages)
        self._forget()

    def _forget(self) -> None:
        """Steps counted so far are not in a row with those to come."""
        self._run, self._lost = [0] * len(self._stages), [0] * len(self._stages)

    def _own(self, info: dict[str, Any]) -> dict[str, Any]:
        """The env's info with what it said of success under another name."""
        own = {k: v for k, v in info.items() if k != "success"}
        if "success" in info:
            own["env_success"] = bool(info["success"])
        own |= {"judged": {}, "success": False}
        own["reward_source"] = int(RewardSource.CLASSIFIER)
        own["reward_version"] = self._version
        return own
