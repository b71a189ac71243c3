"""Running a frozen policy on seeds of its own, and saying how sure the number is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from serl.tally import Tally

Policy = Callable[[dict[str, NDArray[Any]]], NDArray[Any]]
"""Observation to action, deterministic unless its maker says otherwise."""


class Recorder(Protocol):
    """Keeps what an env returned, episode by episode."""

    def begin(self, obs: Any, info: Any) -> None: ...

    def step(
        self, action: Any, obs: Any, reward: float, terminated: bool, truncated: bool, info: Any
    ) -> None: ...


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
    human_steps: int = 0
    """Steps that a person made instead of the policy."""
    interventions: int = 0
    """How often one took over."""

    @property
    def alone(self) -> bool:
        """Nobody helped."""
        return self.human_steps == 0


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """What a set of episodes says about one policy."""

    episodes: tuple[EpisodeResult, ...]

    @property
    def successes(self) -> int:
        """Of the policy alone; `assisted_successes` are counted apart."""
        return sum(e.success and e.alone for e in self.episodes)

    @property
    def assisted_successes(self) -> int:
        """With a person's help."""
        return sum(e.success and not e.alone for e in self.episodes)

    @property
    def true_successes(self) -> int | None:
        """By the task's own truth, where a learned reward judges and the task can tell."""
        if not self.episodes or any(e.true_success is None for e in self.episodes):
            return None
        return sum(bool(e.true_success) and e.alone for e in self.episodes)

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
            "assisted_episodes": sum(not e.alone for e in self.episodes),
            "assisted_successes": self.assisted_successes,
            "interventions": sum(e.interventions for e in self.episodes),
            "human_steps": sum(e.human_steps for e in self.episodes),
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
    success = episode.success if episode.true_success is None else episode.true_success
    return success and episode.alone


def evaluate(
    policy: Policy,
    env: Any,
    seeds: Iterable[int],
    *,
    on_episode: Callable[[EpisodeResult], None] | None = None,
    on_step: Callable[[Any], Any] | None = None,
    on_reset: Callable[[], None] | None = None,
    recorder: Recorder | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> EvaluationResult:
    """Roll `policy` through one episode per seed. Nothing it does reaches a replay.

    An episode that the env had to break off (info `interrupted`: an arm went into fault) says
    nothing about the policy: its seed is run again.

    Args:
        policy: observation dict to action (A,).
        env: a gymnasium.Env of the experiment, pipeline included.
        on_episode: told each result as it comes.
        on_step: given the env after each reset and step (to film it); true breaks the episode off.
        on_reset: called when an episode begins: a policy that sees past frames forgets them.
        recorder: given all that the env returns.
        should_stop: asked between episodes; True ends early with what there is.
    """
    episodes: list[EpisodeResult] = []
    on_reset = on_reset or (lambda: None)
    for seed in seeds:
        if should_stop():
            break
        while (
            episode := _roll(policy, env, seed, on_step or _nothing, on_reset, recorder)
        ) is None and not should_stop():
            pass  # the env says why, and its reset waits until it is put right
        if episode is None:
            break
        episodes.append(episode)
        if on_episode is not None:
            on_episode(episodes[-1])
    return EvaluationResult(episodes=tuple(episodes))


def _nothing(env: Any) -> None: ...


def _roll(
    policy: Policy,
    env: Any,
    seed: int,
    on_step: Callable[[Any], Any],
    on_reset: Callable[[], None],
    recorder: Recorder | None,
) -> EpisodeResult | None:
    """One episode; None when the env, or who watches it, broke it off."""
    obs, info = env.reset(seed=seed)
    on_reset()
    if recorder is not None:
        recorder.begin(obs, info)
    tally, over, reported = Tally(), False, False
    on_step(env)
    while not over:
        action = policy(obs)
        obs, reward, terminated, truncated, info = env.step(action)
        if recorder is not None:
            recorder.step(action, obs, float(reward), terminated, truncated, info)
        tally.add(float(reward), info)
        reported = reported or "success" in info
        over = terminated or truncated
        if on_step(env) or info.get("interrupted"):
            return None
    return EpisodeResult(
        seed=seed,
        success=tally.success,
        steps=tally.steps,
        episode_return=tally.total,
        success_reported=reported,
        true_success=tally.true_success,
        human_steps=tally.human_steps,
        interventions=tally.interventions,
    )
