"""Running a frozen policy on seeds of its own, and saying how sure the number is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from numpy.typing import NDArray

Policy = Callable[[dict[str, NDArray[Any]]], NDArray[Any]]
"""Observation to action, deterministic unless its maker says otherwise."""


@dataclass(frozen=True, kw_only=True)
class EpisodeResult:
    """One evaluation episode."""

    seed: int
    success: bool
    steps: int
    episode_return: float
    success_reported: bool = True
    """False: the env says nothing of success, and only the return counts."""
    true_success: bool | None = None
    """With a learned reward, which `success` then is: what the task itself says; None: nothing."""


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """What a set of episodes says about one policy."""

    episodes: tuple[EpisodeResult, ...]

    @property
    def successes(self) -> int:
        return sum(e.success for e in self.episodes)

    @property
    def true_successes(self) -> int | None:
        """By the task's own truth, where a learned reward judges and the task can tell."""
        if not self.episodes or any(e.true_success is None for e in self.episodes):
            return None
        return sum(bool(e.true_success) for e in self.episodes)

    @property
    def mean_return(self) -> float:
        return sum(e.episode_return for e in self.episodes) / max(1, len(self.episodes))

    @property
    def mean_cycle_steps(self) -> float | None:
        """Mean length of the successful episodes; None without one."""
        lengths = [e.steps for e in self.episodes if _counts(e)]
        return sum(lengths) / len(lengths) if lengths else None

    def to_json(self) -> dict[str, Any]:
        """The summary and every episode, as JSON values.

        `successes` and its interval are the true ones where they are known; what a learned reward
        took for a success stands beside them.
        """
        true, judged = self.true_successes, self.successes
        successes = judged if true is None else true
        low, high = wilson_interval(successes, len(self.episodes))
        return {
            "successes": successes,
            "true_successes": true,
            "judged_successes": None if true is None else judged,
            "episodes": len(self.episodes),
            "wilson_95": [low, high],
            "mean_cycle_steps": self.mean_cycle_steps,
            "mean_return": self.mean_return,
            "reports_success": any(e.success_reported for e in self.episodes),
            "per_episode": [asdict(e) for e in self.episodes],
        }


def wilson_interval(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """95 % score interval for a proportion.

    Source: Wilson, J. Am. Stat. Assoc. 22 (1927) 209.

    >>> [round(x, 3) for x in wilson_interval(98, 100)]
    [0.93, 0.994]
    """
    if trials == 0:
        return 0.0, 1.0
    p = successes / trials
    scale = 1 + z * z / trials
    centre = p + z * z / (2 * trials)
    half = z * math.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def _counts(episode: EpisodeResult) -> bool:
    """Whether it is one of the successes that are reported."""
    return episode.success if episode.true_success is None else episode.true_success


def evaluate(
    policy: Policy,
    env: Any,
    seeds: Iterable[int],
    *,
    on_episode: Callable[[EpisodeResult], None] | None = None,
    on_step: Callable[[Any], None] | None = None,
    on_reset: Callable[[], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> EvaluationResult:
    """Roll `policy` through one episode per seed. Nothing it does reaches a replay.

    An episode that the env had to break off (info `interrupted`: an arm went into fault) says
    nothing about the policy: its seed is run again.

    Args:
        policy: observation dict to action (A,).
        env: a gymnasium.Env of the experiment, pipeline included.
        on_episode: told each result as it comes.
        on_step: given the env after each reset and step (to film it).
        on_reset: called when an episode begins: a policy that sees past frames forgets them.
        should_stop: asked between episodes; True ends early with what there is.
    """
    episodes: list[EpisodeResult] = []
    on_reset = on_reset or (lambda: None)
    for seed in seeds:
        if should_stop():
            break
        while (
            episode := _roll(policy, env, seed, on_step, on_reset)
        ) is None and not should_stop():
            pass  # the env says why, and its reset waits until it is put right
        if episode is None:
            break
        episodes.append(episode)
        if on_episode is not None:
            on_episode(episodes[-1])
    return EvaluationResult(episodes=tuple(episodes))


def _roll(
    policy: Policy,
    env: Any,
    seed: int,
    on_step: Callable[[Any], None] | None,
    on_reset: Callable[[], None],
) -> EpisodeResult | None:
    """One episode; None when the env broke it off."""
    obs, _ = env.reset(seed=seed)
    on_reset()
    total, steps, over, success, reported = 0.0, 0, False, False, False
    true: bool | None = None
    if on_step is not None:
        on_step(env)
    while not over:
        obs, reward, terminated, truncated, info = env.step(policy(obs))
        total += float(reward)
        steps += 1
        success = success or bool(info.get("success", False))
        if info.get("env_success") is not None:
            true = bool(true) or bool(info["env_success"])
        reported = reported or "success" in info
        over = terminated or truncated
        if on_step is not None:
            on_step(env)
        if info.get("interrupted"):
            return None
    return EpisodeResult(
        seed=seed,
        success=success,
        steps=steps,
        episode_return=total,
        success_reported=reported,
        true_success=true,
    )
